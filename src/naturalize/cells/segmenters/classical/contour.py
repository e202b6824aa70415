"""Closed contours around a point: the best star-shaped outline, found exactly in polar space."""

from __future__ import annotations

import cv2
import numpy as np

#: Rays around the centre, and the most (in pixels) that the radius changes from one to the next.
_ANGLES, _STIFFNESS = 72, 2


def star(
    evidence: np.ndarray,
    centre: tuple[float, float],
    reach: float,
) -> np.ndarray:
    """Return the outline around ``centre`` that holds the most evidence, float32 (n, 2): x, y.

    The image is unrolled into rays; a path over the rays that changes its radius only so much from
    one ray to the next is found by dynamic programming, maximising the evidence inside (a region
    term as in Chan & Vese, IEEE TIP 10:266, 2001, on the polar graph of Wu & Chen's optimal net
    surfaces, ICALP 2002).

    ``evidence``: float32 (h, w), above 0 inside the object, below 0 outside; ``centre``: x, y of a
    point inside; ``reach``: longest radius in pixels.
    """
    radii = max(4, int(reach))
    rays = cv2.warpPolar(
        evidence, (radii, _ANGLES), centre, radii, cv2.INTER_LINEAR | cv2.WARP_FILL_OUTLIERS
    )
    # a ring at radius r has r times the pixels of the ring at radius 1
    gain = np.cumsum(rays * (np.arange(radii, dtype=np.float32) + 0.5), axis=1)
    path = _best_cycle(gain)
    theta = np.arange(_ANGLES, dtype=np.float32) * (2 * np.pi / _ANGLES)
    radius = _smooth(path + 0.5)
    points = np.stack(
        [centre[0] + radius * np.cos(theta), centre[1] + radius * np.sin(theta)], axis=1
    )
    return points.astype(np.float32)


def _best_cycle(gain: np.ndarray) -> np.ndarray:
    """Return the radius index of each ray: the best path that closes on itself, nearly.

    The path is run over two turns and its middle is kept, so that the seam has no end effects.
    """
    angles, radii = gain.shape
    half = angles // 2
    turns = np.concatenate([gain[-half:], gain, gain[:half]])
    back = np.zeros((len(turns), radii), np.int16)
    best = turns[0].copy()
    padded = np.full(radii + 2 * _STIFFNESS, -np.inf, np.float32)
    # a view: it shows what is written into `padded`
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _STIFFNESS + 1)
    index = np.arange(radii)
    for k in range(1, len(turns)):
        padded[_STIFFNESS : _STIFFNESS + radii] = best
        choice = windows.argmax(axis=1)
        back[k] = index + choice - _STIFFNESS
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
