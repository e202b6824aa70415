"""The phantom on disk: a tree like PBC's, a truth that fits the pictures, the same bytes always."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from naturalize.base.artifacts import read_json, read_manifest, read_table
from naturalize.base.errors import ArtifactError, SettingsError
from naturalize.dataset.phantom import CLASSES, render_phantom, write_phantom
from naturalize.dataset.phantom.write import BOXES_SCHEMA, FOLDERS, parse_counts, parse_size

SMALL = (90, 91)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "all"
    return write_phantom(out, per_class=2, seed=4, size=SMALL)


def pictures(folder: Path) -> list[Path]:
    return sorted((folder / "images").rglob("*.jpg"))


def test_the_tree_and_the_names_are_those_of_pbc(phantom):
    counts = Counter()
    for path in pictures(phantom):
        found = re.fullmatch(r"([A-Z]+)_(\d{6})\.jpg", path.name)
        assert found
        label = {"PLATELET": "PLT"}.get(found[1], found[1])
        assert path.parent.name == FOLDERS[label]
        counts[label] += 1
    assert counts == dict.fromkeys(CLASSES, 2)
    assert {p.name for p in (phantom / "images").iterdir()} == {
        "basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil",
        "platelet",
    }  # fmt: skip


def test_manifest_names_what_decided_the_content(phantom):
    manifest = read_manifest(phantom, "phantom")
    assert manifest.settings == {
        "per_class": dict.fromkeys(CLASSES, 2),
        "seed": 4,
        "size": list(SMALL),
    }
    assert manifest.inputs == {}
    assert set(manifest.files) == {
        p.relative_to(phantom).as_posix()
        for p in phantom.rglob("*")
        if p.is_file() and p.name != "artifact.json"
    }


def test_truth_on_disk_is_that_of_the_rendered_image(phantom):
    table = read_table(phantom / "truth" / "boxes.parquet", BOXES_SCHEMA)
    rows = table.to_pylist()
    assert list(dict.fromkeys(r["path"] for r in rows)) == [
        p.relative_to(phantom / "images").as_posix()
        for label in CLASSES
        for p in pictures(phantom)
        if p.name.startswith(f"{'PLATELET' if label == 'PLT' else label}_")
    ]
    for label in ("SNE", "PLT"):
        expected = render_phantom(label, 4, 1, size=SMALL)
        stem = f"{'PLATELET' if label == 'PLT' else label}_000001"
        mine = [r for r in rows if Path(r["path"]).stem == stem]
        assert [
            (r["instance"], r["kind"], r["label"], (r["x0"], r["y0"], r["x1"], r["y1"]))
            for r in mine
        ] == [(c.instance, c.kind, c.label, c.box) for c in expected.cells]
        for kind, truth in (
            ("masks", expected.label_image()),
            ("instances", expected.instances),
            ("nuclei", expected.nucleus_image()),
        ):
            read = np.asarray(Image.open(phantom / "truth" / kind / f"{stem}.png"))
            assert np.array_equal(read, truth)
        jpeg = np.asarray(Image.open(phantom / "images" / mine[0]["path"])).astype(int)
        assert np.abs(jpeg - expected.image).mean() < 4


def test_every_image_has_its_truth_and_one_target(phantom):
    stems = {p.stem for p in pictures(phantom)}
    for kind in ("masks", "instances", "nuclei"):
        assert {p.stem for p in (phantom / "truth" / kind).glob("*.png")} == stems
    rows = read_table(phantom / "truth" / "boxes.parquet").to_pylist()
    labelled = [Path(r["path"]).stem for r in rows if r["label"] is not None]
    assert sorted(labelled) == sorted(stems)


def test_a_contact_sheet_shows_the_classes(phantom):
    sheet = np.asarray(Image.open(phantom / "sheet.jpg"))
    assert sheet.shape[0] > len(CLASSES) * 140
    assert sheet.std() > 10


def test_two_processes_write_the_same_bytes_as_one(tmp_path):
    counts = {"BA": 9, "PLT": 3}
    one = write_phantom(tmp_path / "one", per_class=counts, size=(64, 64))
    two = write_phantom(
        tmp_path / "two", per_class=counts, size=(64, 64), backend="processes", workers=2
    )
    assert read_json(one / "artifact.json") == read_json(two / "artifact.json")


def test_any_balance_and_the_same_images_whatever_the_others_are(tmp_path, phantom):
    out = write_phantom(tmp_path / "few", per_class={"SNE": 3, "BNE": 1}, seed=4, size=SMALL)
    assert [p.name for p in pictures(out)] == [
        "BNE_000000.jpg", "SNE_000000.jpg", "SNE_000001.jpg", "SNE_000002.jpg",
    ]  # fmt: skip
    same = "images/neutrophil/SNE_000001.jpg"
    assert (out / same).read_bytes() == (phantom / same).read_bytes()


def test_a_phantom_is_replaced_but_a_strangers_folder_is_not(tmp_path):
    out = tmp_path / "out"
    write_phantom(out, per_class={"LY": 2}, size=(64, 64))
    write_phantom(out, per_class={"LY": 1}, size=(64, 64))
    assert len(pictures(out)) == 1
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "thesis.tex").write_text("precious")
    with pytest.raises(ArtifactError, match="did not write"):
        write_phantom(other, per_class={"LY": 1}, size=(64, 64))
    assert (other / "thesis.tex").read_text() == "precious"


BAD = [
    (0, "expected a whole number from 1 to 999,999 for BA, got 0"),
    (-3, "got -3"),
    (2.5, "got 2.5"),
    (True, "got True"),
    (1_000_000, "got 1000000"),
    ({}, "names no class"),
    ({"SNE": 0}, "for SNE, got 0"),
    ({"sne": 2}, "unknown phantom class 'sne'"),
    ({"BNA": 2}, r"unknown phantom class 'BNA' \(did you mean"),
]


@pytest.mark.parametrize(("per_class", "message"), BAD)
def test_bad_counts_are_refused_and_nothing_is_written(tmp_path, per_class, message):
    with pytest.raises(SettingsError, match=message):
        write_phantom(tmp_path / "out", per_class=per_class)
    assert list(tmp_path.iterdir()) == []


def test_a_bad_size_or_engine_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(SettingsError, match="size: width must be"):
        write_phantom(tmp_path / "out", per_class=1, size=(20, 363))
    with pytest.raises(SettingsError, match="unknown engine 'procesess'"):
        write_phantom(tmp_path / "out", per_class=1, backend="procesess")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("24", dict.fromkeys(CLASSES, 24)),
        ("BNE=5,SNE=60", {"BNE": 5, "SNE": 60}),
        (" SNE = 60 , BNE=5,", {"BNE": 5, "SNE": 60}),
        ("3,BNE=5", dict.fromkeys(CLASSES, 3) | {"BNE": 5}),
        ("BNE=5,3", dict.fromkeys(CLASSES, 3) | {"BNE": 5}),
    ],
)
def test_counts_are_read_from_text(text, counts):
    assert parse_counts(text) == counts
    assert list(parse_counts(text)) == [label for label in CLASSES if label in counts]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("many", "expected a number or NAME=N, got 'many'"),
        ("SNE=few", "got 'SNE=few'"),
        ("=4", "got '=4'"),
        ("SNE:4", "got 'SNE:4'"),
        ("0", "from 1 to"),
        ("-4", "got -4"),
        ("", "names no class"),
        ("SNF=4", r"unknown phantom class 'SNF' \(did you mean 'SNE'\?\)"),
    ],
)
def test_counts_of_another_form_are_refused(text, message):
    with pytest.raises(SettingsError, match=message):
        parse_counts(text)


@pytest.mark.parametrize("text", ["360x363", " 360 X 363", "360×363", "360,363"])
def test_sizes_are_read_from_text(text):
    assert parse_size(text) == (360, 363)


@pytest.mark.parametrize("text", ["360", "x", "360x", "-3x4", "36.5x40", "big"])
def test_sizes_of_another_form_are_refused(text):
    with pytest.raises(SettingsError, match="expected WIDTHxHEIGHT such as 360x363"):
        parse_size(text)
