"""Whole fields in pieces: the model sees no more than about a thousand pixels a side at once."""

from __future__ import annotations

from naturalize.cells.segmenters.sam.model import SIDE

#: ``x0, y0, x1, y1``, half-open, in pixels.
Box = tuple[int, int, int, int]

#: Images up to this longest side are seen in one piece.
LARGEST = 1280

#: Least width that neighbouring tiles share: wider than a cell at a hundredfold magnification.
OVERLAP = 320


def tiles(shape: tuple[int, int]) -> list[Box]:
    """Return boxes of at most 1024 pixels a side that cover an image; one for a usual image."""
    if max(shape) <= LARGEST:
        return [(0, 0, shape[1], shape[0])]
    columns, rows = _starts(shape[1]), _starts(shape[0])
    return [(x, y, min(x + SIDE, shape[1]), min(y + SIDE, shape[0])) for y in rows for x in columns]


def _starts(length: int) -> list[int]:
    """Return evenly spread starts of tiles that share at least the overlap."""
    if length <= SIDE:
        return [0]
    n = -(-(length - OVERLAP) // (SIDE - OVERLAP))
    return [round(k * (length - SIDE) / (n - 1)) for k in range(n)]


def best_tile(box: Box, among: list[Box], shape: tuple[int, int]) -> int:
    """Return the number of the tile whose edges are farthest from a box.

    An edge of the image does not count: nothing lies beyond it.
    """
    return max(range(len(among)), key=lambda k: (room(box, among[k], shape), -k))


def room(box: Box, tile: Box, shape: tuple[int, int]) -> int:
    """Return the least distance of a box from those edges of a tile that cut the image."""
    far = max(shape)
    return min(
        box[0] - tile[0] if tile[0] > 0 else far,
        box[1] - tile[1] if tile[1] > 0 else far,
        tile[2] - box[2] if tile[2] < shape[1] else far,
        tile[3] - box[3] if tile[3] < shape[0] else far,
    )
