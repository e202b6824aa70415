"""A bank out as label images: one number a cell, as Cellpose and others read them."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from naturalize.base.artifacts import write_bytes
from naturalize.base.console import track, warn
from naturalize.base.errors import InputError
from naturalize.base.images import write_image
from naturalize.cells.bank.files import IMAGES, copy_images
from naturalize.cells.exchange.labels_read import ENDING, TABLE

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank

#: Cells a 16-bit label image can tell apart.
_MOST = 65_535

#: What lies over what where masks overlap: a platelet over a white cell over a red one.
_ORDER = ("rbc", "wbc", "platelet")


def write_labels(bank: CellBank, cells: pa.Table, folder: Path) -> dict[str, Any]:
    """Write ``masks/<path>_masks.png`` (uint16), ``images/<path>`` and ``cells.csv``.

    A pixel can belong to one cell only, so of masks that overlap the lower one loses pixels; a
    warning says how many cells did. A cell that is covered wholly is left out.

    Returns
    -------
    dict
        What was written: ``images``, ``cells``, and ``overlapped`` cells that lost pixels.
    """
    copy_images(bank, [cells], folder / IMAGES)
    of_path: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in cells.to_pylist():
        of_path[row["path"]].append(row)
    stems = Counter(PurePosixPath(path).with_suffix("") for path in of_path)
    lines, overlapped = [], 0
    for path in track(sorted(of_path), "export"):
        rows = of_path[path]
        if len(rows) > _MOST:
            raise InputError(f"{path}: {len(rows)} cells, a 16-bit label image holds {_MOST}")
        shape = bank.pictures.read(path, rows[0]["image_id"]).shape[:2]
        numbers = np.zeros(shape, np.uint16)
        for number, row in sorted(enumerate(rows, start=1), key=_from_below):
            part = numbers[row["y0"] : row["y1"], row["x0"] : row["x1"]]
            part[bank.mask(row["cell_id"])] = number
        stem = PurePosixPath(path).with_suffix("")
        name = f"{stem if stems[stem] == 1 else path}{ENDING}.png"
        write_image(folder / "masks" / name, numbers)
        seen = np.bincount(numbers.ravel(), minlength=len(rows) + 1)
        for number, row in enumerate(rows, start=1):
            overlapped += int(seen[number]) < row["area"]
            if seen[number]:
                said = (row["kind"], row["label"] or "", row["cell_id"], repr(row["score"]))
                lines.append((name, number, *said))
    if overlapped:
        warn(f"{overlapped} of {cells.num_rows} cells lie partly under others: pixels are lost")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("file", "number", "kind", "label", "cell_id", "score"), *lines])
    write_bytes(folder / TABLE, text.getvalue().encode())
    return {"images": len(of_path), "cells": len(lines), "overlapped": overlapped}


def _from_below(item: tuple[int, dict[str, Any]]) -> tuple[int, int]:
    return _ORDER.index(item[1]["kind"]), item[0]
