"""Cells of a review out of tables: predictions of any ending, evaluations, readings of fields."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.artifacts import read_json, read_table
from naturalize.base.console import remark, warn
from naturalize.base.errors import ArtifactError, InputError, closest
from naturalize.base.table import SUFFIXES, read_rows
from naturalize.cells.tables import cell_of
from naturalize.evaluation.calibration import check_probabilities
from naturalize.fields.differential import of_no_smear
from naturalize.fields.outcome import CUT
from naturalize.prediction.profile import Profile
from naturalize.prediction.standardise import NO_CELL, NO_WHITE_CELL
from naturalize.prediction.table import ENDINGS
from naturalize.review.service.pictures.cut import outline_of
from naturalize.review.service.review import UPLOADS
from naturalize.review.store.cells import CellRow

#: Columns of a table of predictions, beside those of probabilities.
_COLUMNS = ("label", "predicted", "confidence", "flag", "set", "cell", "x0", "y0", "x1", "y1")
_BOX, _PROBABILITY = ("x0", "y0", "x1", "y1"), "prob_"

#: Answers that are no class: such cells are unidentified, and the answer is their flag.
NO_CLASS = (NO_CELL, NO_WHITE_CELL)

#: Pixels from the corner of an image to the end of a box: no scan is wider.
_FARTHEST = 2**24

#: Files that are asked for at a place to tell whether the images lie there.
_ASKED = 20


@dataclass(frozen=True)
class Found:
    """Cells and what is to be kept of where they are from.

    ``classes`` of the model, in its order; ``cells``, whose paths are as the source has them;
    ``left_out``: reason → cells; ``platelets`` of fields, null without fields; ``profile``: how
    images from elsewhere were taken, where it was measured.
    """

    classes: tuple[str, ...]
    cells: list[CellRow]
    left_out: Counter[str] = field(default_factory=Counter)
    platelets: int | None = None
    profile: Profile | None = None


def of_table(file: Path, classes: Sequence[str]) -> Found:
    """Return the cells of a table of predictions; ``classes``: of the model, if it names none.

    ``InputError`` if a column is missing, a label is no class, or probabilities are none. A row
    that comes twice is taken once.
    """
    rows = _records(file)
    if not rows:
        raise InputError(f"{file}: has no row; there is nothing to review")
    names = list(dict.fromkeys(name for row in rows for name in row))
    for wanted in ("path", "label"):
        if wanted not in names and not (wanted == "label" and "predicted" in names):
            raise InputError(
                f"{file}: lacks the column {wanted!r}{closest(wanted, names)}; it has "
                f"{', '.join(names)}; a table of naturalize predict is expected"
            )
    named = tuple(n.removeprefix(_PROBABILITY) for n in names if n.startswith(_PROBABILITY))
    answer = "predicted" if "predicted" in names else "label"
    labels = {str(row[answer]) for row in rows if row.get(answer)} - set(NO_CLASS)
    if others := sorted(labels - set(named or classes)):
        if named:
            raise InputError(
                f"{file}: {', '.join(others[:5])}: no class of the table, whose columns of "
                f"probabilities name {', '.join(named)}; correct the column {answer!r}"
            )
        remark(f"{file.name}: names no probabilities, and classes of its own: they are taken")
        classes = sorted(labels)
    numbers = _probabilities(file, rows, named)
    cells = [
        _cell(file, place, row, answer, numbers[place], named) for place, row in enumerate(rows)
    ]
    if not named:
        remark(f"{file.name}: has no probabilities; doubt is that of the confidence, if there is")
    first = {(cell.path, cell.number, cell.box): cell for cell in reversed(cells)}
    kept = [cell for cell in cells if first[cell.path, cell.number, cell.box] is cell]
    left_out = Counter({"twice in the table": len(cells) - len(kept)})
    return Found(named or tuple(classes), kept, +left_out)


def _records(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a table, whatever its ending; absent values are null."""
    ending = file.suffix.lower()
    if ending == ".parquet":
        return read_table(file).to_pylist()
    if ending == ".json":
        found = read_json(file)
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise InputError(f"{file}: expected a list of rows, as naturalize predict writes it")
        return found
    if ending == ".xlsx":
        return _of_workbook(file)
    if ending not in SUFFIXES:
        raise InputError(f"{file}: no table that can be read ({', '.join(ENDINGS)})")
    read = read_rows(file, ["path"], _COLUMNS, also=_PROBABILITY)
    return [{name: value or None for name, value in row.values.items()} for row in read]


def _of_workbook(file: Path) -> list[dict[str, Any]]:
    from openpyxl import load_workbook

    try:
        book = load_workbook(file, read_only=True, data_only=True)
    except Exception as error:  # a damaged ZIP, XML or part of it: no common class
        raise InputError(f"{file}: not a workbook that can be read ({error})") from error
    rows = book.worksheets[0].iter_rows(values_only=True)
    names = [str(name) for name in next(rows, ())]
    return [dict(zip(names, row, strict=False)) for row in rows if any(v is not None for v in row)]


def _probabilities(
    file: Path, rows: Sequence[dict[str, Any]], classes: Sequence[str]
) -> list[np.ndarray | None]:
    """Return float32 (C,) of each row, or null; ``InputError`` if they are no probabilities."""
    if not classes:
        return [None] * len(rows)
    columns = [f"{_PROBABILITY}{name}" for name in classes]
    try:
        values = np.array([[_number(row.get(name)) for name in columns] for row in rows], float)
    except (TypeError, ValueError) as error:
        raise InputError(f"{file}: a probability is no number ({error})") from error
    there = np.array([any(row.get(name) is not None for name in columns) for row in rows])
    check_probabilities(values[there], str(file), advice="write the table again")
    return [row if so else None for row, so in zip(values.astype(np.float32), there, strict=True)]


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)


def _cell(
    file: Path,
    place: int,
    row: dict[str, Any],
    answer: str,
    numbers: np.ndarray | None,
    classes: Sequence[str],
) -> CellRow:
    where = f"{file}: row {place + 1}"
    if not row.get("path"):
        raise InputError(f"{where}: has no path")
    label, flag = str(row.get(answer) or "") or None, str(row.get("flag") or "")
    if label in NO_CLASS:
        label, flag = None, "; ".join(text for text in (label, flag) if text)
    try:
        corners = [row.get(name) for name in _BOX]
        known = all(value is not None for value in corners)
        x0, y0, x1, y1 = (int(_number(value)) for value in corners) if known else (0, 0, 1, 1)
        number = None if row.get("cell") is None else int(_number(row["cell"]))
        sure = None if row.get("confidence") is None else _number(row["confidence"])
    except (OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{where}: a box, cell or confidence is no number ({error})") from error
    if not (0 <= x0 < x1 <= _FARTHEST and 0 <= y0 < y1 <= _FARTHEST and abs(number or 0) < 2**53):
        raise InputError(f"{where}: a box or cell that is none: {corners}, {number}")
    if sure is not None and not 0 <= sure <= 1:
        raise InputError(f"{where}: a confidence that is none: {sure}")
    path = str(row["path"]).replace("\\", "/")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in path):
        raise InputError(f"{where}: a path with a control character: {path[:100]!r}")
    return CellRow(
        path=path,
        field=path if known else None,
        number=number,
        box=(x0, y0, x1, y1) if known else None,
        model_label=label,
        confidence=sure,
        probabilities=numbers,
        candidates=_candidates(str(row.get("set") or ""), classes),
        flag=flag,
    )


def _candidates(text: str, classes: Sequence[str]) -> tuple[str, ...]:
    """Return the classes that a column of sets names, between blanks, which names may have too."""
    found = []
    while text := text.strip():
        fits = [name for name in classes if f"{text} ".startswith(f"{name} ")]
        if not fits:
            return tuple(text.split()) if not classes else ()
        found.append(max(fits, key=len))
        text = text[len(found[-1]) :]
    return tuple(found)


def of_fields(folder: Path) -> Found:
    """Return the white cells of a `fields` artifact; ``InputError`` if there is none.

    Cells that the edge cuts are left out, as in its differential; those of fields whose outcome
    speaks against their classes are unidentified.
    """
    table = read_table(folder / "cells.parquet")
    names = [n for n in table.column_names if n.startswith(_PROBABILITY)]
    classes = tuple(name.removeprefix(_PROBABILITY) for name in names)
    try:
        kinds = Counter(table["kind"].to_pylist())
        whites = [row for row in table.to_pylist() if row["kind"] == "wbc"]
        cut = [row for row in whites if CUT in row["flag"].split("; ")]
        cells = [_field_cell(row, names) for row in whites if CUT not in row["flag"].split("; ")]
    except KeyError as error:
        raise ArtifactError(f"{folder / 'cells.parquet'}: lacks the column {error}") from error
    return Found(classes, cells, +Counter({CUT: len(cut)}), kinds["platelet"])


def _field_cell(row: dict[str, Any], names: Sequence[str]) -> CellRow:
    cell = cell_of(row | {"nucleus": None})
    trusted = not of_no_smear(row["flag"])
    numbers = None if row[names[0]] is None else np.array([row[n] for n in names], np.float32)
    return CellRow(
        path=row["field"],
        field=row["field"],
        number=row["cell"],
        box=cell.box,
        model_label=row["label"] if trusted else None,
        confidence=row["confidence"],
        probabilities=numbers,
        flag=row["flag"],
        area=float(row["area"]),
        outline=outline_of(cell.mask),
    )


def located(
    cells: Sequence[CellRow], places: Iterable[Path], what: object
) -> tuple[Path, list[CellRow]]:
    """Return the folder that all images lie in, and cells whose paths count from it.

    ``places`` are where the source's paths may begin, the likeliest first; a place serves where one
    of the first images is found. Cells get the time of their file. What is missing is said;
    ``InputError`` if that is all.
    """
    names = list(dict.fromkeys(cell.path for cell in cells))
    asked = names[:: max(1, len(names) // _ASKED)]
    tried = list(dict.fromkeys(place.absolute() for place in places))
    place = next((p for p in tried if any(_is_file(p / name) for name in asked)), None)
    if place is None:
        raise InputError(
            f"{what}: none of its images is there ({asked[0]}, for one, in {tried[0]}); say where "
            "they are with --root FOLDER"
        )
    files = {name: os.path.normpath(place / name) for name in names}
    root = os.path.commonpath([Path(file).parent for file in files.values()])
    times = {name: _time(file) for name, file in files.items()}
    if missing := [name for name, time in times.items() if time is None]:
        warn(f"{len(missing):,} of {len(names):,} images are not there: {missing[0]}")
    under = {name: _under(root, file) for name, file in files.items()}
    found = [
        replace(
            cell,
            path=under[cell.path],
            field=None if cell.field is None else under[cell.path],
            taken=times[cell.path],
        )
        for cell in cells
    ]
    return Path(root), found


def _under(root: str, file: str) -> str:
    """Return the path from ``root``; below ``uploads/`` is the review's own."""
    path = Path(os.path.relpath(file, root)).as_posix()
    return f"./{path}" if path.startswith(UPLOADS) else path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is longer than names can be
        return False


def _time(file: str) -> float | None:
    try:
        return Path(file).stat().st_mtime
    except OSError:
        return None


def places_of(source: Path, root: Path | None) -> list[Path]:
    """Return where the paths of a source may begin: ``root``, here, beside it, a folder down."""
    if root is not None:
        return [root]
    near = [Path.cwd(), source.absolute().parent]
    if source.is_dir():
        near.append(source.absolute().parent.parent)
    down = [inner for place in near for inner in sorted(place.iterdir()) if inner.is_dir()]
    return [*near, *down]
