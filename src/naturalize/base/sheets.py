"""Contact sheets: many small pictures on one, with captions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_PAPER, _INK, _QUIET = (255, 255, 255), (31, 36, 48), (107, 114, 128)


@lru_cache(maxsize=8)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return matplotlib's own font: Pillow's lacks ×, ≤ and most letters beyond Latin-1."""
    found = find_spec("matplotlib")  # looked up, not imported: that takes a third of a second
    if found is None or found.origin is None:
        return ImageFont.load_default(size)
    fonts = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), size - 1)


def fit(image: np.ndarray, tile: int) -> Image.Image:
    """Return ``image`` (RGB uint8 (H, W, 3)) scaled to fit into ``tile`` × ``tile`` pixels."""
    height, width = image.shape[:2]
    scale = tile / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = Image.Resampling.BOX if scale < 0.5 else Image.Resampling.LANCZOS
    return Image.fromarray(image).resize(size, how)


def contact_sheet(
    tiles: Sequence[np.ndarray],
    *,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    tile: int = 128,
    title: str | None = None,
) -> np.ndarray:
    """Lay pictures (RGB uint8 (H, W, 3) of any size) out on a grid; RGB uint8.

    ``captions`` has a short text for each, written under it. ``columns`` is the number of tiles a
    row (by default the grid is about 1.5 times as wide as high), ``tile`` their side in pixels.
    """
    columns = columns or max(1, min(len(tiles), math.ceil(math.sqrt(1.5 * len(tiles)))))
    rows = max(1, math.ceil(len(tiles) / columns))
    gap, foot = 6, 16 if captions else 0
    size = columns * (tile + gap) + gap, rows * (tile + foot + gap) + gap
    sheet, draw, head = _sheet(*size, title, gap)
    for i, image in enumerate(tiles):
        x = gap + (i % columns) * (tile + gap)
        y = head + gap + (i // columns) * (tile + foot + gap)
        _paste(sheet, image, x, y, tile)
        if captions:
            draw.text((x + 1, y + tile + 1), captions[i], fill=_QUIET, font=font(11))
    return np.asarray(sheet)


def labelled_rows(
    rows: Mapping[str, Sequence[np.ndarray]],
    *,
    tile: int = 96,
    title: str | None = None,
) -> np.ndarray:
    """Lay pictures out in rows, the row's name at its left; RGB uint8 (H, W, 3)."""
    margin = 16 + max((int(font(14).getlength(name)) for name in rows), default=0)
    gap, longest = 4, max((len(tiles) for tiles in rows.values()), default=0)
    width = max(margin + longest * (tile + gap) + gap, 200)
    sheet, draw, head = _sheet(width, len(rows) * (tile + gap) + gap, title, 8)
    for row, (name, tiles) in enumerate(rows.items()):
        y = head + gap + row * (tile + gap)
        draw.text((8, y + tile // 2 - 9), name, fill=_INK, font=font(14))
        for column, image in enumerate(tiles):
            _paste(sheet, image, margin + column * (tile + gap), y, tile)
    return np.asarray(sheet)


def _sheet(
    width: int, height: int, title: str | None, left: int
) -> tuple[Image.Image, ImageDraw.ImageDraw, int]:
    """Return an empty sheet, its pen, and the height of its title, which is added."""
    head = 30 if title else 0
    sheet = Image.new("RGB", (width, head + height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((left, 6), title, fill=_INK, font=font(16))
    return sheet, draw, head


def _paste(sheet: Image.Image, image: np.ndarray, x: int, y: int, tile: int) -> None:
    small = fit(image, tile)
    sheet.paste(small, (x + (tile - small.width) // 2, y + (tile - small.height) // 2))
