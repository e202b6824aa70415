"""Parts and patients in the folders of a tree, and the split that follows from them."""

from __future__ import annotations

import pytest
from dataset_makers import jpeg, picture, put

from naturalize.base.errors import InputError, SettingsError
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.readers import read
from naturalize.dataset.readers.levels import Levels, levels_named, part_named
from naturalize.dataset.split import Split

JPEG = jpeg(picture(1))


def listed(root, paths, scheme="folders", reader="auto"):
    for path in paths:
        put(root / path, JPEG)
    found = read(root, scheme, reader)
    return found.reader, {i.path: (i.label, i.group, i.source_part) for i in found.items}


@pytest.mark.parametrize(
    ("path", "levels", "meaning"),
    [
        ("Train/LY/1.jpg", "part/class", ("LY", None, "train")),
        ("VALID/LY/1.jpg", "part/class", ("LY", None, "val")),
        ("testing/Blast, no lineage spec/deep/1.jpg", "part/class",
         ("Blast, no lineage spec", None, "test")),
        ("1_train/LY/1.jpg", "part/class", ("LY", None, "train")),
        ("Test set/LY/1.jpg", "part/class", ("LY", None, "test")),
        ("validation_images/LY/1.jpg", "part/class", ("LY", None, "val")),
        ("2K-PBC/Validate/LY/1.jpg", "*/part/class", ("LY", None, "val")),
        ("DeepAPL/Patient_06/slides/LY/1.jpg", "*/patient/*/class", ("LY", "Patient_06", None)),
        ("train/Patient_2/slides/LY/1.jpg", "part/patient/*/class", ("LY", "Patient_2", "train")),
        ("Patient_2/val/LY/1.jpg", "patient/part/class", ("LY", "Patient_2", "val")),
        ("LY/slide/1.jpg", "folders", ("LY", None, None)),
        ("LY/test/1.jpg", "class/part", ("LY", None, "test")),
        ("Patient_06/LY/1.jpg", "patient/class", ("LY", "Patient_06", None)),
        ("Patient_06/Signed slides/LY/1.jpg", "patient/*/class", ("LY", "Patient_06", None)),
        ("case 12/LY/1.jpg", "patient/class", ("LY", "case 12", None)),
        ("LY/subject-3/1.jpg", "class/patient", ("LY", "subject-3", None)),
        ("train/Patient 1/LY/1.jpg", "part/patient/class", ("LY", "Patient 1", "train")),
        ("LY/1.jpg", "folders", ("LY", None, None)),
        ("training cells/slide/1.jpg", "folders", ("training cells", None, None)),
        ("patient/1.jpg", "folders", ("patient", None, None)),
    ],
)  # fmt: skip
def test_levels_are_recognised_by_their_names(tmp_path, path, levels, meaning):
    assert listed(tmp_path, [path]) == (levels, {path: meaning})


def test_the_three_folders_of_2k_pbc_are_parts_with_and_without_prefixes(tmp_path):
    paths = [
        f"{part}/{c}/{c}_{part}.jpg"
        for part in ("Train", "Validate", "Test")
        for c in ("BNE", "EO")
    ]
    expected = {
        path: (
            path.split("/")[1],
            None,
            {"Train": "train", "Validate": "val", "Test": "test"}[path.split("/")[0]],
        )
        for path in paths
    }
    assert listed(tmp_path, paths) == ("part/class", expected)
    assert listed(tmp_path, [], "pbc11") == ("prefix", expected)
    assert listed(tmp_path, [], "pbc11", "folders") == ("part/class", expected)


def test_images_beside_the_classes_are_named_and_cost_the_others_nothing(tmp_path):
    listed(tmp_path, ["Train/LY/1.jpg", "Test/LY/2.jpg", "Train/stray.jpg", "cover.jpg"])
    found = read(tmp_path)
    assert [item.path for item in found.items] == ["Test/LY/2.jpg", "Train/LY/1.jpg"]
    assert {entry["path"] for entry in found.skipped} == {"Train/stray.jpg", "cover.jpg"}


@pytest.mark.parametrize(
    "paths",
    [
        ["train/LY/1.jpg", "test/LY/2.jpg", "extra/LY/3.jpg"],
        ["Patient_1/LY/1.jpg", "Patient_2/LY/2.jpg", "controls/LY/3.jpg"],
        ["Patient_1/signed/LY/1.jpg", "Patient_2/LY/2.jpg"],
    ],
)
def test_where_names_do_not_decide_the_option_is_named(tmp_path, paths):
    with pytest.raises(InputError, match="--reader "):
        listed(tmp_path, paths)


def test_one_class_called_like_a_part_is_a_class(tmp_path):
    _, found = listed(tmp_path, ["test/1.jpg", "LY/2.jpg"])
    assert {label for label, _, _ in found.values()} == {"test", "LY"}


def test_the_user_says_what_levels_are(tmp_path):
    reader, found = listed(tmp_path, ["Train/LY/1.jpg", "Test/EO/2.jpg"], reader="class")
    assert (reader, {one[0] for one in found.values()}) == ("folders", {"Train", "Test"})
    _, found = listed(tmp_path / "b", ["A7/x/LY/1.jpg", "B2/y/EO/2.jpg"], reader="patient/*/class")
    assert set(found.values()) == {("LY", "A7", None), ("EO", "B2", None)}
    with pytest.raises(SettingsError, match="name the class once"):
        levels_named("part/patient")
    with pytest.raises(SettingsError, match="unknown reader 'patient/klass'"):
        read(tmp_path, reader="patient/klass")


@pytest.mark.parametrize("text", ["part/class", "class/patient", "part/*/patient/class"])
def test_levels_are_written_as_they_are_named(text):
    assert levels_named(text).name == text
    assert levels_named("class") == Levels()
    assert part_named("Trainer") is None


def catalog_of(root, parts):
    seed = 0
    for part in parts:
        for label in ("a", "b"):
            for _ in range(6):
                put(root / part / label / f"{seed}.jpg", jpeg(picture(seed)))
                seed += 1
    return Catalog.build(root)


def counts(split):
    return {part: sum(n.values()) for part, n in split.counts().items()}


def test_the_parts_of_a_tree_are_its_split(tmp_path, capsys):
    catalog = catalog_of(tmp_path, ["Train", "Validate", "Test"])
    assert catalog.parts() == {"train": 12, "val": 12, "test": 12}
    split = Split.build(catalog)
    assert (split.use, counts(split)) == ("given", {"train": 12, "val": 12, "test": 12})
    assert "split into its own parts (train 12, val 12, test 12)" in capsys.readouterr().err
    of_path = {
        path: part
        for part, path in zip(
            catalog.table["source_part"].to_pylist(),
            catalog.table["image_id"].to_pylist(),
            strict=True,
        )
    }
    assert split.part_of() == of_path
    assert Split.build(catalog, use="random").use == "random"


def test_a_part_that_is_lacking_is_taken_out_of_train(tmp_path, capsys):
    catalog = catalog_of(tmp_path, ["train", "test"])
    split = Split.build(catalog, fractions=(0.5, 0.25, 0.25))
    assert counts(split) == {"train": 8, "val": 4, "test": 12}
    assert "val taken out of train" in capsys.readouterr().err
    given = {
        i
        for i, p in zip(
            *(catalog.table[c].to_pylist() for c in ("image_id", "source_part")), strict=True
        )
        if p == "test"
    }
    assert set(split.ids("test")) == given
    split.save(tmp_path.parent / "split-of-parts")
    assert Split.load(tmp_path.parent / "split-of-parts").hash == split.hash
    assert counts(Split.build(catalog, fractions=(0.5, 0, 0.5)))["val"] == 0
