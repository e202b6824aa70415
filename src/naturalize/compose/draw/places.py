"""Where a cell can stand in another laboratory's image, which nobody has labelled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from naturalize.base.errors import ImageReadError
from naturalize.base.images import read_image
from naturalize.cells.segmentation import Cell, target_of
from naturalize.cells.tables import cell_of, cell_row

#: Rows or columns of one colour along an edge, and the levels within which a colour is one and away
#: from which it is no slide's: padding.
_PADDING, _ONE_COLOUR, _NO_SLIDE = 3, 3, 16

#: Where no white cell is, one can stand on a bare disc: its least and most diameter, in those of
#: the usual white cell; pixels between it and other cells.
_ROOM, _CLEAR = (0.6, 1.2), 2


#: A row of ``BACKGROUNDS``, and the rows of the cells that were found in its image.
Seen = tuple[dict[str, Any], list[dict[str, Any]]]


def scene_of(task: Seen, *, root: Path, usual: float) -> tuple[str, dict[str, Any] | None]:
    """Return the row of an image and of the place in it, or why it cannot be a scene.

    The row is of ``BACKGROUNDS``, with ``source`` (where the image is) and ``place``: the id of the
    white cell that goes, or the row of a disc of bare slide.
    """
    ground, cells = task
    try:
        image = read_image(root / ground["path"])
    except ImageReadError as error:
        return error.reason, None
    slide = (ground["r"], ground["g"], ground["b"])
    if padded(image, slide):
        return "padded (an edge of one colour)", None
    white = [(row["cell_id"], cell_of(row)) for row in cells if row["kind"] == "wbc"]
    place: Any
    if white:
        # of a cell that is seen in part, the restoration leaves rags along the edge
        if any(cell.touches(image.shape) for _, cell in white):
            return "with a white cell that the edge cuts", None
        best = target_of([cell for _, cell in white], image.shape)
        place = next(name for name, cell in white if cell is best)
    else:
        disc = free_disc(image.shape, [cell_of(row) for row in cells], usual)
        if disc is None:
            return "without room for a white cell", None
        name = f"{ground['image_id']}-place"
        place = cell_row(name, ground["image_id"], ground["path"], image, disc, slide)
    file = f"scenes/{ground['image_id']}{Path(ground['path']).suffix.lower()}"
    return "", {**ground, "source": ground["path"], "path": file, "place": place}


def padded(image: np.ndarray, slide: tuple[float, float, float]) -> bool:
    """Whether RGB uint8 (H, W, 3) has an edge of one colour that is not the bare slide's."""
    for turned in (image, image[::-1], image.swapaxes(0, 1), image[:, ::-1].swapaxes(0, 1)):
        edge = turned[:_PADDING].reshape(-1, 3).astype(np.int16)
        one = (edge.max(axis=0) - edge.min(axis=0) <= _ONE_COLOUR).all()
        if one and np.abs(np.median(edge, axis=0) - slide).max() > _NO_SLIDE:
            return True
    return False


def free_disc(shape: Sequence[int], cells: Sequence[Cell], usual: float) -> Cell | None:
    """Return a disc of bare slide in an image (height, width, …), where it is furthest from cells.

    ``usual``: diameter in pixels of a white cell; ``None`` if a small one would have no room.
    """
    free = np.ones((shape[0] + 2, shape[1] + 2), np.uint8)
    free[[0, -1]] = free[:, [0, -1]] = 0
    for cell in cells:
        x0, y0, x1, y1 = cell.box
        free[y0 + 1 : y1 + 1, x0 + 1 : x1 + 1][cell.mask] = 0
    away = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1] - _CLEAR
    y, x = np.unravel_index(int(away.argmax()), away.shape)
    least, most = (share * usual / 2 for share in _ROOM)
    if away[y, x] < max(least, 2.0):
        return None
    disc = np.zeros(away.shape, np.uint8)
    cv2.circle(disc, (int(x), int(y)), int(min(away[y, x], most)), 1, cv2.FILLED)
    return Cell.from_mask("wbc", disc > 0, score=0.0)
