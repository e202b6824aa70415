"""Readers: each lists the images of one kind of source. A new one is a function and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from naturalize.base.errors import InputError, SettingsError, unknown
from naturalize.base.table import SUFFIXES
from naturalize.base.walk import images_folder, walk_images
from naturalize.dataset.readers.files import (
    Item,
    Listing,
    prefix_of,
    read_csv,
    read_folders,
    read_prefix,
)
from naturalize.dataset.readers.levels import Levels, levels_named
from naturalize.dataset.readers.medmnist import read_medmnist
from naturalize.dataset.schemes import Scheme
from naturalize.dataset.schemes import scheme as scheme_named

__all__ = ["READERS", "Item", "Listing", "read"]

#: The readers by name. Trees may also be given what their levels of folders are: ``part/class``.
READERS = ("folders", "prefix", "csv", "medmnist")

_OF_SUFFIX = {**dict.fromkeys(SUFFIXES, "csv"), ".npz": "medmnist"}


def read(
    root: str | Path,
    scheme: str | Scheme = "folders",
    reader: str = "auto",
    *,
    images: Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> Listing:
    """List the images of a source.

    ``InputError`` if there is no such source, or no image in it that has a class; ``SettingsError``
    if the reader is unknown or does not fit the source.

    Parameters
    ----------
    root
        A folder, a table (``.csv``, ``.tsv``) or a MedMNIST ``.npz`` file. A folder that naturalize
        wrote (a phantom or composites) is read from its ``images/``.
    scheme
        ``"pbc11"``, ``"pbc8"`` or ``"folders"`` (a class for each folder or label found).
    reader
        ``"folders"``, ``"prefix"``, ``"csv"``, ``"medmnist"``, or ``"auto"``: by suffix for files,
        by prefix for trees where most images have a prefix that the scheme knows, else by folder.
        Or what the levels of folders are, where their names do not say it: ``"class"``,
        ``"part/class"``, ``"patient/*/class"``.
    images
        Where the images of an ``.npz`` archive are written.
    columns
        ``path``, ``label``, ``group``, ``part`` → what a table calls that column.
    """
    root, scheme = Path(root), scheme_named(scheme)
    levels = levels_named(reader)
    if reader not in ("auto", *READERS) and levels is None:
        raise unknown("reader", reader, ["auto", *READERS, "part/class", "patient/class"])
    if not root.exists():
        raise InputError(f"{root}: no such folder or file; name the folder that holds the images")
    if root.is_dir():
        found = _read_folder(root, scheme, reader, levels)
    else:
        found = _read_file(root, scheme, reader, images, columns)
    if not found.items:
        raise InputError(_nothing(root, scheme, found))
    return found


def _read_folder(root: Path, scheme: Scheme, reader: str, levels: Levels | None) -> Listing:
    if reader in _OF_SUFFIX.values():
        raise SettingsError(f"{root}: reader {reader!r} wants a file, this is a folder")
    root = images_folder(root)
    walk = walk_images(root)
    if reader == "auto":
        known = sum(prefix_of(path) in scheme.prefixes for path in walk.images)
        reader = "prefix" if known * 2 > len(walk.images) else "folders"
    if reader == "prefix":
        return read_prefix(root, scheme, walk=walk)
    return read_folders(root, scheme, walk=walk, levels=levels)


def _read_file(
    root: Path,
    scheme: Scheme,
    reader: str,
    images: Path | None,
    columns: Mapping[str, str] | None,
) -> Listing:
    fitting = _OF_SUFFIX.get(root.suffix.lower())
    if fitting is None:
        advice = "; save the workbook as CSV" if root.suffix.lower().startswith(".xls") else ""
        raise InputError(f"{root}: expected a folder, a .csv or an .npz file{advice}")
    if reader not in ("auto", fitting):
        raise SettingsError(f"{root}: reader {reader!r} does not fit; use {fitting!r} or 'auto'")
    if fitting == "csv":
        return read_csv(root, scheme, columns)
    if images is None:
        raise SettingsError(f"{root}: name a folder for the images of the archive")
    return read_medmnist(root, scheme, images)


def _nothing(root: Path, scheme: Scheme, found: Listing) -> str:
    if found.dropped:
        names = ", ".join(found.dropped)
        return f"{root}: no image has a class of scheme {scheme.name} (found: {names})"
    if found.skipped:
        first = found.skipped[0]
        return (
            f"{root}: no images to use; {len(found.skipped)} entries skipped, "
            f"the first is {first['path']} ({first['reason']})"
        )
    return f"{root}: no images in it"
