"""Cells found twice: the better one stays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from naturalize.cells.segmentation import KINDS, Cell

#: Two masks of a kind with this intersection over union, or share of the smaller one inside the
#: other, are one cell.
SAME, INSIDE = 0.5, 0.8

#: A red cell or platelet with this share under a white cell is a part of it.
_PART = 0.5


def merged(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells without those found twice, the best scores first considered.

    Within a kind, of two masks that are nearly the same or one inside the other, the one with the
    higher score stays (the larger at equal scores). Red cells and platelets that lie mostly under a
    white cell are parts of it. The order is white cells, red cells, platelets, each from the top.
    """
    kept: list[Cell] = []
    order = sorted(cells, key=lambda c: (KINDS.index(c.kind), -c.score, -c.area, c.box))
    for cell in order:
        if not any(_is_again(cell, other) for other in kept):
            kept.append(cell)
    return sorted(kept, key=lambda c: (KINDS.index(c.kind), c.box[1], c.box[0]))


def _is_again(cell: Cell, other: Cell) -> bool:
    both = shared(cell, other)
    if not both:
        return False
    if cell.kind == other.kind:
        union = cell.area + other.area - both
        return both > SAME * union or both > INSIDE * min(cell.area, other.area)
    return other.kind == "wbc" and both > _PART * cell.area


def shared(a: Cell, b: Cell) -> int:
    """Return how many pixels two cells share."""
    x0, y0 = max(a.box[0], b.box[0]), max(a.box[1], b.box[1])
    x1, y1 = min(a.box[2], b.box[2]), min(a.box[3], b.box[3])
    if x0 >= x1 or y0 >= y1:
        return 0
    return int(np.count_nonzero(_part(a, x0, y0, x1, y1) & _part(b, x0, y0, x1, y1)))


def _part(cell: Cell, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    left, top = cell.box[:2]
    return cell.mask[y0 - top : y1 - top, x0 - left : x1 - left]
