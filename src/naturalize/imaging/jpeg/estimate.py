"""Which JPEG codec decoded pixels came through last.

A JPEG leaves its grid in the pixels: in every 8 × 8 block most fine coefficients are exactly zero
and the others are multiples of a step.
"""

from __future__ import annotations

import numpy as np

from naturalize.imaging.jpeg.codec import BLOCK, Codec, steps, tiles, waves

#: Qualities of the Independent JPEG Group's scale that are looked for; above these the steps are
#: too fine to be distinguished from rounding, and to matter.
_QUALITIES = range(40, 96)

#: Standard deviation of the rounding of three channels, in a coefficient of luminance.
_ROUNDING = 0.4

#: Low frequencies whose steps are looked at: 8 × row + column.
_FREQUENCIES = [1, 8, 9, 2, 16, 17, 10, 18, 3, 24]

#: Blocks that are looked at, at most.
_BLOCKS = 400

#: Log likelihood a coefficient by which a quality must beat pixels that were never coded.
_MARGIN = 0.35


def estimate(image: np.ndarray) -> Codec | None:
    """Return the codec that RGB uint8 (H, W, 3) was last decoded from; ``None`` if none is seen.

    The likelihood of each quality's steps given the coefficients of luminance, against pixels that
    were never quantised (after Fan & de Queiroz, IEEE TIP 12:230, 2003). The grid must begin at
    the first pixel. Chroma is 4:4:4 if its own steps are seen on the 8 × 8 grid.
    """
    planes = _coefficients(image)
    if planes is None:
        return None
    y, cb, cr = planes
    gains = {quality: _gain(y, _steps(quality, 0)) for quality in _QUALITIES}
    # neighbours on the scale can have the same steps: then the rounder number
    quality = max(gains, key=lambda q: (round(gains[q], 3), q % 5 == 0))
    if gains[quality] < _MARGIN:
        return None
    full = _gain(cb, _steps(quality, 1)) + _gain(cr, _steps(quality, 2))
    return Codec(quality, "4:4:4" if full > 2 * _MARGIN else "4:2:0")


def _coefficients(image: np.ndarray) -> np.ndarray | None:
    """Return coefficients float (3, n blocks, frequencies) of blocks without clipped values."""
    blocks = tiles(image).reshape(-1, BLOCK, BLOCK, 3)
    low, high = blocks.min(axis=(1, 2, 3)), blocks.max(axis=(1, 2, 3))
    # flat blocks say nothing
    blocks = blocks[(low > 0) & (high < 255) & (high - low > 8)]
    if len(blocks) < 40:
        return None
    blocks = blocks[:: -(-len(blocks) // _BLOCKS)].reshape(-1, BLOCK * BLOCK, 3)
    r, g, b = np.moveaxis(blocks.astype(np.float32), -1, 0)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return np.stack([y, 0.564 * (b - y), 0.713 * (r - y)]) @ waves()[_FREQUENCIES].T


def _steps(quality: int, plane: int) -> np.ndarray:
    return steps(quality)[plane, _FREQUENCIES].astype(np.int64)


def _gain(values: np.ndarray, steps: np.ndarray) -> float:
    """Return the mean log likelihood ratio of quantised against continuous coefficients (n, k)."""
    certain = np.abs(values) > 0.6 * steps
    if np.count_nonzero(certain) < 60:
        return 0.0
    step = np.broadcast_to(steps, values.shape)[certain].astype(np.float32)
    error = values[certain] - step * np.rint(values[certain] / step)
    peak = (
        step / np.float32((2 * np.pi) ** 0.5 * _ROUNDING) * np.exp(-0.5 * (error / _ROUNDING) ** 2)
    )
    return float(np.log(0.95 * peak + 0.05).mean())
