"""The JPEG history of decoded pixels: which codec they came through, and sending others after them.

A JPEG leaves its grid in the pixels: in every 8 × 8 block most fine coefficients are exactly zero
and the others are multiples of a step. Pixels that were made up show none of it, which a network
sees at once, however right they look. So made-up blocks go through the codec of their image.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from naturalize.base.images import decode_image

#: Side of the blocks that JPEG transforms.
BLOCK = 8

#: Qualities of the Independent JPEG Group's scale that are looked for; above these the steps are
#: too fine to be told from rounding, and to matter.
_QUALITIES = range(40, 96)

#: Standard deviation of the rounding of three channels, in a coefficient of luminance.
_ROUNDING = 0.4

#: Low frequencies (row, column) whose steps are looked at.
_FREQUENCIES = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (2, 1), (1, 2), (2, 2), (0, 3), (3, 0))

#: Blocks that are looked at, at most.
_BLOCKS = 400

#: Log likelihood a coefficient by which a quality must beat pixels that were never coded.
_MARGIN = 0.35

#: Annex K of ITU-T T.81: steps of luminance and of chroma at quality 50, for those frequencies.
_LUMINANCE = np.array([11, 12, 12, 10, 14, 13, 14, 16, 16, 14])
_CHROMA = np.array([18, 18, 21, 24, 24, 26, 26, 56, 47, 47])


@dataclass(frozen=True)
class Codec:
    """A baseline JPEG codec: ``quality`` on the IJG scale, ``subsampling`` 4:4:4 or 4:2:0."""

    quality: int
    subsampling: str

    @property
    def unit(self) -> int:
        """Side in pixels of what is coded together: 8, or 16 with subsampled chroma."""
        return BLOCK if self.subsampling == "4:4:4" else 2 * BLOCK

    def __str__(self) -> str:
        """Return it as text, such as ``75 4:4:4``."""
        return f"{self.quality} {self.subsampling}"

    @classmethod
    def parse(cls, text: str) -> Codec:
        """Return the codec of its text."""
        quality, subsampling = text.split()
        return cls(int(quality), subsampling)


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
    gains = {quality: _gain(y, _steps(_LUMINANCE, quality)) for quality in _QUALITIES}
    # neighbours on the scale can have the same steps: then the rounder number
    quality = max(gains, key=lambda q: (round(gains[q], 3), q % 5 == 0))
    if gains[quality] < _MARGIN:
        return None
    steps = _steps(_CHROMA, quality)
    full = _gain(cb, steps) + _gain(cr, steps)
    return Codec(quality, "4:4:4" if full > 2 * _MARGIN else "4:2:0")


def _coefficients(image: np.ndarray) -> np.ndarray | None:
    """Return coefficients float (3, n blocks, frequencies) of blocks without clipped values."""
    height, width = (n // BLOCK * BLOCK for n in image.shape[:2])
    blocks = image[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3)
    blocks = blocks.transpose(0, 2, 1, 3, 4).reshape(-1, BLOCK, BLOCK, 3)
    low, high = blocks.min(axis=(1, 2, 3)), blocks.max(axis=(1, 2, 3))
    # flat blocks say nothing
    blocks = blocks[(low > 0) & (high < 255) & (high - low > 8)]
    if len(blocks) < 40:
        return None
    blocks = blocks[:: -(-len(blocks) // _BLOCKS)].reshape(-1, BLOCK * BLOCK, 3)
    r, g, b = np.moveaxis(blocks.astype(np.float32), -1, 0)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return np.stack([y, 0.564 * (b - y), 0.713 * (r - y)]) @ _waves()


@lru_cache(maxsize=1)
def _waves() -> np.ndarray:
    """Return the cosines of the frequencies that are looked at, float32 (64, k), orthonormal."""
    n = np.arange(BLOCK)
    cosines = np.cos(np.pi / BLOCK * (n[:, None] + 0.5) * n[None]) * (2 / BLOCK) ** 0.5
    cosines[:, 0] /= 2**0.5
    waves = [np.outer(cosines[:, i], cosines[:, j]).ravel() for i, j in _FREQUENCIES]
    return np.stack(waves, axis=1).astype(np.float32)


def _steps(base: np.ndarray, quality: int) -> np.ndarray:
    """Return the steps of an IJG quality (``jpeg_quality_scaling`` of libjpeg)."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((base * scale + 50) // 100, 1, 255)


def _gain(values: np.ndarray, steps: np.ndarray) -> float:
    """Return the mean log likelihood ratio of quantised against continuous coefficients (n, k)."""
    told = np.abs(values) > 0.6 * steps
    if np.count_nonzero(told) < 60:
        return 0.0
    step = np.broadcast_to(steps, values.shape)[told].astype(np.float32)
    error = values[told] - step * np.rint(values[told] / step)
    peak = (
        step / np.float32((2 * np.pi) ** 0.5 * _ROUNDING) * np.exp(-0.5 * (error / _ROUNDING) ** 2)
    )
    return float(np.log(0.95 * peak + 0.05).mean())


def recoded(image: np.ndarray, changed: np.ndarray, codec: Codec | None) -> np.ndarray:
    """Return an image whose changed blocks went through a codec, like the rest of it before.

    Parameters
    ----------
    image
        RGB uint8 (H, W, 3), the pixels that are not changed as the codec left them.
    changed
        Bool (H, W).
    codec
        Of the image; ``None`` returns it as it is.

    Returns
    -------
    numpy.ndarray
        RGB uint8 (H, W, 3). Only coding units that hold a changed pixel differ, and with
        subsampled chroma the pixels next to these, into which a decoder smooths it.
    """
    from PIL import Image

    if codec is None or not changed.any():
        return image
    import cv2

    buffer = io.BytesIO()
    Image.fromarray(image).save(
        buffer, format="jpeg", quality=codec.quality, subsampling=codec.subsampling
    )
    decoded = decode_image(buffer.getvalue(), name="restored image")[0]
    units = units_of(changed, codec.unit)
    if codec.unit > BLOCK:
        units = cv2.dilate(units.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.where(units[..., None], decoded, image)


def units_of(mask: np.ndarray, unit: int) -> np.ndarray:
    """Return bool (H, W): the whole coding units that hold a pixel of a bool (H, W) mask."""
    height, width = mask.shape
    rows, columns = -(-height // unit), -(-width // unit)
    padded = np.zeros((rows * unit, columns * unit), bool)
    padded[:height, :width] = mask
    any_of = padded.reshape(rows, unit, columns, unit).any(axis=(1, 3))
    return np.kron(any_of, np.ones((unit, unit), bool))[:height, :width]
