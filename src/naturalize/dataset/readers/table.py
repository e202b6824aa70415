"""Reader of a table of images: ``path,label`` and, where known, ``group`` and ``part``."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from naturalize.base.errors import InputError, closest
from naturalize.base.table import read_rows
from naturalize.base.text import expanded
from naturalize.dataset.readers.levels import PARTS, part_named
from naturalize.dataset.readers.listing import Item, Listing, listing
from naturalize.dataset.schemes import Scheme


def read_csv(file: Path, scheme: Scheme, columns: Mapping[str, str] | None = None) -> Listing:
    """List the images of a table with a header line.

    Columns: ``path`` (relative to the table's folder, or absolute inside it), ``label`` (empty:
    none), and optionally ``group`` (patient, slide or source) and ``part`` (``train``, ``val``,
    ``test`` or another name of one). ``columns`` says what they are called; see
    :func:`naturalize.base.table.read_rows`. Labels without a class in the scheme are dropped and
    counted.

    Raises
    ------
    InputError
        Naming the line and the column: one is missing, a path is empty or repeated, a part unknown.
    """
    root, items, dropped = file.parent, [], Counter[str]()
    seen: dict[str, int] = {}
    for row in read_rows(file, ("path", "label"), ("group", "part"), renamed=columns or {}):
        path = _path(root, row["path"], row.where)
        if path in seen:
            raise InputError(f"{row.where}: path {path!r} stands in line {seen[path]} already")
        seen[path] = row.line
        label = scheme.label_of(row["label"]) if row["label"] else None
        if row["label"] and label is None:
            dropped[row["label"]] += 1
            continue
        items.append(Item(path, label, row["group"] or None, _part(row["part"], row.where)))
    return listing(root, "csv", scheme, items, dropped=dropped)


def _path(root: Path, text: str, where: str) -> str:
    if not text:
        raise InputError(f"{where}: column 'path' is empty")
    if "\\" in text and "/" not in text:
        text = text.replace("\\", "/")
    path, here = PurePosixPath(expanded(text)), root.resolve()
    if path.is_absolute():
        if not path.is_relative_to(here):
            raise InputError(f"{where}: column 'path': {text} is not below {here}")
        path = path.relative_to(here)
    if ".." in path.parts:
        raise InputError(f"{where}: column 'path': {text} leaves the folder of the table")
    return _as_on_disk(root, path.as_posix())


def _as_on_disk(root: Path, path: str) -> str:
    """Return the path in the Unicode form that the file has: macOS takes accents apart."""
    forms = (path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD")))
    return next((form for form in forms if (root / form).exists()), path)


def _part(value: str, where: str) -> str | None:
    part = part_named(value) if value else None
    if value and part is None:
        raise InputError(
            f"{where}: column 'part': {value!r}{closest(value, list(PARTS))}; "
            f"expected {', '.join(PARTS)} or nothing"
        )
    return part
