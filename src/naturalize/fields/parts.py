"""What is worked on at a time: a whole field, or one window of a scan."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from naturalize.base.errors import ImageReadError
from naturalize.cells.seams import Candidate, merge
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.cells.tiling import OVERLAP, red_cell_width
from naturalize.fields.pixels import Box, pixels, scan_size

#: Side of a part of a scan in widths of a red cell, and in pixels at least and at most: some
#: thousand cells and some hundred megabytes at a time.
_SIDE, _PIXELS = 28, (800, 4000)

#: Width of a red cell where the middle of a scan shows none: that of PBC images.
_USUAL = 78.0

#: Pixels of the middle of a scan in which red cells are measured.
_MIDDLE = 3000

#: Cells whose middle is nearer to a seam than this are looked for on both sides, in widths of a red
#: cell; as in `naturalize.cells.tiling`.
_SLACK = 0.25 * OVERLAP


@dataclass(frozen=True)
class Part:
    """A field, or one part of a scan.

    ``path``: of the file; ``field``: its name; ``picture``: of its pictures; ``error``: why it
    cannot be read. Of a scan: ``size``: height and width; ``window``: what is looked at;
    ``core``: what of it no other part has; ``width`` of a red cell in pixels.
    """

    path: Path
    field: str
    picture: str
    error: str | None = None
    size: tuple[int, int] | None = None
    window: Box | None = None
    core: Box | None = None
    width: float | None = None

    def pixels(self) -> np.ndarray:
        """Return what is looked at, RGB uint8 (h, w, 3)."""
        return pixels(self.path, self.window)

    @property
    def corner(self) -> tuple[int, int]:
        """Column and row of its first pixel in the file."""
        return (0, 0) if self.window is None else self.window[:2]


def parts_of(path: Path, field: str, picture: str) -> list[Part]:
    """Return a field as one part, and a scan as many, row by row."""
    whole = Part(path, field, picture)
    try:
        size = scan_size(path)
        if size is None:
            return [whole]
        width = _width(path, size)
    except ImageReadError as error:
        return [replace(whole, error=error.reason)]
    side = int(np.clip(_SIDE * width, *_PIXELS))
    rim = math.ceil(OVERLAP * width)
    found = []
    for core in _cores(size, side):
        x0, y0, x1, y1 = core
        window = (
            max(0, x0 - rim), max(0, y0 - rim), min(size[1], x1 + rim), min(size[0], y1 + rim)
        )  # fmt: skip
        found.append(replace(whole, size=size, window=window, core=core, width=width))
    return found


def _cores(size: tuple[int, int], side: int) -> list[Box]:
    """Return boxes that cover an image once, about ``side`` wide and high each, row by row."""
    rows, columns = (np.linspace(0, n, max(1, round(n / side)) + 1).astype(int) for n in size)
    return [
        (int(x0), int(y0), int(x1), int(y1))
        for y0, y1 in itertools.pairwise(rows)
        for x0, x1 in itertools.pairwise(columns)
    ]


def _width(path: Path, size: tuple[int, int]) -> float:
    """Return the width in pixels of the red cells in the middle of a scan."""
    y0, x0 = (max(0, (n - _MIDDLE) // 2) for n in size)
    box = (x0, y0, min(size[1], x0 + _MIDDLE), min(size[0], y0 + _MIDDLE))
    return red_cell_width(pixels(path, box)) or _USUAL


def neighbours(parts: Sequence[Part], at: int) -> list[int]:
    """Return the places of the parts whose windows meet that of the part at a place, itself too."""
    here = parts[at]
    if here.window is None:
        return [at]
    x0, y0, x1, y1 = here.window
    return [
        place
        for place, one in enumerate(parts)
        if one.path == here.path
        and one.window is not None
        and (one.window[0] < x1 and one.window[2] > x0)
        and (one.window[1] < y1 and one.window[3] > y0)
    ]


def owned(at: int, found: Mapping[int, tuple[Part, Segmentation]]) -> set[int]:
    """Return the ``id`` of each cell of a part that no other part gives.

    Away from the seams those are the cells whose middle lies in the part's core. At a seam the cell
    of both sides is taken from the part that shows it farther from its edge
    (:mod:`naturalize.cells.seams`).

    ``found``: place → part and its cells, in pixels of its window; for the part at ``at`` and its
    neighbours.
    """
    part, seen = found[at]
    if part.core is None or part.size is None or part.width is None:
        return {id(cell) for cell in seen.cells}
    slack = _SLACK * part.width
    ours, candidates, back = set[int](), list[Candidate](), dict[int, int]()
    for place, (one, cells) in found.items():
        assert one.window is not None
        for cell in cells.cells:
            depth = _depth(one, cell)
            if depth > 2 * slack and place == at:
                ours.add(id(cell))
            elif abs(depth) <= 2 * slack:
                moved = cell.moved(*one.corner)
                candidates.append(Candidate(moved, place, one.window))
                if place == at:
                    back[id(moved)] = id(cell)
    windows = [one.window for one, _ in found.values() if one.window is not None]
    kept = merge(candidates, part.size, windows, slack=slack)
    return ours | {back[id(cell)] for cell in kept if id(cell) in back}


def _depth(part: Part, cell: Cell) -> float:
    """Return how far the middle of a cell is inside a part's core; pixels, negative outside."""
    assert part.core is not None
    assert part.size is not None
    x, y = in_file(part, cell)
    x0, y0, x1, y1 = part.core
    height, width = part.size
    return min(
        x - x0 if x0 > 0 else math.inf,
        y - y0 if y0 > 0 else math.inf,
        x1 - x if x1 < width else math.inf,
        y1 - y if y1 < height else math.inf,
    )


def in_file(part: Part, cell: Cell) -> tuple[float, float]:
    """Return the middle of a cell's box in pixels of the file: x, y."""
    x0, y0, x1, y1 = cell.box
    return (x0 + x1) / 2 + part.corner[0], (y0 + y1) / 2 + part.corner[1]


def in_core(part: Part, cell: Cell) -> bool:
    """Return whether the middle of a cell lies in a part's core; always without one."""
    if part.core is None:
        return True
    (x, y), (x0, y0, x1, y1) = in_file(part, cell), part.core
    return x0 <= x < x1 and y0 <= y < y1
