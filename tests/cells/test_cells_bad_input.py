"""Whatever is put before a segmenter, every image ends with an outcome, and sensible cells or none.

Over all segmenters of the registry that need no downloaded weights.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from naturalize.base.artifacts import read_table
from naturalize.base.errors import EngineError, InputError
from naturalize.cells.segment import FAILED, segment_images
from naturalize.cells.segmentation import KINDS, Segmentation
from naturalize.cells.segmenters import SEGMENTERS, Segmenter, segmenter
from naturalize.cells.segmenters.sam.published import PUBLISHED
from naturalize.dataset.phantom import render_phantom
from naturalize.imaging.runlength import decode
from naturalize.imaging.stain import optical_density
from naturalize.inputs.images import segment_source, summary

#: Without those whose weights must be fetched first.
OWN = [
    name
    for name, make in SEGMENTERS.items()
    if not ("weights" in make.model_fields and make.model_fields["weights"].default in PUBLISHED)
]

SLIDE = (253, 229, 203)


def smear(label: str = "LY", index: int = 0) -> np.ndarray:
    return render_phantom(label, 41, index).image


def save(make: Callable[[], np.ndarray], mode: str | None = None) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        image = Image.fromarray(make())
        (image.convert(mode) if mode else image).save(path)

    return write


def sixteen_bits(path: Path) -> None:
    grey = np.asarray(Image.fromarray(smear()).convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(path)


def restained(light: tuple[int, int, int], dye: float = 1.0) -> Callable[[], np.ndarray]:
    """The smear under another light, with more or less dye."""

    def image() -> np.ndarray:
        density = dye * optical_density(smear(), (253, 229, 203))
        return np.rint(np.array(light) * 10.0**-density).clip(0, 255).astype(np.uint8)

    return image


def three_white_cells() -> np.ndarray:
    return np.concatenate([smear(label) for label in ("LY", "MO", "SNE")], axis=1)


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)


def truncated(path: Path) -> None:
    save(smear)(path)
    path.write_bytes(path.read_bytes()[:3000])


def text(path: Path) -> None:
    path.write_text("no picture")


def plain(size: tuple[int, int], value: int | tuple[int, int, int]) -> Callable[[], np.ndarray]:
    return lambda: np.full((*size, 3), value, np.uint8)


#: Files that can be read.
READABLE: dict[str, Callable[[Path], None]] = {
    "smear.jpg": save(smear),
    "blank.png": save(plain((363, 360), SLIDE)),
    "white.png": save(plain((363, 360), 255)),
    "black.png": save(plain((200, 200), 0)),
    "pixel.png": save(plain((1, 1), 9)),
    "two pixels.png": save(plain((2, 1), (200, 100, 150))),
    "line.png": save(lambda: smear()[180:181]),
    "column.png": save(lambda: smear()[:, 180:181]),
    "tiny.png": save(lambda: smear()[150:157, 170:175]),
    "strip.png": save(lambda: np.tile(smear()[170:190], (1, 3, 1))),
    "noise.png": save(noise),
    "three.png": save(three_white_cells),
    "grey.jpg": save(smear, "L"),
    "palette.png": save(smear, "P"),
    "alpha.png": save(smear, "RGBA"),
    "bits.png": save(smear, "1"),
    "cmyk.jpg": save(smear, "CMYK"),
    "deep.png": sixteen_bits,
    "inverted.png": save(lambda: 255 - smear()),
    "dark.png": save(restained((60, 52, 48))),
    "blue.png": save(restained((120, 160, 255))),
    "lilac.png": save(restained((226, 218, 228))),
    "overstained.png": save(restained(SLIDE, 2.2)),
    "pale.png": save(restained(SLIDE, 0.45)),
    "enlarged.png": save(lambda: smear().repeat(4, axis=0).repeat(4, axis=1)),
}

#: Files that cannot.
UNREADABLE: dict[str, Callable[[Path], None]] = {
    "empty.jpg": Path.touch,
    "text.png": text,
    "cut short.jpg": truncated,
}

#: Those that show the smear well enough for anybody to see its one white cell.
SHOWING = ("smear.jpg", "alpha.png", "dark.png", "lilac.png", "overstained.png", "enlarged.png")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bad") / "images"
    root.mkdir()
    for name, write in {**READABLE, **UNREADABLE}.items():
        write(root / name)
    return root


@pytest.fixture(scope="module", params=OWN)
def cells(request: pytest.FixtureRequest, images: Path) -> Path:
    out = images.parent / request.param
    return segment_source(images, segmenter(request.param), out, masks=True, overlays=True)


def outcomes(cells: Path) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in read_table(cells / "outcomes.parquet").to_pylist()}


def test_every_image_has_its_outcome_and_none_is_a_crash(cells: Path) -> None:
    found = outcomes(cells)
    assert set(found) == {*READABLE, *UNREADABLE}
    for name in READABLE:
        n = sum(found[name][f"n_{kind}"] for kind in KINDS)
        expected = ("ok" if n else "no cell found", "white cells uncertain")
        assert found[name]["outcome"] in expected, name
        assert 0 <= found[name]["background_share"] <= 1
    for name in UNREADABLE:
        assert found[name]["outcome"] not in ("ok", "no cell found")
        assert not found[name]["outcome"].startswith(FAILED)


@pytest.mark.parametrize("name", ["blank.png", "white.png", "black.png", "pixel.png"])
def test_nothing_is_found_where_nothing_is(cells: Path, name: str) -> None:
    assert outcomes(cells)[name]["outcome"] == "no cell found"


@pytest.mark.parametrize("name", SHOWING)
def test_the_white_cell_is_found_under_other_lights_and_stains(cells: Path, name: str) -> None:
    assert outcomes(cells)[name]["n_wbc"] == 1


def test_three_white_cells_are_three(cells: Path) -> None:
    assert outcomes(cells)["three.png"]["n_wbc"] == 3


def test_a_grey_smear_shows_cells(cells: Path) -> None:
    found = outcomes(cells)
    for name in ("grey.jpg", "deep.png"):
        assert found[name]["outcome"] == "ok"
    assert found["deep.png"]["background_r"] == found["deep.png"]["background_g"]


def test_masks_and_overlays_fit_their_images(cells: Path, images: Path) -> None:
    for name in READABLE:
        size = Image.open(images / name).size
        with Image.open(cells / "masks" / f"{Path(name).stem}.png") as mask:
            assert mask.size == size
            assert set(np.unique(np.asarray(mask))) <= {0, 1, 2, 3}
        with Image.open(cells / "overlays" / f"{Path(name).stem}.jpg") as drawn:
            assert drawn.size == size
    assert (cells / "sheet.jpg").is_file()


def test_cells_lie_in_their_images(cells: Path, images: Path) -> None:
    sizes = {name: Image.open(images / name).size for name in READABLE}
    for row in read_table(cells / "cells.parquet").to_pylist():
        width, height = sizes[row["path"]]
        assert 0 <= row["x0"] < row["x1"] <= width
        assert 0 <= row["y0"] < row["y1"] <= height
        mask = decode(np.array(row["mask"]), (row["y1"] - row["y0"], row["x1"] - row["x0"]))
        assert mask.sum() == row["area"] > 0
        for name in ("focus", "od_r", "od_g", "od_b", "solidity", "contact", "score"):
            assert np.isfinite(row[name]), (row["path"], name)


def test_the_summary_names_what_is_not_ok(cells: Path) -> None:
    said = "\n".join(summary(cells))
    assert f"{len(READABLE) + len(UNREADABLE)} images" in said
    assert "no cell found: " in said
    assert "empty file (0 bytes): empty.jpg" in said


class Fails(Segmenter):
    """Fails at images lower than ``below`` pixels."""

    below: int
    error: ClassVar[type[Exception]] = ValueError
    name: ClassVar[str] = "fails"

    def segment(self, image: np.ndarray) -> Segmentation:
        if image.shape[0] < self.below:
            raise self.error("cannot reshape\narray")
        return Segmentation(image.shape[:2], (), (1.0, 2.0, 3.0))


class FailsByInput(Fails):
    error: ClassVar[type[Exception]] = InputError


def test_a_segmenters_own_failure_costs_one_image_and_is_told(images: Path, tmp_path: Path) -> None:
    items = [("1", "smear.jpg"), ("2", "tiny.png"), ("3", "three.png")]
    out = segment_images(
        items, images, Fails(below=10), tmp_path / "out", masks=True, overlays=True
    )
    found = read_table(out / "outcomes.parquet")["outcome"].to_pylist()
    assert found == [
        "no cell found",
        "segmenter failed (ValueError: cannot reshape array)",
        "no cell found",
    ]
    assert {p.stem for p in (out / "masks").iterdir()} == {"smear", "three"}


def test_a_segmenter_that_fails_at_all_images_is_an_error(images: Path, tmp_path: Path) -> None:
    items = [("0", "empty.jpg"), ("1", "smear.jpg"), ("2", "tiny.png")]
    with pytest.raises(EngineError, match=r"smear.jpg: segmenter failed .*every other image"):
        segment_images(items, images, Fails(below=5000), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []  # once mended, it is tried again


def test_a_mistake_of_the_user_stops_the_work(images: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot reshape"):
        segment_images([("1", "smear.jpg")], images, FailsByInput(below=5000), tmp_path / "out")


class Doubts(Segmenter):
    """Does not trust what it says of images lower than ``below`` pixels."""

    below: int
    name: ClassVar[str] = "doubts"

    def segment(self, image: np.ndarray) -> Segmentation:
        return Segmentation(
            image.shape[:2], (), (1.0, 2.0, 3.0), unsure=image.shape[0] < self.below
        )


def test_images_whose_white_cells_are_uncertain_are_named(images: Path, tmp_path: Path) -> None:
    items = [("1", "smear.jpg"), ("2", "tiny.png"), ("3", "three.png")]
    out = segment_images(items, images, Doubts(below=10), tmp_path / "out")
    assert "1 white cells uncertain: tiny.png" in summary(out)
