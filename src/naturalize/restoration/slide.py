"""The bare slide: its light under the cells, the fringe around them, and its grain."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from naturalize.base.statistics import robust_spread
from naturalize.imaging.jpeg.codec import BLOCK
from naturalize.restoration import constants as tuned
from naturalize.restoration.constants import FRINGE
from naturalize.restoration.masks import away_from


def illumination(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the light of the bare slide at every pixel, cells or not.

    A quadratic surface is fitted to the bare pixels by iteratively reweighted least squares
    (Tukey's biweight, so that debris does not count), its curvature held back where little slide is
    seen; what remains is smoothed over the bare pixels and fades out under large cells. Without any
    bare pixel the field is flat, as bright as the brightest twentieth of the image. Takes RGB uint8
    (H, W, 3) and where cells are, bool (H, W); gives float32 (H, W, 3), 0–255.
    """
    height, width = image.shape[:2]
    step = max(1, min(height, width) // tuned.SAMPLES)
    rows, columns = np.arange(step // 2, height, step), np.arange(step // 2, width, step)
    seen = image[np.ix_(rows, columns)].astype(np.float32)
    bare = _bare(seen, away_from(mask)[np.ix_(rows, columns)])
    if not bare.any():
        bright = image[..., 1] >= np.quantile(image[..., 1], 0.95)
        colour = np.median(image[bright], axis=0).astype(np.float32)
        return np.broadcast_to(colour, image.shape).copy()
    field, weight = _surface(seen, bare)
    reach = max(1.0, tuned.LOCAL * min(seen.shape[:2]))
    rest = cv2.GaussianBlur((seen - field) * weight[..., None], (0, 0), reach)
    share = cv2.GaussianBlur(weight, (0, 0), reach)
    field += rest / (share + 0.05)[..., None]
    return np.clip(_enlarged(field, step, (height, width)), 0, 255)


def _bare(seen: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return which samples show the bare slide."""
    enough = min(tuned.ENOUGH_SLIDE, distance.size // 50)
    for margin in tuned.MARGINS:
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
    # slopes cost a little, bends more: few bare pixels must not decide about a far corner
    cost = np.diag([0, 0.002, 0.002, 0.02, 0.02, 0.02]) * len(points)
    weight = np.ones(len(points))
    for _ in range(4):
        normal = points.T @ (points * weight[:, None]) + cost
        fit = np.linalg.solve(normal, points.T @ (values * weight[:, None]))
        error = np.abs(values - points @ fit).max(axis=1)
        limit = tuned.BIWEIGHT * max(robust_spread(error, 0), 1.0)
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

    Blur, colour fringes of the lens and the camera's sharpening: the median of ``rest``, image −
    illumination, float32 (H, W, 3), over the bare pixels ``where``, bool (H, W), at each
    ``distance`` to the nearest cell, float32 (H, W). Gives float32 (FRINGE + 1, 3): at distances 0,
    1, …; fades to 0 at the last.
    """
    found = np.zeros((FRINGE + 1, 3), np.float32)
    near = np.flatnonzero(where & (distance < FRINGE + 0.5))
    near = near[:: max(1, len(near) // tuned.FRINGE_PIXELS)]
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


def copied_grain(
    rest: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    draw: np.random.Generator,
    *,
    unit: int = BLOCK,
) -> tuple[np.ndarray, float]:
    """Return grain for a target: what the image is without its smooth part, from elsewhere.

    Whole blocks of 8 × 8 pixels are copied from places that lie a multiple of ``unit`` away, so
    that they keep their place on the grid of the image's codec. Few large displacements do most of
    it (as in He & Sun, Statistics of patch offsets for image completion, ECCV 2012), so that what
    is next to each other stays so, and the grain keeps its covariance and autocorrelation.

    Parameters
    ----------
    rest
        Float32 (H, W, 3): image − smooth part.
    source, target
        Bool (H, W): where that is real grain of the slide and nothing else; where grain is wanted.
    draw
        Chooses among displacements that are equally good, nearly.
    unit
        Side of the coding units, a multiple of 8.

    Returns
    -------
    tuple
        Grain, float32 (H, W, 3), 0 outside the target; share of the target for which no whole block
        was found: noise of the same covariance and correlation length there.
    """
    grain = np.zeros_like(rest)
    wanted = _blocks(target, np.any)
    free = _blocks(source, np.all)
    if not wanted.any():
        return grain, 0.0
    if np.count_nonzero(free) < tuned.FEW_BLOCKS:
        grain[target] = _noise(rest, source, draw)[target]
        return grain, 1.0
    index = np.full((*wanted.shape, 2), -1, np.int32)
    for dy, dx, gives in _displacements(wanted, free, draw, unit // BLOCK):
        index[gives] = np.argwhere(gives) + np.array([dy, dx])
    left = wanted & (index[..., 0] < 0)
    if left.any():
        blocks = _on_grid(np.argwhere(left), np.argwhere(free), draw, unit // BLOCK)
        index[left] = blocks
    padded = np.pad(rest, (*_to_whole_blocks(rest), (0, 0)))
    for row, column in np.argwhere(wanted):
        y, x = row * BLOCK, column * BLOCK
        v, u = index[row, column] * BLOCK
        part = grain[y : y + BLOCK, x : x + BLOCK]
        part[:] = padded[v : v + BLOCK, u : u + BLOCK][: part.shape[0], : part.shape[1]]
    grain[~target] = 0
    return grain, 0.0


def _to_whole_blocks(values: np.ndarray) -> tuple[tuple[int, int], ...]:
    return (0, -values.shape[0] % BLOCK), (0, -values.shape[1] % BLOCK)


def _blocks(mask: np.ndarray, of: Callable[..., np.ndarray]) -> np.ndarray:
    """Return bool (rows, columns): ``any`` or ``all`` of a mask's pixels, block by block."""
    # past the edge there is nothing: a block that is cut is not whole
    padded = np.pad(mask, _to_whole_blocks(mask))
    shape = (padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK)
    return of(padded.reshape(shape), axis=(1, 3))


def _displacements(
    wanted: np.ndarray, free: np.ndarray, draw: np.random.Generator, stride: int
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield displacements in blocks, and which wanted blocks each serves; no block twice."""
    rows, columns = np.flatnonzero(wanted.any(axis=1)), np.flatnonzero(wanted.any(axis=0))
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    want = wanted[y0:y1, x0:x1].copy()
    h, w = want.shape
    wide = np.pad(free, ((h, h), (w, w)))
    down = _multiples(-y1 + 1, free.shape[0] - y0 - 1, stride)
    across = _multiples(-x1 + 1, free.shape[1] - x0 - 1, stride)
    shifts = np.array([(dy, dx) for dy in down for dx in across if dy or dx])
    if len(shifts) > tuned.SHIFTS:
        shifts = shifts[draw.choice(len(shifts), tuned.SHIFTS, replace=False)]
    windows = np.lib.stride_tricks.sliding_window_view(wide, (h, w))
    liking = draw.uniform(0.85, 1.0, len(shifts))
    places = np.stack([y0 + shifts[:, 0] + h, x0 + shifts[:, 1] + w], axis=1)
    worth = windows[places[:, 0], places[:, 1]].astype(np.float32).reshape(len(shifts), -1)
    while want.any():
        worths = worth @ want.ravel().astype(np.float32)
        best = int((worths * liking).argmax())
        dy, dx = (int(n) for n in shifts[best])
        serves = wide[places[best, 0] :, places[best, 1] :][:h, :w] & want
        if not serves.any():
            return
        whole = np.zeros_like(wanted)
        whole[y0:y1, x0:x1] = serves
        yield dy, dx, whole
        want &= ~serves
        # what was copied before is worth little: a spot that is seen twice is noticed at once
        used = np.argwhere(serves) + places[best]
        _devalue(worth.reshape(-1, h, w), places, used)


def _devalue(worth: np.ndarray, places: np.ndarray, used: np.ndarray) -> None:
    """Lower the worth (n, h, w) of used blocks (m, 2) in every window, by its place (n, 2)."""
    within = used[None] - places[:, None]
    inside = ((within >= 0) & (within < worth.shape[1:])).all(axis=2)
    window, block = np.nonzero(inside)
    rows, columns = within[window, block].T
    worth[window, rows, columns] = np.minimum(worth[window, rows, columns], tuned.SEEN_TWICE)


def _multiples(low: int, high: int, stride: int) -> np.ndarray:
    first = -(-low // stride) * stride
    return np.arange(first, high + 1, stride)


def _on_grid(
    wanted: np.ndarray, free: np.ndarray, draw: np.random.Generator, stride: int
) -> np.ndarray:
    """Return for each wanted block (n, 2) any free one (m, 2) of the same place in its unit."""
    chosen = np.empty_like(wanted)
    for i, block in enumerate(wanted):
        same = free[((free - block) % stride == 0).all(axis=1)]
        pool = same if len(same) else free
        chosen[i] = pool[draw.integers(len(pool))]
    return chosen


def _noise(rest: np.ndarray, source: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Return Gaussian noise (H, W, 3) with the covariance and lag-1 correlation of the source."""
    values = rest[source]
    white = draw.standard_normal(rest.shape, dtype=np.float32)
    if len(values) < 50:
        return cv2.GaussianBlur(white, (0, 0), 0.6) * np.float32(tuned.USUAL_GRAIN / 0.47)
    pairs = source[:, 1:] & source[:, :-1]
    a, b = rest[:, 1:][pairs], rest[:, :-1][pairs]
    alike = float((a * b).mean() / max(float((a * a).mean()), 1e-6)) if len(a) else 0.0
    # a Gaussian of sigma s makes neighbours correlate by exp(-1 / 4 s²)
    sigma = (-4 * np.log(np.clip(alike, 0.02, 0.9))) ** -0.5
    soft = cv2.GaussianBlur(white, (0, 0), float(sigma))
    soft = soft / np.float32(max(float(soft.std()), 1e-6))
    mixing = np.linalg.cholesky(np.cov(values.T) + 1e-3 * np.eye(3))
    return (soft @ mixing.T).astype(np.float32)
