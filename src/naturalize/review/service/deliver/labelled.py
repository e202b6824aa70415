"""Confirmed cells as a data set that ``naturalize train``, ``catalog`` and ``adapt`` take."""

from __future__ import annotations

import re
import secrets
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.errors import ImageReadError, InputError
from naturalize.base.images import encode_image, read_image
from naturalize.base.table import csv_text
from naturalize.review.service.answers import Answer
from naturalize.review.service.review import Review

#: Width of a white cell in an image of one, as in PBC's; a crop of a field is so much wider than
#: the cell's box.
CELL_SHARE = 0.39

#: How the names of sets in a cache begin.
SETS = "labelled-"

#: Columns of ``labels.csv``; ``group`` keeps the cells of a field in one part of a split.
COLUMNS = ("path", "label", "group", "confirmed_by", "confirmed_at", "model", "source", "cell")

_README = """Cells confirmed in a review by naturalize.

labels.csv: path, label, group (field or file), who confirmed it and when (UTC), the model's own
answer, the file that the cell is from, and its number in the review. The images also lie in a
folder for each class.

  naturalize catalog labels.csv -o catalog
  naturalize train labels.csv -o model
  naturalize adapt MODEL IMAGES -o our-lab --labels labels.csv

An image of one cell is the file as it was. A cell of a field is a square cut around it, of which
the cell is {share:.0%}; beyond the edge of the field it is mirrored.
"""


def crop(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Return a square around a box, RGB uint8 (S, S, 3), with the box's middle in its middle.

    The longer side of the box is `CELL_SHARE` of S. What lies outside the image is mirrored.

    Examples
    --------
    >>> crop(np.zeros((100, 100, 3), np.uint8), (0, 10, 39, 40)).shape
    (100, 100, 3)
    """
    x0, y0, x1, y1 = box
    side = max(1, round(max(x1 - x0, y1 - y0) / CELL_SHARE))
    left, top = (x0 + x1 - side) // 2, (y0 + y1 - side) // 2
    height, width = image.shape[:2]
    beyond = max(0, -left, -top, left + side - width, top + side - height)
    around = np.pad(image, ((beyond, beyond), (beyond, beyond), (0, 0)), mode="reflect")
    return around[top + beyond :, left + beyond :][:side, :side]


def write_set(review: Review, reading: int, cells: Iterable[Answer]) -> Path:
    """Write cells, each with a label, as a ZIP in the review's cache, and return it.

    Whoever sends it removes it. ``InputError`` without a cell whose image can be read.
    Images that are gone are left out, and ``left-out.csv`` names them.
    """
    place = review.folder / "cache"
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        partial = Path(folder) / "set.zip"
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:  # images do not shrink
            rows, missing = _write_images(review, cells, archive)
            archive.writestr("labels.csv", csv_text(COLUMNS, rows))
            archive.writestr("README.txt", _README.format(share=CELL_SHARE))
            if missing:
                archive.writestr("left-out.csv", csv_text(("path", "reason"), missing))
        if not rows:
            why = missing[0][1] if missing else "confirm cells first"
            raise InputError(f"no confirmed cell to write: {why}")
        # of its own name: another may be sent at this moment
        return partial.replace(place / f"{SETS}{reading}-{secrets.token_hex(4)}.zip")


def _write_images(
    review: Review, cells: Iterable[Answer], archive: zipfile.ZipFile
) -> tuple[list[Sequence[Any]], list[tuple[str, str]]]:
    """Write an image a cell; return the rows of ``labels.csv``, and what is missing and why."""
    rows: list[Sequence[Any]] = []
    missing: list[tuple[str, str]] = []
    at, image = "", None  # the field that was read last: its cells follow each other
    for each in cells:
        cell, source = each.cell, review.file(each.cell.path)
        label = re.sub(r"[^\w-]", "-", each.label or "")
        # no underscore: a prefix before one is a class to the reader of PBC's names
        name = f"images/{label}/cell-{each.id:06d}"
        try:
            if cell.box is None:
                name, data = name + source.suffix.lower(), source.read_bytes()
            else:
                if image is None or at != cell.path:
                    at, image = cell.path, read_image(source)
                name, data = f"{name}.png", encode_image(crop(image, cell.box))
        except (OSError, ImageReadError) as error:
            missing.append((cell.path, str(error)))
            continue
        archive.writestr(name, data)
        group = cell.field or cell.path
        rows.append(
            (name, each.label, group, each.user, each.at, cell.model_label, cell.path, each.id)
        )
    return rows, missing
