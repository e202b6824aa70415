"""Pictures that were made, kept in one file that can be deleted at any time."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

from naturalize.base.errors import ArtifactError


class Cache:
    """Bytes by name in one SQLite file; what cannot be read or written is made again.

    Safe for threads: one connection behind a lock, which is never held while a picture is made.
    """

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._link = self._opened(file)
        except sqlite3.DatabaseError:  # damaged, or no database
            for path in file.parent.glob(f"{file.name}*"):
                path.unlink()
            try:
                self._link = self._opened(file)
            except sqlite3.DatabaseError as error:
                raise ArtifactError(
                    f"{file}: cannot be written ({error}); free some space"
                ) from error

    @staticmethod
    def _opened(file: Path) -> sqlite3.Connection:
        link = sqlite3.connect(file, check_same_thread=False, isolation_level=None, timeout=1)
        link.execute("PRAGMA journal_mode = WAL")
        link.execute("PRAGMA synchronous = OFF")  # a cache: what a crash takes is made again
        link.execute("CREATE TABLE IF NOT EXISTS picture (name TEXT PRIMARY KEY, data BLOB)")
        return link

    def get(self, name: str) -> bytes | None:
        """Return what is kept under a name."""
        with self._lock, suppress(sqlite3.DatabaseError):
            row = self._link.execute("SELECT data FROM picture WHERE name = ?", (name,)).fetchone()
            return None if row is None else row[0]
        return None

    def put(self, made: dict[str, bytes]) -> None:
        """Keep all of these."""
        with self._lock, suppress(sqlite3.DatabaseError), self._link:  # all, or none of them
            self._link.execute("BEGIN")
            self._link.executemany("INSERT OR REPLACE INTO picture VALUES (?, ?)", made.items())

    def close(self) -> None:
        """Close the file."""
        with self._lock:  # a connection that is closed while a thread uses it ends the process
            self._link.close()
