"""Readers of trees of images: the class is a folder, or the beginning of the file's name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

from naturalize.base.console import remark
from naturalize.base.errors import SettingsError
from naturalize.base.walk import Walk, walk_images
from naturalize.dataset.readers.levels import Levels, recognised
from naturalize.dataset.readers.listing import Item, Listing, listing
from naturalize.dataset.schemes import Scheme


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
    root: Path, scheme: Scheme, *, walk: Walk | None = None, levels: Levels | None = None
) -> Listing:
    """List a tree with a folder a class; images may lie deeper.

    ``levels`` says which level of folders is the class, and whether parts and patients have folders
    too; by default it is recognised by their names. Images that lie in no class folder are skipped
    by name; folders that have no class in the scheme are dropped and counted.
    """
    walk = walk or walk_images(root)
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
    return listing(root, levels.name, scheme, items, skipped=skipped, dropped=dropped)


def read_prefix(root: Path, scheme: Scheme, *, walk: Walk | None = None) -> Listing:
    """List a tree by file-name prefix, whatever class folders the files lie in.

    Prefixes that are known but carry no class in the scheme (``IG``, ``NEUTROPHIL`` under
    ``pbc11``) are dropped and counted; files with an unknown prefix are skipped by name. Folders
    of parts and patients are recognised.
    """
    if not scheme.prefixes:
        raise SettingsError(
            f"reader 'prefix' needs a scheme with prefixes (pbc11, pbc8), not {scheme.name!r}"
        )
    walk = walk or walk_images(root)
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
    return listing(root, "prefix", scheme, items, skipped=skipped, dropped=dropped)


def _say_levels(root: Path, levels: Levels, items: list[Item]) -> None:
    """Say which folders were taken for parts and patients."""
    parts = Counter(item.source_part for item in items if item.source_part)
    patients = {item.group for item in items if item.group}
    found = [", ".join(f"{part} {n:,}" for part, n in parts.items())] if parts else []
    found += [f"{len(patients):,} patients"] if patients else []
    if found:
        remark(f"{root}: folders are {levels.name} ({'; '.join(found)}); else give --reader")
