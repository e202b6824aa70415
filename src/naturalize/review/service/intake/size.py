"""How large cells are of which no mask is known: images of one cell, measured when they come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from naturalize.base.console import track
from naturalize.base.engine import prefetched
from naturalize.base.errors import ImageReadError
from naturalize.base.images import read_image
from naturalize.cells.segmenters.classical.size import area_of_target
from naturalize.review.store.cells import CellRow

#: Images that are under way at a time.
_AT_ONCE = 16


def sized(cells: Sequence[CellRow], root: Path) -> list[CellRow]:
    """Return cells with the area of those that are a whole image, in pixels of the file.

    Null where the image cannot be read, or no cell is found in it. ``root``: what paths count from.
    """
    whole = [cell.box is None and cell.area is None for cell in cells]
    names = list(dict.fromkeys(c.path for c, so in zip(cells, whole, strict=True) if so))
    found = prefetched(lambda name: _area(root / name), names, window=_AT_ONCE)
    areas = dict(zip(names, track(found, "measure sizes", len(names)), strict=True))
    pairs = zip(cells, whole, strict=True)
    return [replace(cell, area=areas[cell.path]) if so else cell for cell, so in pairs]


def _area(path: Path) -> float | None:
    try:
        return area_of_target(read_image(path))
    except ImageReadError:
        return None
