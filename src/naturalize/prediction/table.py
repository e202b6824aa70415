"""Predictions for people: a table in a file, a differential (cells of each class), a picture."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.artifacts import write_bytes, write_table
from naturalize.base.errors import ImageReadError, SettingsError, closest
from naturalize.base.images import read_image
from naturalize.base.sheets import contact_sheet
from naturalize.base.statistics import wilson
from naturalize.base.table import csv_text
from naturalize.dataset.schemes import CLASS_NAMES, NO_LEUKOCYTES
from naturalize.models.preprocess import View, resize
from naturalize.prediction.files import Prediction
from naturalize.prediction.standardise import NO_CELL, NO_WHITE_CELL, Standardiser

#: What tables may be written as, by ending.
ENDINGS = (".csv", ".tsv", ".xlsx", ".parquet", ".json")

#: Columns of the cells of fields.
_WHERE = ("cell", "x0", "y0", "x1", "y1")


def check_ending(path: Path) -> None:
    """Raise ``SettingsError`` unless a table can be written to a file of this name."""
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise SettingsError(
            f"{path}: unknown kind of table {ending!r}{closest(ending, list(ENDINGS))}; "
            f"choose from: {', '.join(ENDINGS)}"
        )


def rows_of(
    classes: Sequence[str], predictions: Sequence[Prediction], *, sets: bool = False
) -> tuple[list[str], list[list[Any]]]:
    """Return the names of a table's columns, and its rows; null is what is not known.

    Only where there are fields, it has columns for the number and the box of a cell, and only where
    a class mix was asked for, one that says it. With ``sets``, one says the classes that each may
    be.
    """
    fields = any(row.box is not None for row in predictions)
    mixed = any(row.prior is not None for row in predictions)
    probabilities = [f"prob_{name}" for name in classes]
    names = ["path", "label", "confidence", *probabilities, "flag"]
    rows = []
    for row in predictions:
        numbers: list[float | None] = [None] * (1 + len(classes))
        if row.probabilities is not None:
            numbers = [round(float(v), 6) for v in (row.confidence or 0.0, *row.probabilities)]
        where = [row.number, *(row.box or (None,) * 4)] if fields else []
        prior = [row.prior] if mixed else []
        among = [" ".join(row.candidates or ())] if sets else []
        rows.append([row.path.as_posix(), row.label, *numbers, row.flag, *among, *where, *prior])
    names += ["set"] if sets else []
    return [*names, *(_WHERE if fields else ()), *(["prior"] if mixed else [])], rows


def write_predictions(
    path: Path, classes: Sequence[str], predictions: Sequence[Prediction], *, sets: bool = False
) -> None:
    """Write a table of predictions as its ending says: one of `ENDINGS`; see `rows_of`."""
    check_ending(path)
    names, rows = rows_of(classes, predictions, sets=sets)
    ending = path.suffix.lower()
    if ending == ".parquet":
        write_table(path, _arrow(names, rows))
    elif ending == ".xlsx":
        write_bytes(path, _xlsx(names, rows))
    elif ending == ".json":
        found = [dict(zip(names, row, strict=True)) for row in rows]
        write_bytes(path, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
    else:
        write_bytes(path, _text(names, rows, "\t" if ending == ".tsv" else ",").encode())


def to_csv(classes: Sequence[str], predictions: Iterable[Prediction]) -> str:
    """Return predictions as CSV; see `rows_of`."""
    return _text(*rows_of(classes, list(predictions)), ",")


def _text(names: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str) -> str:
    lines = ([f"{v:.6f}" if isinstance(v, float) else v for v in row] for row in rows)
    return csv_text(names, lines, delimiter=delimiter)


def _arrow(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    import pyarrow as pa

    text = ("path", "label", "flag", "set", "prior")
    kinds = {**dict.fromkeys(text, pa.string()), **dict.fromkeys(_WHERE, pa.int32())}
    schema = pa.schema([(name, kinds.get(name, pa.float32())) for name in names])
    found = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in names]
    return pa.table(dict(zip(names, found, strict=True)), schema=schema)


def _xlsx(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Return a workbook of one sheet; text that begins like a formula stays text."""
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    book = Workbook(write_only=True)
    sheet = book.create_sheet("predictions")
    sheet.freeze_panes = "A2"
    sheet.append(list(names))
    for row in rows:
        made = []
        for value in row:
            made.append(WriteOnlyCell(sheet, value=value))
            if isinstance(value, str):
                made[-1].data_type = "s"
        sheet.append(made)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


@dataclass(frozen=True)
class Count:
    """How often a class was answered, and how many of these cells have a flag.

    ``name`` is the full name of an abbreviation of the field; ``share`` is that of the leukocytes,
    with its 95 % interval (Wilson 1927), null for what is no leukocyte.
    """

    code: str
    name: str
    n: int
    flagged: int
    share: float | None = None
    low: float | None = None
    high: float | None = None


def differential(classes: Sequence[str], predictions: Sequence[Prediction]) -> list[Count]:
    """Count cells by class, in the model's order; last, what is no class: empty and unreadable.

    Erythroblasts and platelets are counted, and have no share of the leukocytes.
    """
    n = Counter(row.label if row.error is None else "unreadable" for row in predictions)
    flagged = Counter(row.label for row in predictions if row.flags)
    whites = sum(n[name] for name in classes if name not in NO_LEUKOCYTES)
    found = []
    for code in classes:
        shares: tuple[float, ...] = ()
        if whites and code not in NO_LEUKOCYTES:
            shares = (n[code] / whites, *wilson(n[code], whites))
        found.append(Count(code, CLASS_NAMES.get(code, ""), n[code], flagged[code], *shares))
    others = (NO_CELL, NO_WHITE_CELL, "unreadable")
    return [*found, *(Count(name, "", n[name], flagged[name]) for name in others if n[name])]


#: Cells of a class on a sheet, tiles in a row, the side of a tile in pixels, and letters of a name
#: and of a caption that are shown.
_OF_CLASS, _COLUMNS, _TILE, _LETTERS, _CAPTION = 12, 6, 200, 22, 34

#: How much of an image is shown, in shares of its shorter side.
_SHOWN = 0.8

#: What is kept around a cell of a field, in shares of its width.
_AROUND = 0.4


def doubtful_first(rows: Sequence[Prediction], n: int) -> list[Prediction]:
    """Return the ``n`` rows that a person should look at first: flagged, then least confident."""
    return sorted(
        rows, key=lambda row: (not row.flags, row.confidence or 0.0, row.path.as_posix())
    )[:n]


def prediction_sheet(
    rows: Sequence[Prediction], classes: Sequence[str], standardiser: Standardiser, view: View
) -> np.ndarray:
    """Lay out predictions by class, the most doubtful of each; RGB uint8 (H, W, 3).

    An image that was standardised stands beside what the network saw of it. Those that cannot be
    read are left out. ``classes`` are the model's, in order; ``standardiser`` brought the images to
    its standard, and ``view`` is what it sees of one.
    """
    blocks = []
    for count in differential(classes, rows):
        found = [row for row in rows if row.label == count.code and row.error is None]
        if not found:
            continue
        tiles: list[np.ndarray] = []
        captions: list[str] = []
        for row in doubtful_first(found, _OF_CLASS):
            for tile, caption in _tiles(row, standardiser, view):
                tiles.append(tile)
                captions.append(caption[:_CAPTION])
        share = "" if count.share is None else f", {100 * count.share:.1f} %"
        shown = "" if len(found) <= _OF_CLASS else f"; the {_OF_CLASS} most doubtful"
        title = f"{count.code} {count.name}".rstrip() + f": {count.n}{share}{shown}"
        blocks.append(
            contact_sheet(tiles, captions=captions, columns=_COLUMNS, tile=_TILE, title=title)
        )
    if not blocks:
        return contact_sheet([], title="no image could be read")
    return np.concatenate(blocks)


def _tiles(row: Prediction, standardiser: Standardiser, view: View) -> list[tuple[np.ndarray, str]]:
    try:
        image = read_image(row.path)
    except ImageReadError:  # it was there when it was predicted
        return []
    name = row.path.name[-_LETTERS:]
    sure = "" if row.confidence is None else f"{row.confidence:.2f}"
    if row.box is not None:
        return [(_around(image, row.box), f"{sure} {name} cell {row.number}")]
    remarks = [flag for flag in row.flags if flag != "standardised"]
    tiles = [(_middle(image), f"{sure} {name} {remarks[0] if remarks else ''}".strip())]
    if "standardised" in row.flags and row.probabilities is not None:
        tiles.append(
            (resize(view.prepare(standardiser(image).image), _TILE), "as the network saw it")
        )
    return tiles


def _around(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    x0, y0, x1, y1 = box
    half = round((0.5 + _AROUND) * max(x1 - x0, y1 - y0))
    x, y = (x0 + x1) // 2, (y0 + y1) // 2
    return image[max(0, y - half) : y + half, max(0, x - half) : x + half]


def _middle(image: np.ndarray) -> np.ndarray:
    """Return the middle of an image, as much as networks are shown of it or more."""
    return View(_TILE, crop=_SHOWN).prepare(image)
