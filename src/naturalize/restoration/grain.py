"""The grain of the bare slide: real grain of the same image, copied block by block on its grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from naturalize.imaging.jpeg.codec import BLOCK

#: Displacements that are tried, at most.
_SHIFTS = 600

#: Blocks of bare slide below which it cannot be copied without showing that it was.
_FEW_BLOCKS = 4

#: Worth of a block that was copied before, against 1 of a fresh one.
_SEEN_TWICE = 0.1

#: Grain of an ordinary photograph, in grey levels, where none at all is seen.
_USUAL = 0.8


def copied(
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
    source
        Bool (H, W): where it is real grain of the slide and nothing else.
    target
        Bool (H, W): where grain is wanted.
    draw
        Chooses among displacements that are equally good, nearly.
    unit
        Side of the coding units, a multiple of 8.

    Returns
    -------
    grain
        Float32 (H, W, 3); 0 outside the target.
    invented
        Share of the target for which no whole block was found: noise of the same covariance and
        correlation length there.
    """
    grain = np.zeros_like(rest)
    wanted = _blocks(target, np.any)
    free = _blocks(source, np.all)
    if not wanted.any():
        return grain, 0.0
    if np.count_nonzero(free) < _FEW_BLOCKS:
        grain[target] = _noise(rest, source, draw)[target]
        return grain, 1.0
    index = np.full((*wanted.shape, 2), -1, np.int32)
    for dy, dx, gives in _displacements(wanted, free, draw, unit // BLOCK):
        index[gives] = np.argwhere(gives) + np.array([dy, dx])
    left = wanted & (index[..., 0] < 0)
    if left.any():
        blocks = _on_grid(np.argwhere(left), np.argwhere(free), draw, unit // BLOCK)
        index[left] = blocks
    padded = _padded(rest)
    for row, column in np.argwhere(wanted):
        y, x = row * BLOCK, column * BLOCK
        v, u = index[row, column] * BLOCK
        part = grain[y : y + BLOCK, x : x + BLOCK]
        part[:] = padded[v : v + BLOCK, u : u + BLOCK][: part.shape[0], : part.shape[1]]
    grain[~target] = 0
    return grain, 0.0


def _padded(rest: np.ndarray) -> np.ndarray:
    down, right = -rest.shape[0] % BLOCK, -rest.shape[1] % BLOCK
    return np.pad(rest, ((0, down), (0, right), (0, 0)))


def _blocks(
    mask: np.ndarray, of: Callable[..., np.ndarray], *, outside: bool = False
) -> np.ndarray:
    """Return bool (rows, columns): ``any`` or ``all`` of a mask's pixels, block by block."""
    down, right = -mask.shape[0] % BLOCK, -mask.shape[1] % BLOCK
    # past the edge there is nothing: a block that is cut is not whole
    padded = np.pad(mask, ((0, down), (0, right)))
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
    if len(shifts) > _SHIFTS:
        shifts = shifts[draw.choice(len(shifts), _SHIFTS, replace=False)]
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
        # what was copied before is worth little: a spot that is seen twice is told at once
        used = np.argwhere(serves) + places[best]
        _devalue(worth.reshape(-1, h, w), places, used)


def _devalue(worth: np.ndarray, places: np.ndarray, used: np.ndarray) -> None:
    """Lower the worth (n, h, w) of used blocks (m, 2) in every window, by its place (n, 2)."""
    within = used[None] - places[:, None]
    inside = ((within >= 0) & (within < worth.shape[1:])).all(axis=2)
    window, block = np.nonzero(inside)
    rows, columns = within[window, block].T
    worth[window, rows, columns] = np.minimum(worth[window, rows, columns], _SEEN_TWICE)


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
        return cv2.GaussianBlur(white, (0, 0), 0.6) * np.float32(_USUAL / 0.47)
    pairs = source[:, 1:] & source[:, :-1]
    a, b = rest[:, 1:][pairs], rest[:, :-1][pairs]
    alike = float((a * b).mean() / max(float((a * a).mean()), 1e-6)) if len(a) else 0.0
    # a Gaussian of sigma s makes neighbours correlate by exp(-1 / 4 s²)
    sigma = (-4 * np.log(np.clip(alike, 0.02, 0.9))) ** -0.5
    soft = cv2.GaussianBlur(white, (0, 0), float(sigma))
    soft = soft / np.float32(max(float(soft.std()), 1e-6))
    mixing = np.linalg.cholesky(np.cov(values.T) + 1e-3 * np.eye(3))
    return (soft @ mixing.T).astype(np.float32)
