"""Scans by windows: the pixels of the file, each cell once, whatever the parts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from naturalize.base.errors import ImageReadError
from naturalize.base.images import write_image
from naturalize.cells.segmentation import Cell, Segmentation, in_order
from naturalize.dataset.phantom import render_phantom
from naturalize.fields.parts import Part, in_file, neighbours, owned, parts_of
from naturalize.fields.pixels import pixels, scan_size
from naturalize.fields.read import open_reader
from naturalize.fields.write import Output, read_fields


def picture(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "how",
    [
        {"tile": (64, 96)},
        {"tile": (64, 96), "compression": "zlib", "predictor": True},
        {"rowsperstrip": 50},
        {"tile": (128, 128), "bigtiff": True},
    ],
)
def test_windows_have_the_pixels_of_the_file(tmp_path: Path, how: dict) -> None:
    image, path = picture((333, 470)), tmp_path / "scan.svs"
    with tifffile.TiffWriter(path, bigtiff=how.pop("bigtiff", False)) as file:
        file.write(image, photometric="rgb", subifds=1, **how)
        file.write(image[::2, ::2], photometric="rgb", subfiletype=1, **how)
    assert scan_size(path) == (333, 470)
    for box in ((0, 0, 470, 333), (10, 20, 200, 90), (400, 300, 470, 333), (95, 63, 97, 65)):
        x0, y0, x1, y1 = box
        assert np.array_equal(pixels(path, box), image[y0:y1, x0:x1])


def test_small_files_and_other_kinds_are_read_whole(tmp_path: Path) -> None:
    image = picture((60, 70))
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb")
    write_image(tmp_path / "b.png", image)
    (tmp_path / "c.tif").write_bytes(b"no TIFF at all")
    for name in ("a.tif", "b.png", "c.tif"):
        assert scan_size(tmp_path / name) is None
    assert np.array_equal(pixels(tmp_path / "a.tif"), image)
    with pytest.raises(ImageReadError):
        pixels(tmp_path / "c.tif")


def test_grey_and_deep_scans_are_told(tmp_path: Path) -> None:
    path = tmp_path / "grey.svs"
    tifffile.imwrite(path, picture((60, 70))[..., 0], tile=(32, 32))
    assert (np.ptp(pixels(path, (0, 0, 70, 60)), axis=2) == 0).all()
    tifffile.imwrite(path, picture((60, 70)).astype(np.uint16), photometric="rgb", tile=(32, 32))
    with pytest.raises(ImageReadError, match="uint16"):
        pixels(path, (0, 0, 70, 60))
    assert parts_of(path, "grey", "grey")[0].error is not None
    (tmp_path / "x.ndpi").write_bytes(b"nothing")
    assert parts_of(tmp_path / "x.ndpi", "x", "x")[0].error is not None


def pyramid(path: Path, image: np.ndarray, **how: Any) -> None:
    """Write a tiled TIFF of two levels, which OpenSlide opens whatever its name."""
    with tifffile.TiffWriter(path) as file:
        for step in (1, 2):
            file.write(
                image[::step, ::step],
                photometric="rgb",
                tile=(128, 128),
                subfiletype=int(step > 1),
                metadata=None,
                **how,
            )


def test_scanners_files_are_read_by_openslide(tmp_path: Path) -> None:
    openslide = pytest.importorskip("openslide", reason="needs the extra scans")
    image, path = picture((333, 470)), tmp_path / "scan.SCN"
    pyramid(path, image, compression="zlib")
    assert scan_size(path) == (333, 470)
    for x0, y0, x1, y1 in ((0, 0, 470, 333), (10, 20, 200, 90), (400, 300, 470, 333)):
        assert np.array_equal(pixels(path, (x0, y0, x1, y1)), image[y0:y1, x0:x1])
    with tifffile.TiffFile(path) as file:
        start = file.pages.first.dataoffsets[0]
    damaged = bytearray(path.read_bytes())
    damaged[start : start + 60] = bytes(60)
    path.write_bytes(damaged)
    with pytest.raises(ImageReadError, match="openslide cannot read"):
        pixels(path, (0, 0, 50, 50))
    assert "openslide cannot read" in (parts_of(path, "scan", "scan")[0].error or "")
    smooth = cv2.GaussianBlur(image, (0, 0), 5)
    path = tmp_path / "jpeg.svs"  # read by tifffile; OpenSlide says what is right
    pyramid(path, smooth, compression="jpeg", description="Aperio Image Library v11|AppMag = 40")
    with openslide.OpenSlide(path) as slide:
        assert slide.properties["openslide.vendor"] == "aperio"
        told = np.asarray(slide.read_region((100, 30), 0, (200, 250)).convert("RGB"))
    assert np.abs(pixels(path, (100, 30, 300, 280)).astype(int) - told).max() <= 2


@st.composite
def discs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, int]]]:
    """How many parts a side, and discs (x, y, radius) that do not touch."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    found: list[tuple[int, int, int]] = []
    for _ in range(120):
        x, y, radius = (
            int(rng.integers(0, 700)),
            int(rng.integers(0, 600)),
            int(rng.integers(5, 17)),
        )
        if all(np.hypot(x - a, y - b) > radius + r + 3 for a, b, r in found):
            found.append((x, y, radius))
    return draw(st.integers(1, 3)), found


@settings(max_examples=15, deadline=None)
@given(discs(), st.integers(0, 2**31))
def test_each_cell_belongs_to_one_part(
    case: tuple[int, list[tuple[int, int, int]]], seed: int
) -> None:
    """Masks may differ by a pixel between parts, as a network's do."""
    n, placed = case
    shift = np.random.default_rng(seed)
    size, width, rim = (600, 700), 24.0, 82
    parts, found = [], {}
    for row in range(n):
        for column in range(n):
            core = tuple(
                int(v)
                for v in (
                    700 * column // n,
                    600 * row // n,
                    700 * (column + 1) // n,
                    600 * (row + 1) // n,
                )
            )
            window = (
                max(0, core[0] - rim), max(0, core[1] - rim),
                min(700, core[2] + rim), min(600, core[3] + rim),
            )  # fmt: skip
            parts.append(Part(Path("f"), "f", "f", None, size, window, core, width))
    for place, part in enumerate(parts):
        assert part.window is not None
        x0, y0, x1, y1 = part.window
        cells = []
        for x, y, radius in placed:
            canvas = np.zeros((y1 - y0, x1 - x0), np.uint8)
            at = (x - x0 + int(shift.integers(0, 2)), y - y0 + int(shift.integers(0, 2)))
            cv2.circle(canvas, at, radius, 1, -1)
            if canvas.any():
                cells.append(Cell.from_mask("rbc", canvas.astype(bool)))
        found[place] = (part, Segmentation((y1 - y0, x1 - x0), in_order(cells), (240, 230, 220)))
    given_ = Counter()
    for place in range(len(parts)):
        near = {k: found[k] for k in neighbours(parts, place)}
        ours = owned(place, near)
        for cell in found[place][1].cells:
            if id(cell) in ours:
                x, y = in_file(parts[place], cell)
                given_[
                    min(
                        range(len(placed)),
                        key=lambda k: np.hypot(placed[k][0] - x, placed[k][1] - y),
                    )
                ] += 1
    assert given_ == Counter(range(len(placed)))


def test_a_scan_gives_the_cells_of_its_image_each_once(tmp_path: Path) -> None:
    """Two windows of a scan beside the image read whole."""
    image = np.hstack([render_phantom("LY", 4, i, size=(120, 121)).image for i in range(11)])
    paths = [tmp_path / "a.svs", tmp_path / "b.png"]
    tifffile.imwrite(paths[0], image, photometric="rgb", tile=(256, 256))
    write_image(paths[1], image)
    assert len(parts_of(paths[0], "a", "a")) == 2
    predictor, standardiser = open_reader("pbc11")
    output = Output(masks=True, overlays=False, coco=True)
    read_fields(
        paths,
        predictor,
        tmp_path / "out",
        standardiser=standardiser,
        output=output,
        backend="serial",
    )
    rows = pq.read_table(tmp_path / "out" / "cells.parquet").to_pylist()
    scan = [row for row in rows if row["field"] == "a.svs"]
    whole = [row for row in rows if row["field"] == "b.png"]
    assert [row["cell"] for row in scan] == list(range(1, len(scan) + 1))
    assert abs(len(scan) - len(whole)) <= 0.05 * len(whole)
    boxes = np.array([[row[name] for name in ("x0", "y0", "x1", "y1")] for row in scan])
    assert boxes.min() >= 0
    assert (boxes[:, 2] <= image.shape[1]).all()
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    others = (
        [(row["x0"] + row["x1"]) / 2 for row in whole],
        [(row["y0"] + row["y1"]) / 2 for row in whole],
    )
    near = cKDTree(np.array(others).T).query(middles)[0]
    assert np.mean(near < 3) > 0.9
    assert (cKDTree(middles).query(middles, 2)[0][:, 1] > 3).all()
    assert not (tmp_path / "out" / "masks" / "a.png").exists()
    assert len(
        json.loads((tmp_path / "out" / "annotations.json").read_text())["annotations"]
    ) == len(rows)
