"""Whole fields: cells of all kinds found by several segmenters, against boxes drawn by hand.

For white cells, red cells and platelets: precision, recall and F1 at an IoU of 0.5, one to one;
AP50 as pycocotools computes it; and the count of a field against that of its boxes (median
relative error). On the 60 fields of another camera (``fields/cbc``), on PBC images as small fields
and, nine by nine, as a weaker objective would show them, and on any COCO file of fields whose cells
are all known, such as composed ones.

    python -m benchmarks.fields --data ../shared/data --markdown docs/reference/segmentation.md
    python -m benchmarks.fields --coco composed/annotations.json --methods unet watershed

PBC images of which no red cell carries a box were not annotated, and are passed over. Many red
cells of ``fields/cbc`` and some platelets carry no box. In all fields red cells therefore
have a recall only. Six fields, drawn from the half that no choice was made by, were completed by
eye: ``fields_cbc.csv`` holds the boxes of their cells without one, chosen from what ``unet``,
``classical`` and ``watershed`` found (``--draw FOLDER`` writes the pictures) or set by hand; slices
of less than eight pixels were left out. In these, all figures are given.

``watershed`` is what a tutorial does with scikit-image: three levels of Otsu, distance, watershed.
``unet:FILE`` is the network with other weights.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from benchmarks._annotated import field_truth, in_pixels, pbc_truth, trained_on
from benchmarks._boxes import counts, matched, summary
from benchmarks.segmentation_quality import made, put_into
from naturalize.base.errors import NaturalizeError
from naturalize.base.images import read_image, write_image
from naturalize.base.rng import rng
from naturalize.cells.segmentation import KINDS, Cell, Segmentation, Segmenter, in_order
from naturalize.cells.tiling import Tiled

METHODS = ("unet", "classical", "watershed", "sam:everything")

#: Boxes of cells that carry none in the fields that were completed, and how many such fields.
COMPLETED, N_COMPLETED = Path(__file__).with_name("fields_cbc.csv"), 6

#: Platelets' boxes in ``fields/cbc`` are drawn too wide: what ``unet`` finds in the development
#: half is 0.81 times as wide (median), in PBC images 1.05. Hits are counted at this IoU as well.
LOOSE = 0.3

#: At most so many fields of nine images.
_REDUCED = 8

#: Where a table is put into a page that has these lines.
BEGIN, END = "<!-- fields: begin -->", "<!-- fields: end -->"

_NAMES = {"wbc": "white cells", "rbc": "red cells", "platelet": "platelets"}


#: What was found, a field each: kind → boxes with their score, (n, 5).
Found = list[dict[str, np.ndarray]]


@dataclass(frozen=True)
class Field:
    """A picture and its true boxes: kind → (n, 4) in pixels, of every cell or of some."""

    path: Path
    shape: tuple[int, int]
    boxes: dict[str, np.ndarray]
    #: Kinds of which every cell has a box.
    complete: tuple[str, ...] = KINDS
    #: Class of each white cell, null where it is not known.
    labels: tuple[str | None, ...] = ()


class Watershed(Segmenter):
    """The usual exercise with scikit-image, as a floor: no model of colour, no training."""

    name: ClassVar[str] = "watershed"

    def segment(self, image: np.ndarray) -> Segmentation:
        """Return the cells of RGB uint8 (H, W, 3)."""
        from scipy import ndimage
        from skimage import feature, filters, measure, morphology, segmentation

        green = filters.gaussian(image[..., 1], 1, preserve_range=True)
        dark, pale = filters.threshold_multiotsu(green, 3)
        cells = ndimage.binary_fill_holes(morphology.opening(green < pale, morphology.disk(2)))
        nuclei = morphology.opening(green < dark, morphology.disk(2))
        distance = ndimage.distance_transform_edt(cells)
        usual = np.median(distance[cells]) / 0.293 if cells.any() else 1  # radius of a disc
        peaks = feature.peak_local_max(
            filters.gaussian(distance, 2), min_distance=max(2, int(usual / 2)), labels=cells * 1
        )
        markers = np.zeros(cells.shape, int)
        markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        found = []
        for region in measure.regionprops(segmentation.watershed(-distance, markers, mask=cells)):
            y0, x0, y1, x1 = region.bbox
            area = region.area / (np.pi * usual**2)
            stained = np.count_nonzero(nuclei[y0:y1, x0:x1] & region.image) / region.area
            kind = "rbc" if stained < 0.2 else "wbc" if area > 0.5 else "platelet"
            if area > (0.02 if kind == "platelet" else 0.15):
                score = float(region.solidity)
                found.append(Cell(kind, (x0, y0, x1, y1), region.image, score))
        return Segmentation(image.shape[:2], in_order(found), (255.0, 255.0, 255.0))


def main() -> None:
    """Print the table."""
    asked = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        if asked.coco:
            sets = {asked.coco.parent.name: coco(asked.coco)}
        elif not (asked.data / "pbc_boxes.csv.gz").is_file():
            sys.exit(f"{asked.data}: no annotated images; name their folder with --data")
        else:
            sets = annotated(asked.data, asked.images, asked.seed)
            sets["PBC, nine at 0.4"] = reduced(sets["PBC"], Path(folder))
        text = "\n".join(table(sets, asked))
    print(text)
    if asked.markdown:
        put_into(asked.markdown, text, BEGIN, END)


def table(sets: dict[str, list[Field]], asked: argparse.Namespace) -> list[str]:
    """Return the lines of the table; what each method took goes to standard error."""
    lines = [
        "| fields | cells | method | n | boxes | precision | recall | F1 (95 % interval) | AP50 "
        "| count, median error |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, fields in sets.items():
        rows: dict[str, list[str]] = {}
        union: list[Found] = []
        for method in asked.methods:
            few = asked.everything if method == "sam:everything" else len(fields)
            found, took = find(method, fields[:few], asked.found)
            if not found:
                continue
            union.append(found)
            print(f"{method}: {took / len(found):.2f} s a field of {name}", file=sys.stderr)
            for group, row in scored(fields[:few], found).items():
                rows.setdefault(group, []).append(f"| {name} | {group} | {method} | {row} |")
        lines += [line for group in rows.values() for line in group]
        if asked.draw and "completed" in name:
            draw_unmatched(fields, union, asked.draw)
    return lines


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("NATURALIZE_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--coco", type=Path, help="fields with all their cells, instead")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--images", type=int, default=500, help="PBC images")
    parser.add_argument(
        "--everything", type=int, default=4, help="fields of each set for SAM's grid"
    )
    parser.add_argument("--seed", type=int, default=1, help="which PBC images")
    parser.add_argument("--found", type=Path, help="folder where what was found is kept for reuse")
    parser.add_argument("--draw", type=Path, help="folder for pictures of what no box matches")
    parser.add_argument("--markdown", type=Path, help="page to put the table into, or a new file")
    return parser.parse_args()


# -- truth ----------------------------------------------------------------------------------------


def annotated(data: Path, n: int, seed: int) -> dict[str, list[Field]]:
    """Return the sets of real fields by name."""
    halves = field_truth(data)
    cbc = [
        Field(path, (480, 640), boxes, ("wbc", "platelet"))
        for half in halves.values()
        for path, boxes in half.items()
    ]
    report = sorted(halves["report"])
    drawn = rng(1, "completed fields").permutation(len(report))[:N_COMPLETED]
    more = _completed()
    completed = [
        Field(path, (480, 640), _joined(halves["report"][path], more.get(path.stem, {})))
        for path in (report[i] for i in sorted(drawn))
    ]
    small = []
    for name, boxes in pbc_truth(data, n, seed, without=trained_on()):
        if not boxes.get("rbc"):  # every image shows red cells: this one was not annotated
            continue
        path = data / "pbc" / name
        shape = read_image(path).shape[:2]
        small.append(Field(path, shape, _joined({}, in_pixels(boxes, shape))))
    return {"cbc": cbc, "cbc, completed": completed, "PBC": small}


def reduced(small: list[Field], folder: Path, scale: float = 0.4) -> list[Field]:
    """Return fields of nine images side by side, as a weaker objective shows them."""
    usual = [field for field in small if field.shape == small[0].shape]
    out = []
    for number in range(0, min(len(usual) - 8, 9 * _REDUCED), 9):
        nine = usual[number : number + 9]
        rows = [np.hstack([read_image(f.path) for f in nine[r : r + 3]]) for r in (0, 3, 6)]
        image = cv2.resize(np.vstack(rows), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        height, width = usual[0].shape
        corners = [np.array([i % 3 * width, i // 3 * height] * 2) for i in range(9)]
        boxes = {
            k: scale
            * np.concatenate([f.boxes[k] + at for f, at in zip(nine, corners, strict=True)])
            for k in KINDS
        }
        path = folder / f"reduced-{number}.png"
        write_image(path, image)
        labels = tuple(label for field in nine for label in field.labels)
        out.append(Field(path, (image.shape[0], image.shape[1]), boxes, labels=labels))
    return out


def _completed() -> dict[str, dict[str, np.ndarray]]:
    """Return field → kind → boxes that were judged by eye."""
    out: dict[str, dict[str, list[list[float]]]] = {}
    if COMPLETED.is_file():
        with COMPLETED.open(newline="") as file:
            for row in csv.DictReader(file):
                box = [float(row[key]) for key in ("x0", "y0", "x1", "y1")]
                out.setdefault(row["field"], {}).setdefault(row["kind"], []).append(box)
    return {
        field: {kind: np.array(rows) for kind, rows in kinds.items()}
        for field, kinds in out.items()
    }


def _joined(*parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return boxes of all kinds, from parts that may lack some."""
    none = np.zeros((0, 4))
    return {k: np.concatenate([part.get(k, none) for part in parts]) for k in KINDS}


def coco(file: Path) -> list[Field]:
    """Return the fields of a COCO file; its categories or their supercategories are kinds."""
    told = json.loads(file.read_text())
    kinds = {
        c["id"]: next(k for k in (c["name"], c.get("supercategory")) if k in KINDS)
        for c in told["categories"]
    }
    names = {c["id"]: None if c["name"] in KINDS else c["name"] for c in told["categories"]}
    boxes = {i["id"]: {kind: [] for kind in KINDS} for i in told["images"]}
    labels: dict[int, list[str | None]] = {i["id"]: [] for i in told["images"]}
    for one in told["annotations"]:
        x, y, w, h = one["bbox"]
        kind = kinds[one["category_id"]]
        boxes[one["image_id"]][kind].append([x, y, x + w, y + h])
        if kind == "wbc":
            labels[one["image_id"]].append(names[one["category_id"]])
    where = next(p for p in (file.parent / "images", file.parent) if p.is_dir())
    return [
        Field(
            next(p for p in (where / i["file_name"], file.parent / i["file_name"]) if p.is_file()),
            (i["height"], i["width"]),
            {k: np.array(rows, float).reshape(-1, 4) for k, rows in boxes[i["id"]].items()},
            labels=tuple(labels[i["id"]]),
        )
        for i in told["images"]
    ]


# -- what is found --------------------------------------------------------------------------------

#: A method's name as a folder's.
_PLAIN = str.maketrans(":/", "--")


def find(method: str, fields: list[Field], keep: Path | None) -> tuple[Found, float]:
    """Return what a method finds in each field, and its seconds; nothing where it cannot be had.

    With a folder, each field's answer is read from there if it was found before.
    """
    try:
        by = Tiled(Watershed() if method == "watershed" else made(method))
    except NaturalizeError as error:
        print(f"{method}: not available ({error})", file=sys.stderr)
        return [], 0.0
    found, took = [], 0.0
    for field in fields:
        kept = keep and keep / method.translate(_PLAIN) / f"{field.path.stem}.npz"
        if kept and kept.is_file():
            with np.load(kept) as file:
                found.append({kind: file[kind] for kind in KINDS})
                took += float(file["seconds"])
            continue
        image = read_image(field.path)
        start = time.perf_counter()
        try:
            seen = by.segment(image)
        except NaturalizeError as error:
            print(f"{method}: not available ({error})", file=sys.stderr)
            return [], 0.0
        seconds = time.perf_counter() - start
        rows = {k: [[*cell.box, cell.score] for cell in seen.of(k)] for k in KINDS}
        found.append({k: np.array(v, float).reshape(-1, 5) for k, v in rows.items()})
        took += seconds
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.savez(kept, seconds=seconds, **found[-1])
    return found, took


# -- scores ---------------------------------------------------------------------------------------


def scored(fields: list[Field], found: Found) -> dict[str, str]:
    """Return group of cells → its cells of the table."""
    out = {}
    precision_of = average_precision(fields, found)
    for kind, title in _NAMES.items():
        if not sum(len(field.boxes[kind]) for field in fields):
            continue
        complete = all(kind in field.complete for field in fields)
        levels = {title: 0.5}
        if kind == "platelet" and "cbc" in str(fields[0].path):
            levels[f"{title}, IoU {LOOSE}"] = LOOSE
        for group, at in levels.items():
            each = [
                counts(field.boxes, _without_scores(one), field.shape, at)
                for field, one in zip(fields, found, strict=True)
            ]
            row = summary(each)[kind]
            low, high = row["f1_interval"]
            shown = [f"{len(fields)}", f"{row['n']:,}"]
            if complete:
                shown += [f"{row['precision']:.3f}", f"{row['recall']:.3f}"]
                shown += [f"{row['f1']:.3f} ({low:.3f}–{high:.3f})"]
                shown += [f"{precision_of[kind]:.3f}" if at == 0.5 else ""]
                shown += [f"{100 * count_error(fields, found, kind):.1f} %" if at == 0.5 else ""]
            else:
                shown += ["", f"{row['recall']:.3f}", "", "", ""]
            out[group] = " | ".join(shown)
    return out


def _without_scores(one: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {kind: rows[:, :4] for kind, rows in one.items()}


def count_error(fields: list[Field], found: Found, kind: str) -> float:
    """Return the median over fields of |found − true| / true, of fields with a true one."""
    pairs = [(len(f.boxes[kind]), len(one[kind])) for f, one in zip(fields, found, strict=True)]
    return float(np.median([abs(got - true) / true for true, got in pairs if true]))


def average_precision(fields: list[Field], found: Found) -> dict[str, float]:
    """Return kind → AP at an IoU of 0.5, by pycocotools; no limit on the cells of a field."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, results = [], []
    for image, (field, one) in enumerate(zip(fields, found, strict=True), 1):
        for number, kind in enumerate(KINDS, 1):
            for box in field.boxes[kind]:
                truth.append(_entry(image, number, box) | {"id": len(truth) + 1, "iscrowd": 0})
            results += [_entry(image, number, row[:4]) | {"score": row[4]} for row in one[kind]]
    if not results:
        return dict.fromkeys(KINDS, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {
            "images": [{"id": i} for i in range(1, len(fields) + 1)],
            "categories": [{"id": i} for i in range(1, len(KINDS) + 1)],
            "annotations": truth,
        }
        known.createIndex()
        judge = COCOeval(known, known.loadRes(results), "bbox")
        judge.params.iouThrs, judge.params.maxDets = np.array([0.5]), [1, 10, 100_000]
        judge.evaluate()
        judge.accumulate()
    curves = judge.eval["precision"][0, :, :, 0, -1]
    return {kind: float(curves[:, i].mean()) for i, kind in enumerate(KINDS)}


def _entry(image: int, category: int, box: np.ndarray) -> dict[str, Any]:
    x0, y0, x1, y1 = map(float, box)
    size = [x1 - x0, y1 - y0]
    return {"image_id": image, "category_id": category, "bbox": [x0, y0, *size],
            "area": size[0] * size[1]}  # fmt: skip


# -- pictures -------------------------------------------------------------------------------------


def draw_unmatched(fields: list[Field], union: list[Found], folder: Path, zoom: int = 3) -> None:
    """Write each field with its boxes (black) and, numbered, all that was found beyond them.

    What several methods found, at an IoU of 0.5, is shown once; the numbers, kinds and boxes are
    in the CSV file beside the picture.
    """
    for i, field in enumerate(fields):
        image = cv2.resize(read_image(field.path), None, fx=zoom, fy=zoom)
        rows: list[tuple[str, np.ndarray]] = []
        for kind in KINDS:
            known = field.boxes[kind]
            for x0, y0, x1, y1 in (zoom * known).astype(int):
                cv2.rectangle(image, (x0, y0), (x1, y1), (0, 0, 0), 1)
            for found in union:
                boxes = found[i][kind][:, :4]
                _, hits = matched(known, boxes)
                fresh = np.delete(boxes, list(hits), axis=0)
                known = np.concatenate([known, fresh])
                rows += [(kind, box) for box in fresh]
        for number, (kind, box) in enumerate(rows):
            x0, y0, x1, y1 = (zoom * box).astype(int)
            colour = {"wbc": (200, 0, 200), "rbc": (0, 110, 0), "platelet": (0, 0, 255)}[kind]
            cv2.rectangle(image, (x0, y0), (x1, y1), colour, 2)
            cv2.putText(image, str(number), (x0 + 4, y0 + 22), 0, 0.7, colour, 2)
        write_image(folder / f"{field.path.stem}.png", image)
        with (folder / f"{field.path.stem}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [(n, field.path.stem, kind, *box.astype(int)) for n, (kind, box) in enumerate(rows)]
            )


if __name__ == "__main__":
    main()
