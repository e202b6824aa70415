"""Another stain, another light: a table of what each of the 256 levels of a colour becomes."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from naturalize.base.rng import rng


@lru_cache(maxsize=1024)
def stain_table(stain: tuple[float, float, float], scale: tuple[float, float, float]) -> np.ndarray:
    """Return the table, float64 (1, 256, 3), that changes the optical density of a cell.

    ``I' = 255 · (I / 255)^scale · 10^(−stain)``: more density, less light (Beer–Lambert).
    """
    levels = np.arange(256, dtype=np.float64)[:, None] / 255
    return (255 * levels ** np.array(scale) * 10.0 ** -np.array(stain))[None]


def gain_table(gain: np.ndarray) -> np.ndarray:
    """Return the table, float32 (1, 256, 3), of a light that is ``gain``, (3,), times as strong."""
    return (np.arange(256, dtype=np.float32)[:, None] * gain.astype(np.float32))[None]


def rounded(table: np.ndarray) -> np.ndarray:
    """Return a table as levels, uint8 (1, 256, 3)."""
    return np.clip(np.rint(table), 0, 255).astype(np.uint8)


def dithered(colours: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return colours, RGB uint8 (h, w, 3), as a table has them, without the gaps that it leaves.

    Looked up in a rounded table, a cell made brighter never meets some levels. The codec of a
    picture that goes through one fills them, and so does shrinking. Where neither comes after, a
    value between two levels is rounded to one or the other by chance, in proportion (Roberts,
    Picture coding using pseudo-random noise, IRE Trans. Information Theory 8, 1962); the chances
    belong to the pixel's place in ``colours``.
    """
    height, width = colours.shape[:2]
    exact = cv2.LUT(colours, table.astype(np.float32))
    return cv2.add(exact, _chances(height, width), dtype=cv2.CV_8U)


def _chances(height: int, width: int) -> np.ndarray:
    """Return what is added before rounding, uniform within ± 0.5, float32 (height, width, 3)."""
    side = 256 << max(0, (max(height, width) - 1).bit_length() - 8)
    return _square(side)[:height, :width]


@lru_cache(maxsize=4)
def _square(side: int) -> np.ndarray:
    return rng(0, "dither", side).uniform(-0.5, 0.5, (side, side, 3)).astype(np.float32)
