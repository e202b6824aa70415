"""What masks mean: recognised where it is certain, otherwise asked; and pictures that fit them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from pycocotools import mask as pycoco

from naturalize.base.artifacts import read_table
from naturalize.base.errors import InputError
from naturalize.cells.bank import CellBank
from naturalize.cells.exchange import export, import_cells
from naturalize.imaging.runlength import decode

SHAPE = (120, 150)

#: Centre and radius of cells; none touches another or the edge.
DISCS = (((30, 30), 14), ((100, 40), 20), ((60, 90), 17))


def discs(value: int = 1, *, shrunk: int = 0) -> np.ndarray:
    out = np.zeros(SHAPE, np.uint8)
    for middle, radius in DISCS:
        cv2.circle(out, middle, radius - shrunk, value, cv2.FILLED)
    return out


TRUE = discs() > 0


def numbered() -> np.ndarray:
    return cv2.connectedComponents(discs())[1].astype(np.uint16)


def levels(low: int, high: int) -> np.ndarray:
    return np.where(discs(shrunk=6) > 0, high, np.where(TRUE, low, 0)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image whose cells are the discs; their masks are to be put beside it."""
    image = np.full((*SHAPE, 3), (250, 228, 205), np.uint8)
    image[TRUE] = (215, 165, 170)
    image[discs(shrunk=6) > 0] = (75, 40, 120)
    (tmp_path / "in").mkdir()
    Image.fromarray(image).save(tmp_path / "in" / "a.png")
    return tmp_path / "in"


def imported(folder: Path, **settings: object) -> list[dict]:
    out = import_cells(folder, folder.parent / "cells", **settings)
    return read_table(out / "cells.parquet").to_pylist()


def union(rows: list[dict], column: str = "mask") -> np.ndarray:
    out = np.zeros(SHAPE, bool)
    for row in rows:
        box = np.s_[row["y0"] : row["y1"], row["x0"] : row["x1"]]
        out[box] |= decode(np.array(row[column]), out[box].shape)
    return out


def smooth(binary: np.ndarray) -> np.ndarray:
    large = cv2.resize(binary * 255, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
    return cv2.resize(large, SHAPE[::-1], interpolation=cv2.INTER_AREA)


def jpeg(file: Path, values: np.ndarray, mode: str = "L") -> None:
    Image.fromarray(values).convert(mode).save(file.with_suffix(".jpg"), quality=60)


#: Name → writes masks of the three cells that can only mean these.
CERTAIN = {
    "numbers": lambda f: tifffile.imwrite(f.with_suffix(".tif"), numbered()),
    "bool tiff": lambda f: tifffile.imwrite(f.with_suffix(".tif"), TRUE),
    "bool tiff of Pillow": lambda f: Image.fromarray(TRUE).save(f.with_suffix(".tif")),
    "bool tiff of ImageMagick": lambda f: tifffile.imwrite(f.with_suffix(".tif"), ~TRUE),
    "bilevel, min is black": lambda f: tifffile.imwrite(
        f.with_suffix(".tif"), TRUE, photometric="minisblack"
    ),
    "grey tiff, min is white": lambda f: tifffile.imwrite(
        f.with_suffix(".tif"), numbered().astype(np.uint8), photometric="miniswhite"
    ),
    "1-bit PNG": lambda f: Image.fromarray(TRUE).save(f.with_suffix(".png")),
    "0 and 255": lambda f: Image.fromarray(discs(255)).save(f.with_suffix(".png")),
    "0 and 1": lambda f: Image.fromarray(discs()).save(f.with_suffix(".png")),
    "0 and 65535": lambda f: Image.fromarray(discs().astype(np.uint16) * 65535).save(
        f.with_suffix(".png")
    ),
    "0.0 and 1.0": lambda f: tifffile.imwrite(f.with_suffix(".tif"), TRUE.astype(np.float32)),
    "bool array": lambda f: np.save(f.with_suffix(".npy"), TRUE),
    "one colour": lambda f: Image.fromarray(
        discs()[..., None] * np.array([200, 0, 9], np.uint8)
    ).save(f.with_suffix(".png")),
    "grey in colour": lambda f: Image.fromarray(np.dstack([discs(255)] * 3)).save(
        f.with_suffix(".png")
    ),
    "transparency": lambda f: Image.fromarray(
        np.dstack([np.zeros((*SHAPE, 3), np.uint8), discs(255)])
    ).save(f.with_suffix(".png")),
    "grey and opaque": lambda f: (
        Image.fromarray(discs(255)).convert("LA").save(f.with_suffix(".png"))
    ),
}


@pytest.mark.parametrize("name", CERTAIN)
def test_what_can_only_mean_one_thing_is_taken(folder: Path, name: str) -> None:
    CERTAIN[name](folder / "a_masks")
    rows = imported(folder, kinds="rbc")
    assert len(rows) == len(DISCS)
    assert np.array_equal(union(rows), TRUE)
    assert all(row["nucleus"] is None for row in rows)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_smooth_and_coded_edges_are_parted_in_the_middle(folder: Path, mode: str, capsys) -> None:
    jpeg(folder / "a_mask", discs(255), mode)
    rows = imported(folder, kinds="rbc")
    assert len(rows) == len(DISCS)
    wrong = union(rows) ^ TRUE
    assert not (wrong & (cv2.erode(discs(), np.ones((3, 3))) > 0)).any()
    assert wrong.sum() < 0.03 * TRUE.sum()
    assert "cell and slide" in capsys.readouterr().err
    (folder / "a_mask.jpg").unlink()
    Image.fromarray(smooth(discs())).save(folder / "a_mask.png")
    assert np.array_equal(union(imported(folder, kinds="rbc")), TRUE)


@pytest.mark.parametrize(("low", "high"), [(128, 255), (127, 255), (255, 128)])
def test_levels_are_one_cell_with_its_nucleus(folder: Path, low: int, high: int, capsys) -> None:
    Image.fromarray(levels(low, high)).save(folder / "a_mask.png")
    rows = imported(folder)
    assert len(rows) == len(DISCS)
    assert [row["kind"] for row in rows] == ["wbc"] * 3
    assert np.array_equal(union(rows), TRUE)
    assert np.array_equal(union(rows, "nucleus"), discs(shrunk=6) > 0)
    assert "levels" in capsys.readouterr().err


def kinds() -> np.ndarray:
    out = discs()
    out[30:60, 125:149] = 2
    out[100:110, 10:40] = 2
    return out


#: Name → array, what the message must say, and option → number of cells with it.
DOUBTFUL = {
    "nested numbers": (levels(1, 2), "lies inside 1", {"levels": 3, "numbers": 2}),
    "inverted": (np.where(TRUE, 0, 255).astype(np.uint8), "--invert", {"binary": 1}),
    "inverted, dense": (
        np.where(cv2.dilate(discs(), np.ones((29, 29))) > 0, 0, 255).astype(np.uint8),
        "--invert",
        {"binary": 1},
    ),
    "inverted numbers": (
        np.where(TRUE, numbered(), 9).astype(np.uint16),
        "--invert",
        {"numbers": 4},
    ),
    "kinds": (kinds(), "several pieces", {"kinds": 5, "numbers": 2, "binary": 5}),
    "grey levels apart": (
        np.where(kinds() == 2, 128, np.where(TRUE, 255, 0)).astype(np.uint8),
        "grey levels 128, 255",
        {"binary": 5, "numbers": 2},
    ),
    "colours": (
        np.eye(4, 3, -1, dtype=np.uint8)[numbered()] * np.uint8(255),
        "3 colours",
        {"numbers": 3, "binary": 3},
    ),
    "a probability map": (
        cv2.GaussianBlur(TRUE.astype(np.float32), (0, 0), 3) * 0.97,
        "fractions",
        {"binary": 3},
    ),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_can_mean_several_things_is_asked(folder: Path, name: str) -> None:
    array, said, options = DOUBTFUL[name]
    tifffile.imwrite(folder / "a_masks.tif", array)
    with pytest.raises(InputError, match=said) as caught:
        imported(folder, kinds=None)
    assert "a_masks.tif" in str(caught.value)
    assert "--meaning" in str(caught.value)
    assert "\n" not in str(caught.value)
    for meaning, cells in options.items():
        assert f"{meaning}" in str(caught.value)
        kind = None if meaning == "kinds" else "rbc"
        assert len(imported(folder, meaning=meaning, kinds=kind)) == cells


def test_an_inverted_mask_is_turned_when_asked_for(folder: Path) -> None:
    Image.fromarray(np.where(TRUE, 0, 255).astype(np.uint8)).save(folder / "a_mask.png")
    rows = imported(folder, invert=True, kinds="rbc")
    assert len(rows) == len(DISCS)
    assert np.array_equal(union(rows), TRUE)
    Image.fromarray(np.where(TRUE, 255 - levels(128, 255), 255).astype(np.uint8)).save(
        folder / "a_mask.png"
    )
    rows = imported(folder, invert=True, meaning="levels")
    assert np.array_equal(union(rows), TRUE)
    assert np.array_equal(union(rows, "nucleus"), discs(shrunk=6) > 0)


def test_a_platelet_on_a_red_cell_is_no_level(folder: Path, capsys) -> None:
    numbers = np.zeros(SHAPE, np.uint16)
    for i in range(8):
        cv2.circle(numbers, (15 + 17 * i, 30), 8, i + 1, cv2.FILLED)
    numbers[28:32, 13:17] = 9
    tifffile.imwrite(folder / "a_masks.tif", numbers)
    assert len(imported(folder, kinds="rbc")) == 9
    assert "1 of 9 numbers lie inside another" in capsys.readouterr().err


def test_numbers_may_be_as_large_as_hashes(folder: Path) -> None:
    tifffile.imwrite(folder / "a_masks.tif", (numbered() * np.uint32(700_000_001)).astype(np.int32))
    assert len(imported(folder, kinds="rbc")) == len(DISCS)


def test_pages_are_no_mask(folder: Path) -> None:
    tifffile.imwrite(folder / "a_masks.tif", np.stack([numbered()] * 5))
    with pytest.raises(InputError, match="5 pages"):
        imported(folder)


def test_a_folder_as_cellpose_leaves_it(folder: Path, capsys) -> None:
    """``--save_png --save_tif --save_outlines --save_flows``, and the pickle of every run."""
    Image.fromarray(numbered()).save(folder / "a_cp_masks.png")
    tifffile.imwrite(folder / "a_cp_masks.tif", numbered())
    Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)).save(folder / "a_outlines_cp_masks.png")
    for name in ("a_flows_cp_masks.tif", "a_dP_cp_masks.tif"):
        tifffile.imwrite(folder / name, np.zeros((2, *SHAPE), np.float32))
    (folder / "a_cp_outlines.txt").write_text("1,2,3,4")
    np.save(folder / "a_seg.npy", np.array({"masks": numbered()}, object), allow_pickle=True)
    rows = imported(folder, kinds="rbc")
    assert len(rows) == len(DISCS)
    warned = " ".join(capsys.readouterr().err.split())
    assert "3 × outlines or flows of Cellpose" in warned
    assert "1 × Cellpose's _seg.npy, a pickle" in warned
    for file in folder.glob("a_cp_masks.*"):
        file.unlink()
    with pytest.raises(InputError, match="save the masks as PNG or TIFF there"):
        imported(folder)


def test_a_mask_of_another_slide_is_not_taken(folder: Path) -> None:
    masks = folder.parent / "masks"
    (masks / "slideB").mkdir(parents=True)
    (folder / "slideA").mkdir()
    (folder / "a.png").rename(folder / "slideA" / "a.png")
    Image.fromarray(discs(255)).save(masks / "slideB" / "a.png")
    with pytest.raises(InputError, match="no such image"):
        import_cells(masks, folder.parent / "cells", images=folder, format="labels")
    (masks / "slideB").rename(masks / "slideA")
    out = import_cells(masks, folder.parent / "cells", images=folder, format="labels")
    assert read_table(out / "cells.parquet").num_rows == len(DISCS)


@pytest.mark.real
def test_real_masks_of_levels(real_data: Path, tmp_path: Path) -> None:
    """zxaoyou/segmentation_WBC: 0 slide, 128 cytoplasm, 255 nucleus, one white cell each."""
    names = [f"{n:03}" for n in (1, 3, 5, 7, 9, 11)]
    (tmp_path / "in").mkdir()
    for name in names:
        for end in (".bmp", "_mask.png"):
            (tmp_path / "in" / f"{name}{end}").symlink_to(
                real_data / "masks" / "seg_wbc" / f"{name}{end}"
            )
    out = import_cells(tmp_path / "in", tmp_path / "cells")
    rows = read_table(out / "cells.parquet").to_pylist()
    for name in names:
        mask = np.asarray(Image.open(tmp_path / "in" / f"{name}_mask.png"))
        (row,) = [row for row in rows if row["path"] == f"{name}.bmp"]
        assert row["kind"] == "wbc"
        assert row["area"] == np.count_nonzero(mask)
        assert round(row["nc_ratio"] * row["area"]) == np.count_nonzero(mask == 255)


@pytest.mark.real
def test_real_jpeg_masks(real_data: Path, tmp_path: Path) -> None:
    files = sorted((real_data / "masks" / "krd_wbc").glob("*_mask.jpg"))[::25]
    (tmp_path / "in").mkdir()
    for file in files:
        for one in (file, file.with_name(file.name.replace("_mask", ""))):
            (tmp_path / "in" / one.name).symlink_to(one)
    out = import_cells(tmp_path / "in", tmp_path / "cells", kinds="wbc")
    rows = read_table(out / "cells.parquet").to_pylist()
    assert len(rows) == len(files)
    for row in rows:
        mask = np.asarray(Image.open(tmp_path / "in" / row["path"].replace(".jpg", "_mask.jpg")))
        assert abs(row["area"] / np.count_nonzero(mask > 127) - 1) < 0.01


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("format", ["coco", "labels", "rgba", "shards"])
def test_exported_pictures_are_upright(tmp_path: Path, orientation: int, format: str) -> None:
    """A photo with an EXIF orientation, read by Pillow without it, fits its masks."""
    upright = np.full((60, 80, 3), 240, np.uint8)
    upright[5:25, 8:40] = (90, 40, 130)
    stored = np.rot90(upright, {3: 2, 6: 1, 8: -1}[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "in").mkdir()
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "in" / "a.png", exif=exif)
    numbers = np.zeros((60, 80), np.uint8)
    numbers[5:25, 8:40] = 1
    numbers[5, 8] = 0
    Image.fromarray(numbers).save(tmp_path / "in" / "a_mask.png")
    (tmp_path / "in" / "cells.csv").write_text("file,number,kind,label\na_mask.png,1,wbc,LY")
    from naturalize.cells.exchange import import_bank

    bank = CellBank.load(import_bank(tmp_path / "in", tmp_path / "bank", judge=False))
    out = tmp_path / "out"
    export(bank, out, format=format)
    if format == "coco":
        content = json.loads((out / "annotations.json").read_text())
        (image,), (annotation,) = content["images"], content["annotations"]
        with Image.open(out / "images" / image["file_name"]) as opened:
            assert opened.size == (image["width"], image["height"]) == (80, 60)
            assert opened.getexif().get(0x0112, 1) == 1
            mask = pycoco.decode(annotation["segmentation"]).astype(bool)
            assert np.asarray(opened.convert("RGB"))[mask].max() == 130
    elif format == "labels":
        with Image.open(out / "masks" / "a_masks.png") as opened:
            mask = np.asarray(opened) > 0
        seen = cv2.imread(str(next((out / "images").glob("a.*"))), cv2.IMREAD_UNCHANGED)
        assert seen.shape[:2] == mask.shape == (60, 80)
        assert seen[mask].max() == 130
    elif format == "rgba":
        with Image.open(next(out.rglob("*.png"))) as opened:
            assert opened.size == (32, 20)
            assert np.asarray(opened)[..., :3].max() == 130
    again = import_cells if format in ("coco", "labels") else import_bank
    back = read_table(again(out, tmp_path / "back") / "cells.parquet").to_pylist()
    assert [row["area"] for row in back] == [20 * 32 - 1]


def test_an_upright_copy_takes_no_other_image_s_name(tmp_path: Path) -> None:
    from naturalize.cells.exchange import import_bank

    source = tmp_path / "in"
    (source / "masks").mkdir(parents=True)
    (source / "images").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, side, about in (("a.jpg", (60, 80), {"exif": exif}), ("a.png", (50, 50), {})):
        Image.new("RGB", side, (250, 228, 205)).save(source / "images" / name, **about)
        shape = (60, 80) if about else (50, 50)  # the photo of 60 × 80 lies on its side
        numbers = np.zeros(shape, np.uint8)
        numbers[10:30, 10:30] = 1
        Image.fromarray(numbers).save(source / "masks" / f"{name}_masks.png")
    rows = [f"{name}_masks.png,1,wbc,LY" for name in ("a.jpg", "a.png")]
    (source / "cells.csv").write_text("\n".join(["file,number,kind,label", *rows]))
    bank = CellBank.load(import_bank(source, tmp_path / "bank", judge=False))
    assert len(bank) == 2
    export(bank, tmp_path / "out", format="coco")
    content = json.loads((tmp_path / "out" / "annotations.json").read_text())
    sizes = {image["file_name"]: (image["width"], image["height"]) for image in content["images"]}
    assert sizes == {"a.jpg.png": (80, 60), "a.png": (50, 50)}
    for name, size in sizes.items():
        with Image.open(tmp_path / "out" / "images" / name) as opened:
            assert opened.size == size
    export(bank, tmp_path / "labels", format="labels")
    assert len(list((tmp_path / "labels" / "masks").iterdir())) == 2
    back = read_table(import_cells(tmp_path / "labels", tmp_path / "back") / "cells.parquet")
    assert back["area"].to_pylist() == [400, 400]
