"""Named statistics and patches: what was done to an image shows where it should."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import pytest
from realism_makers import SIDE, decoded, draw_smear

from naturalize.base.errors import MissingExtraError
from naturalize.base.rng import rng
from naturalize.cells.segmentation import Segmentation
from naturalize.realism.classifiers import cut_patches, patch_scores
from naturalize.realism.settings import SHARES
from naturalize.realism.statistics import FAMILIES, family_columns, names, statistics
from naturalize.realism.texture import Areas


def areas_of(image: np.ndarray, *keys: str | int) -> Areas:
    """Return an image with the true cells of the smear of ``keys``."""
    cells = draw_smear(*keys)[1]
    return Areas(image, Segmentation(image.shape[:2], tuple(cells), (250.0, 228.0, 205.0)))


def value(areas: Areas, name: str) -> float:
    return float(statistics(areas)[[one for _, one in names()].index(name)])


def test_every_statistic_has_a_name_of_its_own() -> None:
    assert len({name for _, name in names()}) == len(names()) > 150
    assert {family for family, _ in names()} == set(FAMILIES)
    assert sum(len(family_columns(family)) for family in FAMILIES) == len(names())


@pytest.mark.parametrize("size", [(48, 64), (144, 144), (97, 131)])
def test_an_image_without_cells_or_contrast_has_no_errors_only_absences(
    size: tuple[int, int],
) -> None:
    image = np.full((*size, 3), 230, np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = statistics(Areas(image, Segmentation(size, (), (230.0, 230.0, 230.0))))
    assert found.shape == (len(names()),)
    assert np.isnan(found).any()
    assert not np.isinf(found).any()


def test_the_target_is_the_white_cell_near_the_middle() -> None:
    areas = areas_of(decoded("x", 1), "x", 1)
    cell = draw_smear("x", 1)[1][0]
    assert areas.target is not None
    assert areas.target.box == cell.box
    x0, y0, x1, y1 = cell.box
    inside = np.zeros((SIDE, SIDE), bool)
    inside[y0:y1, x0:x1] = cell.mask
    assert ((areas.beyond < 0) == inside).all()


def test_smoothing_takes_grain_away_and_moving_takes_the_grid_away() -> None:
    image = decoded("x", 2)
    plain = areas_of(image, "x", 2)
    smooth = areas_of(cv2.GaussianBlur(image, (0, 0), 1.0), "x", 2)
    for place in ("bare slide", "red cells", "the target cell"):
        name = f"finest grain of {place}"
        assert value(smooth, name) < 0.5 * value(plain, name)
    moved = areas_of(np.roll(image, (3, 5), axis=(0, 1)), "x", 2)
    zeros = "zero fine JPEG coefficients on the grid, the image"
    assert value(moved, zeros) < value(plain, zeros) - 0.1
    borders = "block borders between columns, bare slide"
    assert value(moved, borders) < value(plain, borders)


def test_a_flat_canvas_has_equal_neighbours_and_stretched_colours_leave_gaps() -> None:
    image = decoded("x", 3)
    plain = areas_of(image, "x", 3)
    flat = image.copy()
    flat[plain.kinds == 0] = (253, 229, 203)
    equal = "pixels equal to their neighbour"
    assert value(plain, equal) < 0.2
    assert value(areas_of(flat, "x", 3), equal) > 0.4
    table = np.clip(np.arange(256) * 1.4, 0, 255).astype(np.uint8)
    gaps = "unused colour levels of the target cell"
    assert value(areas_of(table[image], "x", 3), gaps) > value(plain, gaps) + 0.15


def test_a_ghost_around_the_target_shows_in_the_ring() -> None:
    image = decoded("x", 4).astype(np.float32)
    plain = areas_of(image.astype(np.uint8), "x", 4)
    ghost = image.copy()
    ghost[(plain.beyond > 2) & (plain.beyond < 11)] -= 12
    stained = areas_of(np.clip(ghost, 0, 255).astype(np.uint8), "x", 4)
    name = "brightness 4…7 px from the target's border"
    assert value(stained, name) < value(plain, name) - 8


def test_patches_lie_on_the_grid_of_jpeg_blocks_and_repeat() -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    image = np.stack([x, y, np.zeros_like(x)], axis=-1).astype(np.uint8)
    areas = areas_of(image, "x", 5)
    found = cut_patches(areas, "one", seed=3)
    assert found.shape == (sum(SHARES), 64, 64, 3)
    assert (found[:, 0, 0, :2] % 8 == 0).all()
    assert (found == cut_patches(areas, "one", seed=3)).all()
    assert (found != cut_patches(areas, "two", seed=3)).any()
    for patch in found[: SHARES[0]]:
        (left, top), (right, bottom) = patch[0, 0, :2], patch[-1, -1, :2]
        assert abs(areas.beyond[top:bottom, left:right]).min() <= 2


def test_an_image_smaller_than_a_patch_is_mirrored_outwards() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    areas = Areas(image, Segmentation((50, 70), (), (255.0, 255.0, 255.0)))
    found = cut_patches(areas, "small")
    assert found.shape[1:] == (64, 64, 3)
    assert (found[:, :50] == image[:, :64]).all()
    assert (found[:, 50:] == found[:, 49:35:-1]).all()


def test_the_small_network_sees_blur_and_leaves_torch_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr("naturalize.realism.classifiers.LEAST_STEPS", 40)
    real = [decoded("p", i) for i in range(30)]
    fake = [cv2.GaussianBlur(decoded("p", i), (0, 0), 0.7) for i in range(30, 60)]
    patches = np.stack(
        [cut_patches(areas_of(image, "p", i), i) for i, image in enumerate(real + fake)]
    )
    composite, fold = np.arange(60) >= 30, np.arange(60) % 2
    before = torch.random.get_rng_state()
    scores = patch_scores(patches, composite, fold, seed=1)
    assert (torch.random.get_rng_state() == before).all()
    for number in (0, 1):
        out = fold == number
        below = scores[out & composite][:, None] > scores[out & ~composite]
        assert below.mean() > 0.8


def test_without_torch_the_small_network_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    patches = rng(0, "p").integers(0, 256, (4, 2, 64, 64, 3)).astype(np.uint8)
    with pytest.raises(MissingExtraError, match="pip install"):
        patch_scores(patches, np.array([True, False] * 2), np.array([0, 0, 1, 1]))
