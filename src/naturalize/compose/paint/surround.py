"""A cell with its own surroundings: the slide next to it as the lens and the codec left it.

Blur, colour fringes, sharpening and codec make a zone around each cell that is neither cell nor
bare slide. Copied with the cell it is right; synthesised it can be detected. So a cell is laid with
the slide around it, as far as that is free of other cells; further out it fades into the scene's.
Slide on slide leaves no trace if both are as before coding (see ``imaging.jpeg.decode``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from naturalize.compose.paint.halo import GLOW, lone, to_others, window_of
from naturalize.compose.paint.levels import EDGE, OWN, WIDE, depth_of
from naturalize.imaging.jpeg.decode import before_coding

if TYPE_CHECKING:
    from naturalize.imaging.jpeg.codec import Codec

#: Pixels inside the mask from which a cell's pixels stay as the codec left them, and up to which
#: they do not: blocks within the cell are then coded again as they were.
_INNER = (4.0, 6.0)

#: Pixels to other cells up to which the slide is not the cell's own, and from which it is.
_FREE = (2.0, 6.0)

#: Pixels from the mask between which the slide's colour is taken, from those so far from others,
#: and how many there must be.
_AWAY, _CLEAR, _ENOUGH = (11.0, 22.0), 4.0, 60

#: Pixels from a cell over which it is full of its own slide, and at which there is none.
_FULL, _NONE = 9.0, 15.0

#: Pixels from a cell over which the glow fades that is made up beside neighbours.
_FADES = (6.0, 10.0)


def surrounded(
    rgb: np.ndarray,
    mask: np.ndarray,
    box: tuple[int, int, int, int],
    corner: tuple[int, int] = (0, 0),
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Return a cell with its own surroundings.

    Parameters
    ----------
    rgb, mask, box
        As for :func:`~naturalize.compose.paint.halo.lone`.
    corner
        Column and row of ``rgb`` in its image.

    Returns
    -------
    colours
        Uint8 (height + 2 WIDE, width + 2 WIDE, 3); beside neighbours as of
        :func:`~naturalize.compose.paint.halo.lone`.
    edge
        Uint8 of that size, as in a patch: distance to the edge, and further out the share of
        ``colours`` that is the cell's own slide.
    ground
        Mean colour of the bare slide around the cell.
    """
    depth = depth_of(mask.view(np.uint8))
    inner = np.interp(depth, _INNER, (0, 1))[..., None]
    soft = before_coding(rgb, _codec_of(rgb, corner), corner).astype(np.float32)
    rgb = np.rint(soft + inner * (rgb - soft)).astype(np.uint8)
    colours, edge, ground, glow = lone(rgb, mask, box, pad=WIDE)
    free = to_others(rgb, mask, ground)
    own, _, known = window_of(rgb, mask, box, WIDE)
    away = depth_of(1 - (edge > EDGE).view(np.uint8))
    outside = edge < EDGE
    colours = np.where(outside[..., None], _glowing(colours, glow, away), colours)
    share = np.interp(window_of(free, mask, box, WIDE)[0], _FREE, (0, 1)) * known * outside
    mixed = colours + share[..., None] * (own - colours.astype(np.float32))
    fading = np.interp(away, (_FULL, _NONE), (1, 0))
    share *= fading * fading * (3 - 2 * fading)
    edge = np.where(edge < OWN, np.rint(OWN * share), edge).astype(np.uint8)
    return np.rint(mixed).astype(np.uint8), edge, _light(rgb, mask, free) or ground


def _codec_of(rgb: np.ndarray, corner: tuple[int, int]) -> Codec | None:
    from naturalize.imaging.jpeg.estimate import estimate

    left, top = (-at % 16 for at in corner)
    return estimate(rgb[top:, left:])


def _glowing(colours: np.ndarray, glow: np.ndarray, away: np.ndarray) -> np.ndarray:
    """Return colours darkened by a glow, float32, at distances from the edge."""
    steps = np.arange(1, GLOW + 1)
    faded = glow * np.interp(steps, _FADES, (1, 0))[:, None]
    density = np.dstack([np.interp(away, steps, faded[:, c]) for c in range(3)])
    return (colours * 10.0**-density).astype(np.float32)


def _light(
    rgb: np.ndarray, mask: np.ndarray, free: np.ndarray
) -> tuple[float, float, float] | None:
    """Return the mean colour of the slide at some distance from all cells; ``None`` if unseen."""
    away = depth_of((~mask).view(np.uint8))
    clear = (away > _AWAY[0]) & (away < _AWAY[1]) & (free > _CLEAR)
    if np.count_nonzero(clear) < _ENOUGH:
        return None
    # as a store of crops keeps it
    red, green, blue, _ = (
        float(np.float32(value)) for value in cv2.mean(rgb, clear.view(np.uint8))
    )
    return red, green, blue
