"""How much `naturalize adapt` helps: laboratories × class mixes, and ten labelled cells a class.

    python -m benchmarks.adaptation SET… [--model pbc11] [--map …] [--cache FOLDER] [--out FILE]

SETs are folders of class folders. Of each, six mixes are drawn with three seeds: as it is, even,
70 % neutrophils, 70 % lymphocytes, a class absent, a class of 2 %; the model is adapted to the
images of a mix, without labels, and answers for them, and for the cells that were not drawn
(*others*, where they are 20 or more). Then ten cells a class (half of a small class) are labelled,
and the others are answered. Each answer is the mean of four turned views, as ``predict`` has it.
Balanced accuracy over classes of five cells or more, any class may be answered; 95 % intervals by
1,000 resamples of the cells. ``--cache`` keeps features between runs. *forced*: adapted even where
the cross-check says that it did not help.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from naturalize.adaptation.adapt import last_layer
from naturalize.adaptation.check import check
from naturalize.adaptation.head import Cells, Head, adapted
from naturalize.adaptation.read import cells_of, learnt, read_images
from naturalize.base.rng import rng
from naturalize.base.walk import find_images
from naturalize.evaluation.merge import Merge
from naturalize.models.folder import elsewhere_of
from naturalize.models.shipped import find
from naturalize.models.torch_predictor import TorchPredictor

_MAP = "NEU=BNE+SNE,LYM=LY,MON=MO,EOS=EO,BAS=BA"
_MIXES = ("as it is", "even", "70 % NEU", "70 % LYM", "one absent", "one of 2 %")
_SEEDS, _SCORED, _TOLD, _RESAMPLES, _BINS, _OTHERS = 3, 5, 10, 1000, 15, 20


@dataclass
class Laboratory:
    """Cells of a set with their labels, and which classes of the model each label means."""

    name: str
    cells: Cells
    labels: np.ndarray
    meant: np.ndarray  # bool (N, C)


def read(predictor: TorchPredictor, folder: Path, meant: dict, cache: Path | None) -> Laboratory:
    """Return a set's cells, out of the cache if they are there."""
    weights = predictor.weights_hash
    kept = cache / f"{folder.name}-{weights}.npz" if cache else None
    if kept is not None and kept.is_file():
        found = np.load(kept)
    else:
        paths = find_images([folder])
        start = time.perf_counter()
        seen = read_images(predictor, paths, [], learnt(predictor.config.standard, paths))
        cells = cells_of(predictor, seen, {})
        rows = [file.parent.name for file in seen.files]
        print(f"{folder.name}: {len(rows)} cells of {len(paths)} images in "
              f"{time.perf_counter() - start:.0f} s; left out {dict(seen.left_out)}")  # fmt: skip
        one = np.array([seen.files.count(file) == 1 for file in seen.files])  # of fields: no label
        found = {"features": cells.features[one], "allowed": cells.allowed[one]}
        found["labels"] = np.array(rows)[one]
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.savez(kept, **found)
    labels = found["labels"]
    rows_ = np.array([np.isin(predictor.classes, meant.get(label, (label,))) for label in labels])
    cells = Cells(found["features"], found["allowed"], np.zeros_like(rows_))
    return Laboratory(folder.name, cells, labels, rows_)


def mix(labels: np.ndarray, name: str, seed: int) -> np.ndarray:
    """Return the rows of a class mix."""
    draw = rng(seed, "mix", name)
    rows = {c: draw.permutation(np.flatnonzero(labels == c)) for c in sorted(set(labels))}
    take = {c: len(found) for c, found in rows.items()}
    n = len(labels)
    if name == "even":
        take = {c: min(size, round(n / len(take))) for c, size in take.items()}
    elif name.startswith("70 %"):
        main = name.rsplit(maxsplit=1)[-1]
        total = min(n, take[main] / 0.7)
        rest = {c: size for c, size in take.items() if c != main}
        share = 0.3 * total / sum(rest.values())
        take = {c: min(size, max(1, round(share * size))) for c, size in rest.items()}
        take[main] = round(0.7 * total)
    elif name.startswith("one"):
        large = [c for c, size in take.items() if size >= 8]
        chosen = large[int(draw.integers(len(large)))]
        take[chosen] = 0 if name == "one absent" else max(1, round(0.02 * n))
    return np.sort(np.concatenate([rows[c][: take[c]] for c in rows]))


def answers(lab: Laboratory, rows: np.ndarray, head: Head) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each cell is answered right, and with which confidence."""
    found = lab.cells.only(rows).answers(head)
    best = found.argmax(axis=1)
    return lab.meant[rows, best], found.max(axis=1)


def balanced(right: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean recall of classes with five cells or more."""
    scored = [c for c in sorted(set(labels)) if (labels == c).sum() >= _SCORED]
    return float(np.mean([right[labels == c].mean() for c in scored]))


def interval(before: np.ndarray, after: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the gain, over cells within classes."""
    draw, gains = rng(0, "bootstrap"), np.zeros(_RESAMPLES)
    scored = [c for c in sorted(set(labels)) if (labels == c).sum() >= _SCORED]
    for c in scored:
        each = (after[labels == c].astype(float) - before[labels == c]) / len(scored)
        gains += draw.choice(each, (_RESAMPLES, len(each))).mean(axis=1)
    low, high = np.quantile(gains, (0.025, 0.975))
    return float(low), float(high)


def calibration(right: np.ndarray, confidence: np.ndarray) -> float:
    """Return the expected calibration error."""
    place = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [
        abs(confidence[place == i].mean() - right[place == i].mean()) * (place == i).mean()
        for i in np.unique(place)
    ]
    return float(sum(gaps))


def of_mix(lab: Laboratory, name: str, head: Head, seed: int) -> dict:
    """Adapt to one mix without labels, and score it."""
    rows = mix(lab.labels, name, seed)
    cells = lab.cells.only(rows)
    found = check(cells, head)
    new = adapted(cells, head)
    (before, sure), (after, surer) = (answers(lab, rows, each) for each in (head, new))
    labels = lab.labels[rows]
    kept = (after, surer) if found.helped else (before, sure)
    others = np.setdiff1d(np.arange(len(lab.labels)), rows)
    gain = np.nan
    if len(others) >= _OTHERS:
        old, now = (answers(lab, others, each)[0] for each in (head, new if found.helped else head))
        gain = balanced(now, lab.labels[others]) - balanced(old, lab.labels[others])
    return {
        "n": len(rows),
        "before": balanced(before, labels),
        "after": balanced(kept[0], labels),
        "forced": balanced(after, labels),
        "interval": interval(before, kept[0], labels),
        "others": gain,
        "helped": found.helped,
        "check": asdict(found),
        "ece": (calibration(before, sure), calibration(*kept)),
    }


def with_labels(lab: Laboratory, head: Head, seed: int) -> dict:
    """Adapt with labels of ten cells a class, and score the others."""
    draw = rng(seed, "labelled")
    groups = [np.flatnonzero(lab.labels == c) for c in sorted(set(lab.labels))]
    told = [draw.permutation(rows)[: min(_TOLD, len(rows) // 2)] for rows in groups]
    rows = np.concatenate(told)
    cells = lab.cells.only(np.arange(len(lab.labels)))
    cells.told[rows] = lab.meant[rows]
    rest = np.setdiff1d(np.arange(len(lab.labels)), rows)
    new = adapted(cells, head)
    before, after = (answers(lab, rest, each)[0] for each in (head, new))
    labels = lab.labels[rest]
    scores = {"before": balanced(before, labels), "after": balanced(after, labels)}
    return {**scores, "n": len(rest), "told": len(rows), "helped": check(cells, head).helped}


def _show(lab: str, name: str, found: Sequence[dict]) -> None:
    mean = {key: np.mean([row[key] for row in found]) for key in ("n", "before", "after")}
    extra = ""
    if "forced" in found[0]:
        low, high = np.mean([row["interval"] for row in found], axis=0)
        ece = np.mean([row["ece"] for row in found], axis=0)
        forced = np.mean([row["forced"] for row in found])
        others = np.mean([row["others"] for row in found])
        extra = (f"{low:+.3f} to {high:+.3f} | {forced:.3f} | {others:+.3f} | "
                 f"{ece[0]:.2f} → {ece[1]:.2f}")  # fmt: skip
    helped = sum(row["helped"] for row in found)
    print(f"| {lab} | {name} | {mean['n']:.0f} | {mean['before']:.3f} | {mean['after']:.3f} | "
          f"{mean['after'] - mean['before']:+.3f} | {extra or ' | | |'} | {helped}/{len(found)} |",
          flush=True)  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--model", default="pbc11")
    parser.add_argument("--map", default=_MAP)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    options = parser.parse_args()
    path = find(options.model)
    predictor = TorchPredictor.open(elsewhere_of(path) or path)
    head, _ = last_layer(predictor)
    meant = dict(Merge.parse(options.map).classes)
    every = {}
    print("| set | mix | n | before | after | gain | interval | forced | others | ECE | helped |\n"
          "|---|---|--:|--:|--:|--:|---|--:|--:|---|---|")  # fmt: skip
    for folder in options.sets:
        lab = read(predictor, folder, meant, options.cache)
        for name in _MIXES:
            seeds = 1 if name == _MIXES[0] else _SEEDS
            found = [of_mix(lab, name, head, seed) for seed in range(seeds)]
            _show(lab.name, name, found)
            every[f"{lab.name}, {name}"] = found
        found = [with_labels(lab, head, seed) for seed in range(_SEEDS)]
        _show(lab.name, "10 labelled a class", found)
        every[f"{lab.name}, labelled"] = found
    mixes = {key: rows for key, rows in every.items() if not key.endswith("labelled")}
    gains = [np.mean([row["after"] - row["before"] for row in rows]) for rows in mixes.values()]
    # those of a class that was left out are another question: they are of that class alone
    others = np.array([np.mean([row["others"] for row in rows]) for key, rows in mixes.items()
                       if ", one " not in key])  # fmt: skip
    lost = np.array([row["others"] for key, rows in mixes.items() if key.endswith("absent")
                     for row in rows])  # fmt: skip
    told = [np.mean([row["after"] for row in rows]) for key, rows in every.items()
            if key not in mixes]  # fmt: skip
    print(f"\nmean gain {np.mean(gains):+.3f}, least {min(gains):+.3f}; others "
          f"{np.nanmean(others):+.3f}, least {np.nanmin(others):+.3f}, "
          f"of an absent class {np.nanmean(lost):+.3f}; "
          f"with labels {np.mean(told):.3f}")  # fmt: skip
    if options.out:
        options.out.write_text(json.dumps(every, indent=1))


if __name__ == "__main__":
    main()
