"""COCO out and in: pycocotools reads what we write, and what comes back is what went out."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bank_makers import drawn_bank, write_images
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from pycocotools import mask as theirs
from pycocotools.coco import COCO
from scipy.ndimage import binary_erosion

from naturalize.base.artifacts import read_manifest, read_table
from naturalize.base.errors import InputError, SettingsError
from naturalize.cells.bank import CellBank
from naturalize.cells.exchange import export, import_bank, import_cells
from naturalize.cells.tables import CELLS
from naturalize.dataset.catalog import Catalog
from naturalize.imaging.runlength import mask_to_rle, polygons_to_mask, rle_to_mask

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40))


def opened(file: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(file))


def whole(row: dict[str, Any], bank: CellBank, shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[row["y0"] : row["y1"], row["x0"] : row["x1"]] = bank.mask(row["cell_id"])
    return mask


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> CellBank:
    return drawn_bank(tmp_path_factory.mktemp("coco"), overlap=True)


@pytest.fixture(scope="module")
def sent(bank: CellBank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sent") / "coco"
    export(bank, out, format="coco", cells=bank.table, categories="label")
    return out


@settings(max_examples=80, deadline=None)
@given(MASKS)
def test_our_text_is_that_of_pycocotools(mask: np.ndarray) -> None:
    ours = mask_to_rle(mask)
    its = theirs.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert ours["counts"] == its["counts"].decode()
    assert ours["size"] == its["size"]
    assert np.array_equal(rle_to_mask(ours), mask)


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_runs_as_numbers_are_read_too(mask: np.ndarray) -> None:
    flat = mask.T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends.tolist(), flat.size]).tolist()
    counts = [0, *runs] if flat[0] else runs
    assert np.array_equal(rle_to_mask({"size": list(mask.shape), "counts": counts}), mask)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(20, 28), min_size=5, max_size=14), st.floats(29, 33))
def test_polygons_are_those_of_pycocotools_but_for_the_edge(radii, middle: float) -> None:
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    corners = [middle + radii * np.cos(angles), 32 + radii * np.sin(angles)]
    polygon = np.stack(corners, axis=1).ravel().tolist()
    ours = polygons_to_mask([polygon], (64, 66))
    its = opened_mask(theirs.merge(theirs.frPyObjects([polygon], 64, 66)))
    assert not (binary_erosion(its, np.ones((3, 3))) & ~ours).any()
    assert not (binary_erosion(~its, np.ones((3, 3))) & ours).any()


def opened_mask(rle: dict[str, Any]) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its array class predates numpy 2
        return theirs.decode(rle).astype(bool)


def test_a_polygon_along_the_pixels_is_exact() -> None:
    mask = polygons_to_mask([[5, 6, 20, 6, 20, 30, 5, 30], [30, 1, 31, 1, 31, 2, 30, 2]], (40, 50))
    expected = np.zeros((40, 50), bool)
    expected[6:30, 5:20] = expected[1, 30] = True
    assert np.array_equal(mask, expected)


def test_pycocotools_gives_exactly_our_masks(bank: CellBank, sent: Path) -> None:
    coco = opened(sent / "annotations.json")
    assert len(coco.anns) == bank.table.num_rows
    for annotation in coco.anns.values():
        row = bank.row(annotation["cell_id"])
        image = coco.imgs[annotation["image_id"]]
        assert image["file_name"] == row["path"]
        expected = whole(row, bank, (image["height"], image["width"]))
        assert np.array_equal(opened_mask(coco.annToRLE(annotation)), expected)
        assert annotation["area"] == expected.sum() == theirs.area(coco.annToRLE(annotation))
        box = theirs.toBbox(coco.annToRLE(annotation))
        assert annotation["bbox"] == box.tolist()
        category = coco.cats[annotation["category_id"]]
        assert category["name"] == (row["label"] or row["kind"])
        assert category["supercategory"] == row["kind"]
        assert annotation["iscrowd"] == 0
    for image in coco.imgs.values():
        assert (sent / "images" / image["file_name"]).is_file()


def test_categories_are_kinds_by_default(bank: CellBank, tmp_path: Path) -> None:
    written = export(bank, tmp_path / "coco", format="coco")
    coco = opened(tmp_path / "coco" / "annotations.json")
    assert [c["name"] for c in coco.cats.values()] == ["wbc", "rbc", "platelet"]
    assert written == {"images": 4, "cells": bank.cells().num_rows}


def test_cells_come_back_as_they_went_measures_and_all(
    bank: CellBank, sent: Path, tmp_path
) -> None:
    back = read_table(import_cells(sent, tmp_path / "cells") / "cells.parquet", CELLS)
    were = {row["cell_id"]: row for row in bank.table.to_pylist()}
    exact = ["image_id", "path", "kind", "x0", "y0", "x1", "y1", "area", "mask", "nucleus", "score"]
    measured = ["solidity", "waist", "contact", "focus", "nc_ratio", "touches_border"]
    assert len(were) == back.num_rows
    for row in back.to_pylist():
        was = were[row["cell_id"]]
        assert {k: row[k] for k in exact + measured} == {k: was[k] for k in exact + measured}


def test_an_imported_bank_has_the_classes(bank: CellBank, sent: Path, tmp_path: Path) -> None:
    import_bank(sent, tmp_path / "bank", self_contained=True)
    back = CellBank.load(tmp_path / "bank", check=True)
    assert back.labels == bank.labels
    assert back.holds == "images"
    keys = ("kind", "label", "target", "mask")
    for row in back.table.to_pylist():
        assert {k: row[k] for k in keys} == {k: bank.row(row["cell_id"])[k] for k in keys}


def test_imported_cells_are_banked_with_a_catalog(bank: CellBank, sent: Path, tmp_path) -> None:
    cells = import_cells(sent, tmp_path / "cells")
    back = CellBank.build(cells, Catalog.build(bank.root))
    assert back.counts() == bank.counts()
    assert back.table["mask"].equals(bank.table["mask"])


def test_exports_and_imports_are_the_same_bytes_each_time(bank, sent: Path, tmp_path) -> None:
    export(bank, tmp_path / "coco", format="coco", cells=bank.table, categories="label")
    assert read_manifest(tmp_path / "coco").files == read_manifest(sent).files
    one = import_cells(sent, tmp_path / "one")
    two = import_cells(sent, tmp_path / "two")
    assert read_manifest(one).files == read_manifest(two).files
    assert read_manifest(one).fingerprint == read_manifest(two).fingerprint


def plain(folder: Path) -> dict[str, Any]:
    """Write two images and return annotations of their cells as a stranger's tool would."""
    made = write_images(folder / "images", 1)
    said: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 7, "name": "Leukocytes"}, {"id": 9, "name": "red blood cell"}],
    }
    for number, (path, (image, cells)) in enumerate(made.items(), start=3):
        shape = image.shape[:2]
        said["images"].append(
            {"id": number, "file_name": path, "height": shape[0], "width": shape[1]}
        )
        for cell in cells[:2]:
            x0, y0, x1, y1 = cell.box
            polygon = [x0, y0, x1, y0, x1, y1, x0, y1]
            said["annotations"].append(
                {
                    "id": len(said["annotations"]) + 1,
                    "image_id": number,
                    "category_id": 7 if cell.kind == "wbc" else 9,
                    "segmentation": [polygon],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                }
            )
    return said


def write(folder: Path, said: object) -> Path:
    file = folder / "annotations.json"
    file.write_text(said if isinstance(said, str) else json.dumps(said))
    return file


def test_a_strangers_polygons_and_names_are_understood(tmp_path: Path) -> None:
    file = write(tmp_path, plain(tmp_path))
    rows = read_table(import_cells(file, tmp_path / "cells") / "cells.parquet").to_pylist()
    assert [row["kind"] for row in rows] == ["wbc", "rbc"] * 2
    assert all(row["area"] == (row["x1"] - row["x0"]) * (row["y1"] - row["y0"]) for row in rows)
    with pytest.raises(InputError, match=r"no class.*catalog"):
        import_bank(file, tmp_path / "bank")


def test_classes_make_a_bank_and_crowds_are_left_out(tmp_path: Path) -> None:
    said = plain(tmp_path)
    said["categories"][0]["name"] = "Lymphocyte"
    said["annotations"][1]["iscrowd"] = 1
    bank = CellBank.load(import_bank(write(tmp_path, said), tmp_path / "bank", judge=False))
    assert bank.labels == ("Lymphocyte",)
    assert bank.cells(label="Lymphocyte", target=True).num_rows == 2
    assert bank.cells("rbc").num_rows == 1


def broken(change) -> Any:
    def apply(said: dict[str, Any]) -> dict[str, Any]:
        change(said)
        return said

    return apply


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: "{", "not JSON"),
        (lambda s: [], "no list 'images'"),
        (lambda s: {**s, "categories": None}, "no list 'categories'"),
        (broken(lambda s: s["images"][0].pop("file_name")), "images: number 1: lacks"),
        (broken(lambda s: s["images"][1].update(id=3)), "'images' has the id 3"),
        (broken(lambda s: s["categories"][1].update(id=7)), "'categories' has the id 7"),
        (lambda s: {**s, "annotations": []}, "no cell is marked in any of 2 images"),
        (
            lambda s: {**s, "annotations": [{**a, "iscrowd": 1} for a in s["annotations"]]},
            "4 × mask marked iscrowd.*--brush",
        ),
        (
            lambda s: {**s, "images": [{**i, "file_name": f"gone{i['id']}"} for i in s["images"]]},
            "2 × no such image",
        ),
    ],
)
def test_what_is_wrong_as_a_whole_is_named_with_its_file(tmp_path: Path, change, said: str) -> None:
    file = write(tmp_path, change(plain(tmp_path)))
    with pytest.raises(InputError, match=said) as caught:
        import_cells(file, tmp_path / "cells")
    assert str(tmp_path) in str(caught.value)
    assert not (tmp_path / "cells").exists()


def of_first(**values: object) -> Any:
    return broken(lambda s: s["annotations"][0].update(values))


RLE = {"size": [160, 167], "counts": "\x00"}


@pytest.mark.parametrize(
    ("change", "said", "cells"),
    [
        (broken(lambda s: s["images"][1].update(file_name="gone.png")), "no such image", 2),
        (broken(lambda s: s["images"][1].update(file_name="../x.png")), "leads out", 2),
        (
            broken(lambda s: s["images"][1].update(file_name=s["images"][0]["file_name"])),
            "listed twice",
            2,
        ),
        (broken(lambda s: s["images"][0].update(width=99)), "not of its image's size", 2),
        (of_first(image_id=88), "annotation of an image that is not listed", 3),
        (of_first(category_id=1), "annotation of a category that is not listed", 3),
        (of_first(segmentation=[]), "box without a mask", 3),
        (of_first(segmentation=[], keypoints=[1, 2, 2]), "keypoints without a mask", 3),
        (of_first(segmentation=[[1, 2, 3, 4]]), "fewer than three points", 3),
        (of_first(segmentation=[["a"] * 6]), "numbers", 3),
        (of_first(segmentation=[[500, 5, 520, 5, 510, 30]]), "without a pixel in the image", 3),
        (of_first(segmentation={"size": [2, 2], "counts": [1]}), "do not add up", 3),
        (of_first(segmentation={"size": [2, 2], "counts": [1, 3]}), "not of its image's size", 3),
        (of_first(segmentation=RLE), "not COCO's text", 3),
        (of_first(segmentation={"counts": "22"}), "RLE without size", 3),
        (of_first(score=3), "score that is not 0–1", 3),
        (of_first(label=3), "label that is no text", 3),
        (of_first(iscrowd=1), "marked iscrowd; if each is one cell (brush masks), say --brush", 3),
        (broken(lambda s: s["categories"][0].update(name="blob")), "--kind 'blob=wbc'", 2),
        (broken(lambda s: s["annotations"].insert(0, None)), "annotation that is no object", 4),
    ],
)
def test_what_cannot_be_used_is_counted_and_the_rest_comes_in(
    tmp_path: Path, change, said: str, cells: int, capsys
) -> None:
    file = write(tmp_path, change(plain(tmp_path)))
    out = import_cells(file, tmp_path / "cells")
    warned = " ".join(capsys.readouterr().err.split())
    assert warned.count(said) == 1
    assert f"first: {file}: " in warned
    assert read_table(out / "cells.parquet").num_rows == cells


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    file = write(tmp_path, plain(tmp_path))
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert read_table(import_cells(file, tmp_path / "cells") / "cells.parquet").num_rows == 4


def test_what_nobody_uses_may_be_anything(tmp_path: Path, capsys) -> None:
    said = plain(tmp_path)
    said["categories"].insert(0, {"id": 0, "name": "blobs", "supercategory": "none"})
    for annotation in said["annotations"]:
        del annotation["id"]
    out = import_cells(write(tmp_path, said), tmp_path / "cells")
    assert read_table(out / "cells.parquet").num_rows == 4
    assert "left out" not in capsys.readouterr().err


def test_of_several_polygons_those_without_an_area_are_passed_over(tmp_path: Path) -> None:
    said = plain(tmp_path)
    whole_one = said["annotations"][0]["segmentation"][0]
    said["annotations"][0]["segmentation"] = [[1, 2, 3, 4], whole_one]
    said["annotations"][1]["segmentation"] = said["annotations"][1]["segmentation"][0]  # flat
    out = import_cells(write(tmp_path, said), tmp_path / "cells")
    expected = theirs.merge(theirs.frPyObjects([whole_one], 160, 167))
    areas = read_table(out / "cells.parquet")["area"].to_pylist()
    assert int(theirs.area(expected)) in areas
    assert len(areas) == 4


def test_brush_masks_come_in_when_asked_for(tmp_path: Path, capsys) -> None:
    """As CVAT writes them: every brush mask as uncompressed RLE with iscrowd 1."""
    said, expected = plain(tmp_path), []
    for annotation in said["annotations"][:3]:
        polygon = annotation["segmentation"]
        rle = theirs.merge(theirs.frPyObjects(polygon, 160, 167))
        mask = opened_mask(rle)
        flat = mask.T.ravel()
        runs = np.diff([0, *(np.flatnonzero(np.diff(flat)) + 1), flat.size]).tolist()
        counts = [0, *runs] if flat[0] else runs
        annotation.update(segmentation={"size": [160, 167], "counts": counts}, iscrowd=1)
        expected.append(int(mask.sum()))
    file = write(tmp_path, said)
    one = read_table(import_cells(file, tmp_path / "one") / "cells.parquet")
    assert one.num_rows == 1
    assert capsys.readouterr().err.count("--brush") == 1
    all_of = read_table(import_cells(file, tmp_path / "all", brush=True) / "cells.parquet")
    assert all_of.num_rows == 4
    assert not set(expected) - set(all_of["area"].to_pylist())
    assert "--brush" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "files", "found"),
    [
        ("slideA/001.png", ["001.png"], None),
        ("slideA/001.png", ["slideB/001.png"], None),
        ("slideA/001.png", ["slideA/001.png", "001.png"], "slideA/001.png"),
        ("001.png", ["slideA/001.png"], "slideA/001.png"),
        ("001.png", ["slideA/001.png", "slideB/001.png"], None),
        ("001.png", ["001.png", "slideB/001.png"], "001.png"),
        ("slideA/001.png", ["run1/slideA/001.png", "run1/slideB/001.png"], "run1/slideA/001.png"),
        ("pictures/slideA/001.png", ["slideA/001.png"], "slideA/001.png"),
        ("slideA\\001.png", ["slideA/001.png"], "slideA/001.png"),
        ("/home/anna/slideA/001.png", ["slideA/001.png", "slideB/001.png"], "slideA/001.png"),
        ("C:\\anna\\slideA\\001.png", ["slideA/001.png"], "slideA/001.png"),
        ("/home/anna/slideC/001.png", ["slideA/001.png"], None),
        ("https://lab.example/slideA/001.png", ["slideA/001.png"], "slideA/001.png"),
        ("slideA/../001.png", ["001.png"], None),
        ("Zelle-\u00e4.png", ["Zelle-a\u0308.png"], "Zelle-a\u0308.png"),
        ("B\u00e4r/1.png", ["Ba\u0308r/1.png", "Bar/1.png"], "Ba\u0308r/1.png"),
    ],
)
def test_an_image_is_that_whose_folders_are_given(
    tmp_path: Path, name: str, files: list[str], found: str | None
) -> None:
    root = tmp_path / "pictures"
    for number, file in enumerate(files):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        image = np.full((40, 50, 3), 240, np.uint8)
        image[10:30, 10:30] = (90 + number, 60, 130)
        Image.fromarray(image).save(root / file)
    annotation = {
        "id": 1, "image_id": 1, "category_id": 1,
        "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]],
    }  # fmt: skip
    file = write(
        tmp_path,
        {
            "images": [{"id": 1, "file_name": name}],
            "categories": [{"id": 1, "name": "wbc"}],
            "annotations": [annotation],
        },
    )
    if found is None:
        with pytest.raises(InputError, match="nothing can be imported"):
            import_cells(file, tmp_path / "cells", images=root)
    else:
        out = import_cells(file, tmp_path / "cells", images=root)
        assert read_table(out / "cells.parquet")["path"].to_pylist() == [found]


def test_unknown_categories_can_be_given_a_kind(tmp_path: Path) -> None:
    said = plain(tmp_path)
    said["categories"] = [{"id": 7, "name": "blob"}, {"id": 9, "name": "cell"}]
    file = write(tmp_path, said)
    found = {}
    for name, kinds in {
        "named": {"Blob": "wbc", "cell": "rbc"},
        "rest": {"blob": "wbc", "*": "rbc"},
        "auto": "auto",
    }.items():
        out = import_cells(file, tmp_path / name, kinds=kinds)
        found[name] = read_table(out / "cells.parquet")["kind"].to_pylist()
    assert found == dict.fromkeys(found, ["wbc", "rbc"] * 2)
    with pytest.raises(SettingsError, match="platelet"):
        import_cells(file, tmp_path / "x", kinds={"blob": "white"})


def test_options_and_formats_are_checked(bank: CellBank, tmp_path: Path) -> None:
    for wrong in (
        {"format": "cooc"},
        {"format": "coco", "categories": "colour"},
        {"format": "coco", "shard_bytes": 5},
        {"format": "labels", "categories": "kind"},
    ):
        with pytest.raises(SettingsError):
            export(bank, tmp_path / "out", **wrong)
    with pytest.raises(InputError, match="nothing to export"):
        export(bank, tmp_path / "out", cells=bank.cells(label="none"))
    assert not (tmp_path / "out").exists()


def test_a_bank_of_crops_is_exported_too(bank: CellBank, tmp_path: Path) -> None:
    bank.save(tmp_path / "crops", self_contained="crops")
    crops = CellBank.load(tmp_path / "crops")
    export(crops, tmp_path / "coco", format="coco")
    coco = opened(tmp_path / "coco" / "annotations.json")
    assert len(coco.imgs) == len(coco.anns) == crops.table.num_rows
    for annotation in coco.anns.values():
        shape = (
            coco.imgs[annotation["image_id"]]["height"],
            coco.imgs[annotation["image_id"]]["width"],
        )
        expected = whole(crops.row(annotation["cell_id"]), crops, shape)
        assert np.array_equal(opened_mask(coco.annToRLE(annotation)), expected)
