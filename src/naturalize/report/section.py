"""What a section of the report is made of: plain values, and pictures within one budget."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree as ET

import numpy as np
from PIL import Image

from naturalize.base.errors import ImageReadError
from naturalize.base.images import encode_image, read_image
from naturalize.report.folder import StudyFolder

T = TypeVar("T")

#: Bytes of data URIs that one report may hold, all pictures together, so that it can be mailed.
BUDGET = 5_500_000

#: Width in pixels and JPEG quality of what stands across the page, and of a single cell.
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

    def embed(
        self, source: Path | np.ndarray, alt: str, caption: str = "", *, size: tuple[int, int]
    ) -> Picture | None:
        """Embed a picture file, or RGB uint8 (H, W, 3), in one of the sizes `SHEET` and `TILE`.

        ``None`` where the file is absent or cannot be read, or where there is no room.
        """
        if isinstance(source, Path):
            if not source.is_file():
                return None
            if source.suffix.lower() == ".svg":
                return self._drawing(source, alt, caption)
            try:
                source = read_image(source)
            except ImageReadError:
                self.left_out += 1
                return None
        width, quality = size
        small = Image.fromarray(source)
        if small.width > width:
            height = max(1, round(small.height * width / small.width))
            small = small.resize((width, height), Image.Resampling.LANCZOS)
        data = encode_image(np.asarray(small), "jpeg", quality=quality)
        return self._taken("image/jpeg", data, Picture("", alt, small.width, small.height, caption))

    def _drawing(self, file: Path, alt: str, caption: str) -> Picture | None:
        """Embed an SVG as an image: browsers then run nothing in it and load nothing for it."""
        try:
            data = file.read_bytes()
            _, _, *size = (float(v) for v in ET.fromstring(data).attrib["viewBox"].split())
            width, height = (round(side * 4 / 3) for side in size)  # points to CSS pixels
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


@dataclass(frozen=True)
class Section:
    """One section: its anchor, its heading, one sentence to take away, and its values.

    ``template`` is ``None`` where the study has not made what the section shows; then the sentence
    says so and nothing follows it.
    """

    id: str
    title: str
    takeaway: str
    template: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


def in_turn(things: Sequence[T], label_of: Callable[[T], object], labels: Sequence[str]) -> list[T]:
    """Return things in the order of their classes, the first of each class before any second."""
    order = {label: i for i, label in enumerate(labels)}
    taken: Counter[object] = Counter()
    turns = []
    for place, thing in enumerate(things):
        label = label_of(thing)
        taken[label] += 1
        turns.append((taken[label], order.get(label, len(order)), place))  # type: ignore[call-overload]
    return [things[place] for *_, place in sorted(turns)]


#: A function that reads its part of a study and gives its section.
View = Callable[[StudyFolder, Pictures], Section]
