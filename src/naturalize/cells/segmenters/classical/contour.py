"""Closed contours around a point: the best star-shaped outline, found exactly in polar space."""

from __future__ import annotations

import cv2
import numpy as np


def star(
    evidence: np.ndarray,
    centre: tuple[float, float],
    reach: float,
    *,
    angles: int = 72,
    stiffness: int = 1,
) -> tuple[np.ndarray, float]:
    """Return the outline around ``centre`` that holds the most evidence.

    The image is unrolled into rays; a path over the rays that changes its radius by at most
    ``stiffness`` steps from one ray to the next is found by dynamic programming, maximising the
    evidence inside (a region term as in Chan & Vese, IEEE TIP 10:266, 2001, on the polar graph of
    Wu & Chen's optimal net surfaces, ICALP 2002).

    Parameters
    ----------
    evidence
        Float32 (h, w): above 0 inside the object, below 0 outside.
    centre
        x, y of a point inside.
    reach
        Longest radius in pixels.
    angles
        Number of rays.
    stiffness
        Largest step, in radial steps of a pixel, between neighbouring rays.

    Returns
    -------
    points
        Float32 (angles, 2): x, y of the outline.
    total
        Evidence inside the outline.
    """
    radii = max(4, int(reach))
    rays = cv2.warpPolar(
        evidence, (radii, angles), centre, radii, cv2.INTER_LINEAR | cv2.WARP_FILL_OUTLIERS
    )
    # a ring at radius r has r times the pixels of the ring at radius 1
    gain = np.cumsum(rays * (np.arange(radii, dtype=np.float32) + 0.5), axis=1)
    path = _best_cycle(gain, stiffness)
    theta = np.arange(angles, dtype=np.float32) * (2 * np.pi / angles)
    radius = _smooth(path + 0.5)
    points = np.stack(
        [centre[0] + radius * np.cos(theta), centre[1] + radius * np.sin(theta)], axis=1
    )
    total = float(gain[np.arange(angles), path].sum() * 2 * np.pi / angles)
    return points.astype(np.float32), total


def _best_cycle(gain: np.ndarray, stiffness: int) -> np.ndarray:
    """Return the radius index of each ray: the best path that closes on itself, nearly.

    The path is run over two turns and its middle is kept, so that the seam has no end effects.
    """
    angles, radii = gain.shape
    half = angles // 2
    turns = np.concatenate([gain[-half:], gain, gain[:half]])
    back = np.zeros((len(turns), radii), np.int16)
    best = turns[0].copy()
    offsets = np.arange(-stiffness, stiffness + 1)
    padded = np.full(radii + 2 * stiffness, -np.inf, np.float32)
    # a view: it shows what is written into `padded`
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * stiffness + 1)
    index = np.arange(radii)
    for k in range(1, len(turns)):
        padded[stiffness : stiffness + radii] = best
        choice = windows.argmax(axis=1)
        back[k] = index + offsets[choice]
        best = windows[index, choice] + turns[k]
    path = np.empty(len(turns), np.int64)
    path[-1] = int(best.argmax())
    for k in range(len(turns) - 1, 0, -1):
        path[k - 1] = back[k, path[k]]
    return path[half : half + angles]


def _smooth(radius: np.ndarray) -> np.ndarray:
    """Return the radii smoothed a little around the circle."""
    weights = np.array([1, 4, 6, 4, 1], np.float32) / 16
    wrapped = np.concatenate([radius[-2:], radius, radius[:2]])
    return np.convolve(wrapped, weights, mode="valid")


def fill(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the bool (h, w) mask of a star-shaped outline (n, 2)."""
    # fillPoly paints the pixels that the outline runs through: half a pixel too much all round
    from_middle = points - points.mean(axis=0)
    length = np.maximum(np.linalg.norm(from_middle, axis=1, keepdims=True), 1e-6)
    inner = points - 0.5 * from_middle / np.maximum(length, 0.5)
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [np.rint(inner * 16).astype(np.int32)], 1, shift=4)
    return canvas.astype(bool)
