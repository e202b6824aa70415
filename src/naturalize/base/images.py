"""The one reader and the one writer of images: RGB uint8 (H, W, 3) inside, all else at the edge."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from naturalize.base import deep
from naturalize.base.artifacts import write_bytes
from naturalize.base.errors import ImageReadError, SettingsError

#: Suffixes that are taken for images; compared in lower case.
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".jpe", ".jfif"}
)

#: Larger images are refused as a likely mistake or a decompression bomb.
MAX_PIXELS = 120_000_000

#: What decoders raise at a damaged file.
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, NotImplementedError, zlib.error,
    struct.error,
)  # fmt: skip

_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "F")
_ORIENTATION, _WIDTH, _HEIGHT, _BITS, _SAMPLE_FORMAT = 274, 256, 257, 258, 339  # TIFF tags


@dataclass(frozen=True)
class ImageFacts:
    """What a file says about itself, and how its numbers became pixels.

    Sizes are in pixels, as displayed (after rotation). ``bits`` is what a sample takes in the file,
    ``depth`` the bits that were taken to reach from black to white (0: floats up to 1), ``stated``
    whether the file says so, ``pages`` the number of images in the file (the first is read).
    """

    width: int
    height: int
    mode: str
    format: str
    encoder: str
    exif_rotated: bool
    bits: int = 8
    depth: int = 8
    stated: bool = True
    pages: int = 1

    @property
    def flags(self) -> list[str]:
        """What is unusual about the file, such as ``cmyk``, ``deep`` or ``exif_rotated``."""
        unusual = {
            "exif_rotated": self.exif_rotated,
            "not_rgb": self.mode != "RGB",
            "cmyk": self.mode == "CMYK",
            "palette": self.mode in ("P", "PA"),
            "grey": self.mode in ("1", "L", "LA", *_DEEP_MODES),
            "alpha": self.mode in ("RGBA", "LA", "PA"),
            "deep": self.bits > 8,
            "rescaled": self.bits > 8 and not self.stated and self.depth not in (0, self.bits),
            "pages": self.pages > 1,
        }
        return [name for name, is_so in unusual.items() if is_so]


def content_hash(data: bytes) -> str:
    """Return 16 hex digits naming ``data``: the image id of a file's bytes."""
    return hashlib.sha256(data).hexdigest()[:16]


def pixel_hash(image: np.ndarray) -> str:
    """Return 16 hex digits naming the pixels of ``image``, whatever file held them."""
    shape = repr(image.shape).encode()
    return hashlib.sha256(shape + np.ascontiguousarray(image).tobytes()).hexdigest()[:16]


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file of any usual kind as RGB, uint8, shape (H, W, 3).

    It is upright. Grey, palette, CMYK and LAB images are converted, numbers of more than 8 bits as
    :mod:`naturalize.base.deep` says; transparency is laid over white. Of several pages the first is
    read. ``ImageReadError`` if the file is missing, empty, truncated, no image, or has more than
    ``MAX_PIXELS`` pixels.
    """
    return decode_image(read_bytes(path), name=path)[0]


def read_bytes(path: str | Path) -> bytes:
    """Return the bytes of the file at ``path``; ``ImageReadError`` if it is missing or empty."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror)
        raise ImageReadError(path, reason) from error
    if not data:
        raise ImageReadError(path, "empty file (0 bytes)")
    return data


def decode_image(
    data: bytes, *, name: object = "image", max_pixels: int = MAX_PIXELS
) -> tuple[np.ndarray, ImageFacts]:
    """Decode ``data`` into RGB uint8 (H, W, 3) and the file's facts; see :func:`read_image`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL's bomb warning: the limit below is ours
            try:
                opened = Image.open(io.BytesIO(data))
            except UnidentifiedImageError:
                if not deep.is_tiff(data):
                    raise
                return _of_tiff(data, None, max_pixels)
            with opened:
                facts = _facts(opened)
                if facts.width * facts.height > max_pixels:
                    size = f"{facts.width} × {facts.height} pixels"
                    raise ImageReadError(name, f"too large: {size} (limit {max_pixels})")
                return _decoded(opened, data, facts, max_pixels)
    except UnidentifiedImageError as error:
        raise ImageReadError(name, "not an image that can be read") from error
    except Image.DecompressionBombError as error:
        raise ImageReadError(name, "too large: refused as a decompression bomb") from error
    except _DAMAGE as error:
        if isinstance(error, ImageReadError):
            raise
        what = "truncated" if "truncat" in str(error).lower() else f"damaged ({error})"
        raise ImageReadError(name, what) from error


def _decoded(
    opened: Image.Image, data: bytes, facts: ImageFacts, max_pixels: int
) -> tuple[np.ndarray, ImageFacts]:
    if deep.is_tiff(data) and _is_deep_tiff(opened, facts):
        return _of_tiff(data, facts, max_pixels)
    if deep.is_deep_png(data):
        return _of_samples(deep.png_samples(data), facts, _orientation(opened))
    opened.load()
    upright = ImageOps.exif_transpose(opened) if facts.exif_rotated else opened
    if opened.mode in _DEEP_MODES:
        values = np.asarray(upright)[:, :, None]
        return _of_samples(deep.Samples(values, 8 * values.dtype.itemsize), facts, 1)
    return _to_rgb(upright), facts


def _is_deep_tiff(opened: Image.Image, facts: ImageFacts) -> bool:
    """Return whether a TIFF file has more than 8 bits, or a page of its own for each channel."""
    tags: Any = opened.tag_v2  # type: ignore[attr-defined]
    bits, formats = tags.get(_BITS, (1,)), tags.get(_SAMPLE_FORMAT, (1,))
    channels = facts.pages > 1 and facts.mode == "L"
    return max(bits) > 8 or set(formats) != {1} or channels


def _of_tiff(
    data: bytes, facts: ImageFacts | None, max_pixels: int
) -> tuple[np.ndarray, ImageFacts]:
    samples = deep.tiff_samples(data, max_pixels)
    if facts is None:
        mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[samples.values.shape[2]]
        facts = ImageFacts(0, 0, mode, "TIFF", "tiff", samples.orientation > 1)
    elif samples.values.shape[2] >= 3 and facts.mode in ("L", *_DEEP_MODES):
        facts = replace(facts, mode="RGB")
    return _of_samples(samples, replace(facts, pages=samples.pages), samples.orientation)


def _of_samples(
    samples: deep.Samples, facts: ImageFacts, orientation: int
) -> tuple[np.ndarray, ImageFacts]:
    rgb, depth = deep.to_rgb(samples)
    rgb = deep.upright(rgb, orientation)
    height, width = rgb.shape[:2]
    facts = replace(
        facts,
        width=width,
        height=height,
        bits=samples.bits,
        depth=depth,
        stated=samples.stated is not None,
    )
    return rgb, facts


def file_facts(data: bytes, *, name: object = "image") -> ImageFacts:
    """Return what a file says without decoding its pixels; ``ImageReadError`` if it is no image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as opened:
                return _facts(opened)
    except Image.DecompressionBombError as error:
        raise ImageReadError(name, "too large: refused as a decompression bomb") from error
    except _DAMAGE as error:
        if deep.is_tiff(data):
            return decode_image(data, name=name)[1]
        raise ImageReadError(name, "not an image that can be read") from error


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return np.array(Image.alpha_composite(white, rgba).convert("RGB"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _facts(image: Image.Image) -> ImageFacts:
    orientation = _orientation(image)
    width, height = image.size
    if image.format == "TIFF":  # some versions of Pillow have turned this size already
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        width, height = tags[_WIDTH], tags[_HEIGHT]
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    return ImageFacts(
        width=width,
        height=height,
        mode=image.mode,
        format=image.format or "?",
        encoder=_encoder(image),
        exif_rotated=orientation > 1,
        pages=1 if image.format == "MPO" else getattr(image, "n_frames", 1),
    )


def _orientation(image: Image.Image) -> int:
    orientation = image.getexif().get(_ORIENTATION, 1)
    return orientation if orientation in range(1, 9) else 1


def _encoder(image: Image.Image) -> str:
    """Name the encoder by what it leaves in the file: JPEG tables and sampling, or the format."""
    tables = getattr(image, "quantization", None)
    if not tables:
        return (image.format or "?").lower()
    from PIL import JpegImagePlugin

    digest = hashlib.sha256(repr(sorted((k, list(v)) for k, v in tables.items())).encode())
    sampling = {0: "444", 1: "422", 2: "420"}.get(JpegImagePlugin.get_sampling(image), "grey")
    kind = "progressive" if image.info.get("progressive") else "baseline"
    return f"jpeg-{sampling}-{kind}-{digest.hexdigest()[:6]}"


def encode_image(image: np.ndarray, format: str = "png", *, quality: int = 95) -> bytes:
    """Encode RGB uint8 (H, W, 3), or labels uint8/uint16 (H, W), as PNG, JPEG or WebP bytes."""
    name = {"jpg": "jpeg"}.get(format.lower(), format.lower())
    if name not in ("png", "jpeg", "webp"):
        raise SettingsError(f"format: expected png, jpeg or webp, got {format!r}")
    buffer = io.BytesIO()
    options: dict[str, object] = {"compress_level": 3} if name == "png" else {"quality": quality}
    if name == "jpeg":
        options["subsampling"] = "4:2:0"
    Image.fromarray(image).save(buffer, format=name, **options)
    return buffer.getvalue()


def write_image(path: str | Path, image: np.ndarray, *, quality: int = 95) -> None:
    """Write an image beside its place and move it there whole; the suffix names the format."""
    path = Path(path)
    write_bytes(path, encode_image(image, path.suffix.lstrip("."), quality=quality))
