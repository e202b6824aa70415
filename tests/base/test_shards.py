"""Long work goes on where it stopped and ends the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from naturalize.base.shards import resumable_rows

SCHEMA = pa.schema([("n", pa.int64()), ("square", pa.int64())])


class Worker:
    """Squares numbers, remembers what it was asked, and fails after some pieces."""

    def __init__(self, fail_after: int | None = None) -> None:
        self.asked: list[int] = []
        self.fail_after = fail_after

    def __call__(self, part: Sequence[int]) -> list[dict[str, Any]]:
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            raise KeyboardInterrupt
        self.asked.extend(part)
        return [{"n": n, "square": n * n} for n in part]


def rows(work: Path, worker: Worker, *, key: str = "k", n: int = 25) -> pa.Table:
    return resumable_rows(work, key, range(n), worker, SCHEMA, piece=4, what="squares")


def test_an_interrupted_run_does_only_what_is_left(tmp_path: Path) -> None:
    whole = rows(tmp_path / "whole", Worker())
    with pytest.raises(KeyboardInterrupt):
        rows(tmp_path / "cut", Worker(fail_after=8))
    second = Worker()
    assert rows(tmp_path / "cut", second).equals(whole)
    assert second.asked == list(range(8, 25))


def test_pieces_of_other_settings_are_thrown_away(tmp_path: Path) -> None:
    rows(tmp_path, Worker(), key="old")
    worker = Worker()
    rows(tmp_path, worker, key="new")
    assert worker.asked == list(range(25))


def test_a_damaged_piece_is_computed_again(tmp_path: Path) -> None:
    whole = rows(tmp_path, Worker())
    (tmp_path / "piece-00000008.parquet").write_bytes(b"half")
    worker = Worker()
    assert rows(tmp_path, worker).equals(whole)
    assert worker.asked == [8, 9, 10, 11]


def test_nothing_to_do_gives_an_empty_table(tmp_path: Path) -> None:
    assert rows(tmp_path, Worker(), n=0).schema == SCHEMA
