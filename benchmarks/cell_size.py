"""The size by which a review orders cells, beside the area of their masks.

Spearman's correlation with the area of hand-drawn masks (two public sets), and with that of the
ellipse in hand-drawn boxes of PBC images of one white cell that ``unet`` was not trained on; beside
the package's segmenters, and beside the area of the nucleus. Settings were chosen on the images of
the half ``chosen``; the half ``report`` was not looked at.

    python -m benchmarks.cell_size --data ../shared/data
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from scipy.stats import spearmanr

from benchmarks._annotated import mask_pairs, pbc_truth, read_mask, trained_on
from naturalize.base.images import read_image
from naturalize.base.rng import rng
from naturalize.cells.segmentation import target_of
from naturalize.cells.segmenters import segmenter
from naturalize.cells.segmenters.classical.size import area_of_target

#: PBC images that are drawn, platelets and images of several white cells among them.
_DRAWN = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    rows = images(asked.data, asked.seed)
    chosen = rng(asked.seed, "sizes").random(len(rows)) < 0.5
    columns, times = {}, {}
    for name, measure in METHODS.items():
        measure(rows[0][1])
        found, took = [], []
        for _, image, _ in rows:
            begun = time.process_time()
            found.append(measure(image))
            took.append(time.process_time() - begun)
        columns[name], times[name] = np.array(found, float), float(np.median(took))
    sets, truth = np.array([row[0] for row in rows]), np.array([row[2] for row in rows])
    names = list(dict.fromkeys(sets))
    print("| measure | half |", " | ".join(names), "| ms of a processor (median) |")
    print("|---|---|", "--:|" * (len(names) + 1), sep="")
    for name, values in columns.items():
        for half, inside in (("chosen", chosen), ("report", ~chosen)):
            cells = [_cell(values, truth, inside & (sets == one)) for one in names]
            print(f"| {name} | {half} |", " | ".join(cells), f"| {1e3 * times[name]:.1f} |")


def images(data: Path, seed: int) -> list[tuple[str, np.ndarray, float]]:
    """Return set, RGB image and area of the white cell in pixels, of each annotated image."""
    rows = []
    for name, pairs in mask_pairs(data).items():
        rows += [(name, read_image(i), float(read_mask(m).sum())) for i, m in pairs]
    for path, boxes in pbc_truth(data, _DRAWN, seed, without=trained_on()):
        if path.startswith("platelet/") or len(boxes["wbc"]) != 1:
            continue
        image = read_image(data / "pbc" / path)
        x0, y0, x1, y1 = boxes["wbc"][0]
        area = np.pi / 4 * (x1 - x0) * (y1 - y0) * image.shape[0] * image.shape[1]
        rows.append(("PBC", image, float(area)))
    return rows


def _by(name: str, part: str) -> Callable[[np.ndarray], float]:
    finder = segmenter(name)

    def area(image: np.ndarray) -> float:
        found = finder.segment(image)
        cell = target_of(found.of("wbc"), found.shape)
        mask = None if cell is None else getattr(cell, part)
        return np.nan if mask is None else float(np.count_nonzero(mask))

    return area


METHODS: dict[str, Callable[[np.ndarray], float | None]] = {
    "size of a review": area_of_target,
    "cell by `unet`": _by("unet", "mask"),
    "cell by `classical`": _by("classical", "mask"),
    "nucleus by `unet`": _by("unet", "nucleus"),
    "nucleus by `classical`": _by("classical", "nucleus"),
}


def _cell(values: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> str:
    there = inside & np.isfinite(values)
    rho = spearmanr(values[there], truth[there]).statistic
    return f"{rho:.3f} ({there.sum()} of {inside.sum()})"


if __name__ == "__main__":
    main()
