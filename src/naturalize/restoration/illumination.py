"""The light of the bare slide: a smooth field under the cells, and the fringe around them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from naturalize.base.statistics import robust_spread
from naturalize.cells.segmentation import Cell, Segmentation

#: Pixels around cells that are left out, the widest first: optics blur a cell's edge that far.
_MARGINS = (10, 6, 3, 1)

#: Pixels of bare slide that a field is fitted to, if a narrower margin leaves so many.
_ENOUGH = 400

#: Samples along the shorter side of the image: the field is smooth, more would tell no more.
_SAMPLES = 120

#: Reach of the local correction, as a share of the shorter side.
_LOCAL = 0.07

#: Pixels by which fringes are measured, at most.
_RIMS = 12_000

#: Distances from a cell, in pixels, at which its fringe is measured.
FRINGE = 14


def largest(values: np.ndarray) -> np.ndarray:
    """Return the largest of three channels, (H, W) of (H, W, 3)."""
    return np.maximum(np.maximum(values[..., 0], values[..., 1]), values[..., 2])


def covered(shape: tuple[int, int], cells: Sequence[Cell]) -> np.ndarray:
    """Return where cells are, bool (H, W)."""
    mask = np.zeros(shape, bool)
    for cell in cells:
        x0, y0, x1, y1 = cell.box
        mask[y0:y1, x0:x1] |= cell.mask
    return mask


def away_from(mask: np.ndarray) -> np.ndarray:
    """Return each pixel's distance to a bool (H, W) mask, float32; far away where it is empty."""
    if not mask.any():
        return np.full(mask.shape, 1e4, np.float32)
    return cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)


def illumination(
    image: np.ndarray, cells: Segmentation | Sequence[Cell] | np.ndarray
) -> np.ndarray:
    """Return the light of the bare slide at every pixel, cells or not.

    A quadratic surface is fitted to the bare pixels by iteratively reweighted least squares
    (Tukey's biweight, so that debris does not count), its curvature held back where little slide is
    seen; what remains is smoothed over the bare pixels and fades out under large cells. Without any
    bare pixel the field is flat, as bright as the brightest twentieth of the image.

    Parameters
    ----------
    image
        RGB uint8 (H, W, 3).
    cells
        All cells of the image, or a bool (H, W) mask of where they are.

    Returns
    -------
    numpy.ndarray
        Float32 (H, W, 3), 0–255.
    """
    height, width = image.shape[:2]
    if isinstance(cells, Segmentation):
        cells = cells.cells
    mask = cells if isinstance(cells, np.ndarray) else covered((height, width), cells)
    step = max(1, min(height, width) // _SAMPLES)
    rows, columns = np.arange(step // 2, height, step), np.arange(step // 2, width, step)
    seen = image[np.ix_(rows, columns)].astype(np.float32)
    bare = _bare(seen, away_from(mask)[np.ix_(rows, columns)])
    if not bare.any():
        bright = image[..., 1] >= np.quantile(image[..., 1], 0.95)
        colour = np.median(image[bright], axis=0).astype(np.float32)
        return np.broadcast_to(colour, image.shape).copy()
    field, weight = _surface(seen, bare)
    reach = max(1.0, _LOCAL * min(seen.shape[:2]))
    rest = cv2.GaussianBlur((seen - field) * weight[..., None], (0, 0), reach)
    share = cv2.GaussianBlur(weight, (0, 0), reach)
    field += rest / (share + 0.05)[..., None]
    return np.clip(_enlarged(field, step, (height, width)), 0, 255)


def _bare(seen: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return which samples show the bare slide."""
    enough = min(_ENOUGH, distance.size // 50)
    for margin in _MARGINS:
        bare = distance > margin
        if np.count_nonzero(bare) >= max(enough, 1):
            break
    if not bare.any():
        return bare
    # what nobody outlined is no slide either: a stain, or a cell that was overlooked
    green = seen[..., 1]
    middle = np.median(green[bare])
    spread = robust_spread(green[bare])
    return bare & (np.abs(green - middle) <= 4 * spread + 8)


def _surface(seen: np.ndarray, bare: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the quadratic surface float32 (h, w, 3) and each sample's weight float32 (h, w)."""
    height, width = bare.shape
    y, x = np.mgrid[0:height, 0:width]
    y, x = 2 * (y + 0.5) / height - 1, 2 * (x + 0.5) / width - 1
    basis = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)
    points, values = basis[bare], seen[bare].astype(np.float64)
    # slopes cost a little, bends more: few bare pixels shall not tell a tale of the far corner
    cost = np.diag([0, 0.002, 0.002, 0.02, 0.02, 0.02]) * len(points)
    weight = np.ones(len(points))
    for _ in range(4):
        normal = points.T @ (points * weight[:, None]) + cost
        fit = np.linalg.solve(normal, points.T @ (values * weight[:, None]))
        error = np.abs(values - points @ fit).max(axis=1)
        limit = 4.685 * max(robust_spread(error, 0), 1.0)
        weight = np.clip(1 - (error / limit) ** 2, 0, 1) ** 2 + 1e-9
    weights = np.zeros(bare.shape, np.float32)
    weights[bare] = weight
    return (basis @ fit).astype(np.float32), weights


def _enlarged(field: np.ndarray, step: int, shape: tuple[int, int]) -> np.ndarray:
    """Return samples taken every ``step`` pixels, from ``step // 2`` on, at every pixel."""
    if step == 1:
        return field
    rows, columns = (
        ((np.arange(n) - step // 2) / step).astype(np.float32) for n in (shape[0], shape[1])
    )
    return cv2.remap(
        field, *np.meshgrid(columns, rows), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def fringe(rest: np.ndarray, distance: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return how cells colour the slide around them, by distance.

    Blur, colour fringes of the lens and the camera's sharpening: the median of what is left of the
    image when the light is taken away.

    Parameters
    ----------
    rest
        Float32 (H, W, 3): image − illumination.
    distance
        Float32 (H, W): to the nearest cell.
    where
        Bool (H, W): bare pixels that count.

    Returns
    -------
    numpy.ndarray
        Float32 (FRINGE + 1, 3): at distances 0, 1, …; fades to 0 at the last.
    """
    found = np.zeros((FRINGE + 1, 3), np.float32)
    near = np.flatnonzero(where & (distance < FRINGE + 0.5))
    near = near[:: max(1, len(near) // _RIMS)]
    index, values = np.rint(distance.ravel()[near]).astype(int), rest.reshape(-1, 3)[near]
    for d in range(FRINGE, 0, -1):
        ring = values[index == d]
        found[d] = np.median(ring, axis=0) if len(ring) >= 30 else found[min(d + 1, FRINGE)]
    found[0] = found[1]
    fade = np.clip((FRINGE - np.arange(FRINGE + 1)) / 5, 0, 1)
    return found * fade[:, None].astype(np.float32)


def fringe_at(profile: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return a fringe at every pixel, float32 (H, W, 3), of its profile and the distances."""
    steps = np.arange(16 * FRINGE + 1) / 16
    table = [np.interp(steps, np.arange(FRINGE + 1), profile[:, c]) for c in range(3)]
    index = (np.minimum(distance, FRINGE) * 16).astype(np.int32)
    return np.stack(table, axis=1).astype(np.float32)[index]
