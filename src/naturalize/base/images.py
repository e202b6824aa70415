"""The one reader and the one writer of images: RGB uint8 (H, W, 3) inside, all else at the edge."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from naturalize.base.errors import ImageReadError

#: Suffixes that are taken for images; compared in lower case.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})

#: Larger images are refused as a likely mistake or a decompression bomb.
MAX_PIXELS = 120_000_000

_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "F")
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class ImageFacts:
    """What a file says about itself: sizes in pixels, as displayed (after EXIF rotation)."""

    width: int
    height: int
    mode: str
    format: str
    n_bytes: int
    encoder: str
    exif_rotated: bool


def content_hash(data: bytes) -> str:
    """Return 16 hex digits naming ``data``: the image id of a file's bytes."""
    return hashlib.sha256(data).hexdigest()[:16]


def pixel_hash(image: np.ndarray) -> str:
    """Return 16 hex digits naming the pixels of ``image``, whatever file held them."""
    shape = repr(image.shape).encode()
    return hashlib.sha256(shape + np.ascontiguousarray(image).tobytes()).hexdigest()[:16]


def read_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read an image file of any usual kind.

    EXIF rotation is applied; grey, palette, CMYK and 16-bit images are converted; transparency is
    laid over white.

    Returns
    -------
    numpy.ndarray
        RGB, uint8, shape (H, W, 3).

    Raises
    ------
    ImageReadError
        If the file is missing, empty, truncated, no image, or has more than ``max_pixels`` pixels.
    """
    return decode_image(read_bytes(path), name=path, max_pixels=max_pixels)[0]


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
            with Image.open(io.BytesIO(data)) as opened:
                facts = _facts(opened, len(data))
                if facts.width * facts.height > max_pixels:
                    raise ImageReadError(
                        name,
                        f"too large: {facts.width} × {facts.height} pixels (limit {max_pixels})",
                    )
                opened.load()
                array = _to_rgb(ImageOps.exif_transpose(opened) if facts.exif_rotated else opened)
    except UnidentifiedImageError as error:
        raise ImageReadError(name, "not an image that can be read") from error
    except Image.DecompressionBombError as error:
        raise ImageReadError(name, "too large: refused as a decompression bomb") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, ImageReadError):
            raise
        what = "truncated" if "truncat" in str(error).lower() else f"damaged ({error})"
        raise ImageReadError(name, what) from error
    return array, facts


def file_facts(data: bytes, *, name: object = "image") -> ImageFacts:
    """Return what a file's bytes say about it, without decoding its pixels.

    Raises
    ------
    ImageReadError
        If it is no image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as opened:
                return _facts(opened, len(data))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageReadError(name, "not an image that can be read") from error


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode in _DEEP_MODES:
        return _deep_to_rgb(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return np.array(Image.alpha_composite(white, rgba).convert("RGB"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _deep_to_rgb(image: Image.Image) -> np.ndarray:
    """Bring 16-bit and float greys to 8 bits: by 257 where the values need it, else as they are."""
    values = np.asarray(image).astype(np.float64)
    top = float(values.max(initial=0.0))
    if image.mode == "F" and top <= 1.0:
        values = values * 255.0
    elif top > 255.0:
        values = values / 257.0
    grey = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _facts(image: Image.Image, n_bytes: int) -> ImageFacts:
    orientation = image.getexif().get(_ORIENTATION, 1)
    width, height = image.size
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    return ImageFacts(
        width=width,
        height=height,
        mode=image.mode,
        format=image.format or "?",
        n_bytes=n_bytes,
        encoder=_encoder(image),
        exif_rotated=orientation not in (0, 1),
    )


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
    from naturalize.base.errors import SettingsError

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
    from naturalize.base.artifacts import write_bytes

    path = Path(path)
    write_bytes(path, encode_image(image, path.suffix.lstrip("."), quality=quality))
