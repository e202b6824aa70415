"""Masks, distances, and windows of large images: what all of restoration computes with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from naturalize.cells.segmentation import Cell
from naturalize.restoration import constants as tuned

Box = tuple[int, int, int, int]


def largest(values: np.ndarray) -> np.ndarray:
    """Return the largest of three channels, (H, W) of (H, W, 3)."""
    return np.maximum(np.maximum(values[..., 0], values[..., 1]), values[..., 2])


def covered(shape: tuple[int, int], cells: Sequence[Cell]) -> np.ndarray:
    """Return where cells are, bool (H, W)."""
    mask = np.zeros(shape, bool)
    for cell in cells:
        mask[window(cell.box)] |= cell.mask
    return mask


def away_from(mask: np.ndarray) -> np.ndarray:
    """Return each pixel's distance to a bool (H, W) mask, float32; far away where it is empty."""
    if not mask.any():
        return np.full(mask.shape, 1e4, np.float32)
    return cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)


def around(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Return the window of rows and columns that holds a bool (H, W) mask and its surroundings."""
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    return (
        slice(max(y - margin, 0), min(y + h + margin, mask.shape[0])),
        slice(max(x - margin, 0), min(x + w + margin, mask.shape[1])),
    )


def dilated(mask: np.ndarray, radius: float) -> np.ndarray:
    """Return a bool (H, W) mask grown by a disc of ``radius`` pixels."""
    return away_from(mask) <= radius


def tiles(shape: tuple[int, int], gone: np.ndarray) -> Iterator[tuple[Box, Box]]:
    """Yield the tiles in which something goes, and what is looked at for each; boxes.

    ``shape``: height and width; ``gone``: bool (H, W), the cells that go. Tiles next to them count,
    for the halo.
    """
    height, width = shape

    def grown(x: int, y: int, by: int) -> Box:
        right, bottom = min(x + tuned.TILE + by, width), min(y + tuned.TILE + by, height)
        return max(x - by, 0), max(y - by, 0), right, bottom

    for y in range(0, height, tuned.TILE):
        for x in range(0, width, tuned.TILE):
            if gone[window(grown(x, y, 32))].any():
                yield grown(x, y, 0), grown(x, y, tuned.MARGIN)


def within(cells: Sequence[Cell], box: Box) -> tuple[list[Cell], list[int]]:
    """Return the parts of cells that lie in a box, in its pixels, and their indices."""
    x0, y0, x1, y1 = box
    parts, indices = [], []
    for i, cell in enumerate(cells):
        a0, b0, a1, b1 = cell.box
        left, top, right, bottom = max(a0, x0), max(b0, y0), min(a1, x1), min(b1, y1)
        if left >= right or top >= bottom:
            continue
        mask = cell.mask[top - b0 : bottom - b0, left - a0 : right - a0]
        if mask.any():
            offset = (left - x0, top - y0)
            parts.append(Cell.from_mask(cell.kind, mask, score=cell.score, offset=offset))
            indices.append(i)
    return parts, indices


def window(box: Box) -> tuple[slice, slice]:
    """Return the rows and columns of a box."""
    x0, y0, x1, y1 = box
    return slice(y0, y1), slice(x0, x1)


def shifted(box: Box, by: Box) -> Box:
    """Return a box in the pixels of another one."""
    return box[0] - by[0], box[1] - by[1], box[2] - by[0], box[3] - by[1]
