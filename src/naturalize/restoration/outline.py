"""The outline of a red cell that another cell covers in part: its visible arc, carried on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from naturalize.cells.segmentation import Cell

#: Directions in which an outline's radius is known, one a degree.
ANGLES = 360

#: Least distance in pixels from other cells at which an outline is a cell's own.
_OWN = 2.5

#: Share of its radius by which an outline may stand out beside what covers it.
_BUMP = 0.06

#: Degrees over which an outline goes from what is seen over to what was fitted.
_FADE = 20.0


@dataclass(frozen=True, eq=False)
class Outline:
    """A closed outline, star-shaped about its centre.

    Attributes
    ----------
    centre
        x, y in the image.
    radius
        Float32 (ANGLES,): in pixels, by direction in degrees from x towards y.
    seen
        Share of the directions in which the outline is really seen.
    """

    centre: tuple[float, float]
    radius: np.ndarray
    seen: float

    def radius_at(self, degrees: np.ndarray) -> np.ndarray:
        """Return the radius in any directions, float32 like ``degrees``."""
        low = np.floor(degrees).astype(np.int32)
        share = (degrees - low).astype(np.float32)
        low %= ANGLES
        return self.radius[low] * (1 - share) + self.radius[(low + 1) % ANGLES] * share

    def inside(self, shape: tuple[int, int], *, margin: float = -0.5) -> np.ndarray:
        """Return what lies ``margin`` pixels or more inside of it, bool (H, W)."""
        whole = np.zeros(shape, bool)
        x0, y0, x1, y1 = self.box(max(1.0, -margin), shape)
        y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)
        dx, dy = x - self.centre[0], y - self.centre[1]
        edge = self.radius_at(np.rad2deg(np.arctan2(dy, dx)) % ANGLES)
        whole[y0:y1, x0:x1] = edge - np.hypot(dx, dy) >= margin
        return whole

    def box(self, margin: float, shape: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return the box ``x0, y0, x1, y1`` around it, cut to an image (height, width)."""
        reach = float(self.radius.max()) + margin
        x, y = self.centre
        x0, y0 = max(int(x - reach), 0), max(int(y - reach), 0)
        return x0, y0, min(int(x + reach) + 2, shape[1]), min(int(y + reach) + 2, shape[0])


def typical_radius(cells: Sequence[Cell], shape: tuple[int, int]) -> float:
    """Return the radius of the image's red cells: of the median whole one, else of the largest."""
    whole = [cell.area for cell in cells if not cell.touches(shape)]
    if len(whole) >= 2:
        return float((np.median(whole) / np.pi) ** 0.5)
    largest = max((cell.area for cell in cells), default=0)
    return float((largest / np.pi) ** 0.5) if largest else min(shape) / 9.6


def carried_on(
    cell: Cell,
    hidden: np.ndarray,
    contact: np.ndarray,
    near: np.ndarray,
    to_others: np.ndarray,
    typical: float,
) -> Outline | None:
    """Return the whole outline of a red cell; ``None`` where too little of it is seen.

    An ellipse is fitted to the arc that neither hides nor lies against another cell (Fitzgibbon,
    Pilu & Fisher, IEEE PAMI 21:476, 1999), a circle to a short arc; where neither is likely for a
    red cell of this image, the visible part is rounded off. What is seen stays as it is seen.

    Parameters
    ----------
    cell
        Its visible part, or more.
    hidden
        Bool (H, W): where nothing can be seen of it.
    contact
        Bool (H, W): where its edge is not its own, but that of what covers it.
    near
        Bool (H, W): close to what covers it.
    to_others
        Float32 (H, W): distance to the other cells.
    typical
        Radius of a red cell of this image, in pixels.
    """
    points = _points(cell)
    x, y = points.T
    height, width = hidden.shape
    inner = (x > 0) & (y > 0) & (x < width - 1) & (y < height - 1)
    seen = inner & ~contact[y, x]
    free = seen & (to_others[y, x] > _OWN)
    if np.count_nonzero(seen) < 0.6 * typical:
        return None
    shape = _ellipse(points[free], typical) or _circle(points[free], typical)
    most = _BUMP
    if shape is None:
        shape, most = _rounded(cell, hidden, points[seen], typical), 3 * _BUMP
    if shape is None:
        return None
    degrees, away = _polar(points, shape[0])
    # beside what goes, a bump is a piece of that; a dent may well be the cell's own
    bump = near[y, x] & (away > (1 + most) * shape[1][degrees])
    if np.count_nonzero(seen & ~bump) < 0.6 * typical:
        return None
    return _followed(points[seen & ~bump].astype(np.float64), *shape)


def _points(cell: Cell) -> np.ndarray:
    """Return the outline's pixels, int (n, 2), x and y in the image."""
    found, _ = cv2.findContours(
        cell.mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=cell.box[:2]
    )
    return max(found, key=len)[:, 0, :]


_Shape = tuple[tuple[float, float], np.ndarray]


def _ellipse(points: np.ndarray, typical: float) -> _Shape | None:
    """Return centre and radii of the ellipse through an arc, if it could be a red cell."""
    if len(points) < 12:
        return None
    (cx, cy), (w, h), turn = cv2.fitEllipseDirect(points.astype(np.float32))
    a, b = w / 2, h / 2
    if not (np.isfinite([cx, cy, a, b]).all() and min(a, b) > 0.45 * typical):
        return None
    if max(a, b) > 1.65 * min(a, b) or not 0.6 * typical < (a * b) ** 0.5 < 1.45 * typical:
        return None
    angle = np.deg2rad(np.arange(ANGLES) - turn)
    radius = a * b / np.hypot(b * np.cos(angle), a * np.sin(angle))
    off, covered = _misfit(points, (cx, cy), radius)
    return ((cx, cy), radius) if off < 0.07 * typical and covered > 0.4 else None


def _circle(points: np.ndarray, typical: float) -> _Shape | None:
    """Return centre and radii of the circle through an arc (Kåsa, 1976), if it could be one."""
    if len(points) < 0.6 * typical:
        return None
    middle = points.mean(axis=0)
    p = points - middle
    system = np.column_stack([2 * p, np.ones(len(p))])
    fit, *_ = np.linalg.lstsq(system, (p**2).sum(axis=1), rcond=None)
    r = float(max(fit[2] + fit[0] ** 2 + fit[1] ** 2, 0) ** 0.5)
    if not 0.65 * typical < r < 1.35 * typical:
        return None
    centre = (float(middle[0] + fit[0]), float(middle[1] + fit[1]))
    radius = np.full(ANGLES, r)
    off, covered = _misfit(points, centre, radius)
    return (centre, radius) if off < 0.1 * typical and covered > 0.22 else None


def _rounded(cell: Cell, hidden: np.ndarray, points: np.ndarray, typical: float) -> _Shape | None:
    """Return the middle of the visible part and its mean radius, if most of a cell is visible."""
    x0, y0, x1, y1 = cell.box
    visible = cell.mask & ~hidden[y0:y1, x0:x1]
    if np.count_nonzero(visible) < 0.5 * np.pi * typical**2:
        return None
    rows, columns = np.nonzero(visible)
    centre = (float(columns.mean()) + x0, float(rows.mean()) + y0)
    away = np.hypot(*(points - centre).T)
    return centre, np.full(ANGLES, float(np.median(away)))


def _polar(points: np.ndarray, centre: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the directions in whole degrees and the distances of points (n, 2)."""
    dx, dy = (points - centre).T
    degrees = np.rint(np.rad2deg(np.arctan2(dy, dx))).astype(int) % ANGLES
    return degrees, np.hypot(dx, dy)


def _misfit(
    points: np.ndarray, centre: tuple[float, float], radius: np.ndarray
) -> tuple[float, float]:
    """Return the rms distance of points from a shape, and the share of directions with points."""
    degrees, away = _polar(points, centre)
    covered = len(np.unique(degrees // 5)) / (ANGLES // 5)
    return float(np.sqrt(np.mean((away - radius[degrees]) ** 2))), covered


def _followed(points: np.ndarray, centre: tuple[float, float], radius: np.ndarray) -> Outline:
    """Return a shape drawn through the points that are seen, as it is where none are."""
    degrees, away = _polar(points, centre)
    n = np.bincount(degrees, minlength=ANGLES)
    ratio = np.bincount(degrees, away / radius[degrees] - 1, minlength=ANGLES) / np.maximum(n, 1)
    known = np.flatnonzero(n)
    turns = np.concatenate([known - ANGLES, known, known + ANGLES])
    values = np.tile(np.clip(ratio[known], -0.4, 0.4), 3)
    every = np.arange(ANGLES)
    between = np.interp(every, turns, values)
    right = np.searchsorted(turns, every)
    gap = np.minimum(turns[right] - every, every - turns[np.maximum(right - 1, 0)])
    gap[known] = 0
    correction = between * np.exp(-np.maximum(gap - 3, 0) / _FADE)
    wrapped = np.concatenate([correction[-6:], correction, correction[:6]])
    kernel = cv2.getGaussianKernel(13, 2.5).ravel()
    smooth = np.convolve(wrapped, kernel, mode="valid")
    covered = len(np.unique(degrees // 5)) / (ANGLES // 5)
    return Outline(centre, (radius * (1 + smooth)).astype(np.float32), covered)
