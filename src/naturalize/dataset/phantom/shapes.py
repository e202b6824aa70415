"""Shapes as signed distances: negative inside, positive outside, in field pixels.

A shape is an array of distances over a window, so that union, cut-out and squeezing are
arithmetic, and an anti-aliased edge is the distance itself, clipped. Smooth minimum: Quilez
(2013), "Smooth minimum", polynomial form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Distance that stands for "far away" where none was computed.
FAR = np.float32(1e4)


@dataclass(frozen=True)
class Window:
    """A part of the canvas, and the field coordinates of its pixels relative to a centre.

    Attributes
    ----------
    rows, columns
        Slices into the canvas (pixels).
    x, y
        float32 (h, w): field pixels right of and below the centre.
    scale
        Canvas pixels a field pixel.
    """

    rows: slice
    columns: slice
    x: np.ndarray
    y: np.ndarray
    scale: float

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in canvas pixels."""
        return self.x.shape[0], self.x.shape[1]

    def of(self, canvas: np.ndarray) -> np.ndarray:
        """Return the window's view of an array over the whole canvas."""
        return canvas[self.rows, self.columns]


def window(
    canvas: tuple[int, int], centre: tuple[float, float], reach: float, scale: float
) -> Window | None:
    """Return the window ``reach`` field pixels about ``centre`` (x, y), cut at the canvas' edges.

    ``canvas`` is (height, width) in pixels. None where nothing of the window lies on the canvas.
    """
    height, width = canvas
    left, right = (centre[0] - reach) * scale, (centre[0] + reach) * scale
    top, bottom = (centre[1] - reach) * scale, (centre[1] + reach) * scale
    x0, x1 = max(0, int(np.floor(left))), min(width, int(np.ceil(right)))
    y0, y1 = max(0, int(np.floor(top))), min(height, int(np.ceil(bottom)))
    if x0 >= x1 or y0 >= y1:
        return None
    across = ((np.arange(x0, x1) + 0.5) / scale - centre[0]).astype(np.float32)
    down = ((np.arange(y0, y1) + 0.5) / scale - centre[1]).astype(np.float32)
    x, y = np.meshgrid(across, down)
    return Window(slice(y0, y1), slice(x0, x1), x, y, scale)


def coverage(distance: np.ndarray, scale: float, softness: float = 1.0) -> np.ndarray:
    """Return how much of each pixel the shape covers, 0–1: the anti-aliased edge.

    ``softness`` is the width of the edge in canvas pixels; 1 is the exact coverage of a straight
    edge along the pixel grid.
    """
    return np.clip(0.5 - distance * np.float32(scale / softness), 0, 1)


def union(a: np.ndarray, b: np.ndarray, blend: float) -> np.ndarray:
    """Return the union of two shapes, their meeting rounded over ``blend`` field pixels."""
    share = np.clip(0.5 + (b - a) * np.float32(0.5 / blend), 0, 1)
    return b + (a - b) * share - np.float32(blend) * share * (1 - share)


def within(a: np.ndarray, b: np.ndarray, blend: float) -> np.ndarray:
    """Return the part of ``a`` inside ``b``, corners rounded over ``blend`` field pixels."""
    return -union(-a, -b, blend)


def outline(
    x: np.ndarray,
    y: np.ndarray,
    radius: float,
    harmonics: Sequence[tuple[int, float, float]],
) -> np.ndarray:
    """Return the distance to a closed curve ``radius · (1 + Σ a cos(k θ + φ))`` about the origin.

    ``harmonics`` lists (k, a, φ). The distance is radial: exact for a circle, and within a few
    per cent of the true one near the edge for the small amplitudes of cells.
    """
    steps = 512
    theta = np.linspace(-np.pi, np.pi, steps, endpoint=False)
    curve = np.ones(steps)
    for order, amplitude, phase in harmonics:
        curve += amplitude * np.cos(order * theta + phase)
    table = (radius * curve).astype(np.float32)
    index = (np.arctan2(y, x) * np.float32(steps / (2 * np.pi))).astype(np.float32)
    index += np.float32(steps / 2)
    low = np.minimum(index.astype(np.int32), steps - 1)
    part = index - low
    edge = table[low] * (1 - part) + table[(low + 1) % steps] * part
    return np.sqrt(x * x + y * y) - edge


def chain(
    x: np.ndarray, y: np.ndarray, points: np.ndarray, radii: np.ndarray, blend: float
) -> np.ndarray:
    """Return the distance to capsules joining ``points`` (K, 2), of radius ``radii`` (K,) there.

    With one point, a disc. ``blend`` rounds the joints.
    """
    if len(points) == 1:
        return np.hypot(x - points[0, 0], y - points[0, 1]) - np.float32(radii[0])
    total: np.ndarray | None = None
    for i in range(len(points) - 1):
        one = _capsule(x, y, points[i], points[i + 1], radii[i], radii[i + 1])
        total = one if total is None else union(total, one, blend)
    assert total is not None
    return total


def _capsule(
    x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray, ra: float, rb: float
) -> np.ndarray:
    ax, ay, bx, by = (np.float32(v) for v in (*a, *b))
    dx, dy = bx - ax, by - ay
    px, py = x - ax, y - ay
    along = np.clip((px * dx + py * dy) / max(dx * dx + dy * dy, np.float32(1e-6)), 0, 1)
    px -= along * dx
    py -= along * dy
    return np.sqrt(px * px + py * py) - (np.float32(ra) + along * np.float32(rb - ra))
