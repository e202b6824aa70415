"""Artifacts are whole or absent, and say what they are."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pytest

from naturalize.base.artifacts import (
    check_file,
    fingerprint,
    is_artifact,
    read_json,
    read_manifest,
    read_table,
    read_written,
    replacing,
    same_images,
    write_json,
    write_table,
    writing,
)
from naturalize.base.errors import ArtifactError, NaturalizeError


def test_manifest_tells_kind_settings_inputs_and_files(tmp_path: Path) -> None:
    with writing(tmp_path / "a", "bank", settings={"x": 1}, inputs={"cells": "ab"}) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "data.txt").write_text("hello")
    manifest = read_manifest(tmp_path / "a", "bank")
    assert manifest.settings == {"x": 1}
    assert list(manifest.files) == ["sub/data.txt"]
    assert manifest.fingerprint == fingerprint("bank", {"x": 1}, {"cells": "ab"})
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_fingerprint_depends_on_everything_but_the_order_of_keys() -> None:
    base = fingerprint("k", {"a": 1, "b": 2}, {})
    assert fingerprint("k", {"b": 2, "a": 1}, {}) == base
    changed = [
        fingerprint("q", {"a": 1, "b": 2}, {}),
        fingerprint("k", {"a": 1, "b": 3}, {}),
        fingerprint("k", {"a": 1, "b": 2}, {"c": "d"}),
    ]
    assert len({base, *changed}) == 4


def fail_while_writing(path: Path) -> None:
    with writing(path, "bank") as folder:
        (folder / "v").write_text("new")
        raise RuntimeError


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    with writing(tmp_path / "a", "bank") as folder:
        (folder / "v").write_text("old")
    with pytest.raises(RuntimeError):
        fail_while_writing(tmp_path / "a")
    assert (tmp_path / "a" / "v").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_foreign_files_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("precious")
    with pytest.raises(ArtifactError, match="did not write"), writing(tmp_path, "bank"):
        pass
    assert (tmp_path / "thesis.doc").read_text() == "precious"
    with pytest.raises(ArtifactError, match="is a file"), writing(tmp_path / "thesis.doc", "bank"):
        pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "format version 99, this release reads version 1"),
        (
            {"kind": "plan"},
            "is a plan of composites; expected a bank of cells written by `naturalize bank`",
        ),
    ],
)
def test_other_kinds_and_versions_are_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with writing(tmp_path / "a", "bank"):
        pass
    file = tmp_path / "a" / "artifact.json"
    file.write_text(json.dumps(read_json(file) | change))
    with pytest.raises(ArtifactError, match=message):
        read_manifest(tmp_path / "a", "bank")
    assert not is_artifact(tmp_path / "a", "bank")


@pytest.mark.parametrize(
    ("key", "value"),
    [("fingerprint", 7), ("files", []), ("settings", "none"), ("format_version", "1")],
)
def test_a_manifest_of_other_types_is_refused(tmp_path: Path, key: str, value: object) -> None:
    with writing(tmp_path / "a", "bank"):
        pass
    file = tmp_path / "a" / "artifact.json"
    file.write_text(json.dumps(read_json(file) | {key: value}))
    with pytest.raises(ArtifactError, match=f"artifact.json: damaged manifest .{key}: expected"):
        read_manifest(tmp_path / "a")


def test_a_file_is_read_only_as_it_was_written(tmp_path: Path) -> None:
    with writing(tmp_path / "a", "evaluation") as folder:
        write_json(folder / "metrics.json", {"n": 4})
    assert read_written(tmp_path / "a", "metrics.json") == {"n": 4}
    (tmp_path / "a" / "note.json").write_text("[1]")
    assert read_written(tmp_path / "a", "note.json") == [1]  # somebody else's
    write_json(tmp_path / "a" / "metrics.json", {"n": "4"})
    with pytest.raises(ArtifactError, match=r"metrics.json: was changed .* an evaluation again"):
        read_written(tmp_path / "a", "metrics.json")


def test_a_folder_without_manifest_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no artifact\.json"):
        read_manifest(tmp_path, "catalog")
    with pytest.raises(ArtifactError, match="no such folder"):
        read_manifest(tmp_path / "none", "evaluation")
    (tmp_path / "artifact.json").write_text("{")
    with pytest.raises(ArtifactError, match="not JSON"):
        read_manifest(tmp_path)


def test_tables_are_checked_against_their_schema(tmp_path: Path) -> None:
    schema = pa.schema([("a", pa.int32()), ("b", pa.string())])
    path = tmp_path / "t.parquet"
    write_table(path, pa.table({"b": ["x"], "a": [1], "extra": [2.0]}))
    assert read_table(path, schema).schema == schema
    write_table(path, pa.table({"a": [1]}))
    with pytest.raises(ArtifactError, match=r"lacks the column\(s\) b"):
        read_table(path, schema)
    path.write_bytes(b"PAR1 no")
    with pytest.raises(ArtifactError, match="not a readable"):
        read_table(path)
    with pytest.raises(ArtifactError, match="no such file"):
        read_table(tmp_path / "none.parquet")


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "a"))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(NaturalizeError, match=r"no space left.*free some space"):
        write_json(tmp_path / "a.json", {})
    with pytest.raises(NaturalizeError, match="no space left"), writing(tmp_path / "b", "bank"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_killed_writer_leaves_the_old_artifact(tmp_path: Path) -> None:
    with writing(tmp_path / "a", "bank") as folder:
        (folder / "v").write_text("old")
    script = """
        import os, signal, sys
        from naturalize.base.artifacts import writing
        with writing(sys.argv[1], "bank") as folder:
            (folder / "v").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), tmp_path / "a"], check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "a" / "v").read_text() == "old"
    with writing(tmp_path / "a", "bank") as folder:
        (folder / "v").write_text("new")
    assert (tmp_path / "a" / "v").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def make(path: Path, kind: str = "cells", **inputs: str) -> None:
    with writing(path, kind, inputs=inputs) as folder:
        (folder / "v").write_text(repr(inputs))


def test_the_same_source_replaces_and_another_one_needs_leave(tmp_path: Path) -> None:
    make(tmp_path / "a", catalog="1")
    make(tmp_path / "a", catalog="1")
    with pytest.raises(ArtifactError, match="another source; replace it with --overwrite"):
        make(tmp_path / "a", catalog="2")
    with pytest.raises(ArtifactError, match="is a folder of cells; replace it with --overwrite"):
        make(tmp_path / "a", "bank", catalog="1")
    assert read_manifest(tmp_path / "a").inputs == {"catalog": "1"}
    with replacing():
        make(tmp_path / "a", catalog="2")
    assert read_manifest(tmp_path / "a").inputs == {"catalog": "2"}
    with writing(tmp_path / "a", "bank", overwrite=True):
        pass
    with pytest.raises(ArtifactError, match="--overwrite"):
        make(tmp_path / "a", catalog="2")  # what was allowed once is not allowed for ever


def test_artifacts_of_the_same_images_are_of_the_same_source(tmp_path: Path) -> None:
    def write(*ids: str) -> None:
        same = same_images("t.parquet", ids)
        with writing(tmp_path / "a", "cells", same_source=same) as folder:
            write_table(folder / "t.parquet", pa.table({"image_id": list(ids)}))

    write("1", "2")
    write("2", "3")
    with pytest.raises(ArtifactError, match="another source"):
        write("1")


def test_a_file_is_replaced_with_leave_only(tmp_path: Path) -> None:
    file = tmp_path / "predictions.csv"
    assert check_file(file) == file
    file.write_text("precious")
    with pytest.raises(ArtifactError, match="is there already; replace it with --overwrite"):
        check_file(file)
    with replacing():
        assert check_file(file) == file
        with pytest.raises(ArtifactError, match="is a folder"):
            check_file(tmp_path)
