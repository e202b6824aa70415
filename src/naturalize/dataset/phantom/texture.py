"""Textures over a window: smooth noise, chromatin, granules. Lengths are canvas pixels."""

from __future__ import annotations

import cv2
import numpy as np


def smooth_noise(draw: np.random.Generator, shape: tuple[int, int], grain: float) -> np.ndarray:
    """Return noise of about zero mean and unit spread whose spots are ``grain`` pixels wide.

    float32 ``shape``. Coarse noise is drawn on a coarse grid and enlarged, so it costs little.
    """
    step = max(1.0, grain / 2)
    rows, columns = (int(np.ceil(n / step)) + 3 for n in shape)
    coarse: np.ndarray = draw.standard_normal((rows, columns), dtype=np.float32)
    sigma = grain / (2 * step)
    coarse = cv2.GaussianBlur(coarse, (0, 0), max(sigma, 0.3), borderType=cv2.BORDER_REFLECT)
    # white noise under a Gaussian of sigma s keeps 1 / (2 s sqrt(pi)) of its spread
    coarse = coarse * np.float32(max(1.0, 2 * sigma * np.sqrt(np.pi)))
    if step == 1.0:
        return np.ascontiguousarray(coarse[: shape[0], : shape[1]])
    size = (round(columns * step), round(rows * step))
    fine = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(fine[: shape[0], : shape[1]])


def mesh(draw: np.random.Generator, shape: tuple[int, int], grain: float) -> np.ndarray:
    """Return a net of dark clumps and light gaps (band-passed noise), unit spread, float32."""
    base = draw.standard_normal(shape, dtype=np.float32)
    fine = cv2.GaussianBlur(base, (0, 0), max(0.35, 0.42 * grain))
    band = fine - cv2.GaussianBlur(fine, (0, 0), max(0.7, 0.9 * grain))
    return band / np.float32(band.std() + 1e-6)


def granules(
    draw: np.random.Generator,
    where: np.ndarray,
    *,
    count: int,
    diameter: float,
    spread: float = 0.25,
) -> np.ndarray:
    """Return round grains scattered where ``where`` (float (h, w), 0–1) allows them.

    Parameters
    ----------
    draw
        Source of randomness.
    where
        Probability, up to a factor, that a grain's centre lies in a pixel.
    count
        Grains to scatter.
    diameter
        Mean diameter in pixels; single grains differ by ``spread``, relative.

    Returns
    -------
    numpy.ndarray
        float32 (h, w): how much grain lies in each pixel; 1 is the middle of one grain.
    """
    out = np.zeros(where.shape, np.float32)
    weights = np.cumsum(where, dtype=np.float64)
    if count < 1 or weights[-1] <= 0:
        return out
    flat = np.searchsorted(weights, draw.random(count) * weights[-1], side="right")
    rows, columns = np.divmod(np.minimum(flat, where.size - 1), where.shape[1])
    strength = draw.uniform(0.6, 1.15, count).astype(np.float32)
    group = draw.integers(0, 3, count)
    for i, factor in enumerate((1 - spread, 1.0, 1 + spread)):
        points = np.zeros(where.shape, np.float32)
        mine = group == i
        np.add.at(points, (rows[mine], columns[mine]), strength[mine])
        sigma = max(0.3, diameter * factor / 2.6)
        peak = np.float32(min(1.0, 1 / (2 * np.pi * sigma**2)))
        out += cv2.GaussianBlur(points, (0, 0), sigma) / peak
    return out
