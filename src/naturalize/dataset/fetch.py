"""Fetching the PBC images from Mendeley Data: listed, downloaded, checked, unpacked.

Acevedo, Merino, Alférez, Molina, Boldú, Rodellar: "A dataset of microscopic peripheral blood cell
images for development of automatic recognition systems", Data in Brief 30 (2020) 105474,
doi 10.17632/snkd93bnjr.1, CC BY 4.0.
"""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from naturalize.base.console import say, track
from naturalize.base.download import DownloadError, download, fetch_json
from naturalize.base.errors import os_errors_named
from naturalize.base.walk import walk_images
from naturalize.dataset.readers.files import prefix_of

#: Where Mendeley Data lists the files of the data set.
MENDELEY_API = (
    "https://data.mendeley.com/public-api/datasets/snkd93bnjr/files?folder_id=root&version=1"
)

#: Where a person can download it.
MENDELEY_PAGE = "https://data.mendeley.com/datasets/snkd93bnjr/1"

#: The archive, and the folder that it makes.
ARCHIVE = "PBC_dataset_normal_DIB.zip"

#: Images by prefix of the file name in the published archive.
PBC_COUNTS = {
    "BA": 1218,
    "BNE": 1633,
    "EO": 3117,
    "ERB": 1551,
    "IG": 151,
    "LY": 1214,
    "MMY": 1015,
    "MO": 1420,
    "MY": 1137,
    "NEUTROPHIL": 50,
    "PLATELET": 2348,
    "PMY": 592,
    "SNE": 1646,
}


def fetch_pbc(
    dest: str | Path,
    *,
    api_url: str = MENDELEY_API,
    expected: Mapping[str, int] | None = None,
    **how: Any,
) -> Path:
    """Download, check and unpack the PBC images; return the folder that holds them.

    Run again after an interruption, it goes on where it stopped; once the images are there, it
    only counts them. ``DownloadError`` if the archive cannot be had, is not as announced, or holds
    other images than published; nothing half-written is left but ``*.partial``, from which the next
    run goes on.

    The images come to ``dest/PBC_dataset_normal_DIB``. ``api_url`` lists the files with their
    sizes, SHA-256 and addresses; ``expected`` is prefix → number of images, by default as
    published. ``how``: ``retries``, ``wait`` and ``timeout`` of
    :func:`naturalize.base.download.download`.
    """
    dest = Path(dest)
    expected = PBC_COUNTS if expected is None else expected
    folder = dest / PurePosixPath(ARCHIVE).stem
    if folder.is_dir():
        _check_counts(folder, expected, folder)
        say(f"{folder}: {sum(expected.values()):,} images, there already")
        return folder
    archive = dest / ARCHIVE
    try:
        entry = _entry(fetch_json(api_url, **how), api_url)
        with os_errors_named(dest):
            dest.mkdir(parents=True, exist_ok=True)
        _check_room(dest, entry["size"])
        download(entry.pop("url"), archive, **entry, **how)
    except DownloadError as error:
        raise DownloadError(
            f"{error}; or download {ARCHIVE} from {MENDELEY_PAGE} and unpack it into {dest}"
        ) from error
    _unpack(archive, folder, expected)
    archive.unlink()
    say(f"{folder}: {sum(expected.values()):,} images (Acevedo et al. 2020, CC BY 4.0)")
    return folder


def _entry(listed: Any, api_url: str) -> dict[str, Any]:
    """Return url, size and sha256 of the archive in Mendeley's list of files."""
    files = listed.get("files") if isinstance(listed, dict) else listed
    if not isinstance(files, list):
        raise DownloadError(f"{api_url}: expected a list of files")
    names = [str(file.get("filename")) for file in files if isinstance(file, dict)]
    if ARCHIVE not in names:
        raise DownloadError(
            f"{api_url}: lists no {ARCHIVE} (it lists: {', '.join(names) or 'nothing'})"
        )
    details = next(f for f in files if isinstance(f, dict) and f.get("filename") == ARCHIVE)
    details = {**details, **(details.get("content_details") or {})}
    try:
        return {
            "url": str(details["download_url"]),
            "size": int(details["size"]),
            "sha256": str(details["sha256_hash"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DownloadError(f"{api_url}: the entry of {ARCHIVE} lacks {error}") from error


def _check_room(dest: Path, size: int) -> None:
    needed, free = 2 * size, shutil.disk_usage(dest).free
    if free < needed:
        raise DownloadError(
            f"{dest}: {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed; "
            "free some space or name another folder"
        )


def _unpack(archive: Path, folder: Path, expected: Mapping[str, int]) -> None:
    """Unpack beside ``folder`` and move it there whole, once the images are counted."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with os_errors_named(folder), zipfile.ZipFile(archive) as opened:
            members = [info for info in opened.infolist() if not info.is_dir()]
            for info in members:
                _check_member(archive, info.filename)
            for info in track(members, "unpack"):
                opened.extract(info, partial)
            inner = partial / folder.name
            source = inner if inner.is_dir() else partial
            _check_counts(source, expected, archive)
            source.rename(folder)
    except (zipfile.BadZipFile, EOFError) as error:
        archive.unlink()
        raise DownloadError(f"{archive}: damaged archive ({error}); it was removed") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_member(archive: Path, name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise DownloadError(f"{archive}: holds {name!r}, which would be written outside the folder")


def _check_counts(folder: Path, expected: Mapping[str, int], what: Path) -> None:
    """Raise unless ``folder`` holds the expected images; ``what`` is to be removed if not."""
    found = Counter(prefix_of(path) or "(none)" for path in walk_images(folder).images)
    differing = [
        f"{prefix} {found[prefix]:,} instead of {expected.get(prefix, 0):,}"
        for prefix in sorted({*expected, *found})
        if found[prefix] != expected.get(prefix, 0)
    ]
    if differing:
        raise DownloadError(
            f"{what}: not the published images: {', '.join(differing)}; "
            "remove it and run the command again"
        )
