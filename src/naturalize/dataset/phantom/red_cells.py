"""Red cells: where they lie, their outline, and how thick they are."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from naturalize.dataset.phantom import shapes
from naturalize.dataset.phantom.shapes import Window

#: Diameter in field pixels; the middle half of real ones is 70 to 81.
MEAN_RADIUS = 38.0


@dataclass(frozen=True)
class RedCell:
    """One red cell before it is painted: all its randomness is spent."""

    centre: tuple[float, float]
    radius: float
    harmonics: tuple[tuple[int, float, float], ...]
    pallor: float
    pallor_size: float
    pallor_shift: tuple[float, float]
    amount: float
    blueness: float


def draw_red_cells(
    draw: np.random.Generator,
    extent: tuple[float, float],
    target: tuple[float, float],
    target_radius: float,
) -> list[RedCell]:
    """Scatter red cells over a field of ``extent`` (width, height), round the target cell.

    How crowded the field is, how often cells overlap, their size, paleness and how far they
    depart from the disc is drawn once a field, as on a real slide.
    """
    width, height = extent
    density = draw.uniform(10, 26) / (360 * 363) * width * height
    overlap = draw.uniform(0, 0.4) ** 1.5
    mean = MEAN_RADIUS * draw.lognormal(0, 0.08)
    style = _Style(
        unevenness=draw.uniform(0.03, 0.11),
        wobble=draw.uniform(0.02, 0.075),
        crenated=draw.choice([0.0, 0.35], p=[0.94, 0.06]),
        pallor=float(np.clip(draw.normal(0.62, 0.28), 0.06, 0.97)),
        pallor_size=draw.uniform(0.38, 0.62),
    )
    cells: list[RedCell] = []
    for _ in range(int(density * 14)):
        if len(cells) >= density:
            break
        radius = mean * draw.lognormal(0, style.unevenness)
        reach = 0.75 * radius
        centre = (draw.uniform(-reach, width + reach), draw.uniform(-reach, height + reach))
        close = draw.uniform(0.45, 0.9) if draw.random() < overlap else 1.02
        others = [(other.centre, close * (radius + other.radius)) for other in cells]
        others.append((target, target_radius + 0.72 * radius))
        if all(np.hypot(centre[0] - x, centre[1] - y) >= least for (x, y), least in others):
            cells.append(_draw_cell(draw, centre, radius, style))
    return cells


@dataclass(frozen=True)
class _Style:
    unevenness: float
    wobble: float
    crenated: float
    pallor: float
    pallor_size: float


def _draw_cell(
    draw: np.random.Generator, centre: tuple[float, float], radius: float, style: _Style
) -> RedCell:
    phases = draw.uniform(0, 2 * np.pi, 6)
    sizes = np.abs(draw.normal(0, style.wobble, 4)) * (1.2, 0.55, 0.3, 0.18)
    harmonics = [(k + 2, float(sizes[k]), float(phases[k])) for k in range(4)]
    if draw.random() < style.crenated:
        harmonics.append((int(draw.integers(13, 20)), 0.035, float(phases[4])))
    shift = draw.normal(0, 0.05, 2) * radius
    return RedCell(
        centre=centre,
        radius=radius,
        harmonics=tuple(harmonics),
        pallor=float(np.clip(style.pallor * draw.lognormal(0, 0.25), 0, 0.97)),
        pallor_size=style.pallor_size * draw.lognormal(0, 0.12),
        pallor_shift=(float(shift[0]), float(shift[1])),
        amount=draw.lognormal(0, 0.07),
        blueness=float(max(0.0, draw.normal(-0.25, 0.25))),
    )


def distance(cell: RedCell, at: Window, target: np.ndarray, gap: float) -> np.ndarray:
    """Return the signed distance to the cell, squeezed aside by the target cell.

    ``target`` is the distance to the target cell over the same window; the red cell gives way
    until ``gap`` field pixels from it, its corners rounded, as a soft disc does.
    """
    plain = shapes.outline(at.x, at.y, cell.radius, cell.harmonics)
    if target.min() > gap + 10:
        return plain
    return shapes.within(plain, np.float32(gap) - target, 9.0)


def thickness(cell: RedCell, at: Window, inside: np.ndarray) -> np.ndarray:
    """Return the amount of haemoglobin over the window: 1 on the rim, less in the pale centre."""
    relative = 1 + inside / np.float32(cell.radius)
    dx, dy = (np.float32(v) for v in cell.pallor_shift)
    middle = np.sqrt((at.x - dx) ** 2 + (at.y - dy) ** 2) / np.float32(cell.radius)
    middle = np.maximum(middle, relative * np.float32(0.8))
    squared = (middle / np.float32(cell.pallor_size)) ** 2
    pale = cv2.exp(-squared * squared)
    rim = cv2.exp(-((inside / np.float32(0.09 * cell.radius)) ** 2))
    body = np.float32(0.96) + np.float32(0.10) * rim - np.float32(cell.pallor) * pale
    return shapes.coverage(inside, at.scale, 1.4) * np.float32(cell.amount) * body
