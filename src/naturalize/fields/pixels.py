"""The pixels of a field: the whole of it, or of a scan a window at a time."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.errors import ImageReadError
from naturalize.base.images import MAX_PIXELS, decode_image, read_bytes
from naturalize.prediction.files import OF_FILE

#: Suffixes of scanners' files, which OpenSlide reads (compared in lower case); those of them that
#: are TIFF too.
SCANNERS = frozenset({".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide"})
_TIFF = frozenset({".tif", ".tiff", ".svs"})

#: TIFF files of more pixels than this are read by windows: a field of 6,000 × 6,000 in memory, its
#: cells and what finds them take about a gigabyte.
WHOLE = 36_000_000

#: What tifffile raises at a damaged file.
DAMAGE = (OSError, ValueError, LookupError, struct.error, RuntimeError)

#: What is missing where a compressed scan cannot be read.
_EXTRA = "install it with: pip install 'naturalize[scans]'"

Box = tuple[int, int, int, int]


def scan_size(path: Path) -> tuple[int, int] | None:
    """Return height and width of a file that is read by windows; null for one that is read whole.

    ``ImageReadError`` if it is a scan that cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix not in _TIFF | SCANNERS or not path.is_file():
        return None
    if suffix not in _TIFF:
        with _openslide(path) as slide:
            width, height = slide.dimensions
        return int(height), int(width)
    page = _page(path)
    if page is None:  # no TIFF, whatever its name says: the reader of images says what it is
        return None
    size = int(page.imagelength), int(page.imagewidth)
    return size if size[0] * size[1] > WHOLE or suffix in SCANNERS else None


def pixels(path: Path, box: Box | None = None) -> np.ndarray:
    """Return a field, or a window ``x0, y0, x1, y1`` of a scan, as RGB uint8 (h, w, 3).

    Of a pyramid the finest level. ``ImageReadError`` if it cannot be read.
    """
    if box is None:
        return whole(path)[0]
    if path.suffix.lower() in _TIFF:
        try:
            return _of_tiff(path, box)
        except DAMAGE as error:
            raise ImageReadError(path, f"damaged ({error})") from error
    x0, y0, x1, y1 = box
    with _openslide(path) as slide:
        made = slide.read_region((x0, y0), 0, (x1 - x0, y1 - y0))
        from PIL import Image

        white = Image.new("RGBA", made.size, (255, 255, 255, 255))
        return np.array(Image.alpha_composite(white, made).convert("RGB"))


def whole(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return a field, RGB uint8 (h, w, 3), and what is to be said of its file, as `predict` does.

    ``ImageReadError`` if it cannot be read.
    """
    try:
        image, facts = decode_image(read_bytes(path), name=path)
    except ImageReadError as error:
        if not error.reason.startswith("too large"):
            raise
        how = "save it as a TIFF file in tiles, which is read by windows"
        if path.suffix.lower() in _TIFF | SCANNERS:
            how = "naturalize read takes it by windows"
        raise ImageReadError(path, f"{error.reason}; {how}") from error
    return image, tuple(flag for flag in facts.flags if flag in OF_FILE)


def _page(path: Path) -> Any:
    """Return the finest page of a TIFF file's first series; null if it is no TIFF."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            return file.series[0].levels[0].keyframe
    except DAMAGE:
        return None


def _of_tiff(path: Path, box: Box) -> np.ndarray:
    """Return a window of a TIFF page, decoding the tiles or strips that it meets only."""
    import tifffile

    x0, y0, x1, y1 = box
    with tifffile.TiffFile(path) as file:
        page = file.series[0].levels[0].keyframe
        kinds = (page.dtype, int(page.samplesperpixel), int(page.planarconfig))
        if page.dtype != np.uint8 or kinds[1] not in (1, 3, 4) or (kinds[1] > 1 and kinds[2] != 1):
            what = f"{kinds[1]} channels of {page.dtype}"
            raise ImageReadError(path, f"too large to be read whole, and {what}; save it as RGB")
        high, wide = (page.tilelength, page.tilewidth) if page.is_tiled else (
            page.rowsperstrip, page.imagewidth
        )  # fmt: skip
        high = min(high, page.imagelength)
        if high * wide > MAX_PIXELS:
            raise ImageReadError(path, "too large, and in one strip; save it in tiles")
        across = -(-page.imagewidth // wide)
        made = np.full((y1 - y0, x1 - x0, int(page.samplesperpixel)), 255, np.uint8)
        for row in range(y0 // high, -(-y1 // high)):
            for column in range(x0 // wide, -(-x1 // wide)):
                tile = _segment(file, page, row * across + column, path)
                if tile is not None:
                    _paste(made, tile, column * wide - x0, row * high - y0)
    return np.repeat(made, 3, axis=2) if made.shape[2] == 1 else np.ascontiguousarray(made[..., :3])


def _segment(file: Any, page: Any, index: int, path: Path) -> np.ndarray | None:
    """Return a decoded tile or strip, uint8 (h, w, samples); null for one that is empty."""
    n = page.databytecounts[index]
    if not n:
        return None
    file.filehandle.seek(page.dataoffsets[index])
    data = file.filehandle.read(n)
    tables = page.tags.get("JPEGTables")
    try:
        more = {} if tables is None else {"jpegtables": tables.value}
        found, _, shape = page.decode(data, index, **more)
    except DAMAGE as error:
        why = str(error).splitlines()[0]
        if "imagecodecs" in why:
            why = f"compressed as {page.compression.name}: needs imagecodecs; {_EXTRA}"
        raise ImageReadError(path, why) from error
    return None if found is None else found[0, : shape[1], : shape[2]]


def _paste(made: np.ndarray, tile: np.ndarray, left: int, top: int) -> None:
    """Lay a tile whose corner is at (left, top) onto a picture, as far as it reaches into it."""
    height, width = made.shape[:2]
    y0, x0 = max(0, top), max(0, left)
    y1, x1 = min(height, top + tile.shape[0]), min(width, left + tile.shape[1])
    if y0 < y1 and x0 < x1:
        made[y0:y1, x0:x1] = tile[y0 - top : y1 - top, x0 - left : x1 - left]


@contextlib.contextmanager
def _openslide(path: Path) -> Iterator[Any]:
    """Open a scanner's file; what goes wrong, also later at a damaged tile, is an image's error."""
    try:
        import openslide
    except ImportError as error:
        raise ImageReadError(path, f"a scanner's file: needs openslide; {_EXTRA}") from error
    try:
        with openslide.OpenSlide(path) as slide:
            yield slide
    except (openslide.OpenSlideError, OSError) as error:
        raise ImageReadError(path, f"a scan that openslide cannot read ({error})") from error
