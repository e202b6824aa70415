"""Red cells that lie over one another: two in one outline, the part that a neighbour takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import combinations

import cv2
import numpy as np

from naturalize.cells.segmentation import Cell
from naturalize.imaging.stain import optical_density

#: Least share of a cell's outline that is free, and least that lies against other red cells.
_FREE, _AGAINST = 0.4, 0.10

#: Mean distance of the free outline from the ellipse, in radii, for it to be believed.
_FITS = 0.05

#: Longest ellipse, and most that a cell may grow.
_LONGEST, _MOST = 1.9, 1.9

#: Least share of what is added that must lie on other red cells.
_UNDER = 0.85

#: An outline of so many times the area of the image's red cells may be of two; dents so deep count,
#: and the longest cut between two, in a red cell's radii; least share of its area that each part
#: has. Fewest whole red cells from which their area is taken. (Chosen on the same 120 PBC images
#: as what `group` gives: F1 of red cells 0.930 before, 0.936 after.)
_TWO, _DENT, _CUT, _PART, _ENOUGH = 1.3, 0.06, 2.2, 0.3, 3


#: An oval without dents is two discs where it holds so many times the dye of the image's red cells,
#: so many times as much on the same area, has so many times their area, and is so many times as
#: long as wide; and where the inner half of its width and length is no paler than this share of the
#: rest, as the middle of a single cell often is. (Chosen on 197 PBC images, none of them among
#: those that are measured, and the pale middle on fields of `fields/cbc`. On 196 other PBC images,
#: F1 of red cells is 0.940 before and 0.943 after, and of 0.34 cells too few an image 0.18 remain.)
_DYE, _DENSER, _LARGER, _OVAL, _PALE = 1.4, 1.05, 1.1, 1.25, 0.85


def parted(
    cells: list[Cell], image: np.ndarray, background: tuple[float, float, float]
) -> list[Cell]:
    """Return the cells with each red cell that is two in one outline cut in two.

    Where two discs overlap, their common outline has two dents that face each other; it is cut from
    one to the other (Bai et al., Pattern Recognition 42, 2009). Discs that lie farther over each
    other leave no dents but an oval, in which light is absorbed twice; it is cut across its middle.
    Without enough whole red cells nothing is known of their size, and nothing is cut.

    ``cells``: any; ``image``: RGB uint8 (H, W, 3); ``background``: colour of the bare slide, 0–255.
    """
    whole = [cell for cell in cells if cell.kind == "rbc" and not cell.touches(image.shape)]
    if len(whole) < _ENOUGH:
        return cells
    usual = float(np.median([cell.area for cell in whole]))

    def density(cell: Cell) -> np.ndarray:
        """Return the optical density of each pixel, the mean of the channels, float (n,)."""
        x0, y0, x1, y1 = cell.box
        return optical_density(image[y0:y1, x0:x1][cell.mask], background).mean(axis=1)

    @cache  # few images have an oval for which it is asked
    def dye() -> float:
        return float(np.median([density(cell).sum() for cell in whole]))

    out = []
    for cell in cells:
        times = cell.area / usual if cell.kind == "rbc" else 0.0
        parts = _halves(cell, usual) if times >= _TWO else [cell]
        if len(parts) == 1 and times >= _LARGER and not cell.touches(image.shape):
            parts = _stacked(cell, times, density, dye)
        out += parts
    return out


def _stacked(
    cell: Cell,
    times: float,
    density_of: Callable[[Cell], np.ndarray],
    dye: Callable[[], float],
) -> list[Cell]:
    """Return the two halves of an oval in which light is absorbed twice, or the cell itself.

    ``times``: how many times a red cell's area it has; ``dye``: what a red cell's densities sum to.
    """
    points = np.argwhere(cell.mask) - np.mean(np.nonzero(cell.mask), axis=1)
    _, axes = np.linalg.eigh(points.T @ points)
    across, along = (points @ axes).T
    if np.ptp(along) + 1 < _OVAL * (np.ptp(across) + 1):
        return [cell]
    density = density_of(cell)
    if density.sum() < max(_DYE, _DENSER * times) * dye():
        return [cell]
    along, across = (x - (x.min() + x.max()) / 2 for x in (along, across))
    inner = (np.abs(along) < np.ptp(along) / 4) & (np.abs(across) < np.ptp(across) / 4)
    if np.median(density[inner]) < _PALE * np.median(density[~inner]):
        return [cell]
    far = np.zeros(cell.mask.shape, bool)
    far[cell.mask] = along > 0
    corner = (cell.box[0], cell.box[1])
    halves = (far, cell.mask & ~far)
    return [Cell.from_mask("rbc", half, score=cell.score, offset=corner) for half in halves]


def _halves(cell: Cell, usual: float) -> list[Cell]:
    """Return the parts of one cell, or itself; ``usual``: area of a red cell."""
    radius = float(np.sqrt(usual / np.pi))
    found, _ = cv2.findContours(
        cell.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    line = max(found, key=len).reshape(-1, 2)
    hull = cv2.convexHull(line, returnPoints=False)
    hull[::-1].sort(axis=0)  # equal places of the outline may come out of order
    dents = cv2.convexityDefects(line, hull)
    if dents is None:
        return [cell]
    # start, end and deepest point of each dent, and its depth in 256ths of a pixel
    deep = [(d[3] / 256, line[d[2]]) for d in dents.reshape(-1, 4) if d[3] / 256 > _DENT * radius]
    cuts = [
        (float(np.hypot(*(a - b))) / min(p, q), a, b)
        for (p, a), (q, b) in combinations(sorted(deep, key=lambda d: -d[0])[:4], 2)
        if np.hypot(*(a - b)) <= _CUT * radius
    ]
    if not cuts:
        return [cell]
    _, a, b = min(cuts, key=lambda cut: cut[0])
    apart = cell.mask.astype(np.uint8)
    cv2.line(apart, a.tolist(), b.tolist(), 0)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(apart, connectivity=4)
    parts = [k for k in range(1, len(stats)) if stats[k, cv2.CC_STAT_AREA] >= _PART * usual]
    if len(parts) != 2:
        return [cell]
    corner = (cell.box[0], cell.box[1])
    return [Cell.from_mask("rbc", labels == k, score=cell.score, offset=corner) for k in parts]


def completed(cells: list[Cell], shape: tuple[int, int]) -> list[Cell]:
    """Return the cells with each overlapping red cell whole, in the same order.

    Blood films are translucent: where two red cells overlap, both are there. The network assigns
    such pixels to one of them; the outline that is free shows the rest of the disc. An ellipse
    through it is taken where it fits, and where what it adds lies on other red cells, not on the
    slide.

    ``cells``: masks do not overlap; ``shape``: height and width of the image.
    """
    owner = np.zeros(shape, np.int32)
    red = np.zeros(shape, np.uint8)
    for number, cell in enumerate(cells, 1):
        x0, y0, x1, y1 = cell.box
        owner[y0:y1, x0:x1][cell.mask] = number
        if cell.kind == "rbc":
            red[y0:y1, x0:x1][cell.mask] = 1
    return [
        _whole(cell, number, owner, red) if cell.kind == "rbc" else cell
        for number, cell in enumerate(cells, 1)
    ]


def _whole(cell: Cell, number: int, owner: np.ndarray, red: np.ndarray) -> Cell:
    height, width = owner.shape
    reach = max(cell.mask.shape) // 2 + 4
    x0, y0 = max(cell.box[0] - reach, 0), max(cell.box[1] - reach, 0)
    x1, y1 = min(cell.box[2] + reach, width), min(cell.box[3] + reach, height)
    around, mine = owner[y0:y1, x0:x1], owner[y0:y1, x0:x1] == number
    free, against = _outline(mine, around, red[y0:y1, x0:x1], (x0, y0), (height, width))
    n = len(free) + against
    if len(free) < max(12, _FREE * n) or against < _AGAINST * n:
        return cell
    ellipse = cv2.fitEllipseDirect(free.astype(np.float32))
    (_, axes, _) = ellipse
    if not np.isfinite(axes).all() or min(axes) <= 1 or max(axes) > _LONGEST * min(axes):
        return cell
    if _residual(free, ellipse) > _FITS:
        return cell
    disc = np.zeros(mine.shape, np.uint8)
    cv2.ellipse(disc, ellipse, 1, cv2.FILLED)
    added = disc.astype(bool) & ~mine
    others = red[y0:y1, x0:x1].astype(bool) & ~mine
    if np.count_nonzero(added & others) < _UNDER * np.count_nonzero(added):
        return cell
    mask = mine | (added & others)
    if np.count_nonzero(mask) > _MOST * cell.area:
        return cell
    return Cell.from_mask("rbc", mask, score=cell.score, offset=(x0, y0))


def _outline(
    mine: np.ndarray,
    around: np.ndarray,
    red: np.ndarray,
    corner: tuple[int, int],
    shape: tuple[int, int],
) -> tuple[np.ndarray, int]:
    """Return the free outline, int (n, 2) as x, y, and how many points lie against red cells."""
    found, _ = cv2.findContours(mine.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = max(found, key=len)[:, 0]
    others = ((around > 0) & ~mine).astype(np.uint8)
    kernel = np.ones((7, 7), np.uint8)
    by_cell = cv2.dilate(others, kernel)[points[:, 1], points[:, 0]] > 0
    by_red = cv2.dilate(others & red, kernel)[points[:, 1], points[:, 0]] > 0
    x, y = points[:, 0] + corner[0], points[:, 1] + corner[1]
    at_edge = (x < 2) | (y < 2) | (x >= shape[1] - 2) | (y >= shape[0] - 2)
    return points[~by_cell & ~at_edge], int(np.count_nonzero(by_red & ~at_edge))


def _residual(points: np.ndarray, ellipse: tuple) -> float:
    """Return the mean distance of points from an ellipse, in its own (scaled) radii."""
    (x, y), (wide, high), angle = ellipse
    radians = np.deg2rad(angle)
    dx, dy = points[:, 0] - x, points[:, 1] - y
    along = (dx * np.cos(radians) + dy * np.sin(radians)) / (wide / 2)
    across = (-dx * np.sin(radians) + dy * np.cos(radians)) / (high / 2)
    return float(np.abs(np.hypot(along, across) - 1).mean())
