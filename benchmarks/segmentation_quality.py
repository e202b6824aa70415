"""Masks and boxes of a segmenter against real images annotated by hand.

Prints mean and 5th-percentile Dice and IoU of the white cell's mask on two public sets, precision,
recall and F1 at IoU 0.5 against hand-drawn boxes on PBC images, and milliseconds an image on one
core. The annotations are for measuring only: nothing is trained on them.

    python -m benchmarks.segmentation_quality --data ../shared/data --images 500
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.optimize import linear_sum_assignment

from naturalize.base.images import read_image
from naturalize.base.rng import rng
from naturalize.cells.segmentation import Segmentation
from naturalize.cells.segmenters import segmenter

#: Boxes this near to the image's edge (pixels) count as cut by it.
_EDGE = 2


@dataclass
class Found:
    """Results of one PBC image: (group → hits, missed, extra) and seconds."""

    name: str
    counts: dict[str, list[int]] = field(default_factory=dict)
    seconds: float = 0.0


def iou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return intersection over union of boxes (n, 4) and (m, 4) as (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=2)
    area_a, area_b = (np.clip(x[:, 2:] - x[:, :2], 0, None).prod(axis=1) for x in (a, b))
    return both / np.maximum(area_a[:, None] + area_b[None] - both, 1e-9)


def matched(truth: np.ndarray, found: np.ndarray, at: float = 0.5) -> tuple[set[int], set[int]]:
    """Return the matched rows of each, one to one, as many as can be."""
    if not len(truth) or not len(found):
        return set(), set()
    iou = iou_matrix(truth, found)
    rows, columns = linear_sum_assignment(-np.where(iou >= at, 1 + iou, 0))
    pairs = [(r, c) for r, c in zip(rows, columns, strict=True) if iou[r, c] >= at]
    return {r for r, _ in pairs}, {c for _, c in pairs}


def boxes_of(segmentation: Segmentation, kind: str) -> np.ndarray:
    """Return the boxes of one kind as float (n, 4)."""
    return np.array([cell.box for cell in segmentation.of(kind)], float).reshape(-1, 4)


def at_edge(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return which boxes reach the edge of an image of (height, width)."""
    height, width = shape
    low = (boxes[:, :2] <= _EDGE).any(axis=1)
    return low | (boxes[:, 2] >= width - _EDGE) | (boxes[:, 3] >= height - _EDGE)


def measure_boxes(item: tuple[str, dict[str, list]], data: Path, method: str) -> Found:
    """Segment one PBC image and count hits, misses and extras for each group of cells."""
    cv2.setNumThreads(1)
    name, truth = item
    image = read_image(data / "pbc" / name)
    start = time.process_time()
    result = segmenter(method).segment(image)
    found = Found(name, seconds=time.process_time() - start)
    height, width = image.shape[:2]
    for kind in ("wbc", "rbc", "platelet"):
        true = np.array(truth.get(kind, []), float).reshape(-1, 4) * [width, height, width, height]
        got = boxes_of(result, kind)
        hit_true, hit_got = matched(true, got)
        groups = {kind: (np.ones(len(true), bool), np.ones(len(got), bool))}
        cut_true, cut_got = at_edge(true, (height, width)), at_edge(got, (height, width))
        groups[f"{kind} whole"] = (~cut_true, ~cut_got)
        groups[f"{kind} cut"] = (cut_true, cut_got)
        for group, (of_true, of_got) in groups.items():
            hits = sum(bool(of_true[i]) for i in hit_true)
            missed = int(of_true.sum()) - hits
            extra = sum(bool(of_got[j]) for j in range(len(got)) if j not in hit_got)
            found.counts[group] = [hits, missed, extra]
    return found


def pbc_truth(data: Path, n: int, seed: int) -> list[tuple[str, dict[str, list]]]:
    """Return (path below pbc/, kind → boxes) of ``n`` images, drawn evenly over the prefixes."""
    files = {p.name: f"{p.parent.name}/{p.name}" for p in (data / "pbc").glob("*/*.jpg")}
    truth: dict[str, dict[str, list]] = defaultdict(lambda: defaultdict(list))
    with gzip.open(data / "pbc_boxes.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            if row["file"] in files:
                kind = {"RBC": "rbc", "PLATELET": "platelet"}.get(row["class"], "wbc")
                cx, cy, w, h = (float(row[key]) for key in ("cx", "cy", "w", "h"))
                box = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
                truth[row["file"]][kind].append(np.clip(box, 0, 1).tolist())
    names = sorted(truth)
    drawn = rng(seed, "segmentation quality").permutation(len(names))[:n]
    return [(files[names[i]], truth[names[i]]) for i in sorted(drawn)]


def measure_mask(pair: tuple[Path, Path], method: str) -> tuple[str, float, float, float]:
    """Return name, Dice and IoU of the white cell's mask, and seconds."""
    cv2.setNumThreads(1)
    image = read_image(pair[0])
    truth = np.asarray(Image.open(pair[1]).convert("L"))
    # the set with nuclei marks cytoplasm grey; the other is a JPEG of black and white
    truth = truth >= (128 if pair[1].suffix == ".jpg" else 40)
    start = time.process_time()
    result = segmenter(method).segment(image)
    seconds = time.process_time() - start
    best = (0.0, 0.0)
    for cell in result.of("wbc"):
        mask = np.zeros(truth.shape, bool)
        x0, y0, x1, y1 = cell.box
        mask[y0:y1, x0:x1] = cell.mask
        both, either = np.count_nonzero(mask & truth), np.count_nonzero(mask | truth)
        best = max(best, (2 * both / max(both + either, 1), both / max(either, 1)))
    return pair[0].name, *best, seconds


def mask_pairs(data: Path) -> dict[str, list[tuple[Path, Path]]]:
    """Return image and mask files of each set."""
    krd = sorted((data / "masks/krd_wbc").glob("*_mask.jpg"))
    seg = sorted((data / "masks/seg_wbc").glob("*_mask.png"))
    return {
        "krd_wbc": [(p.with_name(p.name.replace("_mask", "")), p) for p in krd],
        "seg_wbc": [(p.with_name(p.name.replace("_mask.png", ".bmp")), p) for p in seg],
    }


def summary(found: Iterable[Found]) -> dict[str, dict[str, float]]:
    """Return precision, recall and F1 for each group of cells."""
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3))
    for one in found:
        for group, counts in one.counts.items():
            sums[group] += counts
    out = {}
    for group, (hits, missed, extra) in sums.items():
        precision, recall = hits / max(hits + extra, 1), hits / max(hits + missed, 1)
        f1 = 2 * hits / max(2 * hits + missed + extra, 1)
        out[group] = {"n": hits + missed, "precision": precision, "recall": recall, "f1": f1}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("NATURALIZE_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--method", default="classical")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--details", type=Path, help="write every image's figures there, as JSON")
    asked = parser.parse_args()
    details: dict[str, list] = {}
    with ProcessPoolExecutor(asked.workers) as pool:
        print(f"{'set':<16}{'n':>6}{'Dice':>8}{'5th %':>8}{'IoU':>8}{'5th %':>8}{'ms':>8}")
        for name, pairs in mask_pairs(asked.data).items():
            rows = list(pool.map(partial(measure_mask, method=asked.method), pairs, chunksize=10))
            values = np.array([row[1:] for row in rows])
            low = np.quantile(values, 0.05, axis=0)
            dice, iou, seconds = values.mean(axis=0)
            print(f"{name:<16}{len(rows):>6}{dice:>8.3f}{low[0]:>8.3f}{iou:>8.3f}{low[1]:>8.3f}"
                  f"{1000 * seconds:>8.0f}")  # fmt: skip
            details[name] = rows
        run = partial(measure_boxes, data=asked.data, method=asked.method)
        truth = pbc_truth(asked.data, asked.images, asked.seed)
        found = list(pool.map(run, truth, chunksize=10))
    ms = 1000 * np.mean([one.seconds for one in found])
    print(f"\nPBC, {len(found)} images, boxes at IoU 0.5, {ms:.0f} ms an image")
    print(f"{'cells':<16}{'n':>6}{'prec.':>8}{'recall':>8}{'F1':>8}")
    for group, row in summary(found).items():
        print(f"{group:<16}{row['n']:>6.0f}{row['precision']:>8.3f}{row['recall']:>8.3f}"
              f"{row['f1']:>8.3f}")  # fmt: skip
    details["pbc"] = [[one.name, one.counts] for one in found]
    if asked.details:
        asked.details.write_text(json.dumps(details))


if __name__ == "__main__":
    main()
