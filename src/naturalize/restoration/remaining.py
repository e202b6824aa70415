"""Which cells a restored scene still shows, and how much of each: the truth about its pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from naturalize.cells.segmentation import Cell
from naturalize.restoration.illumination import covered, illumination
from naturalize.restoration.plan import Going, Work, chosen, planned
from naturalize.restoration.tiles import WHOLE, Box, shifted, tiles, window, within


def remaining(image: np.ndarray, cells: Sequence[Cell], *, remove: str) -> list[tuple[int, Cell]]:
    """Return what :func:`~naturalize.restoration.scene` leaves of the cells of an image.

    Nothing is painted, which takes a fraction of the time.

    Parameters
    ----------
    image
        RGB uint8 (H, W, 3), as it was before.
    cells
        All its cells, as a segmenter found them.
    remove
        As for the scene: ``"target"``, ``"white"`` or ``"all"``.

    Returns
    -------
    list
        Index and what is seen of each cell that is still there, in order. A red cell that was
        hidden in part is whole again; one that was hidden too far is gone.
    """
    shape = (image.shape[0], image.shape[1])
    gone = set(chosen(cells, shape, remove))
    if not gone:
        return list(enumerate(cells))
    light = illumination(image, covered(shape, cells))
    if max(shape) <= WHOLE:
        return sorted(_left(image, cells, gone, light).items(), key=lambda found: found[0])
    parts: dict[int, list[Cell]] = {i: [c] for i, c in enumerate(cells) if i not in gone}
    # as it is painted: in each tile that something leaves, cells are what is left of them there
    for core, wide in tiles(shape, covered(shape, [cells[i] for i in gone])):
        near, indices = within(cells, wide)
        there = window(wide)
        going = {k for k, i in enumerate(indices) if i in gone}
        left = _left(image[there], near, going, light[there])
        for k, i in enumerate(indices):
            if i not in gone:
                kept = [_outside(part, core) for part in parts[i]]
                new = _inside(left[k], shifted(core, wide), wide) if k in left else None
                parts[i] = [part for part in (*kept, new) if part is not None]
    return [(i, _joined(found)) for i, found in sorted(parts.items()) if found]


def _left(
    image: np.ndarray, cells: Sequence[Cell], gone: set[int], light: np.ndarray
) -> dict[int, Cell]:
    """Return what is seen of the cells that stay, by index."""
    if not gone:
        return dict(enumerate(cells))
    pixels = image.astype(np.float32)
    work, going = planned(Work(pixels, tuple(cells), light, pixels - light), sorted(gone))
    seen = {
        i: _seen(cell, going, i, work.shape)
        for i, cell in enumerate(work.cells)
        if i not in going.removed
    }
    return {i: cell for i, cell in seen.items() if cell is not None}


def _seen(cell: Cell, going: Going, i: int, shape: tuple[int, int]) -> Cell | None:
    outline = going.outlines.get(i)
    if outline is not None:
        visible = covered(shape, [cell]) & ~going.hidden
        return _cell(cell, visible | (outline.inside(shape) & going.hidden), (0, 0))
    x0, y0, x1, y1 = cell.box
    over = going.hidden if cell.kind == "rbc" else going.mask
    return _cell(cell, cell.mask & ~over[y0:y1, x0:x1], (x0, y0))


def _cell(like: Cell, mask: np.ndarray, offset: tuple[int, int]) -> Cell | None:
    if not mask.any():
        return None
    return Cell.from_mask(like.kind, mask, score=like.score, offset=offset)


def _outside(cell: Cell, core: Box) -> Cell | None:
    """Return what of a cell lies outside a box."""
    x0, y0 = cell.box[:2]
    mask = cell.mask.copy()
    mask[
        max(core[1] - y0, 0) : max(core[3] - y0, 0), max(core[0] - x0, 0) : max(core[2] - x0, 0)
    ] = False
    return _cell(cell, mask, (x0, y0))


def _inside(cell: Cell, core: Box, at: Box) -> Cell | None:
    """Return what of a cell lies inside a box, moved from the pixels of ``at`` to the image's."""
    found, _ = within([cell], core)
    if not found:
        return None
    return found[0].moved(core[0] + at[0], core[1] + at[1])


def _joined(parts: Sequence[Cell]) -> Cell:
    """Return the union of the parts of a cell."""
    if len(parts) == 1:
        return parts[0]
    boxes = np.array([part.box for part in parts])
    (x0, y0), (x1, y1) = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    mask = covered((y1 - y0, x1 - x0), [part.moved(-x0, -y0) for part in parts])
    return Cell.from_mask(parts[0].kind, mask, score=parts[0].score, offset=(x0, y0))
