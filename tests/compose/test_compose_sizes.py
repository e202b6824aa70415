"""Rendering at another size, and the scenes behind the cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from compose_makers import SLIDE, OneCell, make_bank, one_cell_recipe, varied
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.base.errors import InputError, SettingsError
from naturalize.cells.bank import CellBank
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.crops import CropStore
from naturalize.compose.paint.patch import make_patch, reduced
from naturalize.compose.paint.render import render
from naturalize.compose.paint.scenes import Scenes
from naturalize.compose.paint.sizes import EDGE, LEVELS, PAD
from naturalize.compose.recipe.plan import Plan
from naturalize.compose.recipe.recipe import Background, Finish, Placement, Recipe


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> CellBank:
    return make_bank(tmp_path_factory.mktemp("bank"), per_class=2)


def scene_recipe(bank: CellBank, **ground) -> Recipe:
    """Return a recipe that sets one image's cell into another image."""
    cells = bank.cells(kind="wbc", target=True).to_pylist()
    cell, other = cells[0], cells[1]
    x, y = (cell["x0"] + cell["x1"]) / 2, (cell["y0"] + cell["y1"]) / 2
    placed = Placement(
        cell["cell_id"], cell["image_id"], "wbc", x + 6, y - 3, blend="scene", feather=1.5
    )
    name = other["image_id"]
    return Recipe("BNE", "scene", 160, 160, Background(SLIDE, name, name, **ground), (placed,))


@pytest.mark.parametrize("size", [120, 64, (100, 90)])
def test_small_composites_are_near_to_large_ones_made_small(bank: CellBank, size) -> None:
    recipes = [scene_recipe(bank), scene_recipe(bank, turn=5)]
    whole = plan(bank, mode="paper", add=1, turn="any")
    for i in range(2):
        soft = [replace(p, blend="feather", feather=2.0) for p in whole.recipe(i).placements]
        recipes.append(replace(whole.recipe(i), placements=tuple(soft)))
    goal = (size, size) if isinstance(size, int) else size
    for recipe in recipes:
        large = cv2.resize(render(recipe, bank), goal, interpolation=cv2.INTER_AREA)
        small = render(recipe, bank, size=size)
        assert small.shape == large.shape
        difference = np.abs(small.astype(int) - large)
        # the drawn cells are white noise, the worst that a shift of half a pixel can meet
        assert difference.mean() < 2.5
        assert np.abs(cv2.blur(small, (5, 5)).astype(int) - cv2.blur(large, (5, 5))).max() < 40


def test_a_scene_alone_is_the_image_made_small(bank: CellBank) -> None:
    recipe = replace(scene_recipe(bank), placements=())
    image = bank.image(recipe.background.image_id)
    wanted = cv2.resize(image, (61, 50), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(render(recipe, bank, size=(61, 50)), wanted)


def test_the_canvas_as_size_is_the_composite_itself(bank: CellBank) -> None:
    recipe = scene_recipe(bank)
    np.testing.assert_array_equal(render(recipe, bank, size=160), render(recipe, bank))
    finished = replace(recipe, finish=Finish("jpeg", 50))
    assert not np.array_equal(render(finished, bank, size=160), render(recipe, bank))
    # of a smaller picture the finish is left out, as the docstring says
    np.testing.assert_array_equal(render(finished, bank, size=80), render(recipe, bank, size=80))


def test_what_is_asked_for_larger_is_enlarged(bank: CellBank) -> None:
    recipe = scene_recipe(bank)
    wanted = cv2.resize(render(recipe, bank), (200, 180), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(render(recipe, bank, size=(200, 180)), wanted)


@pytest.mark.parametrize("size", [0, -3, (5,), (5, 0), 2.5, (3, 4, 5), True])
def test_a_size_that_is_none_is_refused(bank: CellBank, size) -> None:
    with pytest.raises(SettingsError, match="size: expected a side"):
        render(scene_recipe(bank), bank, size=size)


@pytest.mark.parametrize("size", [96, (80, 70), None])
def test_a_store_of_that_size_gives_the_same_bytes(bank: CellBank, tmp_path: Path, size) -> None:
    drawn = varied(bank)
    store = CropStore.build(drawn, bank, tmp_path / "sized", size=size, what=None)
    whole = CropStore.build(drawn, bank, tmp_path / "whole", what=None)
    for i in range(len(drawn)):
        recipe = drawn.recipe(i)
        wanted = render(recipe, bank, size=size)
        for source in (store, whole):
            np.testing.assert_array_equal(render(recipe, source, size=size), wanted)
    if size is not None:
        bytes_of = [(f / "colours.npy").stat().st_size for f in (store.folder, whole.folder)]
        assert bytes_of[0] < 0.6 * bytes_of[1]  # three canvases are hardly larger than that size
        with pytest.raises(InputError, match="for another size"):
            render(drawn.recipe(0), store)
        with pytest.raises(InputError, match="no background"):
            render(drawn.recipe(len(drawn) - 1), store)


@settings(deadline=None, max_examples=30)
@given(st.floats(0.3, 0.95), st.integers(20, 50), st.integers(20, 50))
def test_a_reduced_patch_keeps_its_middle_its_area_and_its_edge(factor, width, height) -> None:
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, ((width - 1) // 2, (height - 1) // 2), (width // 2 - 1, height // 2 - 1), 0, 0, 360, 1, -1)  # fmt: skip # noqa: E501
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    mask = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] > 0
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    patch = make_patch(np.dstack([x * 4, y * 4, x * 0 + 9]).astype(np.uint8), mask)
    small = reduced(patch, factor)
    share = np.clip((small.edge.astype(float) - EDGE) / LEVELS + 0.5, 0, 1)
    assert share.sum() == pytest.approx(mask.sum() * factor**2, rel=0.12)
    middle = [
        np.average(np.arange(n) + 0.5, weights=share.sum(axis=1 - k)) - n / 2
        for k, n in enumerate(share.shape)
    ]
    before = [
        np.average(np.arange(n) + 0.5, weights=mask.sum(axis=1 - k)) - n / 2
        for k, n in enumerate(mask.shape)
    ]
    np.testing.assert_allclose(middle, np.array(before) * factor, atol=0.3)
    assert (small.colours[share > 0][:, 2] == 9).all()
    assert small.edge[0].max() == small.edge[:, -1].max() == 0
    assert min(small.edge.shape) >= 2 * PAD


def test_area_means_are_those_of_opencv() -> None:
    generator = np.random.default_rng(8)
    rgb = generator.integers(0, 256, (40, 56, 3)).astype(np.uint8)
    patch = make_patch(rgb, np.ones((40, 56), bool))
    small = reduced(patch, 0.5).colours[PAD:-PAD, PAD:-PAD]
    wanted = cv2.resize(rgb, (28, 20), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("turn", range(8))
def test_scenes_turn_as_cells_do(turn: int) -> None:
    scene = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)

    class Source(OneCell):
        def image(self, image_id: str) -> np.ndarray:
            return scene

    cell = Source(scene, np.ones(scene.shape[:2], bool))
    size = (30, 40) if turn % 2 else (40, 30)
    ground = Background((0, 0, 0), "g", "g", turn)
    empty = Recipe("a", "scene", *size, ground, ())
    placed = one_cell_recipe(size, angle=90.0 * (turn % 4), flip=turn >= 4)
    found = render(empty, cell)
    np.testing.assert_array_equal(found, render(placed, cell))
    part = replace(empty, width=11, height=7, background=replace(ground, x=5, y=9))
    np.testing.assert_array_equal(render(part, cell), found[9:16, 5:16])
    too_far = replace(part, background=replace(ground, x=size[0] - 10))
    with pytest.raises(InputError, match=r"smaller than the canvas of 11 × 7 from"):
        render(too_far, cell)


def test_a_scene_loses_its_cells(bank: CellBank) -> None:
    image_id = bank.table["image_id"][0].as_py()
    image = bank.image(image_id)
    cells = Scenes(bank).cells(image_id)
    assert [cell.kind for cell in cells] == ["wbc", "rbc", "rbc", "rbc"]
    for removal, gone in ((":white", ("wbc",)), (":bare", ("wbc", "rbc"))):
        ground = Background(SLIDE, image_id + removal, image_id)
        found = render(Recipe("a", "scene", 160, 160, ground, ()), bank)
        for cell in cells:
            x0, y0, x1, y1 = cell.box
            inside = cv2.erode(cell.mask.view(np.uint8), np.ones((5, 5))) > 0
            colours = found[y0:y1, x0:x1][inside].astype(float).mean(axis=0)
            before = image[y0:y1, x0:x1][inside].astype(float).mean(axis=0)
            left = np.abs(colours - SLIDE).sum() / np.abs(before - SLIDE).sum()
            assert left < 0.2 if cell.kind in gone else left > 0.8


def test_a_removal_that_is_none_is_named(bank: CellBank) -> None:
    image_id = bank.table["image_id"][0].as_py()
    ground = Background(SLIDE, f"{image_id}:wite", image_id)
    with pytest.raises(SettingsError, match="white"):
        render(Recipe("a", "scene", 160, 160, ground, ()), bank)


def test_scenes_count_as_needed_and_as_parents(bank: CellBank, tmp_path: Path) -> None:
    recipe = scene_recipe(bank)
    named = replace(recipe.background, background_id=recipe.background.image_id + ":white")
    drawn = Plan.of([recipe, replace(recipe, background=named)], bank=bank.fingerprint)
    assert drawn.background_images() == {recipe.background.image_id}
    store = CropStore.build(drawn, bank, tmp_path / "crops", what=None)
    scenes = [store.background(name) for name in (recipe.background.image_id, named.background_id)]
    np.testing.assert_array_equal(scenes[0], bank.image(recipe.background.image_id))
    assert not np.array_equal(scenes[0], scenes[1])
    assert len(store) == 1
