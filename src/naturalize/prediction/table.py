"""Predictions as a table in a file, and as a differential: how many cells of each class."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from naturalize.base.artifacts import write_bytes, write_table
from naturalize.base.errors import SettingsError, closest
from naturalize.dataset.schemes import CLASS_NAMES, NO_LEUKOCYTES
from naturalize.prediction.files import Prediction
from naturalize.prediction.standardise import NO_CELL, NO_WHITE_CELL

#: What tables may be written as, by ending.
ENDINGS = (".csv", ".tsv", ".xlsx", ".parquet", ".json")

#: Quantile of the normal distribution for 95 %.
_Z = 1.959963984540054

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
    classes: Sequence[str], predictions: Sequence[Prediction]
) -> tuple[list[str], list[list[Any]]]:
    """Return the names of a table's columns, and its rows; null is what is not known.

    Only where there are fields, it has columns for the number and the box of a cell.
    """
    fields = any(row.box is not None for row in predictions)
    probabilities = [f"prob_{name}" for name in classes]
    names = ["path", "label", "confidence", *probabilities, "flag"]
    rows = []
    for row in predictions:
        numbers: list[float | None] = [None] * (1 + len(classes))
        if row.probabilities is not None:
            numbers = [round(float(v), 6) for v in (row.confidence or 0.0, *row.probabilities)]
        where = [row.number, *(row.box or (None,) * 4)] if fields else []
        rows.append([row.path.as_posix(), row.label, *numbers, row.flag, *where])
    return [*names, *(_WHERE if fields else ())], rows


def write_predictions(
    path: Path, classes: Sequence[str], predictions: Sequence[Prediction]
) -> None:
    """Write a table of predictions as its ending says: one of `ENDINGS`."""
    check_ending(path)
    names, rows = rows_of(classes, predictions)
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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", delimiter=delimiter)
    writer.writerow(names)
    for row in rows:
        writer.writerow([f"{v:.6f}" if isinstance(v, float) else v for v in row])
    return text.getvalue()


def _arrow(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    import pyarrow as pa

    text = ("path", "label", "flag")
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


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval; `scipy.stats` would take as long to import as 50 images do."""
    middle, width = share + _Z**2 / (2 * n), _Z * sqrt(share * (1 - share) / n + (_Z / n) ** 2 / 4)
    return (middle - width) / (1 + _Z**2 / n), (middle + width) / (1 + _Z**2 / n)


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
            shares = (n[code] / whites, *_wilson(n[code] / whites, whites))
        found.append(Count(code, CLASS_NAMES.get(code, ""), n[code], flagged[code], *shares))
    others = (NO_CELL, NO_WHITE_CELL, "unreadable")
    return [*found, *(Count(name, "", n[name], flagged[name]) for name in others if n[name])]
