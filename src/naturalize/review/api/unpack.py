"""Files that were put in: which of them are images, and what a ZIP may do to a disk.

A ZIP is refused whole where it could do harm: names that lead out of its folder, links, encrypted
entries, a ZIP in it, more entries or bytes than permitted, or a ratio that only a bomb has (Fifield
2019, "A better zip bomb"). Sizes are counted while entries are unpacked: what a ZIP states of
itself may be false. Single files that are no images are left out, each with its reason.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from naturalize.base.errors import ImageReadError, UnusableError
from naturalize.base.images import IMAGE_SUFFIXES, file_facts, read_bytes
from naturalize.base.text import has_controls
from naturalize.review.api.limits import Limits

#: Characters that lead somewhere on some system, or mean something in a page (Windows' list).
_NOT_IN_NAMES = '<>:"|?*\\'

#: Files and folders that archivers add: passed over without a word.
_SYSTEM = {"__macosx", "thumbs.db", "desktop.ini", ".ds_store"}

#: APPNOTE.TXT 6.3.10: first bytes of a ZIP; its last record, 22 bytes and a comment; ZIP64's.
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_END, _END_LENGTH, _COMMENT, _LOCATOR = b"PK\x05\x06", 22, 65_535, b"PK\x06\x07"
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

#: Bytes of the list of contents that an entry may take: 46, a name of 200 characters in UTF-8,
#: and what archivers add.
_PER_ENTRY = 1_500

_PIECE = 1 << 16


@dataclass
class Accepted:
    """Image files below ``folder``, which are kept, and files that are not, with their reasons."""

    folder: Path
    limits: Limits
    paths: list[Path] = field(default_factory=list)
    refused: list[UnusableError] = field(default_factory=list)
    unpacked: int = 0

    def add(self, name: str, file: Path) -> None:
        """Keep ``file`` under ``name`` if it is an image, or what is in it if it is a ZIP."""
        try:
            if is_zip(file):
                self._add_zip(name, file)
                return
            if name.lower().endswith(".zip"):
                raise UnusableError(name, "damaged ZIP (it does not begin as one)")
            self._keep(safe_name(name, self.limits), file)
        except UnusableError as error:
            self.refused.append(UnusableError(name, error.reason))

    def _keep(self, name: PurePosixPath, file: Path) -> None:
        if len(self.paths) >= self.limits.files:
            raise UnusableError(name, f"more than {self.limits.files} files")
        check_image(name, file, self.limits)
        target, number = self.folder / name, 2
        while target.exists():
            target = self.folder / name.with_name(f"{name.stem}-{number}{name.suffix}")
            number += 1
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UnusableError(name, "another file has the name of its folder") from error
        file.rename(target)
        self.paths.append(target)

    def _add_zip(self, name: str, file: Path) -> None:
        before, refused_before = len(self.paths), len(self.refused)
        piece = file.with_name(f"{file.name}.entry")
        try:
            for entry in unpacked(name, file, piece, self):
                try:
                    self._keep(entry, piece)
                except UnusableError as error:
                    self.refused.append(UnusableError(f"{name}/{entry}", error.reason))
        except UnusableError:
            for path in self.paths[before:]:
                path.unlink()
            del self.paths[before:], self.refused[refused_before:]
            raise
        finally:
            piece.unlink(missing_ok=True)


def safe_name(name: str, limits: Limits) -> PurePosixPath:
    """Return a relative path that stays in its folder; ``UnusableError`` for any other name."""
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise UnusableError(name, "its name leads out of its folder")
    if has_controls(name) or any(c in _NOT_IN_NAMES for c in name):
        raise UnusableError(name, f"its name has one of {_NOT_IN_NAMES} or a control character")
    if len(parts) > limits.depth or any(len(part.encode()) > limits.name for part in parts):
        raise UnusableError(name[: limits.name], "its name is too long or in too many folders")
    if any(part.startswith(".") for part in parts):
        raise UnusableError(name, "its name begins with a dot")
    return PurePosixPath(name)


def check_image(name: object, file: Path, limits: Limits) -> None:
    """Raise ``UnusableError`` unless the file is an image of a permitted size, by its header."""
    if PurePosixPath(str(name)).suffix.lower() not in IMAGE_SUFFIXES:
        raise UnusableError(name, "not an image: " + ", ".join(sorted(IMAGE_SUFFIXES)))
    try:
        facts = file_facts(read_bytes(file), name=name)
    except ImageReadError as error:
        raise UnusableError(name, error.reason) from error
    if facts.width * facts.height > limits.pixels:
        size = f"{facts.width} × {facts.height} pixels"
        raise UnusableError(name, f"too large: {size} (limit {limits.pixels})")


def is_zip(file: Path) -> bool:
    """Return whether a file begins as a ZIP does."""
    with file.open("rb") as opened:
        return opened.read(4) in _ZIP_STARTS


def unpacked(name: str, file: Path, piece: Path, count: Accepted) -> Iterator[PurePosixPath]:
    """Unpack the files of a ZIP one by one into ``piece``, and yield the name of each.

    ``UnusableError`` as soon as something in it could do harm, or is damaged.
    """
    limits = count.limits
    try:
        _check_length_of_contents(name, file, limits)
        with zipfile.ZipFile(file) as archive:
            entries = [info for info in archive.infolist() if not _is_system(info)]
            if len(entries) > limits.files:
                raise UnusableError(name, f"more than {limits.files} entries")
            for info in entries:
                _check_entry(name, info, limits)
            for info in entries:
                if not info.is_dir():
                    _unpack(name, archive, info, piece, count)
                    yield safe_name(info.filename, limits)
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError) as error:
        raise UnusableError(name, f"damaged ZIP ({error})") from error
    except (ValueError, RuntimeError) as error:  # what zipfile says of names and passwords
        raise UnusableError(name, f"a ZIP that cannot be read ({error})") from error


def _check_length_of_contents(name: str, file: Path, limits: Limits) -> None:
    """Refuse a list of contents that is too long before zipfile reads all of it."""
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        opened.seek(max(0, size - _END_LENGTH - _COMMENT - 20))
        tail = opened.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_LENGTH:
        raise UnusableError(name, "damaged ZIP (its end is missing)")
    if tail[max(0, at - 20) : at].startswith(_LOCATOR):
        raise UnusableError(name, "a ZIP of more than 4 GB or 65,535 entries")
    length = struct.unpack_from("<L", tail, at + 12)[0]
    if length > limits.files * _PER_ENTRY:
        raise UnusableError(name, f"more than {limits.files} entries")


def _is_system(info: zipfile.ZipInfo) -> bool:
    return any(part.lower() in _SYSTEM for part in info.filename.split("/"))


def _check_entry(name: str, info: zipfile.ZipInfo, limits: Limits) -> None:
    """Refuse an entry by what the ZIP states of it."""
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise UnusableError(name, f"{info.filename!r} in it is a link or no plain file")
    if info.flag_bits & _ENCRYPTED:
        raise UnusableError(name, "encrypted ZIP; unpack it and put the images in")
    if info.compress_type not in _METHODS:
        raise UnusableError(name, "packed in an unusual way; pack it with deflate")
    try:
        safe_name(info.filename.rstrip("/"), limits)
    except UnusableError as error:
        raise UnusableError(name, f"{info.filename[:100]!r} in it: {error.reason}") from error
    if info.filename.lower().endswith(".zip"):
        raise UnusableError(name, f"has a ZIP in it ({info.filename!r}); put that in by itself")


def _unpack(
    name: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo, piece: Path, count: Accepted
) -> None:
    """Unpack one entry, counting what comes out."""
    limits, size = count.limits, 0
    with archive.open(info) as packed, piece.open("wb") as out:
        while data := packed.read(_PIECE):
            if size == 0 and data[:4] in _ZIP_STARTS:
                raise UnusableError(name, f"has a ZIP in it ({info.filename!r})")
            size += len(data)
            count.unpacked += len(data)
            if size > limits.file or count.unpacked > limits.unpacked:
                raise UnusableError(name, "unpacks to more than is permitted")
            if size > limits.ratio_from and size > limits.ratio * max(info.compress_size, 1):
                raise UnusableError(
                    name, f"{info.filename!r} unpacks to more than {limits.ratio} times its size"
                )
            out.write(data)
