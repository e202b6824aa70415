"""The network as a segmenter: light and scale do not matter, bad weights are said, truth is met."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from naturalize.base.errors import ArtifactError, SettingsError
from naturalize.base.images import read_image
from naturalize.cells.segmentation import Segmentation
from naturalize.cells.segmenters import segmenter
from naturalize.cells.segmenters.unet import is_unsure, missing_stain
from naturalize.cells.segmenters.unet.group import cells_of, group
from naturalize.cells.segmenters.unet.network import CENTRE, CYTOPLASM, OUTPUTS, OWN, UNIT, balanced
from naturalize.cells.segmenters.unet.network import maps as maps_of


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b))


def white(segmentation) -> np.ndarray:
    return segmentation.label_image() == 1


@pytest.fixture(scope="module")
def scenes(phantom_root):
    """Images of the phantom with the truth's label images."""
    found = []
    for mask in sorted((phantom_root / "truth" / "masks").rglob("*.png"))[::5]:
        image = next((phantom_root / "images").rglob(f"{mask.stem}.jpg"))
        found.append((read_image(image), cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)))
    return found


def test_it_finds_the_white_cells_of_the_phantom_which_it_never_saw(scenes):
    scores = [
        dice(white(segmenter("unet").segment(image)), truth == 1)
        for image, truth in scenes
        if (truth == 1).any()
    ]
    assert np.median(scores) > 0.93


def test_the_colour_of_the_slide_changes_little(scenes):
    image = next(image for image, truth in scenes if (truth == 1).any())
    yellow = np.clip(image * np.array([1.0, 0.95, 0.6]), 0, 255).astype(np.uint8)
    plain, tinted = (white(segmenter("unet").segment(one)) for one in (image, yellow))
    assert dice(plain, tinted) > 0.97


@pytest.mark.parametrize("factor", [0.6, 2.0])
def test_a_picture_of_another_size_gives_the_same_cell(scenes, factor):
    image, truth = next((image, truth) for image, truth in scenes if (truth == 1).any())
    other = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    found = white(segmenter("unet").segment(other)).astype(np.uint8)
    found = cv2.resize(found, truth.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    assert dice(found, truth == 1) > 0.88


@pytest.mark.parametrize("strength", [0.35, 0.5])
def test_a_weak_stain_is_strengthened(scenes, strength):
    """The same smear with less dye: every optical density is `strength` times what it was."""
    scores = []
    for image, truth in scenes[:10]:
        slide = np.array(segmenter("unet").segment(image).background)
        passed = np.clip(image / slide, 1 / 255, 1) ** strength
        pale = np.clip(np.rint(slide * passed), 0, 255).astype(np.uint8)
        if (truth == 1).any():
            scores.append(dice(white(segmenter("unet").segment(pale)), truth == 1))
    assert np.median(scores) > 0.9
    assert min(scores) > 0.7


def test_a_white_cell_without_a_nucleus_is_found_and_called_uncertain():
    """A large evenly stained disc among red cells: the network sees cytoplasm only."""
    maps = np.zeros((OUTPUTS, 160, 160), np.float32)
    maps[0], maps[CENTRE] = 6, -8
    rows, columns = np.mgrid[:160, :160]
    disc = (rows - 80) ** 2 + (columns - 80) ** 2 <= 40**2
    maps[:5, disc] = 0
    maps[CYTOPLASM, disc] = 6
    maps[CENTRE + 1, disc], maps[CENTRE + 2, disc] = (
        (80 - rows[disc]) / UNIT,
        (80 - columns[disc]) / UNIT,
    )
    maps[CENTRE] += 16 * np.exp(-((rows - 80) ** 2 + (columns - 80) ** 2) / 18)
    found = group(maps, 1.0)
    assert [cell.nucleated for cell in found.cells] == [False]
    (cell,) = cells_of(found, (160, 160))
    assert (cell.kind, cell.nucleus) == ("wbc", None)
    assert cell.score < 0.5
    assert is_unsure(found)


def test_an_uncertain_image_says_so_in_its_outcome():
    assert Segmentation((4, 4), (), (1, 2, 3), unsure=True).outcome == "white cells uncertain"
    assert Segmentation((4, 4), (), (1, 2, 3)).outcome == "no cell found"


def test_a_balanced_slide_is_grey():
    image = np.full((60, 80, 3), (230, 200, 120), np.uint8)
    assert np.abs(balanced(image, 0.5).astype(int) - 225).max() <= 1


def test_the_nucleus_lies_in_its_cell(scenes):
    for image, _ in scenes[:4]:
        for cell in segmenter("unet").segment(image).of("wbc"):
            assert cell.nucleus is not None
            assert not (cell.nucleus & ~cell.mask).any()


def test_equal_images_give_equal_cells(scenes):
    image = scenes[0][0]
    one, two = (segmenter("unet").segment(image) for _ in range(2))
    assert len(one.cells) == len(two.cells)
    for a, b in zip(one.cells, two.cells, strict=True):
        assert a.box == b.box
        assert a.score == b.score
        assert np.array_equal(a.mask, b.mask)


def test_other_weights_are_another_fingerprint(tmp_path):
    other = tmp_path / "other.onnx"
    other.write_bytes(OWN.read_bytes() + b"\0")
    assert segmenter("unet").settings != segmenter("unet", weights=str(other)).settings


@pytest.mark.parametrize("content", [None, b"", b"no network"])
def test_weights_that_are_none_are_said(tmp_path, content):
    path = tmp_path / "weights.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"weights\.onnx"):
        segmenter("unet", weights=str(path)).segment(np.zeros((40, 40, 3), np.uint8))


def test_a_cell_size_out_of_range_is_refused():
    with pytest.raises(SettingsError, match="cell_size"):
        segmenter("unet", cell_size=0)


def test_the_weights_are_small_enough_to_ship():
    assert OWN.stat().st_size < 8e6


@pytest.mark.real
def test_the_stain_of_the_training_laboratory_is_left_as_it_is(real_data):
    files = sorted((real_data / "pbc").glob("*/*.jpg"))[::600]
    for file in files:
        seen = balanced(read_image(file), 0.5)
        assert missing_stain(seen, group(maps_of(seen), 0.5)) == 1, file.name


@pytest.mark.real
def test_the_weak_stain_of_another_laboratory_is_strengthened(real_data):
    files = sorted((real_data / "fields/cbc").glob("*.jpg"))[::10]
    if not files:
        pytest.skip("no fields of another laboratory")
    for file in files:
        seen = balanced(read_image(file), 0.5)
        assert 1.5 < missing_stain(seen, group(maps_of(seen), 0.5)) <= 2.5, file.name
