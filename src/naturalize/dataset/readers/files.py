"""What a reader returns, and the readers of image files.

Of trees, where the class is a folder or a prefix, and of tables that name files.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from naturalize.base.console import remark
from naturalize.base.errors import InputError, SettingsError, closest
from naturalize.base.table import read_rows
from naturalize.base.text import expanded
from naturalize.base.walk import Walk
from naturalize.dataset.readers.levels import PARTS, Levels, part_named, recognised
from naturalize.dataset.schemes import Scheme

#: Columns that a table of a model's answers has beside their ``label``.
_ANSWERS = {"confidence", "flag"}


@dataclass(frozen=True)
class Item:
    """One image of a source; ``path`` is relative to the root, with ``/`` between parts."""

    path: str
    label: str | None
    group: str | None = None
    source_part: str | None = None


@dataclass
class Listing:
    """What a reader found, brought into order.

    Paths are relative to ``root``. ``skipped`` lists ``{"path", "reason"}`` of each file or folder
    that was passed over, ``dropped`` says how many images of a prefix or class name have no class
    in the scheme.
    """

    root: Path
    reader: str
    scheme: Scheme
    items: list[Item]
    skipped: list[dict[str, str]] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.items = sorted(self.items, key=lambda item: item.path)
        self.skipped = sorted(self.skipped, key=lambda entry: entry["path"])
        self.dropped = dict(sorted(self.dropped.items()))

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the scheme; those that occur, if it takes any."""
        found = {item.label for item in self.items if item.label is not None}
        return self.scheme.labels if self.scheme.labels is not None else tuple(sorted(found))


def prefix_of(path: str) -> str | None:
    """Return what stands before the first ``_`` of the file name, in capitals; ``None`` if none.

    Examples
    --------
    >>> prefix_of("platelet/PLATELET_495918.jpg")
    'PLATELET'
    """
    head, underscore, _ = PurePosixPath(path).name.partition("_")
    return head.upper() if underscore and head else None


def read_folders(
    root: Path, scheme: Scheme, *, walk: Walk, levels: Levels | None = None
) -> Listing:
    """List a tree with a folder a class; images may lie deeper.

    ``levels`` says which level of folders is the class, and whether parts and patients have folders
    too; by default it is recognised by their names. Images that lie in no class folder are skipped
    by name; folders that have no class in the scheme are dropped and counted.
    """
    levels = levels or recognised(walk.images, scheme)
    skipped, items, dropped = list(walk.skipped), [], Counter[str]()
    for path in walk.images:
        folder, patient, part = levels.of(path)
        if folder is None:
            skipped.append({"path": path, "reason": "lies beside the class folders, not in one"})
        elif (label := scheme.label_of(folder)) is None:
            dropped[folder] += 1
        else:
            items.append(Item(path, label, patient, part))
    _say_levels(root, levels, items)
    return Listing(root, levels.name, scheme, items, skipped, dropped)


def read_prefix(root: Path, scheme: Scheme, *, walk: Walk) -> Listing:
    """List a tree by file-name prefix, whatever class folders the files lie in.

    Prefixes that are known but carry no class in the scheme (``IG``, ``NEUTROPHIL`` under
    ``pbc11``) are dropped and counted; files with an unknown prefix are skipped by name. Folders
    of parts and patients are recognised.
    """
    if not scheme.prefixes:
        raise SettingsError(
            f"reader 'prefix' needs a scheme with prefixes (pbc11, pbc8), not {scheme.name!r}"
        )
    levels = recognised(walk.images, scheme)
    skipped, items, dropped = list(walk.skipped), [], Counter[str]()
    for path in walk.images:
        prefix = prefix_of(path)
        if prefix is None or prefix not in scheme.prefixes:
            reason = f"prefix {prefix!r} is unknown" if prefix else "name has no prefix"
            skipped.append({"path": path, "reason": f"{reason} in scheme {scheme.name}"})
        elif (label := scheme.prefixes[prefix]) is None:
            dropped[prefix] += 1
        else:
            items.append(Item(path, label, *levels.of(path)[1:]))
    _say_levels(root, levels, items)
    return Listing(root, "prefix", scheme, items, skipped, dropped)


def _say_levels(root: Path, levels: Levels, items: list[Item]) -> None:
    """Say which folders were taken for parts and patients."""
    parts = Counter(item.source_part for item in items if item.source_part)
    patients = {item.group for item in items if item.group}
    found = [", ".join(f"{part} {n:,}" for part, n in parts.items())] if parts else []
    found += [f"{len(patients):,} patients"] if patients else []
    if found:
        remark(f"{root}: folders are {levels.name} ({'; '.join(found)}); else give --reader")


def read_csv(file: Path, scheme: Scheme, columns: Mapping[str, str] | None = None) -> Listing:
    """List the images of a table with a header line.

    Columns: ``path`` (relative to the table's folder, or absolute inside it), ``label`` (empty:
    none), and optionally ``group`` (patient, slide or source) and ``part`` (``train``, ``val``,
    ``test`` or another name of one). ``columns`` says what they are called; see
    :func:`naturalize.base.table.read_rows`. Labels without a class in the scheme are dropped and
    counted. ``InputError`` names the line and the column: one is missing, a path is empty or
    repeated, a part unknown, or the labels are a model's answers.
    """
    root, items, dropped = file.parent, [], Counter[str]()
    seen: dict[str, int] = {}
    optional = ("group", "part", *_ANSWERS, "predicted")
    for row in read_rows(file, ("path", "label"), optional, renamed=columns or {}):
        if row.values.keys() >= _ANSWERS and "predicted" not in row.values:
            raise InputError(
                f"{file}: is a table that 'naturalize predict' wrote: its labels are a model's "
                "answers, not the truth; correct them, and leave out its column flag"
            )
        path = _path(root, row["path"], row.where)
        if path in seen:
            raise InputError(f"{row.where}: path {path!r} stands in line {seen[path]} already")
        seen[path] = row.line
        label = scheme.label_of(row["label"]) if row["label"] else None
        if row["label"] and label is None:
            dropped[row["label"]] += 1
            continue
        items.append(Item(path, label, row["group"] or None, _part(row["part"], row.where)))
    return Listing(root, "csv", scheme, items, [], dropped)


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
