"""Whole fields, tile by tile: memory stays flat, and each tile takes its grain from near by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

import numpy as np

from naturalize.cells.segmentation import Cell
from naturalize.restoration.quality import Measures

#: Images with a longer side are worked on in tiles.
WHOLE = 1024

#: Side of a tile, and the pixels around it that are looked at as well: multiples of 16, so that
#: coding units stay whole. A red cell and its neighbours fit into the margin.
_TILE, _MARGIN = 512, 160

Box = tuple[int, int, int, int]


def tiles(shape: tuple[int, int], gone: np.ndarray) -> Iterator[tuple[Box, Box]]:
    """Yield the tiles in which something goes, and what is looked at for each; boxes.

    Parameters
    ----------
    shape
        Height and width.
    gone
        Bool (H, W): the cells that go. Tiles next to them count, for the halo.
    """
    height, width = shape
    for y in range(0, height, _TILE):
        for x in range(0, width, _TILE):
            wide = (
                max(x - _MARGIN, 0),
                max(y - _MARGIN, 0),
                min(x + _TILE + _MARGIN, width),
                min(y + _TILE + _MARGIN, height),
            )
            near = gone[max(y - 32, 0) : y + _TILE + 32, max(x - 32, 0) : x + _TILE + 32]
            if near.any():
                yield (x, y, min(x + _TILE, width), min(y + _TILE, height)), wide


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


def together(found: Sequence[tuple[Measures, int]], pixels: int) -> Measures:
    """Return the measures of a field from those of its tiles and how much was painted in each."""
    weights = np.array([n for _, n in found], float)
    values: dict[str, float] = {}
    for name in (f.name for f in fields(Measures)):
        column = np.array([getattr(measures, name) for measures, _ in found], float)
        known = np.isfinite(column) & (weights > 0)
        default = getattr(Measures(), name)
        values[name] = (
            float(np.average(column[known], weights=weights[known])) if known.any() else default
        )
    values["residue"] = float(sum(measures.residue for measures, _ in found))
    values["share"] = float(weights.sum()) / pixels
    return Measures(**values)


def window(box: Box) -> tuple[slice, slice]:
    """Return the rows and columns of a box."""
    x0, y0, x1, y1 = box
    return slice(y0, y1), slice(x0, x1)


def shifted(box: Box, by: Box) -> Box:
    """Return a box in the pixels of another one."""
    return box[0] - by[0], box[1] - by[1], box[2] - by[0], box[3] - by[1]
