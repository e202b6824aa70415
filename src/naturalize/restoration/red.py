"""Red cells made whole: what is hidden of one is taken from its own visible rim and middle."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from naturalize.restoration.outline import ANGLES, Outline

#: Pixels outside the outline that belong to the cell: its blurred edge. Fades over the outer three.
_EDGE, _FADED = 2.0, 5.0

#: Rows of the unrolled cell outside its outline.
_OUTER = 6

#: Share of the radius that is measured from the rim; further in, from the middle.
_RIM = 0.7


@dataclass(frozen=True, eq=False)
class Whole:
    """A red cell with its hidden part painted, in a window of the image.

    Attributes
    ----------
    box
        The window, ``x0, y0, x1, y1``.
    inside
        Bool (h, w): the whole cell.
    colours
        Float32 (h, w, 3); of use only where ``opacity`` is above 0.
    opacity
        Float32 (h, w): how much of it goes over the slide; 0 outside the hidden area.
    hidden
        Share of its area that was hidden, 0–1.
    """

    box: tuple[int, int, int, int]
    inside: np.ndarray
    colours: np.ndarray
    opacity: np.ndarray
    hidden: float


def made_whole(
    image: np.ndarray,
    light: np.ndarray,
    outline: Outline,
    hidden: np.ndarray,
    usable: np.ndarray,
) -> Whole:
    """Paint the hidden part of a red cell.

    The cell is unrolled around its outline: one axis along it, one across it, counted from the rim.
    A hidden place takes the colour of a visible place at the same depth, mirrored at the end of
    what is visible, so that it goes on without a step; where the two ends meet they are blended.
    Each colour is one real, sharp pixel (cubic interpolation), in its own light.

    Parameters
    ----------
    image
        Float32 (H, W, 3), 0–255.
    light
        Float32 (H, W, 3): see :func:`illumination`.
    outline
        Of the whole cell.
    hidden
        Bool (H, W): what is to be painted.
    usable
        Bool (H, W): where this cell, or slide beside it, is really seen.
    """
    x0, y0, x1, y1 = box = outline.box(_FADED + 1, hidden.shape)
    y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    dx, dy = x - outline.centre[0], y - outline.centre[1]
    degrees = np.rad2deg(np.arctan2(dy, dx)) % ANGLES
    edge = outline.radius_at(degrees)
    away = np.hypot(dx, dy)
    depth = edge - away
    inside = depth >= -0.5
    here = hidden[y0:y1, x0:x1]
    opacity = np.clip((depth + _FADED) / (_FADED - _EDGE), 0, 1) * here
    share = float((inside & here).sum() / max(1, inside.sum()))
    colours = np.zeros((*inside.shape, 3), np.float32)
    where = opacity > 0
    if where.any():
        unrolled = _Unrolled(outline)
        row = unrolled.row(away[where], edge[where])
        colours[where] = _mirrored(image, light, unrolled, usable, degrees[where], row)
        colours[where] *= light[y0:y1, x0:x1][where]
    return Whole(box, inside, colours, opacity.astype(np.float32), share)


class _Unrolled:
    """Coordinates of a cell: degrees along its outline, rows across it, 0 outermost."""

    def __init__(self, outline: Outline) -> None:
        self.outline = outline
        self.rim = _RIM * float(outline.radius.min())
        self.core = max(2, int(np.ceil(float(outline.radius.max()) - self.rim)))
        self.rows = _OUTER + int(np.ceil(self.rim)) + self.core + 1

    def row(self, away: np.ndarray, edge: np.ndarray) -> np.ndarray:
        """Return the rows, float32, of places so far from the centre where the edge is so far."""
        depth = edge - away
        inner = (1 - away / (edge - self.rim)) * self.core
        return _OUTER + np.where(depth <= self.rim, depth, self.rim + inner)

    def place(self, degrees: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return x and y in the image, float32; the inverse of the above."""
        edge = self.outline.radius_at(degrees)
        depth = row - _OUTER
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
        found += weight * _seen(image, light, *unrolled.place(source, source_row))
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


def _seen(image: np.ndarray, light: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the share of the light that is let through at places, float32 (n, 3)."""
    # OpenCV's maps must be images: a column of n pixels may be longer than it takes
    side = int(np.ceil(len(x) ** 0.5))
    u, v = (np.resize(values, (side, side)) for values in (x, y))
    colour = cv2.remap(image, u, v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    bright = cv2.remap(light, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return (colour / np.maximum(bright, 1)).reshape(-1, 3)[: len(x)]
