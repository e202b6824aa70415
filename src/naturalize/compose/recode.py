"""What was painted on a scene goes through the scene's own codec, block by block, as the rest did.

A decoded JPEG shows in every 8 × 8 block that it was one: most fine coefficients are zero, the
others multiples of a step, and colour smears from a cell into the slide next to it. Pixels that
were blended or re-stained have lost that, which a network sees at once. So the blocks of a scene
that cells were painted on are quantised, on the scene's grid and with its steps. They are painted
as they were before they were coded (see ``uncoded``), so that they are not quantised twice; blocks
that no cell touched are the scene's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from naturalize.compose.dct import blocks_of, of_blocks, quantised, steps, tiles
from naturalize.compose.grid import turned_point
from naturalize.compose.place import dihedral
from naturalize.compose.recipe import Background

if TYPE_CHECKING:
    from naturalize.cells.background.codec import Codec


def recode(
    canvas: np.ndarray,
    before: np.ndarray,
    coded: np.ndarray,
    codec: Codec,
    ground: Background,
    scene: tuple[int, int],
) -> np.ndarray:
    """Return a canvas whose changed blocks went through a codec.

    Parameters
    ----------
    canvas, before
        RGB uint8 (H, W, 3), with cells and without.
    coded
        The latter as the codec left it: what is shown where nothing changed.
    codec
        Of the scene.
    ground
        How the scene lies under the canvas: its turn and offset.
    scene
        Width and height of the scene as it is, not turned.

    Returns
    -------
    numpy.ndarray
        RGB uint8 (H, W, 3).
    """
    left, top = _corner(canvas.shape[:2], ground, scene)
    turn = ground.turn
    back = _inverse(turn)
    upright, old, shown = (_turned(image, back) for image in (canvas, before, coded))
    padding = _padding(upright.shape[:2], (left, top), codec.unit)
    upright, old, shown = (
        cv2.copyMakeBorder(image, *padding, cv2.BORDER_REPLICATE) for image in (upright, old, shown)
    )
    changed = cv2.absdiff(upright, old)
    if codec.subsampling == "4:4:4":
        done = _quantised(upright, shown, changed, codec.quality)
    else:
        done = _through_file(upright, shown, np.asarray(changed.any(axis=2)), codec)
    height, width = canvas.shape[:2] if turn % 2 == 0 else canvas.shape[1::-1]
    done = done[padding[0] : padding[0] + height, padding[2] : padding[2] + width]
    return _turned(done, turn)


def _turned(image: np.ndarray, turn: int) -> np.ndarray:
    return dihedral(image, turn >= 4, turn % 4) if turn else image


def _inverse(turn: int) -> int:
    """Return the turn that undoes another: flips undo themselves."""
    return turn if turn >= 4 else -turn % 4


def _corner(shape: tuple[int, int], ground: Background, scene: tuple[int, int]) -> tuple[int, int]:
    """Return where the canvas begins in the scene as it is, left and top."""
    size = np.array(scene)
    turned = size[::-1] if ground.turn % 2 else size
    corners = np.array([[ground.x, ground.y], [ground.x + shape[1], ground.y + shape[0]]])
    found = turned_point(corners, np.array([turned, turned]), np.array([_inverse(ground.turn)] * 2))
    left, top = found.min(axis=0)
    return int(left), int(top)


def _padding(
    shape: tuple[int, int], corner: tuple[int, int], unit: int
) -> tuple[int, int, int, int]:
    """Return pixels above, below, left, right that make a part of a scene whole units."""
    left, top = corner[0] % unit, corner[1] % unit
    return top, -(shape[0] + top) % unit, left, -(shape[1] + left) % unit


def _quantised(
    image: np.ndarray, shown: np.ndarray, change: np.ndarray, quality: int
) -> np.ndarray:
    """Return an image of whole blocks: changed ones after baseline JPEG at 4:4:4, others shown.

    ITU-T T.81, A.3.3 and A.3.4, with the steps of the Independent JPEG Group's scale.
    """
    changed = np.asarray(tiles(change).any(axis=(2, 3, 4)))
    if not changed.any():
        return shown
    found = quantised(of_blocks(tiles(image)[changed]), steps(quality)[:, None])
    out = shown.copy()
    tiles(out)[changed] = np.clip(np.rint(blocks_of(found)), 0, 255).astype(np.uint8)
    return out


def _through_file(
    image: np.ndarray, shown: np.ndarray, changed: np.ndarray, codec: Codec
) -> np.ndarray:
    """Return an image whose changed units went through an encoder and back; others are shown."""
    from naturalize.cells.background.codec import recoded, units_of

    mixed = np.where(units_of(changed, codec.unit)[..., None], image, shown)
    return recoded(mixed, changed, codec)
