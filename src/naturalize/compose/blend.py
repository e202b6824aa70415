"""How a cell's edge meets what lies under it: a blend is one function here and one line below."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from naturalize.compose.patch import EDGE, LEVELS


def hard(window: np.ndarray, pixels: np.ndarray, feather: float, scale: float) -> None:
    """Take the cell's pixels where their centre is inside, else leave what is there."""
    inside = (pixels[..., 3] > EDGE).view(np.uint8)
    cv2.copyTo(np.ascontiguousarray(pixels[..., :3]), inside, window)


def feathered(window: np.ndarray, pixels: np.ndarray, feather: float, scale: float) -> None:
    """Fade over ``feather`` pixels across the edge, half of them outside, linear in distance."""
    edge = np.ascontiguousarray(pixels[..., 3])
    share, rest = _ramps(feather, scale)
    colours = np.ascontiguousarray(pixels[..., :3])
    window[:] = cv2.blendLinear(colours, window, cv2.LUT(edge, share), cv2.LUT(edge, rest))


@lru_cache(maxsize=64)
def _ramps(feather: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of the cell and of the ground for each level of distance, float32 (256,)."""
    distance = (np.arange(256) - EDGE) / LEVELS * scale
    share = np.clip(distance / max(feather, 1e-3) + 0.5, 0, 1).astype(np.float32)
    return share, (1 - share).astype(np.float32)


#: Name → ``blend(window, pixels, feather, scale)``: paints uint8 (h, w, 4) pixels (colour and
#: distance to the edge, see ``patch``) into uint8 (h, w, 3), a part of the canvas, in place.
BLENDS: dict[str, Callable[[np.ndarray, np.ndarray, float, float], None]] = {
    "hard": hard,
    "feather": feathered,
}
