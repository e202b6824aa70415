"""The nucleus of each class as a signed distance, in units of the cell's radius.

Shapes follow the usual criteria (Palmer et al., ICSH recommendations, Int J Lab Hematol 2015): a
band nucleus is a ribbon of even width, a segmented one has lobes joined by threads, a
metamyelocyte's is indented by less than half, a myelocyte's is round or oval.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from naturalize.dataset.phantom import shapes

#: A drawn nucleus: (x, y) in cell radii -> signed distance in cell radii.
Shape = Callable[[np.ndarray, np.ndarray], np.ndarray]


def draw_nucleus(draw: np.random.Generator, label: str) -> Shape:
    """Draw the nucleus of one white cell of class ``label``."""
    return _SHAPES[label](draw)


def _segmented(draw: np.random.Generator) -> Shape:
    count = int(draw.choice([3, 4, 5], p=[0.5, 0.38, 0.12]))
    size = {3: 0.275, 4: 0.24, 5: 0.21}[count]
    return _lobes(draw, count, size, thread=(0.028, 0.055), gap=(0.05, 0.13), reach=0.88)


def _eosinophil(draw: np.random.Generator) -> Shape:
    count = int(draw.choice([2, 3], p=[0.86, 0.14]))
    size = {2: 0.40, 3: 0.31}[count]
    aside = draw.uniform(0.08, 0.26)
    shape = _lobes(draw, count, size, thread=(0.04, 0.09), gap=(-0.06, 0.14), reach=0.94)
    return _moved(shape, draw.uniform(0, 2 * np.pi), aside)


def _lobes(
    draw: np.random.Generator,
    count: int,
    size: float,
    *,
    thread: tuple[float, float],
    gap: tuple[float, float],
    reach: float,
) -> Shape:
    """Lobes along a curling path, neighbours joined by threads, others apart."""
    for _ in range(40):
        radii = size * draw.lognormal(0, 0.10, count)
        points, headings = _curl(draw, radii, gap)
        far = np.hypot(*points.T) + radii
        if far.max() <= reach and _apart(points, radii, 0.07):
            break
    else:
        points *= reach / far.max()
        radii = radii * min(1.0, reach / far.max())
    lean = draw.uniform(0.10, 0.45, count) * radii
    tilt = headings + draw.normal(0, 0.8, count)
    axis = np.stack([np.cos(tilt), np.sin(tilt)], 1) * lean[:, None]
    swell = draw.uniform(0.72, 1.05, count)
    threads = draw.uniform(*thread, count)

    def shape(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        whole = np.full(x.shape, shapes.FAR)
        for i in range(count):
            ends = np.stack([points[i] - axis[i], points[i] + axis[i]])
            body = radii[i] * 0.9
            lobe = shapes.chain(x, y, ends, np.array([body, body * swell[i]]), 0.05)
            whole = np.minimum(whole, lobe)
        for i in range(count - 1):
            width = np.array([threads[i], threads[i]])
            bridge = shapes.chain(x, y, points[i : i + 2], width, 0.02)
            whole = shapes.union(whole, bridge, 0.035)
        return whole

    return shape


def _curl(
    draw: np.random.Generator, radii: np.ndarray, gap: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    count = len(radii)
    heading = draw.uniform(0, 2 * np.pi)
    turn = draw.choice([-1, 1]) * draw.uniform(0.75, 1.35)
    points, headings = [np.zeros(2)], [heading]
    for i in range(1, count):
        if draw.random() < 0.15:
            turn = -turn
        heading += turn * draw.uniform(0.7, 1.25)
        step = radii[i - 1] + radii[i] + draw.uniform(*gap)
        points.append(points[-1] + step * np.array([np.cos(heading), np.sin(heading)]))
        headings.append(heading)
    path = np.array(points)
    return path - (path.max(0) + path.min(0)) / 2, np.array(headings)


def _apart(points: np.ndarray, radii: np.ndarray, gap: float) -> bool:
    between = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    room = between - radii[:, None] - radii[None] - gap
    i, j = np.triu_indices(len(radii), 2)
    return bool((room[i, j] > 0).all())


def _band(draw: np.random.Generator) -> Shape:
    """Return a ribbon of even width bent to a C, a U or (one in seven) an S."""
    width = draw.uniform(0.18, 0.235)
    span = np.radians(draw.uniform(180, 275))
    bend = draw.uniform(0.43, 0.52)
    steps = 11
    t = np.linspace(-0.5, 0.5, steps)
    if draw.random() < 0.12:
        path = np.stack([t * 1.3, draw.uniform(0.20, 0.28) * np.sin(2 * np.pi * t)], 1)
    else:
        path = _bow(t, span, bend, stretch=draw.uniform(0.95, 1.3))
    path += 0.03 * _wander(draw, steps)
    radii = width * (1 + 0.06 * _wander(draw, steps)[:, 0])
    radii *= 1 + 0.10 * (np.abs(t) * 2) ** 2
    return _ribbon(draw, path, radii, 0.03, reach=0.86)


def _kidney(draw: np.random.Generator) -> Shape:
    """Return a bean: a short thick bow whose dent is less than half of its width."""
    thick = draw.uniform(0.35, 0.42)
    span = np.radians(draw.uniform(95, 140))
    bend = draw.uniform(0.40, 0.50)
    t = np.linspace(-0.5, 0.5, 6)
    path = _bow(t, span, bend)
    radii = thick * (1 - 0.10 * np.cos(t * np.pi)) * (1 + 0.10 * draw.uniform(-1, 1) * t * 2)
    shape = _ribbon(draw, path, radii, 0.08, reach=0.92)
    return _moved(shape, draw.uniform(0, 2 * np.pi), draw.uniform(0.03, 0.14))


def _ribbon(
    draw: np.random.Generator, path: np.ndarray, radii: np.ndarray, blend: float, *, reach: float
) -> Shape:
    path = path - (path.max(0) + path.min(0)) / 2
    far = (np.hypot(*path.T) + radii).max()
    if far > reach:
        path = path * (reach - radii.mean()) / (far - radii.mean())
    angle = draw.uniform(0, 2 * np.pi)
    turned = path @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return lambda x, y: shapes.chain(x, y, turned, radii, blend)


def _monocyte(draw: np.random.Generator) -> Shape:
    """Return a large folded nucleus: a deep bow, or three broad lobes grown together."""
    if draw.random() < 0.6:
        thick = draw.uniform(0.33, 0.40)
        span = np.radians(draw.uniform(150, 235))
        bend = draw.uniform(0.36, 0.44)
        t = np.linspace(-0.5, 0.5, 8)
        path = _bow(t, span, bend) + 0.05 * _wander(draw, 8)
        radii = thick * (1 + 0.16 * _wander(draw, 8)[:, 0])
        bow = _ribbon(draw, path, radii, 0.06, reach=0.88)
        return _moved(bow, draw.uniform(0, 2 * np.pi), draw.uniform(0, 0.10))
    angles = draw.uniform(0, 2 * np.pi) + np.array([0, 2.1, 4.2]) + draw.normal(0, 0.25, 3)
    far = draw.uniform(0.24, 0.36, 3)
    radii = draw.uniform(0.38, 0.48, 3)

    def shape(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        middle = np.hypot(x, y) - np.float32(0.28)
        return _discs(x, y, middle, angles, far, radii, 0.03)

    return _moved(shape, draw.uniform(0, 2 * np.pi), draw.uniform(0, 0.12))


def _oval(
    size: tuple[float, float],
    aspect: tuple[float, float],
    aside: tuple[float, float],
    dent: float = 0.0,
) -> Callable[[np.random.Generator], Shape]:
    """Return a maker of round-oval nuclei; ``dent`` is the share that has a shallow dent."""

    def make(draw: np.random.Generator) -> Shape:
        radius, ratio = draw.uniform(*size), draw.uniform(*aspect)
        angle, way = draw.uniform(0, 2 * np.pi), draw.uniform(0, 2 * np.pi)
        dented = draw.random() < dent
        bite = draw.uniform(0.3, 0.5)
        depth = radius * draw.uniform(0.06, 0.16)

        def shape(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            u = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
            v = y * np.float32(np.cos(angle)) - x * np.float32(np.sin(angle))
            u, v = u * np.float32(np.sqrt(ratio)), v / np.float32(np.sqrt(ratio))
            whole = np.sqrt(u * u + v * v) - np.float32(radius)
            if dented:
                hole = np.hypot(u, v - np.float32(radius + bite - depth)) - np.float32(bite)
                whole = shapes.within(whole, -hole, 0.10)
            return whole

        return _moved(shape, way, draw.uniform(*aside))

    return make


def _basophil(draw: np.random.Generator) -> Shape:
    count = int(draw.choice([2, 3]))
    angles = draw.uniform(0, 2 * np.pi) + np.arange(count) * 2 * np.pi / count
    far = np.full(count, draw.uniform(0.26, 0.36))
    radii = draw.uniform(0.34, 0.42, count)

    def shape(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return _discs(x, y, np.full(x.shape, shapes.FAR), angles, far, radii, 0.12)

    return _moved(shape, draw.uniform(0, 2 * np.pi), draw.uniform(0, 0.15))


def _discs(
    x: np.ndarray,
    y: np.ndarray,
    whole: np.ndarray,
    angles: np.ndarray,
    far: np.ndarray,
    radii: np.ndarray,
    blend: float,
) -> np.ndarray:
    """Return ``whole`` grown together with discs about the origin."""
    for across, down, radius in zip(np.cos(angles) * far, np.sin(angles) * far, radii, strict=True):
        disc = np.hypot(x - across, y - down) - np.float32(radius)
        whole = shapes.union(whole, disc, blend)
    return whole


def _moved(shape: Shape, angle: float, by: float) -> Shape:
    dx, dy = np.float32(by * np.cos(angle)), np.float32(by * np.sin(angle))
    return lambda x, y: shape(x - dx, y - dy)


def _bow(t: np.ndarray, span: float, bend: float, stretch: float = 1.0) -> np.ndarray:
    """Return the points (K, 2) at ``t`` of an arc of ``span`` radians and radius ``bend``."""
    return np.stack([np.cos(t * span) * bend, np.sin(t * span) * bend * stretch], 1)


def _wander(draw: np.random.Generator, steps: int) -> np.ndarray:
    """Return a smooth random path (steps, 2) of about unit size."""
    knots = draw.standard_normal((4, 2))
    at = np.linspace(0, 3, steps)
    return np.stack([np.interp(at, np.arange(4), knots[:, i]) for i in (0, 1)], 1)


_SHAPES: dict[str, Callable[[np.random.Generator], Shape]] = {
    "BA": _basophil,
    "BNE": _band,
    "EO": _eosinophil,
    "ERB": _oval((0.46, 0.62), (0.9, 1.1), (0.0, 0.26)),
    "LY": _oval((0.74, 0.86), (0.84, 1.0), (0.06, 0.16), dent=0.35),
    "MMY": _kidney,
    "MO": _monocyte,
    "MY": _oval((0.62, 0.72), (0.76, 0.96), (0.16, 0.28)),
    "PMY": _oval((0.72, 0.82), (0.84, 1.0), (0.08, 0.18)),
    "SNE": _segmented,
}
