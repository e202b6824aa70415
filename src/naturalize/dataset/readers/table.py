"""Reader of a CSV table: ``path,label`` and, where known, ``group`` and ``part``."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path, PurePosixPath

from naturalize.base.errors import InputError, closest
from naturalize.dataset.readers.listing import Item, Listing, listing
from naturalize.dataset.schemes import Scheme

_COLUMNS = ("path", "label", "group", "part")
_PARTS = ("train", "val", "test")


def read_csv(file: Path, scheme: Scheme) -> Listing:
    """List the images of a CSV file with a header line.

    Columns: ``path`` (relative to the CSV's folder, or absolute inside it), ``label`` (empty:
    none), and optionally ``group`` (patient, slide or source) and ``part`` (``train``, ``val``,
    ``test``). Other columns are ignored. Labels without a class in the scheme are dropped and
    counted.

    Raises
    ------
    InputError
        Naming the line and the column: one is missing, a path is empty or repeated, a part unknown.
    """
    root, items, dropped = file.parent, [], Counter[str]()
    seen: dict[str, int] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            _check_header(file, reader.fieldnames)
            for row in reader:
                where = f"{file}: line {reader.line_num}"
                path = _path(root, row.get("path"), where)
                if path in seen:
                    raise InputError(f"{where}: path {path!r} stands in line {seen[path]} already")
                seen[path] = reader.line_num
                name = (row["label"] or "").strip()
                label = scheme.label_of(name) if name else None
                if name and label is None:
                    dropped[name] += 1
                    continue
                group = (row.get("group") or "").strip() or None
                items.append(Item(path, label, group, _part(row.get("part"), where)))
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{file}: not a CSV table ({error})") from error
    return listing(root, "csv", scheme, items, dropped=dropped)


def _check_header(file: Path, names: object) -> None:
    header = list(names) if isinstance(names, (list, tuple)) else []
    for column in ("path", "label"):
        if column not in header:
            hint = closest(column, [str(name) for name in header])
            raise InputError(
                f"{file}: line 1: lacks the column {column!r}{hint}; "
                f"expected {', '.join(_COLUMNS[:2])} and optionally {', '.join(_COLUMNS[2:])}"
            )


def _path(root: Path, value: str | None, where: str) -> str:
    text = (value or "").strip()
    if not text:
        raise InputError(f"{where}: column 'path' is empty")
    if "\\" in text and "/" not in text:
        text = text.replace("\\", "/")
    path = PurePosixPath(text)
    if path.is_absolute():
        if not path.is_relative_to(root.resolve()):
            raise InputError(f"{where}: column 'path': {text} is not below {root.resolve()}")
        path = path.relative_to(root.resolve())
    if ".." in path.parts:
        raise InputError(f"{where}: column 'path': {text} leaves the folder of the table")
    return path.as_posix()


def _part(value: str | None, where: str) -> str | None:
    part = (value or "").strip()
    if part and part not in _PARTS:
        raise InputError(
            f"{where}: column 'part': {part!r}{closest(part, list(_PARTS))}; "
            f"expected {', '.join(_PARTS)} or nothing"
        )
    return part or None
