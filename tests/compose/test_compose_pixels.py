"""Patches and blends: distances to an edge, fractions of a pixel, the same bytes anywhere."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compose_makers import OneCell, make_bank, one_cell_recipe, varied
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from naturalize.base import engine
from naturalize.base.errors import ArtifactError, InputError
from naturalize.cells.bank import CellBank
from naturalize.compose.deliver import image_bytes
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.crops import CropStore
from naturalize.compose.paint.patch import make_patch
from naturalize.compose.paint.render import render
from naturalize.compose.paint.sizes import EDGE, LEVELS, PAD

MASKS = arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24))).filter(np.any)


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> CellBank:
    return make_bank(tmp_path_factory.mktemp("bank"), per_class=2)


def square(side: int = 20, grey: int = 0) -> OneCell:
    return OneCell(np.full((side, side, 3), grey, np.uint8), np.ones((side, side), bool))


def bean() -> OneCell:
    y, x = np.mgrid[:41, :56] + 0.5
    mask = ((x - 28) / 28) ** 2 + ((y - 20.5) / 20.5) ** 2 <= 1
    mask[:9, 40:] = False
    colours = np.dstack([60 + x * 2, 60 + y * 3, np.full_like(x, 40)]).astype(np.uint8)
    return OneCell(colours, mask)


@given(MASKS, st.integers(0, 2**32 - 1))
def test_a_patch_keeps_the_cell_and_nothing_around_it(mask: np.ndarray, seed: int) -> None:
    rgb = np.random.default_rng(seed).integers(0, 255, (*mask.shape, 3), np.uint8)
    rgb[~mask] = 255
    patch = make_patch(rgb, mask)
    assert np.array_equal(patch.edge[PAD:-PAD, PAD:-PAD] > EDGE, mask)
    assert np.array_equal(patch.colours[PAD:-PAD, PAD:-PAD][mask], rgb[mask])
    assert patch.colours.max() < 255
    assert patch.size == mask.shape[::-1]
    rgb[~mask] = 0
    again = make_patch(rgb, mask)
    assert np.array_equal(again.colours, patch.colours)
    assert np.array_equal(again.edge, patch.edge)


@settings(deadline=None)
@given(MASKS)
def test_colours_outside_are_those_of_a_pixel_about_as_near_as_any(mask: np.ndarray) -> None:
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    patch = make_patch(np.dstack([x, y, np.zeros_like(x)]).astype(np.uint8), mask)
    inside = np.argwhere(mask)
    for row, column in np.ndindex(patch.edge.shape):
        taken = patch.colours[row, column, [1, 0]].astype(int)
        here = np.array([row, column]) - PAD
        nearest = np.sqrt(((inside - here) ** 2).sum(axis=1).min())
        # OpenCV's 5 x 5 transform is right to a few percent
        assert np.sqrt(((taken - here) ** 2).sum()) <= nearest * 1.05 + 1e-9


def test_the_edge_is_a_distance_in_pixels() -> None:
    patch = make_patch(square(21).rgb, square(21).mask)
    across = (patch.edge[PAD + 10].astype(float) - EDGE) / LEVELS
    assert across[1 : PAD + 7].tolist() == [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5]


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(InputError, match="mask is empty"):
        make_patch(np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3), bool))


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5, 0.75])
def test_feathering_moves_by_fractions_of_a_pixel(shift: float) -> None:
    recipe = one_cell_recipe((40, 40), (240, 240, 240), cx=20 + shift, blend="feather", feather=1)
    cover = 1 - render(recipe, square())[20, :, 0] / 240
    assert cover[10] == pytest.approx(1 - shift, abs=0.01)
    assert cover[30] == pytest.approx(shift, abs=0.01)
    assert cover[11:30].min() == 1
    assert cover[:10].max() == cover[31:].max() == 0


def test_a_wider_feather_is_a_linear_ramp() -> None:
    recipe = one_cell_recipe((40, 40), (240, 240, 240), blend="feather", feather=4)
    assert render(recipe, square())[20, 6:14, 0].tolist() == [240, 240, 210, 150, 90, 30, 0, 0]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_resampling_and_copying_agree(angle: int, flip: bool) -> None:
    cx, cy = (44, 40.5) if angle % 180 == 0 else (44.5, 40)
    copied = one_cell_recipe((90, 80), cx=cx, cy=cy, angle=angle, flip=flip)
    # a turn too small to move any edge by a 16th of a pixel, yet resampled
    warped = one_cell_recipe((90, 80), cx=cx, cy=cy, angle=angle + 1e-4, flip=flip)
    off = np.abs(render(copied, bean()).astype(int) - render(warped, bean()))
    assert off.max() <= 1


def test_later_cells_lie_over_earlier_ones() -> None:
    recipe = one_cell_recipe((30, 30), cx=10, cy=10)
    dark = replace(recipe.placements[0], cx=14.0, stain=(0.3, 0.3, 0.3))
    over = replace(recipe, placements=(*recipe.placements, dark))
    under = replace(recipe, placements=(dark, *recipe.placements))
    source = square(10, grey=50)
    assert render(over, source)[10, [6, 12, 17], 0].tolist() == [50, 25, 25]
    assert render(under, source)[10, [6, 12, 17], 0].tolist() == [50, 50, 25]


@pytest.fixture(scope="module")
def local_ray():
    ray = pytest.importorskip("ray", reason="the ray extra is not installed")
    yield ray
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "workers"), [("processes", 8), ("ray", 2)])
def test_every_engine_gives_the_same_bytes(
    bank: CellBank, tmp_path: Path, request, backend: str, workers: int
) -> None:
    if backend == "ray":
        request.getfixturevalue("local_ray")
    drawn = varied(bank)
    store = CropStore.build(drawn, bank, tmp_path / "crops", what=None)
    paint = functools.partial(image_bytes, source=store, format="jpeg")
    recipes = [drawn.recipe(i) for i in range(len(drawn))]
    found = engine.map(paint, recipes, backend=backend, workers=workers, chunk=2)
    assert list(found) == [paint(recipe) for recipe in recipes]


@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_a_store_is_the_same_file_from_any_engine(
    bank: CellBank, tmp_path: Path, backend: str
) -> None:
    drawn = varied(bank)
    CropStore.build(drawn, bank, tmp_path / "one", what=None)
    CropStore.build(drawn, bank, tmp_path / "two", backend=backend, workers=2, what=None)
    for file in sorted((tmp_path / "one").iterdir()):
        name = file.name
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_store_decodes_each_parent_once(bank: CellBank, tmp_path: Path) -> None:
    decoded: list[str] = []

    class Counting(CellBank):
        def cutout(self, cell_id: str, *, margin: int = 0):
            image_id = self.row(cell_id)["image_id"]
            if not decoded or decoded[-1] != image_id:
                decoded.append(image_id)
            return super().cutout(cell_id, margin=margin)

    counting = Counting(
        bank.table, bank.backgrounds, root=bank.root, labels=bank.labels, inputs=bank.inputs
    )
    drawn = plan(bank, mode="paper", add=20)
    CropStore.build(drawn, counting, tmp_path / "crops", what=None)
    assert len(decoded) == len(set(decoded)) == len(drawn.parents())


def test_a_store_of_the_same_cells_is_not_made_again(bank: CellBank, tmp_path: Path) -> None:
    drawn = plan(bank, mode="paper", add=3)
    CropStore.build(drawn, bank, tmp_path / "crops", what=None)
    before = (tmp_path / "crops" / "colours.npy").stat().st_mtime_ns
    CropStore.build(drawn, bank, tmp_path / "crops", what=None)
    assert (tmp_path / "crops" / "colours.npy").stat().st_mtime_ns == before
    other = CropStore.build(
        plan(bank, mode="paper", add=3, seed=1), bank, tmp_path / "crops", what=None
    )
    assert all(
        cell_id in other for cell_id, _, _ in plan(bank, mode="paper", add=3, seed=1).cells()
    )


def test_a_damaged_store_is_refused(bank: CellBank, tmp_path: Path) -> None:
    CropStore.build(plan(bank, mode="paper", add=2), bank, tmp_path / "crops", what=None)
    np.save(tmp_path / "crops" / "edges.npy", np.zeros(5, np.uint8))
    with pytest.raises(ArtifactError, match="do not fit the index"):
        CropStore(tmp_path / "crops")
    (tmp_path / "crops" / "edges.npy").write_bytes(b"no array")
    with pytest.raises(ArtifactError, match="cannot be mapped"):
        CropStore(tmp_path / "crops")
    with pytest.raises(ArtifactError, match="no such folder"):
        CropStore(tmp_path / "nowhere")
