"""The one file of a review: SQLite, opened so that what was acknowledged survives a kill."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool

from naturalize.base.errors import ArtifactError, os_errors_named
from naturalize.review.store.tables import METADATA, TRIGGERS

#: The file in a review's folder, and the version of its tables (``docs/formats.md``).
NAME, VERSION = "review.db", 1

#: Seconds that a writer waits for another process; threads of this one wait for the lock.
_WAIT = 5

#: Connections that readers of one server hold: uvicorn's threads.
_READERS = 40


class FullError(ArtifactError):
    """The disk is full."""


class BusyError(ArtifactError):
    """Another program holds the file."""


class Database:
    """A review's file. Any thread may read; one writes at a time, in this process and in others."""

    def __init__(self, path: Path) -> None:
        """Open the file of a review; ``ArtifactError`` if there is none that can be used."""
        self.path, self._lock = path, threading.Lock()
        self._syncing, self._written, self._synced = threading.Lock(), 0, 0
        with os_errors_named(path):
            if not path.is_file():
                raise ArtifactError(f"{path.parent}: no review is there ({path.name} is missing)")
        self._engine = _engine(path)
        try:
            with self.reading() as link:
                version = link.execute(text("PRAGMA user_version")).scalar_one()
                tables = link.execute(
                    text("SELECT count(*) FROM sqlite_master WHERE name = 'event'")
                ).scalar_one()
            if version == VERSION and tables:
                with self.writing():
                    return
        except DatabaseError as error:
            self.close()
            raise _unusable(path, error) from error
        self.close()
        raise ArtifactError(
            f"{path}: format {version} of a review; this version of naturalize reads {VERSION}"
        )

    @staticmethod
    def create(path: Path) -> None:
        """Write a new, empty file; ``ArtifactError`` if one is there."""
        if path.exists():
            raise ArtifactError(f"{path}: exists already")
        with closing(sqlite3.connect(path)) as raw:
            raw.execute("PRAGMA journal_mode = WAL")  # stays with the file
        engine = _engine(path, pooled=False)
        with engine.connect() as link:
            METADATA.create_all(link)
            for trigger in TRIGGERS:
                link.execute(text(trigger))
            link.execute(text(f"PRAGMA user_version = {VERSION}"))
            link.commit()
        engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection that sees the review as it is at one moment."""
        with self._engine.connect() as link:
            yield link

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection whose changes are all on the disk afterwards, or none of them.

        ``BusyError`` if another program holds the file, ``FullError`` if the disk is full,
        ``ArtifactError`` if it cannot be written to.
        """
        try:
            with self._lock, self._engine.connect() as link:
                writer = link.execution_options(immediate=True)
                with writer.begin():
                    yield writer
                self._written += 1
                number = self._written
            self._sync(number)
        except OperationalError as error:
            raise _unusable(self.path, error) from error

    def _sync(self, number: int) -> None:
        """Return once the transaction of this number is on the disk.

        As ``synchronous=FULL`` does after each commit, but outside of the writers' lock: others
        write meanwhile, and those who wait here are served by one sync of the log.
        """
        with self._syncing:
            if self._synced >= number:
                return
            written = self._written
            try:
                with suppress(FileNotFoundError):  # the log was moved into the file, which syncs it
                    log = os.open(f"{self.path}-wal", os.O_RDWR)
                    try:
                        os.fsync(log)
                    finally:
                        os.close(log)
            except OSError as error:
                raise ArtifactError(f"{self.path}: not on the disk ({error.strerror})") from error
            self._synced = written

    def close(self) -> None:
        """Close all connections; what was written ahead is moved into the file."""
        self._engine.dispose()


def now() -> str:
    """Return the time, UTC, as it stands in the tables: ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _engine(path: Path, *, pooled: bool = True) -> Engine:
    pool: dict[str, Any] = {"poolclass": NullPool}
    if pooled:
        pool = {"poolclass": QueuePool, "pool_size": _READERS, "max_overflow": _READERS}
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": _WAIT, "check_same_thread": False},
        **pool,
    )

    @event.listens_for(engine, "connect")
    def _connected(link: sqlite3.Connection, _: Any) -> None:
        link.isolation_level = None  # transactions begin below, not as sqlite3 guesses
        link.execute("PRAGMA foreign_keys = ON")
        # with a log, `_sync` has it on the disk before it is acknowledged
        mode = link.execute("PRAGMA journal_mode").fetchone()[0]
        link.execute(f"PRAGMA synchronous = {'NORMAL' if mode == 'wal' else 'FULL'}")

    @event.listens_for(engine, "begin")
    def _begun(link: Connection) -> None:
        # a writer takes the file's lock at once: none has to be turned away in its middle
        immediate = link.get_execution_options().get("immediate")
        link.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _unusable(path: Path, error: DBAPIError) -> ArtifactError:
    """Return what is wrong with a file that cannot be opened for writing."""
    said = str(error.orig)
    if "readonly" in said or "unable to open" in said:
        return ArtifactError(f"{path}: cannot be written to ({said}); check who may write there")
    if "full" in said:
        return FullError(f"{path}: the disk is full; nothing was changed; free some space")
    if "locked" in said:
        return BusyError(f"{path}: another program holds it; close that one first")
    return ArtifactError(f"{path}: no database of a review, or a damaged one ({said})")
