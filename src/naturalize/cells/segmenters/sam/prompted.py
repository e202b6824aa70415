"""Cells that a detector found, outlined by the model: the image encoded once, a prompt a cell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from naturalize.cells.seams import without_repeats
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.cells.segmenters.sam import limits
from naturalize.cells.segmenters.sam.judge import density, judge
from naturalize.cells.segmenters.sam.model import Model

#: Prompts whose maps are held at a time (1 MB each).
_AT_ONCE = 32


def prompted(image: np.ndarray, found: Segmentation, model: Model, *, by: str) -> Segmentation:
    """Return the cells of ``found`` with the model's outlines.

    Parameters
    ----------
    image
        RGB uint8 (H, W, 3).
    found
        What a detector found in it: kinds, and the nuclei, which are cut to the new outlines.
    model
        Encodes the image once.
    by
        ``"boxes"`` or ``"points"``: what of a cell is the prompt.
    """
    depth = density(image, found.background)
    encoded = model.encode(image)
    out = []
    for start in range(0, len(found.cells), _AT_ONCE):
        part = found.cells[start : start + _AT_ONCE]
        if by == "boxes":
            maps, scores = encoded.masks(boxes=np.array([cell.box for cell in part]))
        else:
            maps, scores = encoded.masks(points=np.array([middle(cell) for cell in part]))
        for cell, low, score in zip(part, maps, scores, strict=True):
            verdict = judge(encoded.frame, low, score, cell, depth)
            if verdict is None or verdict.quality < limits.LEAST_QUALITY:
                out.append(replace(cell, score=min(cell.score, limits.LEAST_QUALITY)))
                continue
            nucleus = _nucleus(cell, verdict.window)
            about: dict[str, Any] = {"score": verdict.quality, "nucleus": nucleus}
            out.append(Cell.from_mask(cell.kind, verdict.mask, offset=verdict.window[:2], **about))
    return replace(found, cells=tuple(without_repeats(out)))


def middle(cell: Cell) -> tuple[float, float]:
    """Return x, y of a point in the middle of a cell, inside its mask.

    The mean of the mask's pixels; where that is not inside (a crescent), the nearest that is.
    """
    rows, columns = np.nonzero(cell.mask)
    y, x = rows.mean(), columns.mean()
    nearest = int(np.argmin((rows - y) ** 2 + (columns - x) ** 2))
    if not cell.mask[round(y), round(x)]:
        y, x = rows[nearest], columns[nearest]
    return float(x + cell.box[0] + 0.5), float(y + cell.box[1] + 0.5)


def _nucleus(cell: Cell, window: tuple[int, int, int, int]) -> np.ndarray | None:
    if cell.nucleus is None:
        return None
    left, top, right, bottom = window
    x0, y0, x1, y1 = cell.box
    out = np.zeros((bottom - top, right - left), bool)
    out[y0 - top : y1 - top, x0 - left : x1 - left] = cell.nucleus
    return out
