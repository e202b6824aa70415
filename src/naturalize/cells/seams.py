"""Cells of overlapping tiles made one: none twice, none halved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from naturalize.base.statistics import connected
from naturalize.cells.segmentation import KINDS, Cell, in_order

Box = tuple[int, int, int, int]

#: Two masks are one cell if this share of the smaller is common to both (same kind), or of both
#: together (another kind: a platelet may lie on a red cell).
_SAME = 0.5

#: A cut mask of which this share is covered by accepted cells is a part of them.
_COVERED = 0.3


@dataclass(frozen=True, eq=False)
class Candidate:
    """A cell as one tile shows it: ``cell`` in the image's pixels, tile ``number`` and window."""

    cell: Cell
    number: int
    window: Box


def merge(
    found: Sequence[Candidate], shape: tuple[int, int], windows: Sequence[Box], *, slack: float
) -> tuple[Cell, ...]:
    """Return the cells of an image from those of its overlapping tiles.

    Of a cell that two tiles show, the one farther from its tile's edge is kept. What only reaches
    an edge that is not the image's is a part of a cell, and counts where no tile shows the whole:
    a cell wider than the overlap. Such parts are put together.

    ``found``: the cells of all tiles. ``shape``: height and width of the image. ``windows``: the
    tiles. ``slack``: pixels. A cell whose middle another tile shows farther (by this much) from its
    edge is left to that tile.
    """
    mine = [c for c in found if _is_best_seen(c, shape, windows, slack)]
    inside = {id(c): _distance_to_edge(c.cell.box, c.window, shape) for c in mine}
    whole = [c for c in mine if inside[id(c)] > 0]
    whole.sort(key=lambda c: (-inside[id(c)], c.number, c.cell.box))
    kept = _Accepted()
    for candidate in whole:
        if not kept.contains(candidate):
            kept.add(candidate)
    cut = [c for c in mine if inside[id(c)] <= 0 and not kept.covers(c)]
    return in_order([*kept.cells, *_joined(cut)])


def _distance_to_edge(box: Box, window: Box, shape: tuple[int, int]) -> float:
    """Return how far a box is from its window's edges, those of the image not counted; pixels."""
    x0, y0, x1, y1 = box
    left, top, right, bottom = window
    height, width = shape
    return min(
        x0 - left if left > 0 else np.inf,
        y0 - top if top > 0 else np.inf,
        right - x1 if right < width else np.inf,
        bottom - y1 if bottom < height else np.inf,
    )


def _is_best_seen(
    candidate: Candidate, shape: tuple[int, int], windows: Sequence[Box], slack: float
) -> bool:
    x0, y0, x1, y1 = candidate.cell.box
    x, y = (x0 + x1) // 2, (y0 + y1) // 2
    here = (x, y, x, y)
    showing = [w for w in windows if w[0] <= x < w[2] and w[1] <= y < w[3]]
    best = max(_distance_to_edge(here, window, shape) for window in showing)
    return _distance_to_edge(here, candidate.window, shape) + slack >= best


class _Accepted:
    """The cells taken so far, and which of them a new one meets."""

    def __init__(self) -> None:
        self.candidates: list[Candidate] = []
        self.boxes = np.zeros((64, 4), np.int64)

    @property
    def cells(self) -> list[Cell]:
        return [candidate.cell for candidate in self.candidates]

    def add(self, candidate: Candidate) -> None:
        n = len(self.candidates)
        if n == len(self.boxes):
            self.boxes = np.concatenate([self.boxes, np.zeros_like(self.boxes)])
        self.boxes[n] = candidate.cell.box
        self.candidates.append(candidate)

    def contains(self, new: Candidate) -> bool:
        """Return whether a whole cell is there already, from another tile."""
        of_its_kind = 0
        for cell in self._met_by(new):
            both = common(cell, new.cell)
            if cell.kind == new.cell.kind:
                of_its_kind += both
                if both > _SAME * min(cell.area, new.cell.area):
                    return True
            elif both > _SAME * (cell.area + new.cell.area - both):
                return True
        return of_its_kind > _SAME * new.cell.area

    def covers(self, part: Candidate) -> bool:
        """Return whether a part of a cell is covered by cells that are there."""
        covered = sum(common(cell, part.cell) for cell in self._met_by(part))
        return covered > _COVERED * part.cell.area

    def _met_by(self, new: Candidate) -> list[Cell]:
        x0, y0, x1, y1 = new.cell.box
        boxes = self.boxes[: len(self.candidates)]
        meets = (boxes[:, 0] < x1) & (boxes[:, 2] > x0) & (boxes[:, 1] < y1) & (boxes[:, 3] > y0)
        found = (self.candidates[i] for i in np.flatnonzero(meets))
        return [candidate.cell for candidate in found if candidate.number != new.number]


def common(a: Cell, b: Cell) -> int:
    """Return the number of pixels that two cells of one image share."""
    x0, y0 = max(a.box[0], b.box[0]), max(a.box[1], b.box[1])
    x1, y1 = min(a.box[2], b.box[2]), min(a.box[3], b.box[3])
    if x0 >= x1 or y0 >= y1:
        return 0
    parts = [
        cell.mask[y0 - cell.box[1] : y1 - cell.box[1], x0 - cell.box[0] : x1 - cell.box[0]]
        for cell in (a, b)
    ]
    return int(np.count_nonzero(parts[0] & parts[1]))


def _joined(cut: Sequence[Candidate]) -> list[Cell]:
    """Return cells put together from parts that go on in another tile; lone parts are dropped.

    A lone part was seen whole, or farther from the edge, by another tile, which found no cell.
    """
    pairs = [
        (i, j)
        for i, a in enumerate(cut)
        for j, b in enumerate(cut[:i])
        if a.number != b.number and a.cell.kind == b.cell.kind and common(a.cell, b.cell)
    ]
    return [union([cut[i].cell for i in members]) for members in connected(pairs)]


def union(parts: Sequence[Cell]) -> Cell:
    """Return the cell that parts make up; its score is the best of theirs."""
    boxes = np.array([part.box for part in parts])
    left, top = (int(value) for value in boxes[:, :2].min(axis=0))
    right, bottom = (int(value) for value in boxes[:, 2:].max(axis=0))
    mask, nucleus = (np.zeros((bottom - top, right - left), bool) for _ in range(2))
    for part in parts:
        x0, y0, x1, y1 = part.box
        window = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        mask[window] |= part.mask
        if part.nucleus is not None:
            nucleus[window] |= part.nucleus
    best = max(part.score for part in parts)
    kernel = nucleus if nucleus.any() else None
    return Cell(parts[0].kind, (left, top, right, bottom), mask, best, kernel)


#: Two masks of a kind with this intersection over union, or share of the smaller one inside the
#: other, are one cell (chosen by eye).
_REPEATED, _NESTED = 0.5, 0.8

#: A red cell or platelet with this share under a white cell is a part of it (chosen by eye).
_PART = 0.5


def without_repeats(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """Return the cells without those found twice, the best scores first considered.

    Within a kind, of two masks that are nearly the same or one inside the other, the one with the
    higher score stays (the larger at equal scores). Red cells and platelets that lie mostly under a
    white cell are parts of it. The order is white cells, red cells, platelets, each from the top.
    """
    kept: list[Cell] = []
    for cell in sorted(cells, key=lambda c: (KINDS.index(c.kind), -c.score, -c.area, c.box)):
        if not any(_repeats(cell, other) for other in kept):
            kept.append(cell)
    return tuple(sorted(kept, key=lambda c: (KINDS.index(c.kind), c.box[1], c.box[0])))


def _repeats(cell: Cell, other: Cell) -> bool:
    both = common(cell, other)
    if not both:
        return False
    if cell.kind == other.kind:
        union = cell.area + other.area - both
        return both > _REPEATED * union or both > _NESTED * min(cell.area, other.area)
    return other.kind == "wbc" and both > _PART * cell.area
