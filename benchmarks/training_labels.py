"""What training gains where labels may be wrong: four ways to use them, on the same images.

    python -m benchmarks.training_labels IMAGES [--seeds 2] [--agreed FILE] -o OUT

IMAGES are split as in ``studies/few-images.yaml`` (75 % train, 5 % val, 20 % test, seed 0).
*given*: labels as they are. *neighbours*: the neighbouring stages of maturation have a tenth of the
target. *voted*, *left out*: two networks, each trained on half of the training images, are asked
about the other half; where that contradicts a label (`naturalize.evaluation.labels.doubts`), it is
replaced, or the image is left out. Labels of val and test stay as they are. All see as many
samples. Scores are differences from *given*, paired by image and seed; ``--agreed``, as for
``naturalize evaluate``, adds those on test images whose labels another source confirms. What is
done is not done again.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa

from naturalize.base.engine import prefetched
from naturalize.base.images import read_image
from naturalize.base.process import ready_for_networks
from naturalize.base.rng import rng
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split
from naturalize.evaluation.agreement import confirmed, read_agreed
from naturalize.evaluation.compare import paired_seeds, pairs_of
from naturalize.evaluation.evaluate import evaluate
from naturalize.evaluation.labels import doubts
from naturalize.inputs.labelled import part_items
from naturalize.models.predictor import Predictor
from naturalize.training.fit import train
from naturalize.training.settings import TrainSettings

#: As in ``studies/few-images.yaml``, with more images and hence more steps.
SETTINGS = {
    "model": "tf_efficientnet_lite0",
    "weights": "imagenet",
    "input_size": 96,
    "crop": 0.72,
    "balanced": True,
    "samples_per_epoch": 3200,
    "epochs": 5,
    "keep": "last",
    "sampler": "balanced",
}

#: Share of the target that neighbouring stages have.
_SHARE = 0.1

_ARMS = ("given", "neighbours", "voted", "left out")


def votes(catalog: Catalog, split: Split, out: Path) -> tuple[dict[str, str], list[str]]:
    """Return image id → label, contradicted ones replaced, and the ids of these."""
    kept = out / "votes.npz"
    rows = [row for row in split.table.to_pylist() if row["part"] == "train"]
    ids, names = [row["image_id"] for row in rows], sorted({row["label"] for row in rows})
    labels = np.array([names.index(row["label"]) for row in rows])
    if not kept.exists():
        found = np.zeros((len(ids), len(names)))
        half = rng(0, "halves").permutation(len(ids)) % 2
        for asked in (0, 1):
            taught = {ids[i] for i in np.flatnonzero(half != asked)}
            others = [r for r in split.table.to_pylist() if r["part"] != "train"]
            part = [r for r in rows if r["image_id"] in taught]
            model = fitted(catalog, with_rows(split, others + part), out / f"half-{asked}", 0)
            places = np.flatnonzero(half == asked)
            paths = [catalog.path_of(ids[i]) for i in places]
            predictor = Predictor.load(model)
            order = [list(predictor.classes).index(name) for name in names]
            seen = predictor.probabilities(prefetched(read_image, paths, window=32), what="votes")
            found[places] = seen[:, order]
        np.savez(kept, probabilities=found)
    _, likelier, wrong = doubts(np.load(kept)["probabilities"], labels)
    voted = {image: names[likelier[i] if wrong[i] else labels[i]] for i, image in enumerate(ids)}
    return voted, [image for i, image in enumerate(ids) if wrong[i]]


def with_rows(split: Split, rows: list[dict[str, str]]) -> Split:
    """Return the split with other rows."""
    rows = sorted(rows, key=lambda row: row["image_id"])
    return dataclasses.replace(split, table=pa.Table.from_pylist(rows, schema=split.table.schema))


def fitted(catalog: Catalog, split: Split, folder: Path, seed: int, share: float = 0.0) -> Path:
    """Return the model trained on a split, which is trained unless it is there."""
    settings = TrainSettings(**SETTINGS, seed=seed, neighbours=share)
    return folder if folder.exists() else train(settings, catalog, split, out=folder)


def main() -> None:
    """Train all arms, evaluate them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--agreed", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/training-labels"))
    asked = parser.parse_args()
    ready_for_networks()
    catalog = Catalog.build(asked.images, scheme="pbc11")
    split = Split.build(catalog, fractions=(0.75, 0.05, 0.2), conflicts="drop", seed=0)
    asked.out.mkdir(parents=True, exist_ok=True)
    voted, wrong = votes(catalog, split, asked.out)
    print(f"{len(wrong):,} of {len(voted):,} training labels are contradicted\n", flush=True)
    rows = split.table.to_pylist()
    splits = dict.fromkeys(_ARMS, split)
    splits["voted"] = with_rows(
        split, [{**row, "label": voted.get(row["image_id"], row["label"])} for row in rows]
    )
    gone = set(wrong)
    splits["left out"] = with_rows(split, [row for row in rows if row["image_id"] not in gone])
    for seed in range(asked.seeds):
        for arm in _ARMS:
            model = fitted(
                catalog,
                splits[arm],
                asked.out / "models" / f"{arm}-{seed}".replace(" ", "-"),
                seed,
                _SHARE if arm == "neighbours" else 0.0,
            )
            for part in ("val", "test"):
                place = asked.out / part / arm.replace(" ", "-") / str(seed)
                if not place.exists():
                    items = part_items(catalog, split, part)
                    evaluate(Predictor.load(model), items, catalog.root, place)
    agreed = read_agreed(asked.agreed) if asked.agreed else None
    _show(asked.out, agreed)


def _show(out: Path, agreed: dict[str, bool] | None) -> None:
    print("| labels | images | macro-F1 | beside *given* | within a stage | beside *given* |")
    print("|---|---|--:|--:|--:|--:|")
    for part in ("val", "test", "test, confirmed"):
        if part.endswith("confirmed") and agreed is None:
            continue
        folder = out / part.partition(",")[0]
        for arm in _ARMS:
            pairs = list(pairs_of(folder / arm.replace(" ", "-"), folder / "given").values())
            if part.endswith("confirmed"):
                assert agreed is not None
                pairs = [(a.filter(confirmed(a, agreed)), b.filter(confirmed(b, agreed)))
                         for a, b in pairs]  # fmt: skip
            found = paired_seeds(pairs)
            cells = []
            for score in ("macro_f1", "tolerant_accuracy"):
                its = found["scores"][score]
                low, high = its["interval"]
                cells += [
                    f"{its['a']:.3f}",
                    f"{its['difference']:+.3f} ({low:+.3f} to {high:+.3f})",
                ]
            print(f"| {arm} | {part}, {found['n']:,} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
