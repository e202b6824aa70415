"""A cell with its own slide, on a scene before it was coded: as if it had always stood there."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from compose_makers import PEACH, SLIDE, Slide, make_bank

from naturalize.cells.bank import CellBank
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.crops import CropStore
from naturalize.compose.paint.patch import make_patch
from naturalize.compose.paint.render import render
from naturalize.compose.paint.scenes import Scenes
from naturalize.compose.paint.sizes import EDGE, OWN, WIDE
from naturalize.compose.recipe.recipe import Background, Placement, Recipe
from naturalize.imaging.jpeg.codec import Codec, tiles


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> CellBank:
    return make_bank(tmp_path_factory.mktemp("jpeg"), per_class=3, quality=75)


def put_back(bank: CellBank, cell: dict) -> Recipe:
    """Return a recipe that sets a cell where it was, in its own scene."""
    height, width = bank.image(cell["image_id"]).shape[:2]
    middle = (cell["x0"] + cell["x1"]) / 2, (cell["y0"] + cell["y1"]) / 2
    placed = Placement(
        cell["cell_id"], cell["image_id"], cell["kind"], *middle, blend="scene", feather=3.0
    )
    ground = Background(SLIDE, f"{cell['image_id']}:white", cell["image_id"])
    return Recipe(cell["label"], "scene", width, height, ground, (placed,))


def away_from(bank: CellBank, cell: dict) -> np.ndarray:
    """Return the distance to a cell, 0 within, float32 (H, W)."""
    outside = np.ones(bank.image(cell["image_id"]).shape[:2], np.uint8)
    box = np.s_[cell["y0"] : cell["y1"], cell["x0"] : cell["x1"]]
    outside[box][bank.mask(cell["cell_id"])] = 0
    return cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def test_a_cell_put_back_where_it_was_is_the_image_again(bank: CellBank) -> None:
    cells = bank.cells(target=True).to_pylist()
    off = []
    for cell in cells:
        image = bank.image(cell["image_id"]).astype(int)
        away = away_from(bank, cell)
        found = np.abs(render(put_back(bank, cell), bank) - image).mean(axis=2)
        bands = (away == 0), (away > 0) & (away <= 3), (away > 3) & (away <= 9)
        off.append([found[band].mean() for band in bands])
    within, edge, around = np.mean(off, axis=0)
    assert within < 1.5
    assert edge < 3
    assert around < 1.5  # the grain of the slide spreads by 1.5


def test_blocks_that_no_cell_touched_are_the_scene_s_own(bank: CellBank) -> None:
    cell = bank.cells(target=True).to_pylist()[0]
    recipe = put_back(bank, cell)
    scene = Scenes(bank).background(recipe.background.background_id or "")
    apart = np.abs(render(recipe, bank).astype(int) - scene)
    far = tiles(away_from(bank, cell)[..., None]).min(axis=(2, 3, 4)) > WIDE + 1
    assert far.any()
    assert not tiles(apart)[far].any()
    assert apart.any()


def test_what_is_painted_on_is_the_scene_but_for_its_coding(bank: CellBank) -> None:
    name = f"{bank.backgrounds['image_id'][0].as_py()}:white"
    source = Scenes(bank)
    uncoded = source.before_coding(name)
    assert uncoded is not None
    assert uncoded.codec == Codec(75, "4:4:4")
    scene = source.background(name)
    over = uncoded.over(scene)
    x0, y0, x1, y1 = uncoded.box
    outside = np.ones(scene.shape[:2], bool)
    outside[y0:y1, x0:x1] = False
    assert np.array_equal(over[outside], scene[outside])
    apart = np.abs(over.astype(int) - scene)
    assert 0 < apart.mean() < 2
    assert source.before_coding(name) is uncoded  # the last few are kept


def test_only_restored_and_coded_scenes_have_such_a_part(bank: CellBank, tmp_path) -> None:
    assert Scenes(bank).before_coding(bank.backgrounds["image_id"][0].as_py()) is None
    raw = make_bank(tmp_path, per_class=1)
    assert Scenes(raw).before_coding(f"{raw.backgrounds['image_id'][0].as_py()}:white") is None


def test_a_store_gives_the_bytes_that_the_bank_gives(bank: CellBank, tmp_path) -> None:
    drawn = plan(bank, mode="scene", add=2)
    store = CropStore.build(drawn, bank, tmp_path / "crops", what=None)
    for i in range(len(drawn)):
        assert np.array_equal(render(drawn.recipe(i), store), render(drawn.recipe(i), bank))


def test_a_scene_without_cells_is_the_caller_s_own(bank: CellBank, tmp_path) -> None:
    drawn = plan(bank, mode="scene", add=1)
    empty = replace(drawn.recipe(0), placements=())
    store = CropStore.build(drawn, bank, tmp_path / "crops", what=None)
    for source in (bank, store):
        image = render(empty, source)
        image[:] = 0
        assert render(empty, source).any()


def own_patch(source: Slide):
    cutout = source.cutout("c", margin=26)
    return make_patch(cutout.rgb, cutout.mask, style="surrounded", corner=cutout.corner)


def test_the_slide_around_a_cell_is_its_own_and_fades() -> None:
    patch = own_patch(Slide(PEACH))
    across = patch.edge[patch.edge.shape[0] // 2].astype(int)
    left = across[: WIDE + 2]
    assert left[0] == 0
    assert (np.diff(left) >= 0).all()
    assert (left[WIDE - 9 : WIDE - 4] == OWN).all()
    assert np.abs(np.array(patch.ground) - PEACH).max() < 0.6
    assert patch.size == (58, 58)


def test_where_a_neighbour_is_the_slide_is_not_its_own() -> None:
    free, beside = own_patch(Slide(PEACH)), own_patch(Slide(PEACH, neighbour=True))
    row = free.edge.shape[0] // 2
    assert (beside.edge[row, -WIDE + 6 :] == 0).all()
    assert (free.edge[row, -WIDE + 6 : -WIDE + 9] > 0).all()
    # nothing of the neighbour is brought along
    ring = (beside.edge < EDGE) & (beside.edge > 0)
    assert np.abs(beside.colours[ring].astype(int) - free.colours[ring]).max() <= 12
