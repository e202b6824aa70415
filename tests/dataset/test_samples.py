"""A catalog and a split written by the first version: they must open from now on."""

from __future__ import annotations

from pathlib import Path

from naturalize.base.artifacts import file_hash, read_manifest
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split

SAMPLES = Path(__file__).parent / "samples"


def test_the_kept_catalog_opens():
    catalog = Catalog.load(SAMPLES / "catalog-v1")
    assert catalog.reader == "part/class"
    assert catalog.counts() == {"Blast, no lineage spec": 6, "LY": 6}
    assert catalog.parts() == {"test": 6, "train": 6}
    assert [row["path"] for row in catalog.unreadable()] == ["Train/LY/bad.jpg"]
    (copy,) = [row for row in catalog if row["duplicate_of"]]
    assert copy["path"] == "Train/LY/same.jpg"
    assert catalog.fingerprint == read_manifest(SAMPLES / "catalog-v1").fingerprint


def test_the_kept_split_opens():
    split = Split.load(SAMPLES / "split-v1")
    assert split.hash == "1365d379edfcc4e4"
    assert split.use == "given, completed"
    assert split.catalog == Catalog.load(SAMPLES / "catalog-v1").fingerprint
    assert {part: sum(n.values()) for part, n in split.counts().items()} == {
        "train": 4, "val": 2, "test": 6,
    }  # fmt: skip


def test_the_kept_files_are_as_they_were_written():
    for name in ("catalog-v1", "split-v1"):
        for file, digest in read_manifest(SAMPLES / name).files.items():
            assert file_hash(SAMPLES / name / file) == digest
