"""Red cells made whole: the outline of one that is hidden in part, and what is hidden of it.

The visible arc is carried on; what is hidden is taken from the cell's own visible rim and middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from naturalize.cells.segmentation import Cell
from naturalize.restoration import constants as tuned

#: Directions in which an outline's radius is known, one a degree.
ANGLES = 360


@dataclass(frozen=True, eq=False)
class Outline:
    """A closed outline, star-shaped about its centre."""

    #: x, y in the image.
    centre: tuple[float, float]
    #: Float32 (ANGLES,): in pixels, by direction in degrees from x towards y.
    radius: np.ndarray
    #: Share of the directions in which the outline is really seen.
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


def whole_outline(
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
    hidden, contact, near
        Bool (H, W): where nothing can be seen of it; where its edge is not its own, but that of
        what covers it; close to what covers it.
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
    free = seen & (to_others[y, x] > tuned.OWN_OUTLINE)
    if np.count_nonzero(seen) < 0.6 * typical:
        return None
    shape = _ellipse(points[free], typical) or _circle(points[free], typical)
    most = tuned.BUMP
    if shape is None:
        shape, most = _rounded(cell, hidden, points[seen], typical), 3 * tuned.BUMP
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
    correction = between * np.exp(-np.maximum(gap - 3, 0) / tuned.OUTLINE_FADE)
    wrapped = np.concatenate([correction[-6:], correction, correction[:6]])
    kernel = cv2.getGaussianKernel(13, 2.5).ravel()
    smooth = np.convolve(wrapped, kernel, mode="valid")
    covered = len(np.unique(degrees // 5)) / (ANGLES // 5)
    return Outline(centre, (radius * (1 + smooth)).astype(np.float32), covered)


@dataclass(frozen=True, eq=False)
class CompletedCell:
    """A red cell with its hidden part painted, in a window of the image."""

    #: The window, ``x0, y0, x1, y1``.
    box: tuple[int, int, int, int]
    #: Bool (h, w): the whole cell.
    inside: np.ndarray
    #: Float32 (h, w, 3); of use only where ``opacity`` is above 0.
    colours: np.ndarray
    #: Float32 (h, w): how much of it goes over the slide; 0 outside the hidden area.
    opacity: np.ndarray
    #: Share of its area that was hidden, 0–1.
    hidden: float


def completed(
    image: np.ndarray,
    light: np.ndarray,
    outline: Outline,
    hidden: np.ndarray,
    usable: np.ndarray,
) -> CompletedCell:
    """Paint the hidden part of a red cell.

    The cell is unrolled around its outline: one axis along it, one across it, counted from the rim.
    A hidden place takes the colour of a visible place at the same depth, mirrored at the end of
    what is visible, so that it goes on without a step; where the two ends meet they are blended.
    Each colour is one real, sharp pixel (cubic interpolation), in its own light.

    ``image`` and ``light``: float32 (H, W, 3), 0–255; ``hidden`` and ``usable``, bool (H, W): what
    is to be painted, and where this cell, or slide beside it, is really seen.
    """
    x0, y0, x1, y1 = box = outline.box(tuned.FADED + 1, hidden.shape)
    y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    dx, dy = x - outline.centre[0], y - outline.centre[1]
    degrees = np.rad2deg(np.arctan2(dy, dx)) % ANGLES
    edge = outline.radius_at(degrees)
    away = np.hypot(dx, dy)
    depth = edge - away
    inside = depth >= -0.5
    here = hidden[y0:y1, x0:x1]
    opacity = np.clip((depth + tuned.FADED) / (tuned.FADED - tuned.EDGE), 0, 1) * here
    share = float((inside & here).sum() / max(1, inside.sum()))
    colours = np.zeros((*inside.shape, 3), np.float32)
    where = opacity > 0
    if where.any():
        unrolled = _Unrolled(outline)
        row = unrolled.row(away[where], edge[where])
        colours[where] = _mirrored(image, light, unrolled, usable, degrees[where], row)
        colours[where] *= light[y0:y1, x0:x1][where]
    return CompletedCell(box, inside, colours, opacity.astype(np.float32), share)


class _Unrolled:
    """Coordinates of a cell: degrees along its outline, rows across it, 0 outermost."""

    def __init__(self, outline: Outline) -> None:
        self.outline = outline
        self.rim = tuned.RIM * float(outline.radius.min())
        self.core = max(2, int(np.ceil(float(outline.radius.max()) - self.rim)))
        self.rows = tuned.OUTER_ROWS + int(np.ceil(self.rim)) + self.core + 1

    def row(self, away: np.ndarray, edge: np.ndarray) -> np.ndarray:
        """Return the rows, float32, of places so far from the centre where the edge is so far."""
        depth = edge - away
        inner = (1 - away / (edge - self.rim)) * self.core
        return tuned.OUTER_ROWS + np.where(depth <= self.rim, depth, self.rim + inner)

    def place(self, degrees: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return x and y in the image, float32; the inverse of the above."""
        edge = self.outline.radius_at(degrees)
        depth = row - tuned.OUTER_ROWS
        inner = (edge - self.rim) * (1 - (depth - self.rim) / self.core)
        away = np.where(depth <= self.rim, edge - depth, inner)
        angle = np.deg2rad(degrees)
        x, y = self.outline.centre
        return (
            (x + away * np.cos(angle)).astype(np.float32),
            (y + away * np.sin(angle)).astype(np.float32),
        )

    def visible(self, usable: np.ndarray) -> np.ndarray:
        """Return bool (rows, ANGLES): which places can be seen."""
        row, degrees = np.mgrid[0 : self.rows, 0:ANGLES].astype(np.float32)
        x, y = (np.rint(v).astype(np.int32) for v in self.place(degrees, row))
        height, width = usable.shape
        within = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        return within & usable[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]


def _mirrored(
    image: np.ndarray,
    light: np.ndarray,
    unrolled: _Unrolled,
    usable: np.ndarray,
    degrees: np.ndarray,
    row: np.ndarray,
) -> np.ndarray:
    """Return transmittances float32 (n, 3) for hidden places, from visible ones in their rows."""
    visible = unrolled.visible(usable)
    filled = np.flatnonzero(visible.any(axis=1))
    if not len(filled):
        return np.ones((len(degrees), 3), np.float32)
    # a row of which nothing is seen borrows the nearest one's places
    nearest = filled[np.abs(np.arange(unrolled.rows)[:, None] - filled[None]).argmin(axis=1)]
    at_row = np.clip(np.rint(row).astype(np.int32), 0, unrolled.rows - 1)
    seen = np.asarray(visible.any(axis=1))
    source_row = np.where(seen[at_row], row, nearest[at_row])
    at_row = nearest[at_row]
    left, right = _ends(visible)
    column = np.floor(degrees).astype(np.int32) % ANGLES
    ends = left[at_row, column].astype(np.float32), right[at_row, column].astype(np.float32)
    gaps = np.maximum(degrees - ends[0], 0), np.maximum(ends[1] - degrees, 0)
    share = gaps[0] / np.maximum(gaps[0] + gaps[1], 1e-3)
    share = np.clip((share - 0.25) / 0.5, 0, 1)
    weights = [1 - share, share]
    total, found = np.zeros((2, len(degrees), 3), np.float32)
    for k, (end, gap, sign) in enumerate(zip(ends, gaps, (-1, 1), strict=True)):
        source = end + sign * gap
        ok = visible[at_row, np.rint(source).astype(np.int32) % ANGLES]
        source = np.where(ok, source, end)
        weight = (weights[k] * np.where(ok, 1, 0.1) + 1e-4)[:, None]
        found += weight * _let_through(image, light, *unrolled.place(source, source_row))
        total += weight
    return found / total


def _ends(visible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each place the nearest visible degree before and after it in its row.

    Int (rows, ANGLES); below 0 or above 359 where it is past the seam.
    """
    index = np.arange(3 * ANGLES)
    turns = np.tile(visible, 3)
    before = np.maximum.accumulate(np.where(turns, index, -ANGLES), axis=1)
    after = np.minimum.accumulate(np.where(turns, index, 4 * ANGLES)[:, ::-1], axis=1)[:, ::-1]
    middle = slice(ANGLES, 2 * ANGLES)
    return before[:, middle] - ANGLES, after[:, middle] - ANGLES


def _let_through(image: np.ndarray, light: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the share of the light that is let through at places, float32 (n, 3)."""
    # OpenCV's maps must be images: a column of n pixels may be longer than it takes
    side = int(np.ceil(len(x) ** 0.5))
    u, v = (np.resize(values, (side, side)) for values in (x, y))
    colour = cv2.remap(image, u, v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    bright = cv2.remap(light, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return (colour / np.maximum(bright, 1)).reshape(-1, 3)[: len(x)]
