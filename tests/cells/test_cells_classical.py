"""The classical segmenter against the phantom's truth, and on images that hold no cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from naturalize.base.errors import SettingsError
from naturalize.base.images import read_image
from naturalize.cells.segmenters import segmenter
from naturalize.dataset.phantom import render_phantom

CLASSES = ("BA", "BNE", "EO", "ERB", "LY", "MMY", "MO", "MY", "PMY", "SNE")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / max(1, int(a.sum() + b.sum()))


@pytest.fixture(scope="module")
def pairs():
    """(found, true) label images of three phantoms of each class with a nucleated cell."""
    find = segmenter("classical").segment
    phantoms = [render_phantom(label, 21, i) for label in CLASSES for i in range(3)]
    return [(find(p.image).label_image(), p.label_image()) for p in phantoms]


def test_white_cells_are_outlined(pairs) -> None:
    scores = sorted(dice(found == 1, true == 1) for found, true in pairs)
    assert np.mean(scores) > 0.9
    assert np.median(scores) > 0.93


def test_red_cells_are_covered(pairs) -> None:
    assert np.mean([dice(found == 2, true == 2) for found, true in pairs]) > 0.85


def test_platelets_are_found_on_platelet_images() -> None:
    find = segmenter("classical").segment
    hits = 0
    for i in range(6):
        phantom = render_phantom("PLT", 4, i)
        x0, y0, x1, y1 = phantom.target.box
        found = find(phantom.image).label_image()
        hits += int((found[y0:y1, x0:x1] == 3).mean() > 0.2)
    assert hits >= 4


def test_a_nucleus_lies_in_its_cell(pairs) -> None:
    phantom = render_phantom("SNE", 21, 0)
    cells = segmenter("classical").segment(phantom.image).cells
    nuclei = [cell for cell in cells if cell.nucleus is not None]
    assert nuclei
    assert all(not (cell.nucleus & ~cell.mask).any() for cell in nuclei)


NOISE = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        np.full((363, 360, 3), 240, np.uint8),
        np.zeros((100, 100, 3), np.uint8),
        np.full((5, 7, 3), 128, np.uint8),
        np.full((1, 1, 3), 9, np.uint8),
        NOISE,
        np.repeat(NOISE[:, :, :1], 3, axis=2),
        np.tile(np.linspace(0, 255, 300).astype(np.uint8)[None, :, None], (40, 1, 3)),
    ],
    ids=["blank", "black", "tiny", "one pixel", "noise", "grey noise", "ramp"],
)
def test_any_image_has_an_answer(image: np.ndarray) -> None:
    found = segmenter("classical").segment(image)
    assert found.label_image().shape == image.shape[:2]
    assert found.outcome in ("ok", "no cell found")
    for cell in found.cells:
        x0, y0, x1, y1 = cell.box
        assert 0 <= x0 < x1 <= image.shape[1]
        assert 0 <= y0 < y1 <= image.shape[0]
        assert cell.mask.any()


def test_a_blank_image_has_no_cell() -> None:
    blank = np.full((363, 360, 3), (253, 229, 203), np.uint8)
    assert segmenter("classical").segment(blank).outcome == "no cell found"


def test_a_grey_smear_still_gives_cells() -> None:
    image = Image.fromarray(render_phantom("LY", 2, 0).image).convert("L").convert("RGB")
    assert segmenter("classical").segment(np.asarray(image)).cells


def test_the_same_image_gives_the_same_cells() -> None:
    image = render_phantom("MO", 8, 1).image
    first, second = (segmenter("classical").segment(image).label_image() for _ in range(2))
    assert np.array_equal(first, second)


def test_unknown_names_are_suggested() -> None:
    with pytest.raises(SettingsError, match="did you mean 'classical'"):
        segmenter("clasical")


@pytest.mark.real
def test_real_smears_show_one_white_cell_mostly(real_data: Path) -> None:
    files = sorted((real_data / "pbc" / "lymphocyte").glob("LY_*.jpg"))[:24]
    found = [segmenter("classical").segment(read_image(file)) for file in files]
    whites = [sum(cell.kind == "wbc" for cell in image.cells) for image in found]
    assert sum(n == 1 for n in whites) >= 20
    assert all(any(cell.kind == "rbc" for cell in image.cells) for image in found)
