"""Long work in pieces: each finished piece is kept, so a killed run goes on where it stopped."""

from __future__ import annotations

import itertools
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from naturalize.base.artifacts import read_table, write_bytes, write_table
from naturalize.base.console import track
from naturalize.base.errors import ArtifactError, NaturalizeError, os_errors_named

T = TypeVar("T")

#: The file of a folder that says which process is at work in it.
LOCK = "lock"


@dataclass(frozen=True)
class Pieces:
    """Finished pieces of a long work, in order: a Parquet file each, read as often as one likes."""

    files: tuple[Path, ...]
    schema: pa.Schema

    def __iter__(self) -> Iterator[pa.Table]:
        for file in self.files:
            yield read_table(file, self.schema)


def resumable_pieces(
    work: Path,
    key: str,
    items: Sequence[T],
    compute: Callable[[Iterable[T]], Iterable[pa.Table]],
    schema: pa.Schema,
    *,
    piece: int = 256,
    what: str,
) -> Pieces:
    """Compute a table for each of ``items``, keeping each finished piece under ``work``.

    Memory is flat: no more than one piece, of ``piece`` items, is held. Workers are started once,
    as ``compute`` is called once, with all that is left to do; it gives a table of ``schema`` for
    each item, in order. The pieces are in the order of ``items``, and the same after any number of
    interruptions.

    The caller removes the folder ``work`` once its artifact stands. ``key`` names the settings and
    inputs: pieces left by others are thrown away. ``what`` heads the progress bar.
    """
    with locked(work):
        claim(work, {"key": key, "items": len(items), "piece": piece}, ["piece-*.parquet"])
        starts = range(0, len(items), piece)
        files = {start: work / f"piece-{start:08d}.parquet" for start in starts}
        todo = [start for start in starts if _finished(files[start], schema) is None]

        def rows() -> Iterator[None]:
            tables = iter(
                compute(itertools.chain.from_iterable(items[s : s + piece] for s in todo))
            )
            for start in starts:
                n = len(items[start : start + piece])
                if start not in todo:
                    yield from itertools.repeat(None, n)
                    continue
                parts = [schema.empty_table()]
                for _ in range(n):
                    parts.append(next(tables))
                    yield None
                write_table(files[start], pa.concat_tables(parts).combine_chunks())

        for _ in track(rows(), what, total=len(items)):
            pass
    return Pieces(tuple(files.values()), schema)


def resumable_rows(
    work: Path,
    key: str,
    items: Sequence[T],
    compute: Callable[[Sequence[T]], Iterable[dict[str, Any]]],
    schema: pa.Schema,
    *,
    piece: int = 256,
    what: str,
) -> pa.Table:
    """Compute rows for ``items`` piece by piece, keeping each finished piece under ``work``.

    As :func:`resumable_pieces`, for work that wants a whole piece at once (``compute`` gives its
    rows, in order) and rows that fit into memory together.
    """
    with locked(work):
        claim(work, {"key": key, "items": len(items), "piece": piece}, ["piece-*.parquet"])
        tables = []
        starts = range(0, len(items), piece)
        for start in track(starts, what, step=piece, total=len(items)):
            part = items[start : start + piece]
            file = work / f"piece-{start:08d}.parquet"
            table = _finished(file, schema)
            if table is None:
                table = pa.Table.from_pylist(list(compute(part)), schema=schema)
                write_table(file, table)
            tables.append(table)
    return pa.concat_tables(tables) if tables else schema.empty_table()


@contextmanager
def locked(work: Path) -> Iterator[None]:
    """Keep other processes out of a folder, which is made; the lock ends with the process.

    A folder that was made for it, and in which nothing was left, is removed.

    ``NaturalizeError`` that names the process which is at work there.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    with os_errors_named(work):
        is_new = not work.exists()
        work.mkdir(parents=True, exist_ok=True)
        if _orphaned(work / LOCK):  # workers of a killed process hold its lock until they end
            (work / LOCK).unlink(missing_ok=True)
        file = (work / LOCK).open("a+")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise NaturalizeError(
                f"{work}: process {file.read() or '?'} is at work in this folder; wait until it "
                "has ended, or write to another place with -o"
            ) from error
        except OSError:  # a file system without locks, as some of clusters
            pass
        file.truncate(0)
        file.write(f"{os.getpid()} on {platform.node()}")
        file.flush()
        try:
            yield
        finally:
            if is_new and work.is_dir() and [path.name for path in work.iterdir()] == [LOCK]:
                (work / LOCK).unlink()
                work.rmdir()


def _orphaned(lock: Path) -> bool:
    """Return whether the process that a lock file names ran on this machine and has ended."""
    if not lock.is_file():
        return False
    number, _, node = lock.read_text().partition(" on ")
    if node != platform.node() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's
        return False
    return False


def claim(work: Path, key: Mapping[str, Any], leftovers: Iterable[str]) -> None:
    """Take ``work`` for a run: what a run of another ``key`` left there is removed.

    ``leftovers`` are the patterns of what runs leave; other files in ``work`` stay.
    """
    stamp, wanted = work / "key.json", json.dumps(key)
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    for path in [path for pattern in leftovers for path in work.glob(pattern)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    write_bytes(stamp, wanted.encode())


def _finished(file: Path, schema: pa.Schema) -> pa.Table | None:
    """Return the piece that was left, ``None`` if there is none or it is damaged."""
    try:
        return read_table(file, schema)
    except ArtifactError:
        return None
