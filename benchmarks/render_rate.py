"""Composites a second on one core, against a plain NumPy paster of the same cells.

The reference does what most copy-paste scripts do: for each cell, colours and mask as float32, the
mask blurred by a Gaussian, ``alpha * cell + (1 - alpha) * canvas`` in the cell's window, and uint8
at the end. It gets its cells decoded and ready in memory, in some rows its blurred masks as well.
Both paint the same recipes: one white and up to eight red cells at 360 x 363.

    python -m benchmarks.render_rate [--recipes 400] [--images ../shared/data/pbc]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from naturalize.cells.bank import CellBank
from naturalize.compose.crops import CropStore
from naturalize.compose.plan import Plan, plan
from naturalize.compose.recipe import Recipe
from naturalize.compose.render import render
from naturalize.compose.source import open_source

#: Softness of the edges: ours fades over 2 pixels; a Gaussian of this sigma is about as soft.
FEATHER, SIGMA = 2.0, 0.8

#: Each time is the median of so many rounds.
ROUNDS = 5

Cells = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipes", type=int, default=400)
    parser.add_argument("--images", type=Path, help="labelled images; the phantom by default")
    parser.add_argument("--scheme", default="pbc11")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(prefix="naturalize-bench-") as folder:
        work = Path(folder)
        images = options.images or _phantom(work / "phantom")
        with open_source(images, work=work / "source", scheme=options.scheme) as source:
            run(source.bank, options.recipes, work)


def run(bank: CellBank, n: int, work: Path) -> None:
    """Measure on the cells of ``bank``."""
    classes = [label for label, count in bank.counts()["targets"].items() if count]
    each = -(-n // len(classes))
    # many tries, so that nearly all eight red cells find room
    made = {
        turn: plan(bank, add=each, classes=classes, tries=200, turn=turn)
        for turn in ("none", "any")
    }
    print("| composites on one core | reference | ours | ratio |\n|---|--:|--:|--:|")
    for turn, drawn in made.items():
        store = CropStore.build(drawn, bank, work / f"crops-{turn}", what=None)
        cells = _float_cells(drawn, store)
        soft = [_feathered(drawn.recipe(i)) for i in range(len(drawn))]
        hard = [drawn.recipe(i) for i in range(len(drawn))]
        placed = statistics.mean(len(recipe.placements) for recipe in hard)
        turned = "turned by any angle" if turn == "any" else "not turned"
        for name, recipes, blurred in (
            ("feathered, reference blurs each mask", soft, False),
            ("feathered, reference has blurred masks", soft, True),
            ("hard edges, reference has blurred masks", hard, True),
        ):
            plainly = partial(paste_plainly, cells=cells, ready=blurred)
            ours, theirs = _rates([partial(render, bank=store), plainly], recipes)
            row = f"| {name}; {turned}, {placed:.1f} cells"
            print(f"{row} | {theirs:,.0f}/s | {ours:,.0f}/s | {ours / theirs:.1f} |")
    _planning(bank, classes)


def _planning(bank: CellBank, classes: list[str]) -> None:
    took = []
    for seed in range(ROUNDS):
        start = time.perf_counter()
        drawn = plan(bank, add=2000, classes=classes, seed=seed)
        took.append(time.perf_counter() - start)
    rate = len(drawn) / statistics.median(took)
    print(f"\nplanning: {rate:,.0f} recipes/s ({len(drawn):,} recipes, ids included)")


def _rates(painters: list[Callable[[Recipe], np.ndarray]], recipes: list[Recipe]) -> list[float]:
    """Return composites a second of each painter, measured in turn, after a warm-up round."""
    took: list[list[float]] = [[] for _ in painters]
    for turn in range(ROUNDS + 1):
        for painter, times in zip(painters, took, strict=True):
            start = time.process_time()
            for recipe in recipes:
                painter(recipe)
            if turn:
                times.append(time.process_time() - start)
    return [len(recipes) / statistics.median(times) for times in took]


def _feathered(recipe: Recipe) -> Recipe:
    soft = [replace(p, blend="feather", feather=FEATHER) for p in recipe.placements]
    return replace(recipe, placements=tuple(soft))


def _float_cells(drawn: Plan, store: CropStore) -> Cells:
    """Return each cell's colours, mask and blurred mask, float32, as the reference keeps them."""
    found = {}
    for cell_id, _, _ in drawn.cells():
        cutout = store.cutout(cell_id)
        mask = cutout.mask.astype(np.float32)
        found[cell_id] = (cutout.rgb.astype(np.float32), mask, _blurred(mask))
    return found


def _blurred(mask: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(mask, (0, 0), SIGMA, borderType=cv2.BORDER_CONSTANT)


def paste_plainly(recipe: Recipe, *, cells: Cells, ready: bool) -> np.ndarray:
    """Return the reference's composite, RGB uint8 (height, width, 3)."""
    canvas = np.empty((recipe.height, recipe.width, 3), np.float32)
    canvas[:] = recipe.background.colour
    for p in recipe.placements:
        rgb, mask, blurred = cells[p.cell_id]
        alpha = blurred if ready else _blurred(mask)
        if p.angle:
            rgb, alpha = _turned(rgb, p.angle), _turned(alpha, p.angle)
        height, width = alpha.shape
        left, top = round(p.cx - width / 2), round(p.cy - height / 2)
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + width, recipe.width), min(top + height, recipe.height)
        seen = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        weight = alpha[seen][:, :, None]
        canvas[y0:y1, x0:x1] = weight * rgb[seen] + (1 - weight) * canvas[y0:y1, x0:x1]
    return np.clip(canvas + 0.5, 0, 255).astype(np.uint8)


def _turned(plane: np.ndarray, angle: float) -> np.ndarray:
    height, width = plane.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = int(np.ceil(height * sin + width * cos)), int(np.ceil(height * cos + width * sin))
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    return cv2.warpAffine(plane, matrix, size)


def _phantom(folder: Path) -> Path:
    from naturalize.dataset.phantom import write_phantom

    write_phantom(folder, per_class=8, seed=1)
    return folder


if __name__ == "__main__":
    main()
