"""The cache folder of this machine, and a bounded store of results in it."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from naturalize.base.errors import os_errors_named

#: Bytes that the results of one kind may take unless said otherwise.
LIMIT = 512_000_000

#: Results are spread over this many folders; each is kept to its share of the limit.
_BUCKETS = 256

_HOUR = 3600


def cache_root() -> Path:
    """Return the folder of what can be fetched or computed again.

    ``$NATURALIZE_CACHE`` if that is set; else ``naturalize`` in ``$XDG_CACHE_HOME``, which is
    ``~/.cache`` where it is not set (XDG Base Directory Specification 0.8).
    """
    own = os.environ.get("NATURALIZE_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "naturalize"


class ResultCache:
    """Bytes by key, in files; safe for many processes at once, and never larger than its limit.

    A result is written beside its place and moved there whole. Where a share of the limit is
    exceeded, the results that were not asked for longest go.

    Parameters
    ----------
    folder
        Where the files are; made when the first result comes.
    limit
        Bytes of all results together, roughly.
    """

    def __init__(self, folder: Path, *, limit: int = LIMIT) -> None:
        self.folder, self.limit = folder, limit

    def get(self, key: str) -> bytes | None:
        """Return what was put under ``key`` (hexadecimal digits), or ``None``."""
        path = self._path(key)
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None  # absent, or just removed by another process
        return data

    def put(self, key: str, data: bytes) -> None:
        """Keep ``data`` under ``key``."""
        path = self._path(key)
        with os_errors_named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # a name of its own: another process may be writing the same result
            handle, partial = tempfile.mkstemp(prefix=".", dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                Path(partial).replace(path)
            except BaseException:
                Path(partial).unlink(missing_ok=True)
                raise
        self._prune(path)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def _prune(self, newest: Path) -> None:
        """Remove the oldest results of a folder that exceeds its share; never the newest."""
        files = []
        for path in newest.parent.iterdir():
            try:
                facts = path.stat()
            except OSError:
                continue  # another process was faster
            if path.name.startswith(".") and time.time() - facts.st_mtime < _HOUR:
                continue  # being written by another process; older ones were left by a kill
            files.append((facts.st_mtime_ns, facts.st_size, path))
        excess = sum(size for _, size, _ in files) - self.limit // _BUCKETS
        for _, size, path in sorted(files):
            if excess <= 0:
                break
            if path != newest:
                path.unlink(missing_ok=True)
                excess -= size
