"""Long work in pieces: each finished piece is kept, so a killed run goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from naturalize.base.artifacts import read_table, write_bytes, write_table
from naturalize.base.console import track
from naturalize.base.errors import ArtifactError

T = TypeVar("T")


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

    Parameters
    ----------
    work
        Folder for the pieces; the caller removes it once its artifact stands.
    key
        Names the settings and inputs; pieces left by other settings are thrown away.
    items
        What to compute rows for.
    compute
        Gives the rows of one piece, in order.
    schema
        Arrow schema of the rows.
    piece
        Items a piece.
    what
        Heading of the progress bar.

    Returns
    -------
    pyarrow.Table
        All rows, in the order of ``items``; the same after any number of interruptions.
    """
    _claim(work, key, len(items), piece)
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


def _claim(work: Path, key: str, n_items: int, piece: int) -> None:
    stamp = work / "key.json"
    wanted = json.dumps({"key": key, "items": n_items, "piece": piece})
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    if work.is_dir():
        for old in work.glob("piece-*.parquet"):
            old.unlink()
    write_bytes(stamp, wanted.encode())


def _finished(file: Path, schema: pa.Schema) -> pa.Table | None:
    if not file.is_file():
        return None
    try:
        return read_table(file, schema)
    except ArtifactError:
        return None
