"""A reading written by the first version: it must open from now on."""

from __future__ import annotations

from pathlib import Path

import naturalize as nz
from naturalize.base.artifacts import file_hash, read_json, read_manifest, read_table
from naturalize.fields.summary import told, unreadable
from naturalize.fields.tables import cells_schema

SAMPLE = Path(__file__).parent / "samples" / "fields-v1"


def test_the_kept_reading_opens(tmp_path: Path) -> None:
    classes = nz.Predictor.load("pbc11").classes
    cells = read_table(SAMPLE / "cells.parquet", cells_schema(classes)).to_pylist()
    whites = [row["label"] for row in cells if row["kind"] == "wbc"]
    assert len(whites) == 2
    assert set(whites) <= set(classes)
    lines = told(SAMPLE)
    assert lines[0].startswith("3 fields: 2 white cells, ")
    assert "1 no cell found: slide-1/b.png" in lines
    assert not unreadable(SAMPLE)
    (folder,) = read_json(SAMPLE / "differential.json")
    assert folder["cells"] + folder["cut"] == 2
    assert "no cell found" in nz.write_report(SAMPLE, tmp_path / "page.html").read_text()


def test_the_kept_files_are_as_they_were_written() -> None:
    for file, digest in read_manifest(SAMPLE, "fields").files.items():
        assert file_hash(SAMPLE / file) == digest
