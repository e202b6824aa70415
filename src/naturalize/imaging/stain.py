"""Stain in optical density, where light absorbed by dyes adds up (Beer–Lambert), and its change."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from naturalize.base.rng import rng

#: Below this a camera's value is taken for this, so that densities stay finite.
_DARKEST = 1.0


def optical_density(
    image: np.ndarray, background: np.ndarray | tuple[float, ...], dtype: Any = np.float32
) -> np.ndarray:
    """Return the optical density of each channel against the bare slide.

    ``OD = log10(I0 / I)`` (Ruifrok & Johnston, Anal Quant Cytol Histol 23:291, 2001, eq. 1), with
    ``I0`` the background, so that equal amounts of dye give equal densities on a peach and on a
    lilac slide. Both intensities are held at 1 or more. ``image``: RGB (..., 3), 0–255;
    ``background``: RGB (3,), or like ``image`` where the light is uneven. Gives ``dtype`` of the
    shape of ``image``: 0 is bare slide, brighter than that is negative.

    Examples
    --------
    >>> optical_density(np.array([[25.0, 250.0, 250.0]]), (250, 250, 250)).round(2).tolist()
    [[1.0, 0.0, 0.0]]
    """
    light = np.maximum(np.asarray(background, dtype), _DARKEST)
    if image.dtype == np.uint8 and light.ndim == 1:
        levels = np.maximum(np.arange(256, dtype=dtype), _DARKEST)[:, None]
        table = np.log10(light[None, :] / levels).astype(dtype)
        return np.stack([table[:, c][image[..., c]] for c in range(3)], axis=-1)
    seen = np.maximum(np.asarray(image, dtype), _DARKEST)
    return np.log10(light / seen).astype(dtype)


def mean_density(
    image: np.ndarray, mask: np.ndarray, background: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Return the mean optical density (red, green, blue) of RGB uint8 (h, w, 3) inside ``mask``."""
    density = optical_density(image[mask], background)
    red, green, blue = density.mean(axis=0, dtype=np.float64)
    return float(red), float(green), float(blue)


def focus(image: np.ndarray, mask: np.ndarray) -> float:
    """Return the sharpness of a cell: variance of the Laplacian of its luminance inside the mask.

    After Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy (ICPR 2000). The
    outermost pixels count too: the rim of a cell is what blurs first. ``image``: RGB uint8 (h, w,
    3) around the cell; ``mask``: bool (h, w), at least one pixel.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    edges = cv2.Laplacian(grey, cv2.CV_32F, borderType=cv2.BORDER_REPLICATE)
    return float(edges[mask].var(dtype=np.float64))


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
