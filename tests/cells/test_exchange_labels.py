"""Label images in and out: Cellpose's, our own, and whatever else they turn out to be."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from bank_makers import drawn_bank, write_images
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from naturalize.base.artifacts import read_manifest, read_table
from naturalize.base.errors import ArtifactError, InputError
from naturalize.base.images import write_image
from naturalize.cells.bank import CellBank
from naturalize.cells.exchange import export, import_bank, import_cells
from naturalize.cells.exchange.annotated import AnnotatedImage
from naturalize.cells.exchange.labels import read_labels
from naturalize.cells.exchange.meaning import Meaning, read_mask
from naturalize.cells.segmentation import Segmentation
from naturalize.dataset.catalog import Catalog
from naturalize.imaging.runlength import decode

SHAPE = (14, 17)
IMAGE = np.zeros((*SHAPE, 3), np.uint8)
NUMBERS = arrays(
    np.uint16, SHAPE, elements=st.sampled_from([0, 0, 0, 1, 2, 3, 700, 65535]), fill=st.just(0)
)


def numbered(cells, shape: tuple[int, int]) -> np.ndarray:
    image = np.zeros(shape, np.uint16)
    for number, cell in enumerate(cells, start=1):
        x0, y0, x1, y1 = cell.box
        image[y0:y1, x0:x1][cell.mask] = number
    return image


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder as Cellpose leaves it: masks beside the images."""
    for path, (image, cells) in write_images(tmp_path / "data", 1).items():
        mask = (tmp_path / "data" / path).with_suffix("")
        write_image(mask.with_name(f"{mask.name}_cp_masks.png"), numbered(cells, image.shape[:2]))
    return tmp_path / "data"


@settings(max_examples=60, deadline=None)
@given(numbers=NUMBERS, suffix=st.sampled_from([".png", ".tif", ".npy"]))
def test_each_number_is_a_cell(tmp_path_factory, numbers: np.ndarray, suffix: str) -> None:
    file = tmp_path_factory.getbasetemp() / f"numbers{suffix}"
    if suffix == ".npy":
        np.save(file, numbers)
    else:
        Image.fromarray(numbers).save(file)
    about = (file, {}, "rbc", Meaning("numbers"))
    found = list(read_labels(AnnotatedImage("x.png", about), IMAGE))
    back = np.zeros(SHAPE, np.uint16)
    for marking, number in zip(found, np.unique(numbers[numbers > 0]), strict=True):
        x, y = marking.offset
        height, width = marking.mask.shape
        assert marking.mask.any(0)[[0, -1]].all()
        assert marking.mask.any(1)[[0, -1]].all()
        back[y : y + height, x : x + width][marking.mask] = number
    assert np.array_equal(back, numbers)


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, SHAPE, elements=st.integers(0, 3)))
def test_each_piece_of_a_kind_is_a_cell(tmp_path_factory, levels: np.ndarray) -> None:
    from skimage.measure import label

    file = tmp_path_factory.getbasetemp() / "kinds.png"
    Image.fromarray(levels).save(file)
    about = (file, {}, "auto", Meaning("kinds"))
    found = list(read_labels(AnnotatedImage("x.png", about), IMAGE))
    for level, kind in enumerate(("wbc", "rbc", "platelet"), start=1):
        pieces = label(levels == level, connectivity=1)
        of_kind = [marking for marking in found if marking.kind == kind]
        assert len(of_kind) == pieces.max()
        assert sum(marking.mask.sum() for marking in of_kind) == (levels == level).sum()


def test_what_is_exported_comes_back(tmp_path: Path) -> None:
    bank = drawn_bank(tmp_path)
    written = export(bank, tmp_path / "out", format="labels", cells=bank.table)
    assert written == {"images": 4, "cells": 20, "overlapped": 0}
    back = read_table(import_cells(tmp_path / "out", tmp_path / "cells") / "cells.parquet")
    for row in back.to_pylist():
        was = bank.row(row["cell_id"])
        same = ("kind", "x0", "y0", "x1", "y1", "mask", "score", "solidity", "focus", "contact")
        assert {k: row[k] for k in same} == {k: was[k] for k in same}
    again = CellBank.load(import_bank(tmp_path / "out", tmp_path / "bank"))
    assert again.counts() == bank.counts()


def test_where_masks_overlap_the_upper_keeps_its_pixels(tmp_path: Path, capsys) -> None:
    bank = drawn_bank(tmp_path, 1, overlap=True)
    written = export(bank, tmp_path / "out", format="labels", cells=bank.table)
    assert written["overlapped"] == 2
    assert "2 of 10 cells" in " ".join(capsys.readouterr().err.split())
    back = read_table(import_cells(tmp_path / "out", tmp_path / "cells") / "cells.parquet")
    for row in back.to_pylist():
        was = bank.row(row["cell_id"])
        if row["kind"] != "rbc":
            assert row["mask"] == was["mask"]
        else:
            assert row["area"] <= was["area"]


def test_label_images_are_16_bit_and_numbered_from_1(tmp_path: Path) -> None:
    bank = drawn_bank(tmp_path, 1)
    export(bank, tmp_path / "out", format="labels", cells=bank.cells("rbc", accepted=None))
    with Image.open(tmp_path / "out" / "masks" / "LY" / "ly0_masks.png") as opened:
        numbers = np.asarray(opened)
    assert numbers.dtype == np.uint16
    assert np.unique(numbers).tolist() == [0, 1, 2, 3]


def test_kinds_are_distinguished_by_size_and_stain(tree: Path, tmp_path: Path) -> None:
    rows = read_table(import_cells(tree, tmp_path / "cells") / "cells.parquet").to_pylist()
    assert [row["kind"] for row in rows] == ["wbc", "rbc", "rbc", "rbc", "platelet"] * 2
    rows = read_table(import_cells(tree, tmp_path / "rbc", kinds="rbc") / "cells.parquet")
    assert set(rows["kind"].to_pylist()) == {"rbc"}


def test_imported_masks_are_banked_with_a_catalog(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "images", ignore=shutil.ignore_patterns("*_masks.png"))
    cells = import_cells(tree, tmp_path / "cells")
    bank = CellBank.build(cells, Catalog.build(tmp_path / "images"))
    assert bank.cells(label="LY").num_rows == bank.cells(label="SNE").num_rows == 1
    assert bank.cutout(bank.cells("wbc")["cell_id"][0].as_py()).mask.any()


def test_our_own_masks_come_back(tmp_path: Path) -> None:
    made = write_images(tmp_path / "images", 1)
    for path, (image, cells) in made.items():
        found = Segmentation(image.shape[:2], tuple(cells), (250.0, 228.0, 205.0))
        write_image(tmp_path / "m" / "masks" / f"{Path(path).stem}.png", found.label_image())
    out = import_cells(
        tmp_path / "m", tmp_path / "cells", images=tmp_path / "images", format="masks"
    )
    rows = read_table(out / "cells.parquet").to_pylist()
    for path, (_, cells) in made.items():
        mine = [row for row in rows if row["path"] == path]
        assert len(mine) == len(cells)
        for cell in cells:
            (row,) = [r for r in mine if (r["x0"], r["y0"], r["x1"], r["y1"]) == cell.box]
            assert row["kind"] == cell.kind
            assert np.array_equal(decode(np.array(row["mask"]), cell.mask.shape), cell.mask)


def test_a_cells_artifact_without_masks_says_so(tmp_path: Path) -> None:
    drawn_bank(tmp_path, 1)
    with pytest.raises(InputError, match="--masks"):
        import_cells(tmp_path / "cells", tmp_path / "out", images=tmp_path / "images")


def test_a_table_says_what_each_number_is(tree: Path, tmp_path: Path) -> None:
    table = ["file,number,kind,label", "LY/ly0_cp_masks.png,1,Lymphocyte,"]
    table += ["LY/ly0_cp_masks.png,2,rbc,sickle", "LY/ly0_cp_masks.png,5,platelets,"]
    (tree / "cells.csv").write_text("\n".join(table))
    bank = CellBank.load(import_bank(tree, tmp_path / "bank", judge=False))
    assert bank.labels == ("Lymphocyte", "sickle")
    assert bank.cells("rbc", "sickle", target=True).num_rows == 1
    assert bank.cells("wbc", "Lymphocyte").num_rows == 1
    assert bank.cells("platelet").num_rows == 2


TABLES = {
    "lacks the column": "file,number\nx,1",
    "no number": "file,number,kind\nLY/ly0_cp_masks.png,one,rbc",
    "twice": "file,number,kind\nLY/ly0_cp_masks.png,1,rbc\nLY/ly0_cp_masks.png,1,wbc",
    "--kind 'blob=wbc'": "file,number,kind\nLY/ly0_cp_masks.png,1,blob",
}


@pytest.mark.parametrize("said", TABLES)
def test_a_wrong_table_is_named(tree: Path, tmp_path: Path, said: str) -> None:
    (tree / "cells.csv").write_text(TABLES[said])
    with pytest.raises(InputError, match=said):
        import_cells(tree, tmp_path / "cells")
    assert not (tmp_path / "cells").exists()


def mask_of(tree: Path) -> Path:
    return tree / "LY" / "ly0_cp_masks.png"


def as_float(tree: Path) -> None:
    numbers = np.asarray(Image.open(mask_of(tree))).astype(np.float32) + 0.5
    mask_of(tree).unlink()
    Image.fromarray(numbers).save(mask_of(tree).with_suffix(".tif"))


def as_colour(tree: Path) -> None:
    palette = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9), (7, 7, 0)])
    colours = palette[np.asarray(Image.open(mask_of(tree)))].astype(np.uint8)
    Image.fromarray(colours).save(mask_of(tree))


def as_negative(tree: Path) -> None:
    mask_of(tree).unlink()
    np.save(mask_of(tree).with_suffix(".npy"), np.full((160, 167), -1))


def as_volume(tree: Path) -> None:
    mask_of(tree).unlink()
    np.save(mask_of(tree).with_suffix(".npy"), np.zeros((2, 3, 4, 5)))


def as_pickle(tree: Path) -> None:
    np.save(tree / "LY" / "ly0_seg.npy", np.array({"masks": 1}, dtype=object), allow_pickle=True)


def as_inverted(tree: Path) -> None:
    write_image(mask_of(tree), (np.asarray(Image.open(mask_of(tree))) == 0).astype(np.uint8) * 255)


def twice(tree: Path) -> None:
    shutil.copyfile(tree / "SNE" / "sne0_cp_masks.png", tree / "LY" / "ly0_masks.png")


def same_stem(tree: Path) -> None:
    shutil.copyfile(tree / "LY" / "ly0.png", tree / "LY" / "ly0.bmp")


BROKEN = {
    "fractions": as_float,
    "colours": as_colour,
    "--invert": as_inverted,
}


@pytest.mark.parametrize("said", BROKEN)
def test_a_doubtful_mask_is_refused_with_the_option_that_decides(
    tree: Path, tmp_path: Path, said: str
) -> None:
    BROKEN[said](tree)
    with pytest.raises(InputError, match=said) as caught:
        import_cells(tree, tmp_path / "cells", format="labels")
    assert "ly0" in str(caught.value)
    assert "--meaning" in str(caught.value)
    assert not (tmp_path / "cells").exists()


LEFT_OUT = {
    "numbers must be 0": as_negative,
    "several masks that differ": twice,
    "several images have this name": same_stem,
    "not of its image's size": lambda tree: write_image(
        mask_of(tree), np.arange(5000).reshape(50, 100).astype(np.uint16)
    ),
    "not an image": lambda tree: mask_of(tree).write_bytes(b"no picture"),
    "no such image": lambda tree: (tree / "LY" / "ly0.png").unlink(),
    "a pickle": as_pickle,
    "no image of one number": as_volume,
    "outlines or flows": lambda tree: shutil.copyfile(
        mask_of(tree), tree / "LY" / "ly0_outlines_cp_masks.png"
    ),
    "row of cells.csv whose number": lambda tree: (tree / "cells.csv").write_text(
        "file,number,kind\nLY/ly0_cp_masks.png,77,rbc"
    ),
    "row of no mask": lambda tree: (tree / "cells.csv").write_text(
        "file,number,kind\ngone.png,1,rbc"
    ),
}


@pytest.mark.parametrize("said", LEFT_OUT)
def test_what_cannot_be_used_is_left_out_and_counted(
    tree: Path, tmp_path: Path, said: str, capsys
) -> None:
    LEFT_OUT[said](tree)
    out = import_cells(tree, tmp_path / "cells", format="labels", kinds="rbc")
    warned = " ".join(capsys.readouterr().err.split())
    assert warned.count("left out: 1 × ") == warned.count("left out") == 1
    assert said in warned
    rows = read_table(out / "cells.parquet").to_pylist()
    assert sum(row["path"] == "SNE/sne0.png" for row in rows) == 5


def test_whole_floats_and_palettes_are_numbers(tmp_path: Path) -> None:
    numbers = np.arange(12).reshape(3, 4)
    Image.fromarray(numbers.astype(np.float32)).save(tmp_path / "a.tif")
    palette = Image.fromarray(numbers.astype(np.uint8), mode="L").convert("P")
    palette.putpalette([255 - i % 256 for i in range(768)])
    palette.save(tmp_path / "b.png")
    for name in ("a.tif", "b.png"):
        assert np.array_equal(read_mask(tmp_path / name).numbers, numbers)


def test_empty_masks_and_empty_folders_are_refused(tree: Path, tmp_path: Path) -> None:
    for file in tree.rglob("*_cp_masks.png"):
        write_image(file, np.zeros((160, 167), np.uint16))
    with pytest.raises(InputError, match="no cell is marked in any of 2 images"):
        import_cells(tree, tmp_path / "cells")
    (tmp_path / "bare").mkdir()
    for source, said in ((tmp_path / "bare", "found in it"), (tmp_path / "gone", "no such file")):
        with pytest.raises(InputError, match=said):
            import_cells(source, tmp_path / "cells")
    with pytest.raises(InputError, match="nowhere"):
        import_cells(tree, tmp_path / "cells", images=tmp_path / "nowhere")


def test_five_levels_are_no_kinds(tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    shutil.copyfile(mask_of(tree), folder / "ly0.png")
    with pytest.raises(InputError, match="holds 5"):
        import_cells(folder, tmp_path / "cells", images=tree, format="masks")
    with pytest.raises(InputError, match="leave out --kind"):
        import_cells(folder, tmp_path / "cells", images=tree, format="masks", kinds="rbc")
    with pytest.raises(InputError, match="--images"):
        import_cells(folder, tmp_path / "cells", format="masks")


def test_workers_change_no_byte_and_copies_count_once(tree: Path, tmp_path: Path, capsys) -> None:
    for name in ("ly0.png", "ly0_cp_masks.png"):
        shutil.copyfile(tree / "LY" / name, tree / "LY" / name.replace("ly0", "ly0copy"))
    one = import_cells(tree, tmp_path / "one")
    assert "the same file as LY/ly0.png" in " ".join(capsys.readouterr().err.split())
    two = import_cells(tree, tmp_path / "two", backend="processes", workers=2)
    assert read_manifest(one).files == read_manifest(two).files
    assert read_table(one / "cells.parquet").num_rows == 10


def test_a_cell_in_pieces_is_one_with_a_warning(tree: Path, tmp_path: Path, capsys) -> None:
    numbers = np.zeros((160, 167), np.uint16)
    cv2.circle(numbers, (40, 40), 12, 1, cv2.FILLED)
    cv2.circle(numbers, (100, 100), 12, 1, cv2.FILLED)
    write_image(mask_of(tree), numbers)
    rows = read_table(import_cells(tree, tmp_path / "cells") / "cells.parquet")
    assert rows.num_rows == 6
    assert "1 of 6 cells lie in several pieces (most in LY/ly0.png)" in " ".join(
        capsys.readouterr().err.split()
    )


def test_an_export_is_whole_or_absent(tmp_path: Path) -> None:
    bank = drawn_bank(tmp_path, 1)
    next(bank.root.rglob("*.png")).unlink()
    with pytest.raises(ArtifactError, match="no such file"):
        export(bank, tmp_path / "out", format="labels")
    assert not (tmp_path / "out").exists()
