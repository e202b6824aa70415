"""Pixels of more than 8 bits, and TIFF files that Pillow does not read: to RGB of 8 bits.

Which number is white? What the file says (bits per sample, ``SMaxSampleValue``, ``sBIT``), where
that is less than its container holds; else the full range of the smallest usual bit depth (8, 10,
12, 14, 16) that holds the largest number of the image. Floats up to 1 have white at 1. Negative
numbers are black.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

#: Depths of camera data, in bits.
DEPTHS = (8, 10, 12, 14, 16)

#: TIFF tags: the largest number that is stored, for unsigned and for any numbers.
_MAX_SAMPLE, _S_MAX_SAMPLE, _SAMPLES, _ORIENTATION = 281, 341, 277, 274

#: TIFF: the extra samples that are an alpha channel; meanings of the numbers (tag 262).
_ALPHA = (1, 2)
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _CMYK, _YCBCR, _CIELAB, _ICCLAB = (
    0, 1, 2, 3, 5, 6, 8, 9,
)  # fmt: skip


@dataclass(frozen=True)
class Samples:
    """Numbers of an image as they are stored, upright or not.

    ``values`` has shape (H, W, C), C = 1 (grey), 3 (RGB) or, with ``alpha`` as last channel, one
    more. ``bits`` is what a number takes in the file, ``stated`` the bits that the file says its
    numbers need (``None``: it does not say).
    """

    values: np.ndarray
    bits: int
    stated: int | None = None
    alpha: bool = False
    inverted: bool = False
    pages: int = 1
    orientation: int = 1


def is_tiff(data: bytes) -> bool:
    """Return whether the bytes begin as a TIFF or BigTIFF file does."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_deep_png(data: bytes) -> bool:
    """Return whether the bytes are a PNG file of 16 bits a sample."""
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and data[24:25] == b"\x10"


def tiff_samples(data: bytes, max_pixels: int) -> Samples:
    """Read the first image of a TIFF file; its three channels where they are pages of their own.

    ``ValueError`` if it is damaged, compressed in a way that cannot be read, or too large.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        if page.imagewidth * page.imagelength > max_pixels:
            raise ValueError(f"too large: {page.imagewidth} × {page.imagelength} pixels")
        series, n_pages = file.series[0], len(file.pages)
        if series.axes == "CYX" and series.shape[0] in (3, 4):  # ImageJ and OME: a page a channel
            values = np.moveaxis(np.stack([file.pages[i].asarray() for i in range(3)]), 0, 2)
            alpha, n_pages = False, max(1, n_pages // series.shape[0])
        else:
            values, alpha = _page(data, page)
            values = _of_colour_model(values, page)
        tags = page.tags
        top = _number(tags, _S_MAX_SAMPLE) or _number(tags, _MAX_SAMPLE)
        bits = int(page.bitspersample)
        return Samples(
            values=values,
            bits=bits,
            stated=_stated(values, bits, top),
            alpha=alpha,
            inverted=page.photometric == _MIN_IS_WHITE,
            pages=n_pages,
            orientation=int(_number(tags, _ORIENTATION) or 1),
        )


def _page(data: bytes, page: Any) -> tuple[np.ndarray, bool]:
    """Return a page as (H, W, C) with C of :class:`Samples`, and whether the last one is alpha."""
    try:
        values = np.asarray(page.asarray())
        axes = page.axes
    except (ValueError, RuntimeError) as error:  # tifffile alone reads no LZW and no packed bits
        decoded = _by_opencv(data)
        if decoded is None:  # damaged: errors of imagecodecs, where it is installed, are its own
            raise ValueError(str(error)) from error
        if page.photometric not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _YCBCR):
            raise ValueError("colours other than grey and RGB, in a compression not read") from None
        values = decoded
        if (empty := 8 * values.dtype.itemsize - int(page.bitspersample)) > 0:
            values = values >> empty  # OpenCV puts packed bits at the upper end
        axes = "YX" if values.ndim == 2 else "YXS"
    if axes == "SYX":
        values = np.moveaxis(values, 0, 2)
    elif axes == "YX":
        values = values[:, :, None]
    elif axes != "YXS":
        raise ValueError(f"axes {axes} are no picture")
    extra = [int(kind) for kind in page.extrasamples]
    colours = 3 if values.shape[2] >= 3 else 1
    if page.photometric == _CMYK:
        colours = 4
    alpha = values.shape[2] > colours and len(extra) > 0 and extra[0] in _ALPHA
    return values[:, :, : colours + alpha], alpha


def _of_colour_model(values: np.ndarray, page: Any) -> np.ndarray:
    """Return grey and RGB numbers as they are, those of other colour models as RGB uint8.

    TIFF 6.0, sections 5, 16 and 23; ICCLab (a and b from 0, not signed) by Adobe's supplement 1.
    ``ValueError`` for a model that is not converted, such as raw mosaics of cameras.
    """
    model, whole = int(page.photometric), 8 * values.dtype.itemsize
    if model in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB):
        return values
    if model == _YCBCR and int(page.compression) in (6, 7):  # the JPEG decoder gives RGB
        return values
    if model == _PALETTE and page.colormap is not None:
        colours = np.asarray(page.colormap)[:, values[:, :, 0]]  # (3, H, W), 16 bits
        return np.moveaxis(np.rint(colours / 257).astype(np.uint8), 0, 2)
    if values.dtype.kind == "u" and model == _CMYK:
        return _by_pillow("CMYK", np.rint(values / ((2**whole - 1) / 255)))
    if values.dtype.kind == "u" and model in (_CIELAB, _ICCLAB):
        lab = values / 2 ** (whole - 8)
        if model == _CIELAB:  # L up to the largest number; a and b signed
            lab[:, :, 0] = values[:, :, 0] / ((2**whole - 1) / 255)
            lab[:, :, 1:] -= 256 * (lab[:, :, 1:] >= 128)
        else:
            lab[:, :, 1:] -= 128
        lab[:, :, 1:] = np.clip(np.rint(lab[:, :, 1:]), -128, 127) % 256
        return _by_pillow("LAB", np.rint(lab))
    name = getattr(page.photometric, "name", model)
    raise ValueError(f"its colours are stored as {name}, which is not converted")


def _by_pillow(mode: str, values: np.ndarray) -> np.ndarray:
    """Return bytes of a colour model, as Pillow stores it, as RGB uint8."""
    size = values.shape[1], values.shape[0]
    image = Image.frombytes(mode, size, np.ascontiguousarray(values.astype(np.uint8)).tobytes())
    return np.asarray(image.convert("RGB"))


def png_samples(data: bytes) -> Samples:
    """Read a PNG file of 16 bits a sample."""
    values = _by_opencv(data)
    if values is None:
        raise ValueError("damaged PNG file")
    values = values[:, :, None] if values.ndim == 2 else values
    return Samples(values, 16, _png_bits(data), alpha=values.shape[2] in (2, 4))


def _by_opencv(data: bytes) -> np.ndarray | None:
    """Return an image as OpenCV reads it, its colours in the order R, G, B."""
    import cv2

    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is not None and values.ndim == 3 and values.shape[2] >= 3:
        values = values[:, :, [2, 1, 0, *range(3, values.shape[2])]]
    return values


def _png_bits(data: bytes) -> int | None:
    """Return the significant bits that the chunk ``sBIT`` states."""
    at = 8
    while at + 8 <= len(data):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if name == b"sBIT":
            return max(data[at + 8 : at + 8 + length], default=16)
        if name in (b"IDAT", b"IEND"):
            return None
        at += 12 + length
    return None


def _number(tags: Any, code: int) -> float | None:
    value = tags.valueof(code)
    if isinstance(value, tuple):
        value = max(value, default=None)
    return float(value) if isinstance(value, (int, float)) else None


def _stated(values: np.ndarray, bits: int, top: float | None) -> int | None:
    """Return the bits that a file states: packed samples, or a largest value that holds all."""
    if values.dtype.kind not in "ui":
        return None
    if bits < 8 * values.dtype.itemsize:
        return bits
    if top is None or top < values.max(initial=0) or top >= 2**bits - 1 or top < 2:
        return None
    return math.ceil(math.log2(top + 1))


def to_rgb(samples: Samples) -> tuple[np.ndarray, int]:
    """Return RGB uint8 (H, W, 3), and the bits of which white is the largest number.

    The bits are 0 where floats are between 0 and 1.

    Examples
    --------
    >>> to_rgb(Samples(np.array([[[0], [2048], [4095]]], np.uint16), 16))[0][0, :, 0].tolist()
    [0, 128, 255]
    """
    values = samples.values
    if values.dtype == bool:
        values = values.astype(np.uint8) * 255
    colours = values[:, :, : values.shape[2] - samples.alpha]
    depth = samples.stated or depth_of(colours)
    white = float(2**depth - 1) if depth else 1.0
    scaled = np.nan_to_num(colours.astype(np.float32), posinf=white) / np.float32(white)
    if samples.inverted:
        scaled = 1 - scaled
    if samples.alpha:
        opaque = float(2**samples.bits - 1) if values.dtype.kind in "ui" else 1.0
        alpha = np.clip(values[:, :, -1:].astype(np.float32) / np.float32(opaque), 0, 1)
        scaled = scaled * alpha + (1 - alpha)
    eight = np.clip(np.rint(scaled * 255), 0, 255).astype(np.uint8)
    return np.repeat(eight, 3, axis=2) if eight.shape[2] == 1 else eight, depth


def depth_of(values: np.ndarray) -> int:
    """Return the bits of the usual depth that holds the largest number; 0 for floats up to 1."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    top = float(finite.max(initial=0))
    if values.dtype.kind == "f" and top < 2:  # a little above 1: overshoot of a filter
        return 0
    return next((bits for bits in DEPTHS if top < 2**bits), math.ceil(math.log2(top + 1)))


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Return (H, W, C) as it is displayed, for an EXIF or TIFF orientation of 1 to 8."""
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)
