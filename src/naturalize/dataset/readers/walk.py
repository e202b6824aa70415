"""Walking a tree of images: junk named, links followed once, always in the same order."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from naturalize.base.images import IMAGE_SUFFIXES

_JUNK_FILES = {"thumbs.db", "desktop.ini", "icon\r"}
_JUNK_FOLDERS = {"__macosx"}


@dataclass
class Walk:
    """Paths of the images below a root (sorted, ``/`` between parts) and what was skipped."""

    images: list[str] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)


def walk_images(root: Path) -> Walk:
    """Return all images below ``root``.

    Real folders are read before links to folders, and no folder is read twice, so a loop of links
    ends and a link to a folder inside the tree does not double its images.
    """
    found = Walk()
    seen: set[tuple[int, int]] = set()
    real: list[tuple[Path, str]] = [(root, "")]
    links: list[tuple[Path, str]] = []
    while real or links:
        folder, relative = real.pop() if real else links.pop(0)
        try:
            status = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            _skip(found, relative, f"folder cannot be read ({error.strerror})")
            continue
        if (status.st_dev, status.st_ino) in seen:
            _skip(found, relative, "link to a folder that is read already")
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            path = f"{relative}/{entry.name}" if relative else entry.name
            if reason := _why_not(entry, path):
                _skip(found, path, reason)
            elif entry.is_dir():
                (links if entry.is_symlink() else real).append((Path(entry.path), path))
            else:
                found.images.append(path)
    found.images.sort()
    return found


def _skip(found: Walk, path: str, reason: str) -> None:
    shown = path.encode("utf-8", "backslashreplace").decode()
    found.skipped.append({"path": shown, "reason": reason})


def _why_not(entry: os.DirEntry[str], path: str) -> str | None:
    """Return why an entry of a folder is passed over, or ``None`` if it is not."""
    if "\udc80" <= max(path) <= "\udcff":  # bytes that are no text, as Python shows them
        return "name is not valid UTF-8"
    name = entry.name.lower()
    return _why_not_folder(name) if entry.is_dir() else _why_not_file(name, entry)


def _why_not_folder(name: str) -> str | None:
    if name.startswith("."):
        return "hidden folder"
    return "folder of an archiver" if name in _JUNK_FOLDERS else None


def _why_not_file(name: str, entry: os.DirEntry[str]) -> str | None:
    suffix = PurePosixPath(name).suffix
    reasons = {
        "file of the operating system": name in _JUNK_FILES,
        "hidden file": name.startswith("."),
        "link to nothing": entry.is_symlink() and not Path(entry.path).exists(),
        "not a file": not entry.is_file(),
        f"not an image (suffix {suffix!r})": suffix not in IMAGE_SUFFIXES,
    }
    return next((reason for reason, is_so in reasons.items() if is_so), None)
