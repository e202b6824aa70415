"""Cells that a detector found, outlined by the model: one look at the image, a prompt a cell."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np

from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.cells.segmenters.sam.judge import density, judge
from naturalize.cells.segmenters.sam.merge import merged
from naturalize.cells.segmenters.sam.model import Model
from naturalize.cells.segmenters.sam.tiles import best_tile, tiles

#: Below this quality no mask of the model is the cell: the detector's own stays, with this score,
#: which is too low for a bank.
LEAST_QUALITY = 0.25

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
        Sees every tile of the image that holds cells once.
    by
        ``"boxes"`` or ``"points"``: what of a cell the model is told.
    """
    places = tiles(found.shape)
    of_tile: dict[int, list[Cell]] = defaultdict(list)
    for cell in found.cells:
        of_tile[best_tile(cell.box, places, found.shape)].append(cell)
    cells = [
        cell
        for number, here in sorted(of_tile.items())
        for cell in _in_tile(image, here, places[number], found.background, model, by)
    ]
    return replace(found, cells=tuple(merged(cells)))


def _in_tile(
    image: np.ndarray,
    cells: list[Cell],
    tile: tuple[int, int, int, int],
    background: tuple[float, float, float],
    model: Model,
    by: str,
) -> list[Cell]:
    left, top, right, bottom = tile
    piece = np.ascontiguousarray(image[top:bottom, left:right])
    # a cell larger than what tiles share may reach over the edge
    here = [_cut(cell, tile) for cell in cells]
    depth = density(piece, background)
    encoded = model.encode(piece)
    out = []
    for start in range(0, len(here), _AT_ONCE):
        part = here[start : start + _AT_ONCE]
        if by == "boxes":
            maps, scores = encoded.masks(boxes=np.array([cell.box for cell in part]))
        else:
            maps, scores = encoded.masks(points=np.array([middle(cell) for cell in part]))
        for cell, low, score in zip(part, maps, scores, strict=True):
            verdict = judge(encoded.frame, low, score, cell, depth)
            if verdict is None or verdict.quality < LEAST_QUALITY:
                out.append(replace(cell, score=min(cell.score, LEAST_QUALITY)))
                continue
            offset = verdict.window[:2]
            out.append(
                Cell.from_mask(
                    cell.kind,
                    verdict.mask,
                    score=verdict.quality,
                    nucleus=_nucleus(cell, verdict.window),
                    offset=offset,
                )
            )
    return [_moved(cell, left, top) for cell in out]


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


def _cut(cell: Cell, tile: tuple[int, int, int, int]) -> Cell:
    """Return a cell in the coordinates of a tile, cut to it."""
    left, top, right, bottom = tile
    x0, y0, x1, y1 = cell.box
    if left <= x0 and top <= y0 and x1 <= right and y1 <= bottom:
        return _moved(cell, -left, -top)
    keep = np.s_[max(0, top - y0) : min(y1, bottom) - y0, max(0, left - x0) : min(x1, right) - x0]
    offset = (max(x0, left) - left, max(y0, top) - top)
    nucleus = None if cell.nucleus is None else cell.nucleus[keep]
    return Cell.from_mask(
        cell.kind, cell.mask[keep], score=cell.score, nucleus=nucleus, offset=offset
    )


def _moved(cell: Cell, dx: int, dy: int) -> Cell:
    x0, y0, x1, y1 = cell.box
    return replace(cell, box=(x0 + dx, y0 + dy, x1 + dx, y1 + dy))


def _nucleus(cell: Cell, window: tuple[int, int, int, int]) -> np.ndarray | None:
    if cell.nucleus is None:
        return None
    left, top, right, bottom = window
    x0, y0, x1, y1 = cell.box
    out = np.zeros((bottom - top, right - left), bool)
    out[y0 - top : y1 - top, x0 - left : x1 - left] = cell.nucleus
    return out
