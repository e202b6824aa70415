"""Is the cell of a foreign image found, set in the middle, whole, of the right size; and how fast.

    python -m benchmarks.standardising DATA [--half report|development] [--model pbc11]
    python -m benchmarks.standardising DATA --rate FOREIGN [--images 96]

DATA holds ``masks/`` (and ``pbc/`` for the rate). In each of the two sets with one white cell's
drawn mask an image, every other image is of the half ``development``, which was looked at while
standardising was made. A half is standardised as ``naturalize predict`` does, with the profile that
is measured on it, and what is kept of the cell is compared with the drawn mask in the picture that
the network gets. *found*: the two overlap by half (IoU); *centre*: distance of the drawn mask's
middle from the picture's, in its diameters; *size*: absolute natural logarithm of the ratio of the
two diameters; *Dice*: 0 where there is no cell; *plausible*: the drawn cell is 0.8 to 3.8 red cells
wide. ``--rate``: images/s from file to prediction of FOREIGN images at 360 and 1440 pixels and of
PBC's, in turn in one run, and their ratio.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks._annotated import mask_pairs, read_mask
from naturalize.base.engine import available_cpus, prefetched
from naturalize.base.images import read_image, write_image
from naturalize.base.rng import rng
from naturalize.base.statistics import percentile_interval, resampled_units
from naturalize.base.walk import find_images
from naturalize.models.predictor import Predictor
from naturalize.models.shipped import find
from naturalize.prediction.files import predict_files
from naturalize.prediction.standardise import Standardised, Standardiser

#: What is measured of each image, and whether its median is given (or its mean).
MEASURES = {"found": False, "centre": True, "size": True, "Dice": False, "plausible": False}


def measured(made: Standardised, drawn: np.ndarray, red_cell: float) -> tuple[float, ...]:
    """Return the `MEASURES` of one picture; ``drawn``: bool, the mask of the file's cell."""
    assert made.matrix is not None
    shape = made.image.shape[:2]
    size = (shape[1], shape[0])
    wide = cv2.warpAffine(drawn.astype(np.float32), made.matrix, size, flags=cv2.INTER_LINEAR)
    grown = float(np.linalg.det(made.matrix[:, :2])) * np.count_nonzero(drawn)
    diameter = 2 * np.sqrt(grown / np.pi)
    rows, columns = np.nonzero(drawn)
    middle = np.array([columns.min() + columns.max(), rows.min() + rows.max()]) / 2
    place = made.matrix @ [*middle, 1.0]
    centre = float(np.linalg.norm(place - (np.array(size) - 1) / 2)) / diameter
    kept = made.mask > 127 if made.mask is not None and made.verdict is None else None
    if kept is None or not kept.any():
        return 0.0, centre, np.nan, 0.0, float(0.8 <= diameter / red_cell <= 3.8)
    both = np.count_nonzero(kept & (wide > 0.5))
    # what lies beyond the picture is lost, and counts
    dice = 2 * both / (np.count_nonzero(kept) + grown)
    ratio = abs(np.log(np.sqrt(np.count_nonzero(kept) / grown)))
    found = float(dice / (2 - dice) >= 0.5)
    return found, centre, float(ratio), dice, float(0.8 <= diameter / red_cell <= 3.8)


def quality(pairs: Sequence[tuple[Path, Path]], standardiser: Standardiser) -> np.ndarray:
    """Return the `MEASURES` of each image, float64 (N, 5)."""
    standard = standardiser.standard
    assert standard is not None
    standardiser.learn([image for image, _ in pairs])

    def one(pair: tuple[Path, Path]) -> tuple[float, ...]:
        made = standardiser(read_image(pair[0]))
        return measured(made, read_mask(pair[1]), standard.red_cell)

    return np.array(list(prefetched(one, pairs, window=8)))


def show(name: str, found: np.ndarray, seed: int = 0) -> None:
    """Print a row of Markdown: each measure with its 95 % bootstrap interval over images."""
    weights = resampled_units(np.arange(len(found)), 2000, rng(seed, "standardising", name))
    cells = []
    for values, median in zip(found.T, MEASURES.values(), strict=True):
        counts = weights.astype(int)
        known = ~np.isnan(values)
        drawn = [
            np.median(np.repeat(values[known], n[known]))
            if median
            else np.average(values[known], weights=n[known])
            for n in counts
        ]
        low, high = percentile_interval(np.array(drawn[1:]))
        cells.append(f"{drawn[0]:.3f} ({low:.3f}–{high:.3f})")
    print(f"| {name} | {len(found)} | " + " | ".join(cells) + " |", flush=True)


def resized(paths: Sequence[Path], side: int, folder: Path) -> list[Path]:
    """Write images whose longer side has so many pixels, as JPEG."""
    folder.mkdir()
    made = []
    for number, path in enumerate(paths):
        image = read_image(path)
        factor = side / max(image.shape[:2])
        size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
        made.append(folder / f"{number:04d}.jpg")
        write_image(made[-1], cv2.resize(image, size, interpolation=cv2.INTER_CUBIC))
    return made


def rate(data: Path, foreign: Path, n: int, model: str, rounds: int = 3) -> None:
    """Print images/s of foreign images and of PBC's, round by round in turn; medians."""
    predictor = Predictor.load(find(model))
    standard = predictor.config.standard
    homes = find_images([data / "pbc"])
    home = [homes[i] for i in np.linspace(0, len(homes) - 1, n).round().astype(int)]
    images = find_images([foreign])
    images = [images[i] for i in np.linspace(0, len(images) - 1, n).round().astype(int)]
    with tempfile.TemporaryDirectory() as work:
        sets = {"PBC, at home": home}
        for side in (360, 1440):
            sets[f"foreign, {side} px"] = resized(images, side, Path(work) / str(side))
        learnt, seconds = {}, {}
        for name, paths in sets.items():
            begun = time.process_time()
            learnt[name] = Standardiser(standard).learn(paths)
            seconds[name] = time.process_time() - begun
        wall: dict[str, list[float]] = {name: [] for name in sets}
        cores: dict[str, list[float]] = {name: [] for name in sets}
        for _ in range(rounds):
            for name, paths in sets.items():
                begun, spent = time.perf_counter(), time.process_time()
                list(predict_files(predictor, paths, standardiser=learnt[name]))
                wall[name].append(time.perf_counter() - begun)
                cores[name].append(time.process_time() - spent)
    print(f"{n} images each, {available_cpus()} processors, {rounds} rounds\n")
    print(
        "| images | images/s | core-ms an image | ÷ home | profile, core-s |\n|---|--:|--:|--:|--:|"
    )
    base = float(np.median(cores["PBC, at home"]))
    for name in sets:
        spent = float(np.median(cores[name]))
        per_second = n / float(np.median(wall[name]))
        print(f"| {name} | {per_second:.1f} | {1000 * spent / n:.1f} | {spent / base:.2f} "
              f"| {seconds[name]:.1f} |")  # fmt: skip


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    parser.add_argument("--half", choices=("report", "development"), default="report")
    parser.add_argument("--model", default="pbc11")
    parser.add_argument("--rate", type=Path)
    parser.add_argument("--images", type=int, default=96)
    options = parser.parse_args()
    if options.rate is not None:
        rate(options.data, options.rate, options.images, options.model)
        return
    standard = Predictor.load(find(options.model)).config.standard
    print("| set | n | " + " | ".join(MEASURES) + " |\n|---|--:" + "|---" * len(MEASURES) + "|")
    for name, pairs in mask_pairs(options.data).items():
        half = pairs[options.half == "report" :: 2]
        show(name, quality(half, Standardiser(standard)))


if __name__ == "__main__":
    main()
