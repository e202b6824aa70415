"""What stands behind the cells: a flat colour, or a scene that a real image lends."""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import cv2
import numpy as np

from naturalize.base.errors import InputError, unknown
from naturalize.compose.paint.patch import CellSource
from naturalize.compose.paint.sizes import Shrink
from naturalize.compose.recipe.recipe import Background
from naturalize.imaging.jpeg.grid import dihedral

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.cells.segmentation import Cell

#: After an image id and a colon: what is taken out of the scene.
REMOVALS = {"white": "white", "target": "target", "bare": "all"}

#: Restored scenes kept in memory for a bank (0.4 MB each for PBC).
_KEPT = 16

_restored: WeakKeyDictionary[object, OrderedDict[str, np.ndarray]] = WeakKeyDictionary()
_rows: WeakKeyDictionary[object, dict[str, list[int]]] = WeakKeyDictionary()


def canvas_of(ground: Background, shrink: Shrink, source: CellSource) -> np.ndarray:
    """Return the canvas before any cell, RGB uint8 (height, width, 3), to be painted on.

    Raises
    ------
    InputError
        If the scene is smaller than the canvas, or the source does not have it.
    """
    if ground.background_id is None:
        return _flat(shrink.width, shrink.height, ground.colour).copy()
    image = background_of(source, ground.background_id, shrink, ground.turn)
    return laid_under(image, ground, shrink).copy()


def laid_under(image: np.ndarray, ground: Background, shrink: Shrink) -> np.ndarray:
    """Return the part of a scene, turned, that lies under a canvas; ``InputError`` if too small."""
    if ground.turn:
        image = dihedral(image, ground.turn >= 4, ground.turn % 4)
    height, width = image.shape[:2]
    if height < shrink.height or width < shrink.width:
        raise _too_small(ground, shrink, (width, height))
    x, y = round(ground.x * shrink.x), round(ground.y * shrink.y)
    if not shrink.is_none:  # rounding may go a pixel too far
        x, y = min(x, width - shrink.width), min(y, height - shrink.height)
    if y + shrink.height > height or x + shrink.width > width:
        raise _too_small(ground, shrink, (width, height))
    return image[y : y + shrink.height, x : x + shrink.width]


def _too_small(ground: Background, shrink: Shrink, size: tuple[int, int]) -> InputError:
    where = f" from {ground.x}, {ground.y}" if ground.x or ground.y else ""
    return InputError(
        f"background {ground.background_id}: {size[0]} × {size[1]} pixels, smaller than the canvas "
        f"of {shrink.width} × {shrink.height}{where}"
    )


@lru_cache(maxsize=16)
def _flat(width: int, height: int, colour: tuple[float, float, float]) -> np.ndarray:
    return np.full((height, width, 3), np.rint(colour), np.uint8)


def background_of(
    source: CellSource, background_id: str, shrink: Shrink, turn: int = 0
) -> np.ndarray:
    """Return a scene, not turned, at the size that ``shrink`` wants, RGB uint8 (H, W, 3).

    Ready-made where the source keeps scenes, else made now. Not to be written to.
    """
    factors = shrink.before(turn)
    ready = getattr(source, "background", None)
    if ready is not None:
        return ready(background_id, factors)
    return shrunk(made_background(source, background_id), factors)


def shrunk(image: np.ndarray, factors: tuple[float, float]) -> np.ndarray:
    """Return a scene at ``factors`` of its width and height, each pixel the mean of its area."""
    if factors == (1, 1):
        return image
    height, width = image.shape[:2]
    size = max(round(width * factors[0]), 1), max(round(height * factors[1]), 1)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def image_of(background_id: str) -> tuple[str, str | None]:
    """Return the image of a scene, and what is taken out of it; ``InputError`` if unknown."""
    image_id, _, removal = background_id.partition(":")
    if not removal:
        return image_id, None
    if removal not in REMOVALS:
        raise unknown("scene", removal, sorted(REMOVALS))
    return image_id, removal


def made_background(source: CellSource, background_id: str) -> np.ndarray:
    """Return a scene at its own size; the last few of a bank are kept."""
    image_id, removal = image_of(background_id)
    if removal is None:
        return source.image(image_id)
    kept = _restored.setdefault(source, OrderedDict())
    if background_id not in kept:
        kept[background_id] = _restore(source, image_id, removal)  # type: ignore[arg-type]
        kept[background_id].flags.writeable = False
        if len(kept) > _KEPT:
            kept.popitem(last=False)
    kept.move_to_end(background_id)
    return kept[background_id]


def _restore(bank: CellBank, image_id: str, removal: str) -> np.ndarray:
    from naturalize.restoration import scene

    cells = cells_of(bank, image_id)
    restored = scene(bank.image(image_id), cells, remove=REMOVALS[removal], key=image_id)
    return restored.image


def cells_of(bank: CellBank, image_id: str) -> list[Cell]:
    """Return all cells of an image, accepted or not, as a segmenter gave them."""
    from naturalize.cells.segmentation import Cell
    from naturalize.imaging.runlength import decode

    rows = _rows.get(bank)
    if rows is None:
        rows = _rows[bank] = {}
        for row, owner in enumerate(bank.table["image_id"].to_pylist()):
            rows.setdefault(owner, []).append(row)
    found = []
    for row in bank.table.take(rows.get(image_id, [])).to_pylist():
        box = (row["x0"], row["y0"], row["x1"], row["y1"])
        shape = (box[3] - box[1], box[2] - box[0])
        nucleus = row["nucleus"]
        found.append(
            Cell(
                row["kind"],
                box,
                decode(np.array(row["mask"], np.uint32), shape),
                row["score"],
                None if nucleus is None else decode(np.array(nucleus, np.uint32), shape),
            )
        )
    return found
