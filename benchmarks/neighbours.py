"""What the errors of an evaluation are: neighbours in one maturation, and labels in doubt.

Myelocytes and their kin are stages of one line, and so are band and segmented neutrophils; where
one ends is a convention on which experts differ. So an evaluation of the 11 classes is scored as it
is, with an answer one stage off taken for right, and on the 8 classes that most publications use
(neutrophils together, immature granulocytes together). With ``--attributes``, the description of
each cell by others (WBCAtt, Tsutsui et al., NeurIPS 2023: a CSV file with columns ``img_name`` and
``nucleus_shape``) says how the nuclei of band and segmented neutrophils were seen there.

    naturalize evaluate MODEL STUDY -o evaluation
    python -m benchmarks.neighbours evaluation [--attributes pbc_attributes.csv.gz]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from naturalize.evaluation.intervals import bootstrap
from naturalize.evaluation.metrics import scores
from naturalize.evaluation.predictions import classes_of, read_predictions

#: The line of maturation, in order.
LINE = ("PMY", "MY", "MMY", "BNE", "SNE")

#: Class of the 11 → class of the 8.
EIGHT = {"PMY": "IG", "MY": "IG", "MMY": "IG", "BNE": "NEUTROPHIL", "SNE": "NEUTROPHIL"}

_DATA = Path(os.environ.get("NATURALIZE_DATA", "../shared/data"))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("evaluation", type=Path, nargs="?", help="folder of an evaluation")
    parser.add_argument("--attributes", type=Path, default=_DATA / "pbc_attributes.csv.gz")
    options = parser.parse_args()
    if options.evaluation is None:
        sys.exit("name the folder of an evaluation: naturalize evaluate MODEL STUDY -o evaluation")
    table = read_predictions(options.evaluation)
    labels, true = classes_of(table), table["label"].to_pylist()
    predicted = table["predicted"].to_pylist()
    show(scored(labels, true, predicted), len(true))
    if options.attributes.is_file():
        shapes = nuclei(options.attributes)
        names = [PurePath(path).name for path in table["path"].to_pylist()]
        show_opinions(opinions(names, true, predicted, shapes))
    else:
        print(f"\n{options.attributes}: no such file, so no second opinion", file=sys.stderr)


def near(true: str, predicted: str) -> bool:
    """Return whether an answer is right or one stage of the line off."""
    if true in LINE and predicted in LINE:
        return abs(LINE.index(true) - LINE.index(predicted)) <= 1
    return true == predicted


def scored(
    labels: Sequence[str], true: Sequence[str], predicted: Sequence[str]
) -> dict[str, tuple[Sequence[str], Sequence[str], Sequence[str]]]:
    """Return reading → labels, true and predicted classes under it."""
    forgiven = [t if near(t, p) else p for t, p in zip(true, predicted, strict=True)]
    eight = [[EIGHT.get(name, name) for name in names] for names in (labels, true, predicted)]
    return {
        "11 classes": (labels, true, predicted),
        "11 classes, one stage off is right": (labels, true, forgiven),
        "8 classes": (list(dict.fromkeys(eight[0])), eight[1], eight[2]),
    }


def show(
    readings: Mapping[str, tuple[Sequence[str], Sequence[str], Sequence[str]]], n: int
) -> None:
    """Print accuracy and macro-F1 of each reading, with intervals."""
    print("| read as | errors | accuracy | macro-F1 |\n|---|--:|--:|--:|")
    for name, (labels, true, predicted) in readings.items():
        found = scores(labels, true, predicted)
        sure = bootstrap(labels, true, predicted, seed=1)["intervals"]
        wrong = sum(t != p for t, p in zip(true, predicted, strict=True))
        cells = [
            f"{found[one]:.3f} ({sure[one][0]:.3f}–{sure[one][1]:.3f})"
            for one in ("accuracy", "macro_f1")
        ]
        print(f"| {name} | {wrong} of {n} | {' | '.join(cells)} |")


def nuclei(file: Path) -> dict[str, str]:
    """Return file name of an image → shape of the nucleus as described there."""
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8", newline="") as text:
        return {row["img_name"]: row["nucleus_shape"] for row in csv.DictReader(text)}


def opinions(
    names: Sequence[str], true: Sequence[str], predicted: Sequence[str], shapes: Mapping[str, str]
) -> Counter[tuple[str, str, str]]:
    """Count neutrophils by label, by how others saw the nucleus, and by the answer."""
    found: Counter[tuple[str, str, str]] = Counter()
    for name, label, answer in zip(names, true, predicted, strict=True):
        if label in ("BNE", "SNE") and name in shapes:
            found[label, _seen(shapes[name]), answer if answer in ("BNE", "SNE") else "other"] += 1
    return found


def _seen(shape: str) -> str:
    if shape == "unsegmented-band":
        return "band"
    return "segmented" if shape.startswith("segmented") else "other"


def show_opinions(found: Counter[tuple[str, str, str]]) -> None:
    """Print the answers by label and second opinion."""
    print("\n| label | nucleus as described by others | BNE | SNE | other |\n|---|---|--:|--:|--:|")
    for label, seen in sorted({key[:2] for key in found}):
        counts = [found[label, seen, answer] for answer in ("BNE", "SNE", "other")]
        print(f"| {label} | {seen} | {' | '.join(map(str, counts))} |")


if __name__ == "__main__":
    main()
