"""How far a pixel is from a cell's edge, as patches keep it: the units of all who cut cells."""

from __future__ import annotations

import cv2
import numpy as np

#: Pixels around a cell's box that a patch adds on each side; and one with its own surroundings.
PAD, WIDE = 4, 16

#: Levels of a pixel's distance, and the level of the edge itself.
LEVELS, EDGE = 16, 128

#: Level of an ``own`` patch below which it is no distance but a share of the cell's own slide, all
#: of it at this level: 2.75 pixels outside, where the soft edge ends.
OWN = EDGE - 44


def depth_of(inside: np.ndarray) -> np.ndarray:
    """Return the distance in pixels to what is 0 in uint8 (h, w), float32."""
    return cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def as_levels(distance: np.ndarray) -> np.ndarray:
    """Return signed distances in pixels as they are kept, uint8."""
    return np.clip(np.rint(EDGE + LEVELS * distance), 0, 255).astype(np.uint8)
