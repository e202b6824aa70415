"""How a cell's edge meets what lies under it: a blend is one function here and one line below."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from naturalize.compose.patch import EDGE, LEVELS, Patch


def hard(window: np.ndarray, patch: Patch, feather: float, scale: float) -> None:
    """Take the cell's pixels where their centre is inside, else leave what is there."""
    inside = cv2.threshold(patch.edge, EDGE, 1, cv2.THRESH_BINARY)[1]
    cv2.copyTo(patch.colours, inside, window)


def feathered(window: np.ndarray, patch: Patch, feather: float, scale: float) -> None:
    """Fade over ``feather`` pixels across the edge, half of them outside, linear in distance."""
    ramp, rest = _ramps(feather, scale)
    share, left = cv2.LUT(patch.edge, ramp), cv2.LUT(patch.edge, rest)
    window[:] = cv2.blendLinear(patch.colours, window, share, left)


@lru_cache(maxsize=64)
def _ramps(feather: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of the cell and of the ground for each level of distance, float32 (256,)."""
    distance = (np.arange(256) - EDGE) / LEVELS * scale
    share = np.clip(distance / max(feather, 1e-3) + 0.5, 0, 1).astype(np.float32)
    return share, (1 - share).astype(np.float32)


#: Name → ``blend(window, patch, feather, scale)``: paints a patch, in place, into ``window``, the
#: part of the canvas under it, RGB uint8 (h, w, 3).
BLENDS: dict[str, Callable[[np.ndarray, Patch, float, float], None]] = {
    "hard": hard,
    "feather": feathered,
}
