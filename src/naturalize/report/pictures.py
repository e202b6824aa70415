"""Pictures inside the report: small JPEG data URIs under one budget, so the file can be mailed."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from PIL import Image

from naturalize.base.errors import ImageReadError
from naturalize.base.images import encode_image, read_image

#: Bytes of data URIs that one report may hold, all pictures together.
BUDGET = 5_500_000

#: Width and JPEG quality of what stands across the page, and of a single cell.
SHEET, TILE = (1400, 80), (320, 82)


@dataclass(frozen=True)
class Picture:
    """A picture ready for ``<img>``: its data URI, what it shows, and its size in pixels."""

    src: str
    alt: str
    width: int
    height: int
    caption: str = ""


class Pictures:
    """Embeds pictures in the order they are asked for, until the budget is spent.

    ``left_out`` counts those that found no room or could not be read; the report says so.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget = budget
        self.spent = 0
        self.left_out = 0

    def sheet(self, file: Path, alt: str, caption: str = "") -> Picture | None:
        """Embed a picture that stands across the page; ``None`` where it is absent."""
        return self._embed(file, alt, caption, *SHEET)

    def tile(self, file: Path, alt: str, caption: str = "") -> Picture | None:
        """Embed the picture of one cell; ``None`` where it is absent."""
        return self._embed(file, alt, caption, *TILE)

    def tile_of(self, image: np.ndarray, alt: str, caption: str = "") -> Picture | None:
        """Embed RGB uint8 (H, W, 3) as the picture of one cell; ``None`` without room for it."""
        return self._fitted(image, alt, caption, *TILE)

    def array(self, image: np.ndarray, alt: str, caption: str = "") -> Picture | None:
        """Embed RGB uint8 (H, W, 3) across the page; ``None`` where there is no room for it."""
        return self._fitted(image, alt, caption, *SHEET)

    def _embed(
        self, file: Path, alt: str, caption: str, width: int, quality: int
    ) -> Picture | None:
        if not file.is_file():
            return None
        if file.suffix.lower() == ".svg":
            return self._drawing(file, alt, caption)
        try:
            image = read_image(file)
        except ImageReadError:
            self.left_out += 1
            return None
        return self._fitted(image, alt, caption, width, quality)

    def _fitted(
        self, image: np.ndarray, alt: str, caption: str, width: int, quality: int
    ) -> Picture | None:
        small = Image.fromarray(image)
        if small.width > width:
            size = (width, max(1, round(small.height * width / small.width)))
            small = small.resize(size, Image.Resampling.LANCZOS)
        data = encode_image(np.asarray(small), "jpeg", quality=quality)
        return self._taken("image/jpeg", data, Picture("", alt, small.width, small.height, caption))

    def _drawing(self, file: Path, alt: str, caption: str) -> Picture | None:
        """Embed an SVG as an image: browsers then run nothing in it and load nothing for it."""
        try:
            data = file.read_bytes()
            width, height = _size(data)
        except (ET.ParseError, KeyError, ValueError):
            self.left_out += 1
            return None
        return self._taken("image/svg+xml", data, Picture("", alt, width, height, caption))

    def _taken(self, kind: str, data: bytes, picture: Picture) -> Picture | None:
        src = f"data:{kind};base64,{base64.b64encode(data).decode()}"
        if self.spent + len(src) > self.budget:
            self.left_out += 1
            return None
        self.spent += len(src)
        return replace(picture, src=src)


def _size(svg: bytes) -> tuple[int, int]:
    """Return width and height of an SVG in CSS pixels, from its view box."""
    _, _, width, height = (float(v) for v in ET.fromstring(svg).attrib["viewBox"].split())
    return round(width * 4 / 3), round(height * 4 / 3)  # the view box of matplotlib is in points
