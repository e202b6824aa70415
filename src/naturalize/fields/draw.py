"""A field as a person likes to look at it: thin outlines by kind, classes beside white cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from naturalize.base.plots import ALERT, KIND_COLOURS
from naturalize.base.sheets import font
from naturalize.cells.pictures import draw_outlines
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.fields.cell import FieldCell
from naturalize.fields.differential import is_unsure
from naturalize.fields.outcome import BAD

#: Height of the names of classes: in median widths of white cells, and in pixels at least and at
#: most (by eye, on fields of 640 × 480 to 2,900 × 2,900 pixels).
_LETTERS, _SMALLEST, _LARGEST = 0.13, 11, 48


def drawn(image: np.ndarray, cells: Sequence[FieldCell], outcome: str) -> np.ndarray:
    """Return RGB uint8 (H, W, 3) with the outlines of cells and the classes of white ones.

    A class that is in doubt has a question mark. Where the outcome of the field speaks against the
    classes, it stands in a corner and they do not.
    """
    found = tuple(one.cell for one in cells)
    made = image.copy()
    draw_outlines(made, Segmentation(made.shape[:2], found, (255, 255, 255)), nuclei=False)
    named = [one for one in cells if one.label is not None]
    picture = Image.fromarray(made)
    pen = ImageDraw.Draw(picture)
    if outcome in BAD:
        size = int(np.clip(max(picture.size) // 40, _SMALLEST, _LARGEST))
        _plate(pen, outcome, (size, size), size, ALERT)
    elif named:
        size = letters([one.cell for one in named])
        for one in named:
            _name(pen, one, size, picture.size)
    return np.asarray(picture)


def letters(cells: Sequence[Cell]) -> int:
    """Return the height in pixels of names beside white cells."""
    width = float(np.median([cell.box[2] - cell.box[0] for cell in cells]))
    return int(np.clip(round(_LETTERS * width), _SMALLEST, _LARGEST))


def _name(pen: ImageDraw.ImageDraw, one: FieldCell, size: int, canvas: tuple[int, int]) -> None:
    """Write the class of a white cell on a small plate at the upper right of its box."""
    text = f"{one.label}{'?' if is_unsure(one.flag) else ''}"
    wide, high = _size(text, size)
    x0, y0, x1, _ = one.box
    x = min(max(0, round(x1 - 0.12 * (x1 - x0))), canvas[0] - wide - 1)
    y = min(max(0, round(y0 - 0.5 * high)), canvas[1] - high - 1)
    _plate(pen, text, (x, y), size, KIND_COLOURS["wbc"])


def _size(text: str, size: int) -> tuple[int, int]:
    """Return width and height of a plate, pixels."""
    left, top, right, bottom = font(size).getbbox(text)
    return round(right - left) + 2 * _pad(size), round(bottom - top) + 2 * _pad(size)


def _pad(size: int) -> int:
    return max(2, size // 5)


def _plate(
    pen: ImageDraw.ImageDraw,
    text: str,
    at: tuple[int, int],
    size: int,
    colour: str | tuple[int, int, int],
) -> None:
    """Write white letters on a plate whose corner is at (x, y)."""
    (x, y), (wide, high), pad = at, _size(text, size), _pad(size)
    left, top, _, _ = font(size).getbbox(text)
    pen.rounded_rectangle(
        (x, y, x + wide, y + high), radius=pad + 1, fill=colour, outline=(255, 255, 255)
    )
    pen.text((x + pad - left, y + pad - top), text, fill=(255, 255, 255), font=font(size))
