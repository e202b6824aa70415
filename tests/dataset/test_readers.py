"""Readers: which file gets which label, and what becomes of everything else."""

from __future__ import annotations

import os
import unicodedata

import numpy as np
import pytest
from dataset_makers import jpeg, picture, put, tree

from naturalize.base.artifacts import writing
from naturalize.base.errors import InputError, SettingsError
from naturalize.base.images import read_image
from naturalize.dataset.readers import READERS, read
from naturalize.dataset.schemes import SCHEMES, scheme

JPEG = jpeg(picture(1))


def labels_of(found):
    return {item.path: item.label for item in found.items}


def reasons_of(found):
    return {entry["path"]: entry["reason"] for entry in found.skipped}


@pytest.fixture
def pbc(tmp_path):
    for name in (
        "basophil/BA_1.jpg", "neutrophil/BNE_1.jpg", "neutrophil/SNE_1.jpg",
        "neutrophil/NEUTROPHIL_1.jpg", "ig/IG_1.jpg", "ig/IG_2.jpg", "ig/MMY_1.jpg",
        "platelet/PLATELET_1.jpg", "platelet/.DS_169665.jpg", "platelet/Thumbs.db",
        "platelet/XYZ_1.jpg", "platelet/notes.txt", "__MACOSX/platelet/._PLATELET_1.jpg",
    ):  # fmt: skip
        put(tmp_path / name, JPEG)
    return tmp_path


def test_prefix_names_the_eleven_classes_and_counts_what_it_drops(pbc):
    found = read(pbc, "pbc11")
    assert found.reader == "prefix"
    assert labels_of(found) == {
        "basophil/BA_1.jpg": "BA",
        "ig/MMY_1.jpg": "MMY",
        "neutrophil/BNE_1.jpg": "BNE",
        "neutrophil/SNE_1.jpg": "SNE",
        "platelet/PLATELET_1.jpg": "PLT",
    }
    assert found.dropped == {"IG": 2, "NEUTROPHIL": 1}
    assert found.labels == SCHEMES["pbc11"].labels


def test_junk_is_named_with_its_reason(pbc):
    reasons = reasons_of(read(pbc, "pbc11"))
    assert reasons["platelet/.DS_169665.jpg"] == "hidden file"
    assert reasons["platelet/Thumbs.db"] == "file of the operating system"
    assert reasons["platelet/notes.txt"] == "not an image (suffix '.txt')"
    assert reasons["__MACOSX"] == "folder of an archiver or system"
    assert "'XYZ' is unknown" in reasons["platelet/XYZ_1.jpg"]
    assert len(reasons) == 5


def test_pbc8_keeps_all_prefixes(pbc):
    found = read(pbc, "pbc8")
    assert found.dropped == {}
    assert labels_of(found)["ig/IG_1.jpg"] == labels_of(found)["ig/MMY_1.jpg"] == "ig"
    assert labels_of(found)["neutrophil/NEUTROPHIL_1.jpg"] == "neutrophil"
    assert found.labels == (
        "basophil", "eosinophil", "erythroblast", "ig",
        "lymphocyte", "monocyte", "neutrophil", "platelet",
    )  # fmt: skip


def test_eleven_classes_in_the_order_of_the_contract():
    assert scheme("pbc11").labels == (
        "BA", "BNE", "EO", "ERB", "LY", "MMY", "MO", "MY", "PLT", "PMY", "SNE",
    )  # fmt: skip


def test_folders_take_the_first_folder_however_deep_the_image_lies(tmp_path):
    for name in ("a/1.jpg", "a/x/y/2.PNG", "b/3.jpeg", "stray.jpg", ".hidden/4.jpg"):
        put(tmp_path / name, JPEG)
    found = read(tmp_path)
    assert labels_of(found) == {"a/1.jpg": "a", "a/x/y/2.PNG": "a", "b/3.jpeg": "b"}
    assert found.labels == ("a", "b")
    assert "beside the class folders" in reasons_of(found)["stray.jpg"]
    assert reasons_of(found)[".hidden"] == "hidden folder"


def test_a_tree_without_prefixes_is_read_by_folder_under_pbc11(tmp_path):
    for name in ("BA/1.jpg", "Eosinophil/x_2.jpg", "neutrophil/3.jpg", "cat/4.jpg"):
        put(tmp_path / name, JPEG)
    found = read(tmp_path, "pbc11")
    assert found.reader == "folders"
    assert labels_of(found) == {"BA/1.jpg": "BA", "Eosinophil/x_2.jpg": "EO"}
    assert found.dropped == {"cat": 1, "neutrophil": 1}


def test_loops_and_links_end(tmp_path):
    put(tmp_path / "a/1.jpg", JPEG)
    put(tmp_path / "b/2.jpg", JPEG)
    outside = put(tmp_path.parent / f"{tmp_path.name}-outside/3.jpg", JPEG).parent
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "a/again").symlink_to(tmp_path / "b")
    (tmp_path / "c").symlink_to(outside)
    (tmp_path / "b/gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    found = read(tmp_path)
    assert labels_of(found) == {"a/1.jpg": "a", "b/2.jpg": "b", "c/3.jpg": "c"}
    reasons = reasons_of(found)
    assert reasons["a/loop"] == reasons["a/again"] == "link to a folder that is read already"
    assert reasons["b/gone.jpg"] == "link to nothing"


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_a_name_that_is_no_text_is_skipped_not_fatal(tmp_path):
    put(tmp_path / "a/1.jpg", JPEG)
    try:
        (tmp_path / "a" / os.fsdecode(b"\xff\xfe.jpg")).write_bytes(JPEG)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    found = read(tmp_path)
    assert labels_of(found) == {"a/1.jpg": "a"}
    assert [entry["reason"] for entry in found.skipped] == ["name that is not valid UTF-8"]


def test_an_artifact_of_images_is_read_from_its_images_folder(tmp_path):
    with writing(tmp_path / "phantom", "phantom") as folder:
        put(folder / "images/BA/BA_1.jpg", JPEG)
        put(folder / "images/SNE/SNE_1.jpg", JPEG)
        put(folder / "truth/masks/BA_1.png", JPEG)
    for name in SCHEMES:
        found = read(tmp_path / "phantom", name)
        assert found.root.name == "images"
        assert len(found.items) == 2
    with writing(tmp_path / "bank", "bank") as folder:
        put(folder / "images/BA/BA_1.jpg", JPEG)
    with pytest.raises(InputError, match="kind: bank"):
        read(tmp_path / "bank")


def test_csv_with_groups_and_parts(tmp_path):
    (tmp_path / "t.csv").write_text(
        "path,label,group,part,more\nx/1.jpg,a,p1,train,?\nx/2.jpg,b,,test,?\nx/3.jpg,,p1,,?\n"
    )
    found = read(tmp_path / "t.csv")
    assert [(i.path, i.label, i.group, i.source_part) for i in found.items] == [
        ("x/1.jpg", "a", "p1", "train"),
        ("x/2.jpg", "b", None, "test"),
        ("x/3.jpg", None, "p1", None),
    ]
    assert found.root == tmp_path
    assert found.labels == ("a", "b")


def test_csv_labels_go_through_the_scheme(tmp_path):
    (tmp_path / "t.csv").write_text("path,label\n1.jpg,eosinophil\n2.jpg,BA\n3.jpg,neutrophil\n")
    found = read(tmp_path / "t.csv", "pbc11")
    assert labels_of(found) == {"1.jpg": "EO", "2.jpg": "BA"}
    assert found.dropped == {"neutrophil": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: lacks the column 'path'"),
        ("path,lable\n1.jpg,a\n", r"lacks the column 'label' \(did you mean 'lable'\?\)"),
        ("path,label\n1.jpg,a\n,b\n", "line 3: column 'path' is empty"),
        ("path,label\n1.jpg,a\n1.jpg,b\n", "line 3: path '1.jpg' stands in line 2 already"),
        ("path,label,part\n1.jpg,a,tset\n", r"line 2: column 'part': 'tset' \(did you mean 'test'"),
        ("path,label\n/etc/1.jpg,a\n", "line 2: column 'path': /etc/1.jpg is not below"),
        ("path,label\n../1.jpg,a\n", "line 2: column 'path': ../1.jpg leaves"),
        ("path,label\n", "no images"),
        ("path,label,confidence,prob_a,flag\n1.jpg,a,1,1,\n", "a model's answers, not the truth"),
    ],
)
def test_csv_errors_name_line_and_column(tmp_path, text, said):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        read(tmp_path / "t.csv")


def test_a_table_says_its_columns_in_other_words(tmp_path):
    (tmp_path / "t.csv").write_text(
        "file;Class;Patient;Split\nx/1.jpg;a;p1;Training\nx/2.jpg;b;;VAL\n"
    )
    found = read(tmp_path / "t.csv")
    assert [(i.path, i.label, i.group, i.source_part) for i in found.items] == [
        ("x/1.jpg", "a", "p1", "train"),
        ("x/2.jpg", "b", None, "val"),
    ]
    (tmp_path / "t.csv").write_text("where,diagnosis\n1.jpg,a\n")
    with pytest.raises(InputError, match="--column path=NAME"):
        read(tmp_path / "t.csv")
    found = read(tmp_path / "t.csv", columns={"path": "where", "label": "diagnosis"})
    assert labels_of(found) == {"1.jpg": "a"}


@pytest.mark.parametrize(("table", "disk"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC")])
def test_accents_are_found_in_whatever_form_the_disk_has_them(tmp_path, table, disk):
    name = "Zelle-ä.jpg"
    put(tmp_path / unicodedata.normalize(disk, name), JPEG)
    text = f"path,label\n{unicodedata.normalize(table, name)},LY\n"
    (tmp_path / "t.txt").write_text(text, encoding="utf-8")
    found = read(tmp_path / "t.txt")
    assert labels_of(found) == {unicodedata.normalize(disk, name): "LY"}


def medmnist(path, **changes):
    g = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 6), ("val", 2), ("test", 3)):
        arrays[f"{part}_images"] = g.integers(0, 255, (n, 28, 28, 3)).astype(np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n) % 3)[:, None]
    arrays |= changes
    np.savez_compressed(path, **{k: v for k, v in arrays.items() if v is not None})
    return arrays


def test_medmnist_pixels_parts_and_labels_survive(tmp_path):
    arrays = medmnist(tmp_path / "m.npz")
    found = read(tmp_path / "m.npz", "pbc8", images=tmp_path / "out")
    assert len(found.items) == 11
    for item in found.items:
        part, _, name = item.path.partition("/")
        i = int(name.removesuffix(".png"))
        assert item.source_part == part
        assert np.array_equal(read_image(tmp_path / "out" / item.path), arrays[f"{part}_images"][i])
        assert item.label == SCHEMES["pbc8"].labels[int(arrays[f"{part}_labels"][i, 0])]


def test_medmnist_grey_and_numbered_classes(tmp_path):
    grey = np.arange(6 * 28 * 28, dtype=np.uint8).reshape(6, 28, 28)
    medmnist(tmp_path / "m.npz", train_images=grey, train_labels=np.array([0, 1, 2, 10, 1, 0]))
    found = read(tmp_path / "m.npz", "folders", images=tmp_path / "out")
    assert np.array_equal(read_image(tmp_path / "out/train/000003.png")[:, :, 1], grey[3])
    assert labels_of(found)["train/000003.png"] == "10"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_labels": None}, "lacks the array train_labels"),
        ({"train_labels": np.zeros((5, 1), int)}, "6 images, but 5 labels"),
        ({"train_labels": np.zeros((6, 4), int)}, "4 labels an image"),
        ({"train_labels": np.full((6, 1), 9)}, "pbc8 has 8 classes"),
        ({"train_labels": np.zeros((6, 1))}, "expected integers"),
        ({"train_images": np.zeros((6, 28, 28, 3))}, "expected uint8"),
        ({"train_images": np.zeros((6, 28), np.uint8)}, "expected uint8"),
        ({"train_labels": np.array([{}] * 6)}, "damaged array"),
    ],
)
def test_medmnist_errors(tmp_path, changes, said):
    medmnist(tmp_path / "m.npz", **changes)
    with pytest.raises(InputError, match=said):
        read(tmp_path / "m.npz", "pbc8", images=tmp_path / "out")


def test_medmnist_that_is_no_archive(tmp_path):
    put(tmp_path / "m.npz", b"PK not really")
    with pytest.raises(InputError, match=r"not a readable \.npz"):
        read(tmp_path / "m.npz", "pbc8", images=tmp_path / "out")
    np.savez(tmp_path / "n.npz", images=np.zeros(3))
    with pytest.raises(InputError, match="no train_images"):
        read(tmp_path / "n.npz", "pbc8", images=tmp_path / "out")


def test_bad_roots(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no images in it"):
        read(tmp_path / "empty")
    put(tmp_path / "texts/a/readme.txt", b"hello")
    with pytest.raises(InputError, match=r"1 entries skipped.*a/readme.txt"):
        read(tmp_path / "texts")
    tree(tmp_path / "cats", {"cat": 2})
    with pytest.raises(InputError, match=r"no image has a class of scheme pbc11 \(found: cat\)"):
        read(tmp_path / "cats", "pbc11")
    with pytest.raises(InputError, match=r"a folder, a \.csv or an \.npz"):
        read(put(tmp_path / "x.zip", b""))


def test_settings_that_do_not_fit(tmp_path):
    tree(tmp_path, {"a": 1})
    with pytest.raises(SettingsError, match="did you mean 'folders'"):
        read(tmp_path, "folders", "folder")
    with pytest.raises(SettingsError, match="did you mean 'pbc11'"):
        read(tmp_path, "pbc-11")
    with pytest.raises(SettingsError, match="wants a file"):
        read(tmp_path, "folders", "csv")
    with pytest.raises(SettingsError, match="needs a scheme with prefixes"):
        read(tmp_path, "folders", "prefix")
    with pytest.raises(SettingsError, match="does not fit"):
        read(put(tmp_path / "t.csv", b"path,label\n"), "folders", "medmnist")
    assert list(READERS) == ["folders", "prefix", "csv", "medmnist"]
