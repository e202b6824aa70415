"""Shapes and textures over a window.

Shapes are signed distances: negative inside, positive outside, in field pixels.

A shape is an array of distances over a window, so that union, cut-out and squeezing are
arithmetic, and an anti-aliased edge is the distance itself, clipped. Smooth minimum: Quilez
(2013), "Smooth minimum", polynomial form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

#: Distance that stands for "far away" where none was computed.
FAR = np.float32(1e4)


@dataclass(frozen=True)
class Window:
    """A part of the canvas, and the field coordinates of its pixels relative to a centre.

    ``rows`` and ``columns`` are slices into the canvas (pixels); ``x`` and ``y``, float32 (h, w),
    field pixels right of and below the centre; ``scale`` canvas pixels a field pixel.
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


# -- textures: smooth noise, chromatin, granules; lengths are canvas pixels ---------------------


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
    """Return ``count`` round grains scattered where ``where`` (float (h, w), 0–1) allows them.

    ``where`` is the probability, up to a factor, that a grain's centre lies in a pixel;
    ``diameter`` the mean in pixels, from which single grains differ by ``spread``, relative.
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
