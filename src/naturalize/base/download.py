"""Downloading one large file: resumed after cuts, retried, checked; whole or not there at all."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from rich.progress import Progress, TaskID

from naturalize.base.console import progress_bar
from naturalize.base.errors import NaturalizeError, os_errors_named

T = TypeVar("T")

_PIECE = 1 << 18
_MEGABYTE = 1_000_000
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO, errno.EISDIR}


class DownloadError(NaturalizeError):
    """Something that cannot be fetched: no network, no such file, or other bytes than announced."""


class _CutOffError(Exception):
    """A passing trouble: worth another try."""


def fetch_json(url: str, *, retries: int = 5, wait: float = 1.0, timeout: float = 30.0) -> Any:
    """Return the JSON that ``url`` answers; tried again as :func:`download` does."""

    def once() -> Any:
        with _open(url, {}, timeout) as answer:
            return answer.read()

    try:
        return json.loads(_patiently(once, url, retries, wait))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DownloadError(f"{url}: the answer is not JSON ({error})") from error


def download(
    url: str,
    path: Path,
    *,
    size: int,
    sha256: str,
    retries: int = 5,
    wait: float = 1.0,
    timeout: float = 30.0,
) -> None:
    """Fetch ``url`` to ``path``; a file that is there already is only checked.

    What has come stays in ``<path>.partial``, so a cut connection, or a killed run, goes on where
    it stopped (where the server allows it; else from the start). ``DownloadError`` if the server
    has no such file, cannot be reached, or the bytes are not those announced by ``size`` and
    ``sha256`` (hexadecimal); in the last case nothing is left in place.

    A connection without a byte for ``timeout`` seconds counts as cut. ``wait`` seconds pass before
    the second try, twice as many before each further one. After ``retries`` further tries that
    brought nothing it is given up; one that brought bytes starts the count anew.
    """
    partial = path.with_name(path.name + ".partial")
    if path.exists():
        if _sha256(path) != sha256.lower():
            raise DownloadError(f"{path}: not the file announced at {url}; remove it and try again")
        return
    with os_errors_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with progress_bar() as bar:
            task = bar.add_task(f"{path.name} (MB)", total=max(1, size // _MEGABYTE), note="")

            def once() -> None:
                _go_on(url, partial, size, timeout, bar, task)

            _patiently(once, url, retries, wait, progress=lambda: _size_of(partial))
        if (found := _sha256(partial)) != sha256.lower():
            partial.unlink()
            raise DownloadError(
                f"{url}: wrong checksum (SHA-256 {found[:12]}…, announced {sha256[:12]}…); "
                "the download was removed, run the command again"
            )
        partial.replace(path)


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _go_on(url: str, partial: Path, size: int, timeout: float, bar: Progress, task: TaskID) -> None:
    """Fetch what is missing of ``partial``; ``_CutOffError`` if the connection ends before that."""
    have = _size_of(partial)
    if have > size:
        partial.unlink()
        have = 0
    if have == size:
        return
    with _open(url, {"Range": f"bytes={have}-"} if have else {}, timeout) as answer:
        sent = str(answer.headers.get("Content-Range", ""))
        resumed = answer.status == 206 and sent.startswith(f"bytes {have}-")
        if not resumed:
            have = 0
        with partial.open("ab" if resumed else "wb") as file:
            while piece := answer.read(min(_PIECE, size - have + 1)):
                file.write(piece)
                have += len(piece)
                bar.update(task, completed=have // _MEGABYTE)
                if have > size:
                    break
    if have > size:
        partial.unlink()
        raise DownloadError(f"{url}: sends more than the {size:,} bytes announced; try again later")
    if have < size:
        raise _CutOffError(f"the connection ended after {have:,} of {size:,} bytes")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open(url: str, headers: dict[str, str], timeout: float) -> Any:
    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url}: not a web address (http or https)")
    # some servers refuse agents that do not begin like a browser's
    agent = "Mozilla/5.0 (compatible; naturalize)"
    request = urllib.request.Request(url, headers={"User-Agent": agent, **headers})
    return urllib.request.urlopen(request, timeout=timeout)


def _patiently(
    once: Callable[[], T],
    url: str,
    retries: int,
    wait: float,
    progress: Callable[[], int] = lambda: 0,
) -> T:
    """Return ``once()``, tried again with growing waits while the trouble may pass."""
    tries, had = 0, progress()
    while True:
        try:
            return once()
        except urllib.error.HTTPError as error:
            if error.code not in (408, 425, 429, 500, 502, 503, 504):
                raise DownloadError(
                    f"{url}: the server answers {error.code} {error.reason}"
                ) from error
            trouble: Exception = error
        except (_CutOffError, http.client.HTTPException, urllib.error.URLError, OSError) as error:
            if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
                raise
            trouble = error
        if progress() > had:
            tries, had = 0, progress()
        if tries == retries:
            reason = getattr(trouble, "reason", None) or trouble
            raise DownloadError(
                f"{url}: no success after {retries + 1} tries ({reason}); "
                "check the network, then run the command again: it goes on where it stopped"
            ) from trouble
        time.sleep(wait * 2**tries)
        tries += 1
