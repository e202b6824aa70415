"""How many injected label mistakes lie in the first tenth of a label audit, beside a random order.

    python -m benchmarks.label_audit PBC [--images 2000] [--seeds 3] [--cache FILE]
        [--attributes pbc_attributes.csv.gz] [--table FILE]

5 % of the labels are flipped: to any other class, or to a neighbouring stage of maturation (of
images that have one). With the attributes of WBCAtt (Tsutsui et al., NeurIPS 2023), the labels as
they are get the same audit: are those that contradict the attributes doubtful? ``--table``
writes which images agree, for ``naturalize evaluate --agreed``.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.dataset.schemes import MATURATION, scheme
from naturalize.evaluation.labels import cross_validated, doubts

#: Share of the labels that are flipped, and of the images that are reviewed.
_FLIPPED, _REVIEWED = 0.05, 0.1

#: Label → attributes of WBCAtt that agree with it, each one of these values. Other classes and
#: other images have no attributes there, and are not confirmed.
AGREES: dict[str, dict[str, tuple[str, ...]]] = {
    "BNE": {"nucleus_shape": ("unsegmented-band",)},
    "SNE": {"nucleus_shape": ("segmented-bilobed", "segmented-multilobed")},
    "EO": {"granule_type": ("round",), "granule_colour": ("red",)},
    "BA": {"granule_type": ("coarse",), "granule_colour": ("purple",)},
    "LY": {"granule_type": ("nil",)},
    "MO": {"granule_type": ("nil",)},
}


def agreement(file: Path) -> dict[str, bool]:
    """Return file name → whether the attributes agree with the label that the name begins with."""
    with gzip.open(file, "rt", encoding="utf-8") as text:
        rows = [(row["img_name"].partition("_")[0], row) for row in csv.DictReader(text)]
    return {
        row["img_name"]: all(row[column] in values for column, values in AGREES[label].items())
        for label, row in rows
        if label in AGREES
    }


def features(root: Path, n: int) -> tuple[np.ndarray, list[str], list[str]]:
    """Return features of ``n`` images (seed 0), their paths and their labels."""
    from naturalize.base.images import read_image
    from naturalize.models.torch_predictor import TorchPredictor
    from naturalize.models.zoo import build

    prefixes = scheme("pbc11").prefixes
    labelled = [(p, prefixes.get(p.name.partition("_")[0])) for p in sorted(root.rglob("*.jpg"))]
    known = [(path, label) for path, label in labelled if label]
    picks = sorted(np.random.default_rng(0).choice(len(known), n, replace=False))
    paths, labels = zip(*(known[i] for i in picks), strict=True)
    network = build("tf_efficientnet_lite0", sorted(set(labels)), weights="imagenet")
    found = TorchPredictor(network.module, network.config).features(map(read_image, paths))
    return found, [p.relative_to(root).as_posix() for p in paths], list(labels)


def flipped(labels: np.ndarray, names: list[str], how: str, seed: int) -> tuple[Any, Any]:
    """Return labels with some of them flipped, and which."""
    draw, given = np.random.default_rng(seed), labels.copy()
    line = [names.index(stage) for stage in MATURATION]
    may = np.arange(len(labels)) if how == "any class" else np.flatnonzero(np.isin(labels, line))
    picks = draw.choice(may, round(_FLIPPED * len(may)), replace=False)
    for i in picks:
        if how == "any class":
            given[i] = (labels[i] + draw.integers(1, len(names))) % len(names)
        else:
            at = line.index(labels[i])
            given[i] = line[draw.choice([k for k in (at - 1, at + 1) if 0 <= k < len(line)])]
    return given, picks


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    data = Path(os.environ.get("NATURALIZE_DATA", "../shared/data"))
    parser.add_argument("root", type=Path, nargs="?", default=data / "pbc")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path, help="where features are kept (.npz)")
    parser.add_argument("--attributes", type=Path)
    parser.add_argument("--table", type=Path)
    asked = parser.parse_args()
    if not asked.root.is_dir():
        print(f"passed over: {asked.root} is not there; name the folder of PBC's images")
        return
    if asked.cache and asked.cache.is_file():
        kept = np.load(asked.cache)
        values, paths, labels = (kept[name] for name in ("features", "paths", "labels"))
    else:
        values, paths, labels = features(asked.root, asked.images)
        if asked.cache:
            np.savez(asked.cache, features=values, paths=paths, labels=labels)
    names = sorted(set(labels))
    true = np.array([names.index(label) for label in labels])
    first = round(_REVIEWED * len(true))
    print(f"{len(true):,} images, {asked.seeds} draws, first {first} reviewed\n")
    print("| flipped to | flipped | found | random order | ratio |\n|---|--:|--:|--:|--:|")
    for how in ("any class", "a neighbouring stage"):
        found = []
        for seed in range(asked.seeds):
            given, picks = flipped(true, names, how, seed)
            doubt, *_ = doubts(cross_validated(values, given), given)
            found.append(float(np.isin(picks, np.argsort(-doubt)[:first]).mean()))
        each = ", ".join(f"{share:.2f}" for share in found)
        share = np.mean(found)
        print(f"| {how} | {len(picks)} | {share:.2f} ({each}) | {_REVIEWED:.2f} "
              f"| {share / _REVIEWED:.1f} |")  # fmt: skip
    if asked.attributes:
        agreed = agreement(asked.attributes)
        _against(agreed, [Path(p).name for p in paths], labels, values, true)
        if asked.table:
            lines = ["image,agreed", *(f"{k},{'yes' if v else 'no'}" for k, v in agreed.items())]
            asked.table.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _against(
    agreed: dict[str, bool], files: list[str], labels: Any, values: np.ndarray, true: np.ndarray
) -> None:
    """Print how often labels are contradicted by like images, where attributes agree and not."""
    *_, wrong = doubts(cross_validated(values, true), true)
    known = np.array([name in agreed for name in files])
    yes = np.array([agreed.get(name, False) for name in files])
    print("\n| label | contradicted, attributes agree | contradicted, they do not | ratio |")
    print("|---|--:|--:|--:|")
    for label in [*AGREES, "all"]:
        mine = known & ((np.array(labels) == label) | (label == "all"))
        parts = [mine & yes, mine & ~yes]
        shares = [wrong[part].mean() if part.any() else np.nan for part in parts]
        text = [f"{s:.2f} of {p.sum()}" for s, p in zip(shares, parts, strict=True)]
        print(f"| {label} | {text[0]} | {text[1]} | {shares[1] / max(shares[0], 1e-9):.1f} |")


if __name__ == "__main__":
    main()
