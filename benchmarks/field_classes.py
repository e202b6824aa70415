"""Classes of white cells in whole fields, where they are known, as `naturalize read` gives them.

PBC images of the test part of the split that ``pbc11`` was trained by, one by one as small fields
and nine side by side at 0.4 of their size, as a weaker objective shows them; and composed fields,
whose every cell is known. The class of a PBC image is that of the white cell whose box is nearest
to its middle. Fields of another camera carry no classes (``fields/cbc``).

    python -m benchmarks.field_classes --catalog runs/catalog --split runs/split
    python -m benchmarks.field_classes --coco composed/annotations.json
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

import naturalize as nz
from benchmarks._annotated import in_pixels, pbc_truth
from benchmarks._boxes import iou_matrix
from benchmarks.fields import Field, coco, reduced
from naturalize.base.images import read_image
from naturalize.base.rng import rng
from naturalize.cells.segmentation import KINDS
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split
from naturalize.evaluation.intervals import wilson
from naturalize.evaluation.metrics import scores
from naturalize.fields.differential import is_unsure
from naturalize.models.predictor import Predictor


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("NATURALIZE_DATA", "../shared/data"))
    )
    parser.add_argument("--catalog", type=Path)
    parser.add_argument("--split", type=Path, help="that no image of its test part was trained on")
    parser.add_argument("--coco", type=Path, help="fields with all their cells, instead")
    parser.add_argument("--model", default="pbc11")
    parser.add_argument("--images", type=int, default=198, help="PBC images, evenly over classes")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    model = Predictor.load(asked.model)
    with tempfile.TemporaryDirectory() as folder:
        if asked.coco:
            sets = {asked.coco.parent.name: coco(asked.coco)}
        elif asked.catalog and asked.split:
            small = of_one_cell(asked)
            sets = {"PBC": small, "PBC, nine at 0.4": reduced(small, Path(folder))}
        else:
            sys.exit("name --catalog and --split, or --coco")
        print("| fields | n | white cells | found | right (95 % interval) | macro-F1 ", end="")
        print("| not in doubt | right of these |\n|---|--:|--:|--:|--:|--:|--:|--:|")
        for name, fields in sets.items():
            print(f"| {name} | {len(fields)} | {row(fields, model)} |", flush=True)


def of_one_cell(asked: argparse.Namespace) -> list[Field]:
    """Return PBC images of the test part as fields, one class after the other."""
    catalog, split = Catalog.load(asked.catalog), Split.load(asked.split)
    truth = dict(pbc_truth(asked.data, 10**6, asked.seed))
    of_class: dict[str, list[Field]] = defaultdict(list)
    rows = [row for row in split.table.to_pylist() if row["part"] == "test"]
    for i in rng(asked.seed, "classes of fields").permutation(len(rows)):
        path = catalog.path_of(rows[i]["image_id"])
        boxes = truth.get(f"{path.parent.name}/{path.name}")
        if boxes is None or not boxes.get("wbc") or not boxes.get("rbc"):
            continue
        shape = read_image(path).shape[:2]
        known = {kind: np.zeros((0, 4)) for kind in KINDS} | in_pixels(boxes, shape)
        middles = (known["wbc"][:, :2] + known["wbc"][:, 2:]) / 2
        main_cell = int(np.hypot(*(middles - np.array(shape[::-1]) / 2).T).argmin())
        labels = tuple(
            rows[i]["label"] if number == main_cell else None for number in range(len(middles))
        )
        of_class[rows[i]["label"]].append(Field(path, shape, known, labels=labels))
    found: list[Field] = []
    while len(found) < asked.images and any(of_class.values()):
        found += [of_class[name].pop() for name in sorted(of_class) if of_class[name]]
    return found[: asked.images]


def row(fields: list[Field], model: Predictor) -> str:
    """Return the cells of the table for a set of fields."""
    true, said, sure, n = list[str](), list[str](), list[bool](), 0
    for field in fields:
        whites = [cell for cell in nz.read(field.path, model).of("wbc") if cell.label is not None]
        boxes = np.array([cell.box for cell in whites], float).reshape(-1, 4)
        for box, label in zip(field.boxes["wbc"], field.labels, strict=True):
            if label is None:
                continue
            n += 1
            if len(boxes) and (iou := iou_matrix(box[None], boxes)[0]).max() >= 0.5:
                cell = whites[int(iou.argmax())]
                true.append(label)
                said.append(str(cell.label))
                sure.append(not is_unsure(cell.flag))
    right = np.array(true) == np.array(said)
    low, high = wilson(int(right.sum()), len(right))
    macro = scores(model.classes, true, said)["macro_f1"]
    return (
        f"{n} | {len(true)} | {right.mean():.3f} ({low:.3f}–{high:.3f}) | {macro:.3f} | "
        f"{sum(sure)} | {right[sure].mean():.3f}"
    )


if __name__ == "__main__":
    main()
