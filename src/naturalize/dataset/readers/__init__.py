"""Readers: each lists the images of one kind of source. A new one is one file and one line here."""

from __future__ import annotations

from pathlib import Path

from naturalize.base.errors import InputError, SettingsError, unknown
from naturalize.base.walk import images_folder, walk_images
from naturalize.dataset.readers.folders import read_folders
from naturalize.dataset.readers.listing import Item, Listing
from naturalize.dataset.readers.medmnist import read_medmnist
from naturalize.dataset.readers.prefix import prefix_of, read_prefix
from naturalize.dataset.readers.table import read_csv
from naturalize.dataset.schemes import Scheme
from naturalize.dataset.schemes import scheme as scheme_named

__all__ = ["READERS", "Item", "Listing", "read"]

#: Name → reader. Folder readers take (folder, scheme), file readers (file, scheme); ``medmnist``
#: also takes the folder to which it writes its images.
READERS = {
    "folders": read_folders,
    "prefix": read_prefix,
    "csv": read_csv,
    "medmnist": read_medmnist,
}

_OF_SUFFIX = {".csv": "csv", ".npz": "medmnist"}


def read(
    root: str | Path,
    scheme: str | Scheme = "folders",
    reader: str = "auto",
    *,
    images: Path | None = None,
) -> Listing:
    """List the images of a source.

    Parameters
    ----------
    root
        A folder, a ``.csv`` or an ``.npz`` file. A folder that naturalize wrote (a phantom or an
        image folder) is read from its ``images/``.
    scheme
        Which classes there are; see :mod:`naturalize.dataset.schemes`.
    reader
        ``"folders"``, ``"prefix"``, ``"csv"``, ``"medmnist"``, or ``"auto"``: by suffix for files,
        by prefix for trees where most images have a prefix that the scheme knows, else by folder.
    images
        Where the images of an ``.npz`` archive are written.

    Raises
    ------
    InputError
        If there is no such source, or no image in it that has a class.
    SettingsError
        If the reader is unknown or does not fit the source.
    """
    root, scheme = Path(root), scheme_named(scheme)
    if reader != "auto" and reader not in READERS:
        raise unknown("reader", reader, ["auto", *READERS])
    if not root.exists():
        raise InputError(f"{root}: no such folder or file; name the folder that holds the images")
    found = _read_folder(root, scheme, reader) if root.is_dir() else None
    if found is None:
        found = _read_file(root, scheme, reader, images)
    if not found.items:
        raise InputError(_nothing(root, scheme, found))
    return found


def _read_folder(root: Path, scheme: Scheme, reader: str) -> Listing:
    if reader in _OF_SUFFIX.values():
        raise SettingsError(f"{root}: reader {reader!r} wants a file, this is a folder")
    walk = walk_images(images_folder(root))
    if reader == "auto":
        known = sum(prefix_of(path) in scheme.prefixes for path in walk.images)
        reader = "prefix" if known * 2 > len(walk.images) else "folders"
    read_tree = read_prefix if reader == "prefix" else read_folders
    return read_tree(images_folder(root), scheme, walk=walk)


def _read_file(root: Path, scheme: Scheme, reader: str, images: Path | None) -> Listing:
    fitting = _OF_SUFFIX.get(root.suffix.lower())
    if fitting is None:
        raise InputError(f"{root}: expected a folder, a .csv or an .npz file")
    if reader not in ("auto", fitting):
        raise SettingsError(f"{root}: reader {reader!r} does not fit; use {fitting!r} or 'auto'")
    if fitting == "csv":
        return read_csv(root, scheme)
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
