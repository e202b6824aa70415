"""Long work goes on where it stopped and ends the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from naturalize.base.artifacts import read_table, write_tables
from naturalize.base.errors import NaturalizeError
from naturalize.base.shards import Pieces, resumable_pieces, resumable_rows

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


def test_two_processes_do_not_work_in_one_folder(tmp_path: Path) -> None:
    holding = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "from naturalize.base.shards import locked\n"
        "with locked(Path(sys.argv[1])): os.fork() and print('held', flush=True); time.sleep(5)"
    )
    command = [sys.executable, "-c", holding, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(NaturalizeError, match=f"process {other.pid} on .* is at work"):
            rows(tmp_path, Worker())
        other.kill()
        other.wait()
        # a killed process holds nothing, though a worker of it still runs
        assert len(rows(tmp_path, Worker())) == 25


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


class Stream:
    """Squares numbers one at a time, remembers how it was asked, and may stop."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.calls = 0
        self.asked: list[int] = []
        self.stop_at = stop_at

    def __call__(self, numbers: Iterable[int]) -> Iterator[pa.Table]:
        self.calls += 1
        for n in numbers:
            if n == self.stop_at:
                raise KeyboardInterrupt
            self.asked.append(n)
            yield pa.Table.from_pylist([{"n": n, "square": n * n}], schema=SCHEMA)


def pieces(work: Path, stream: Stream, *, key: str = "k", n: int = 25) -> Pieces:
    return resumable_pieces(work, key, range(n), stream, SCHEMA, piece=4, what="squares")


def test_pieces_hold_all_items_in_order_and_work_is_started_once(tmp_path: Path) -> None:
    stream = Stream()
    found = pieces(tmp_path, stream)
    assert [table.num_rows for table in found] == [4, 4, 4, 4, 4, 4, 1]
    assert [n for table in found for n in table["n"].to_pylist()] == list(range(25))
    assert [n for table in found for n in table["n"].to_pylist()] == list(range(25))
    assert stream.calls == 1


def test_interrupted_pieces_go_on_and_are_the_same(tmp_path: Path) -> None:
    whole = pieces(tmp_path / "whole", Stream())
    with pytest.raises(KeyboardInterrupt):
        pieces(tmp_path / "cut", Stream(stop_at=10))
    second = Stream()
    found = pieces(tmp_path / "cut", second)
    assert second.asked == list(range(8, 25))
    for one, other in zip(found.files, whole.files, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_one_damaged_piece_is_made_again_and_no_other(tmp_path: Path) -> None:
    pieces(tmp_path, Stream())
    (tmp_path / "piece-00000008.parquet").write_bytes(b"half")
    stream = Stream()
    found = pieces(tmp_path, stream)
    assert stream.asked == [8, 9, 10, 11]
    assert [n for table in found for n in table["n"].to_pylist()] == list(range(25))


def test_finished_pieces_of_another_key_are_not_taken(tmp_path: Path) -> None:
    pieces(tmp_path, Stream(), key="old")
    stream = Stream()
    pieces(tmp_path, stream, key="new")
    assert stream.asked == list(range(25))


def test_no_items_are_no_pieces(tmp_path: Path) -> None:
    assert list(pieces(tmp_path, Stream(), n=0)) == []


def test_tables_are_written_one_after_the_other(tmp_path: Path) -> None:
    found = pieces(tmp_path / "work", Stream())
    write_tables(tmp_path / "all.parquet", found, SCHEMA)
    assert read_table(tmp_path / "all.parquet", SCHEMA)["n"].to_pylist() == list(range(25))
    write_tables(tmp_path / "none.parquet", [], SCHEMA)
    assert read_table(tmp_path / "none.parquet", SCHEMA).num_rows == 0


def test_a_table_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[pa.Table]:
        yield SCHEMA.empty_table()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_tables(tmp_path / "all.parquet", broken(), SCHEMA)
    assert list(tmp_path.iterdir()) == []
