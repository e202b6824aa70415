"""Baseline JPEG (ITU-T T.81): codecs, their steps, pixels ↔ cosine coefficients of blocks."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

#: Side of the blocks that JPEG transforms.
BLOCK = 8

#: Coefficients and pixels are held to these parts of a level before they are rounded: sums of
#: floats differ in their last digits between machines, and must not decide.
_PARTS = np.float32(256)

#: RGB to luma, blue and red chroma around 0 (ITU-R BT.601, as JFIF has it), and back.
_LUMA_CHROMA = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
_RGB = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], np.float32)

#: Rows that are multiplied at a time: with 64 of them OpenBLAS may begin to use threads.
_ROWS = 32

#: Least value of each plane.
_LOW = np.array([0, -128, -128], np.float32)[:, None]


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


def tiles(image: np.ndarray) -> np.ndarray:
    """Return the blocks of (H, W, C), whole ones only: a view (rows, columns, 8, 8, C)."""
    rows, columns = image.shape[0] // BLOCK, image.shape[1] // BLOCK
    cut = image[: rows * BLOCK, : columns * BLOCK]
    return cut.reshape(rows, BLOCK, columns, BLOCK, image.shape[2]).transpose(0, 2, 1, 3, 4)


def coefficients(image: np.ndarray) -> np.ndarray:
    """Return the coefficients of RGB (H, W, 3), float32 (3 planes, blocks, 64); see `of_blocks`."""
    return of_blocks(tiles(image))


def of_blocks(blocks: np.ndarray) -> np.ndarray:
    """Return the coefficients of RGB blocks (..., 8, 8, 3), float32 (3 planes, blocks, 64).

    Planes are whole numbers first, if the pixels are, as an encoder has them.
    """
    pixels = np.ascontiguousarray(blocks.reshape(-1, 3).T, np.float32)
    planes = _held(_product(_LUMA_CHROMA, pixels))
    if blocks.dtype == np.uint8:
        np.rint(planes, out=planes)
    planes[0] -= 128
    found = _product(planes.reshape(-1, BLOCK * BLOCK), waves().T)
    return _held(found).reshape(3, -1, BLOCK * BLOCK)


def quantised(found: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Return coefficients rounded to multiples of ``step``, halves away from zero."""
    return np.trunc(found / step + np.copysign(np.float32(0.5), found)) * step


def blocks_of(found: np.ndarray, *, whole: bool = True) -> np.ndarray:
    """Return the RGB blocks, float32 (blocks, 8, 8, 3), of coefficients (3, blocks, 64).

    ``whole``: as a decoder does it, planes rounded and clipped before they become colours.
    """
    seen = _held(_product(found.reshape(-1, BLOCK * BLOCK), waves())).reshape(3, -1)
    if whole:
        np.rint(seen, out=seen)
    seen[0] += 128
    if whole:
        np.clip(seen, _LOW, _LOW + 255, out=seen)
    return _held(_product(_RGB, seen)).T.reshape(-1, BLOCK, BLOCK, 3)


def pixels_of(found: np.ndarray, shape: tuple[int, int], *, whole: bool = True) -> np.ndarray:
    """Return RGB float32 (H, W, 3) of whole blocks from its coefficients; see `blocks_of`."""
    height, width = shape
    laid = blocks_of(found, whole=whole).reshape(height // BLOCK, width // BLOCK, BLOCK, BLOCK, 3)
    return laid.transpose(0, 2, 1, 3, 4).reshape(height, width, 3)


@lru_cache(maxsize=64)
def steps(quality: int) -> np.ndarray:
    """Return the steps of luma, blue and red chroma at an IJG quality, float32 (3, 64)."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (BLOCK, BLOCK)).save(buffer, "jpeg", quality=quality)
    with Image.open(io.BytesIO(buffer.getvalue())) as opened:
        tables = opened.quantization  # type: ignore[attr-defined]
    return np.array([tables[0], tables[1], tables[1]], np.float32)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a matrix product, a few rows at a time.

    For larger ones libraries of linear algebra, OpenCV's too, wake threads, which then wait
    spinning for the next one: twice the work.
    """
    out = np.empty((a.shape[0], b.shape[1]), np.float32)
    for start in range(0, len(a), _ROWS):
        part = slice(start, start + _ROWS)
        np.matmul(a[part], b, out=out[part])
    return out


def _held(values: np.ndarray) -> np.ndarray:
    """Round what was just computed to parts of a level, in place."""
    values *= _PARTS
    np.rint(values, out=values)
    values *= 1 / _PARTS  # a power of two: exact
    return values


@lru_cache(maxsize=1)
def waves() -> np.ndarray:
    """Return the orthonormal cosines of a block, float32 (64 frequencies, 64 pixels)."""
    k, x = np.mgrid[:BLOCK, :BLOCK]
    cosine = np.cos(np.pi * (2 * x + 1) * k / (2 * BLOCK)) * (2 / BLOCK) ** 0.5
    cosine[0] /= 2**0.5
    return np.kron(cosine, cosine).astype(np.float32)
