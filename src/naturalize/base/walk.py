"""The one walk through the files and folders that a user names, with the reason for each skip."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from naturalize.base.artifacts import MANIFEST
from naturalize.base.console import remark
from naturalize.base.errors import InputError
from naturalize.base.images import IMAGE_SUFFIXES

#: Artifacts whose ``images/`` are images to read like any other; all others are only results.
IMAGE_KINDS = ("images", "phantom")

#: Files and folders that systems, archivers and file servers leave beside images (lower case).
_SYSTEM_FILES = {"thumbs.db", "desktop.ini", "icon\r"}
_SYSTEM_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information"}


@dataclass
class Walk:
    """Paths of the images below a root (sorted, ``/`` between names) and what was skipped."""

    images: list[str] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)


def walk_images(root: Path, *, suffixes: Collection[str] = IMAGE_SUFFIXES) -> Walk:
    """Return all images below ``root``: files with one of ``suffixes`` (lower case).

    Hidden and system files are skipped, and so is what naturalize wrote, except for images that it
    composed. Links are followed, real folders are read before links to folders, and no folder is
    read twice: a loop of links ends, and a link inside the tree does not double its images.
    ``InputError`` if the path of ``root`` is not valid UTF-8, so that no table could name its
    images.
    """
    _check_name(root)
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
            if reason := _why_not(entry, suffixes):
                _skip(found, path, reason)
            elif entry.is_dir():
                inside = images_of_artifact(Path(entry.path))
                deeper = (inside, f"{path}/{inside.name}") if inside else (Path(entry.path), path)
                (links if entry.is_symlink() else real).append(deeper)
            else:
                found.images.append(path)
    found.images.sort()
    found.skipped.sort(key=lambda entry: entry["path"])
    return found


def find_images(
    inputs: Sequence[str | Path], *, suffixes: Collection[str] = IMAGE_SUFFIXES
) -> list[Path]:
    """Return the image files that ``inputs`` name, in their order; folders are walked.

    In folders, images are files with one of ``suffixes`` (lower case).

    A file that is named outright is taken whatever its suffix. A file that is named twice, or by
    its folder too, is taken once. What is skipped is said in one line. ``InputError`` if an input
    is missing, or there is no image at all.
    """
    files: dict[Path, Path] = {}
    skipped: list[dict[str, str]] = []
    for path in map(Path, inputs):
        if path.is_dir():
            root = images_folder(path)
            walk = walk_images(root, suffixes=suffixes)
            skipped += [{**entry, "path": f"{root}/{entry['path']}"} for entry in walk.skipped]
            found = [root / name for name in walk.images]
        elif path.exists():
            _check_name(path)
            found = [path]
        else:
            raise InputError(f"{shown(path)}: no such file or folder")
        for file in found:
            files.setdefault(file.parent.resolve() / file.name, file)
    if not files:
        named = ", ".join(shown(path) for path in inputs)
        why = f"; {skips_in_words(skipped)}" if skipped else ""
        raise InputError(f"{named}: no images there ({', '.join(sorted(suffixes))}){why}")
    say_skipped(skipped)
    return list(files.values())


def images_folder(root: Path) -> Path:
    """Return the folder of images of ``root``: itself, or ``images/`` of an artifact of images."""
    if not (root / MANIFEST).is_file():
        return root
    inside = images_of_artifact(root)
    if inside is None:
        raise InputError(
            f"{root}: holds results of naturalize (kind: {_kind(root)}), not images to read"
        )
    return inside


def images_of_artifact(folder: Path) -> Path | None:
    """Return ``folder/images`` of an artifact of images; ``None`` for any other folder."""
    return folder / "images" if _kind(folder) in IMAGE_KINDS else None


def skips_in_words(skipped: Sequence[dict[str, str]]) -> str:
    """Return what was skipped, counted by reason, with the first of each.

    Examples
    --------
    >>> skips_in_words([{"path": ".DS_Store", "reason": "hidden file"}])
    'skipped: hidden file (.DS_Store)'
    """
    counts = Counter(entry["reason"] for entry in skipped)
    first: dict[str, str] = {}
    for entry in skipped:
        first.setdefault(entry["reason"], entry["path"])
    return "skipped: " + ", ".join(
        f"{reason} ({f'{n:,}, the first: ' if n > 1 else ''}{first[reason]})"
        for reason, n in counts.most_common()
    )


def say_skipped(skipped: Sequence[dict[str, str]]) -> None:
    """Say in one line what was skipped, if anything was."""
    if skipped:
        remark(skips_in_words(skipped))


def shown(path: object) -> str:
    """Return a path as text that any file can hold; bytes that are no UTF-8 become ``\\xe4``."""
    return os.fsencode(str(path)).decode("utf-8", "backslashreplace")


def _check_name(path: Path) -> None:
    if not _is_text(str(path)):
        raise InputError(f"{shown(path)}: the name is not valid UTF-8; rename it")


def _is_text(name: str) -> bool:
    return not any("\udc80" <= letter <= "\udcff" for letter in name)


def _skip(found: Walk, path: str, reason: str) -> None:
    found.skipped.append({"path": shown(path), "reason": reason})


def _kind(folder: Path) -> str | None:
    """Return the kind of the artifact in ``folder``, ``"artifact"`` if that cannot be read."""
    try:
        return str(json.loads((folder / MANIFEST).read_bytes())["kind"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return "artifact"


def _why_not(entry: os.DirEntry[str], suffixes: Collection[str]) -> str | None:
    """Return why an entry of a folder is passed over, or ``None`` if it is not."""
    if not _is_text(entry.name):
        return "name that is not valid UTF-8"
    name = entry.name.lower()
    if not entry.is_dir():
        return _why_not_file(name, entry, suffixes)
    if name.startswith("."):
        return "hidden folder"
    if name in _SYSTEM_FOLDERS:
        return "folder of an archiver or system"
    kind = _kind(Path(entry.path))
    return f"result of naturalize ({kind})" if kind and kind not in IMAGE_KINDS else None


def _why_not_file(name: str, entry: os.DirEntry[str], suffixes: Collection[str]) -> str | None:
    suffix = PurePosixPath(name).suffix
    reasons = {
        "file of the operating system": name in _SYSTEM_FILES,
        "hidden file": name.startswith("."),
        "link to nothing": entry.is_symlink() and not Path(entry.path).exists(),
        "not a file": not entry.is_file(),
        f"not an image (suffix {suffix!r})": suffix not in suffixes,
    }
    return next((reason for reason, is_so in reasons.items() if is_so), None)
