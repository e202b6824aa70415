"""The truth about a composite is what its picture shows: an independent look at the pixels."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
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
from naturalize.compose.deliver.annotation import BankAnnotation, PlanAnnotation, SceneCell
from naturalize.compose.deliver.truth import Truth, painted, truth
from naturalize.compose.paint.crops import CropStore
from naturalize.compose.paint.render import laid_on, render
from naturalize.compose.paint.scenes import Scenes
from naturalize.compose.paint.sizes import EDGE, Shrink
from naturalize.compose.recipe.placement import KERNELS
from naturalize.compose.recipe.plan import Plan
from naturalize.compose.recipe.recipe import Background, Finish, Recipe

#: Blend → pixels outside the half-way line within which it may change the canvas by more than so
#: many grey levels: the light around a cell reaches further, faintly.
REACH = {"hard": (1.0, 0), "feather": (3.0, 0), "scene": (7.0, 12), "poisson": (5.0, 0)}


class Nothing:
    """Knows no class and no scene."""

    def label(self, cell_id: str) -> str | None:
        return None

    def scene(self, background_id: str) -> Sequence[SceneCell]:
        return ()


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> CellBank:
    return make_bank(tmp_path_factory.mktemp("bank"), per_class=2)


def drawn_cell() -> OneCell:
    """A lopsided cell on bare slide, with room around it."""
    mask = np.zeros((57, 63), np.uint8)
    cv2.ellipse(mask, (31, 28), (18, 13), 20, 0, 360, 1, cv2.FILLED)
    cv2.circle(mask, (22, 20), 9, 1, cv2.FILLED)
    rgb = np.full((57, 63, 3), 228, np.uint8)
    rgb[mask > 0] = (120, 70, 150)
    return OneCell(cv2.GaussianBlur(rgb, (0, 0), 0.7), mask > 0)


@settings(max_examples=40, deadline=None)
@given(
    blend=st.sampled_from([("hard", 0.0), ("feather", 0.0), ("feather", 1.5), ("feather", 5.0)]),
    angle=st.floats(-180, 180),
    scale=st.floats(0.7, 1.5),
    cx=st.floats(10, 60),
    cy=st.floats(10, 60),
    flip=st.booleans(),
    elastic=st.sampled_from([0.0, 1.5]),
    kernel=st.sampled_from(KERNELS),
)
def test_a_pixel_is_the_cells_where_half_its_light_is(
    blend, angle, scale, cx, cy, flip, elastic, kernel
) -> None:
    """Where a composite does not depend on its canvas, it shows the cell."""
    cell = drawn_cell()
    black, white = (
        one_cell_recipe(
            (70, 66), (level,) * 3, blend=blend[0], feather=blend[1], angle=angle, scale=scale,
            cx=cx, cy=cy, flip=flip, elastic=elastic, elastic_seed=3, kernel=kernel,
        )
        for level in (0.0, 255.0)
    )  # fmt: skip
    of_canvas = render(white, cell).astype(int) - render(black, cell).astype(int)
    found = truth(black, cell, annotation=Nothing())
    assert (found.instances[(of_canvas < 126).all(axis=2)] == 1).all()
    assert (found.instances[(of_canvas > 129).all(axis=2)] == 0).all()
    assert len(found.cells) == int(found.instances.any())


@settings(max_examples=20, deadline=None)
@given(
    feather=st.floats(0.5, 5),
    angle=st.floats(-180, 180),
    cx=st.floats(20, 50),
    cy=st.floats(20, 50),
)
def test_so_it_is_with_the_scene_blend(feather, angle, cx, cy) -> None:
    """The same, between two canvases as bright as slides are; a tenth of the light is not seen."""
    cell = drawn_cell()
    low, high = (
        one_cell_recipe(
            (70, 66), (level,) * 3, blend="scene", feather=feather, angle=angle, cx=cx, cy=cy
        )
        for level in (170.0, 200.0)
    )
    change = render(high, cell).astype(int) - render(low, cell).astype(int)
    found = truth(low, cell, annotation=Nothing()).instances
    assert (found[(change < 9).all(axis=2)] == 1).all()
    assert (found[(change > 21).all(axis=2)] == 0).all()


def test_a_cell_changes_nothing_beyond_its_mask(bank: CellBank) -> None:
    """Rendered with and without its last cell, a picture differs only close to that cell."""
    drawn, annotation = varied(bank), BankAnnotation(bank)
    seen = set()
    for i in range(len(drawn)):
        recipe = replace(drawn.recipe(i), finish=Finish())
        whole = Shrink.to((recipe.width, recipe.height), None)
        for k in (0, len(recipe.placements) - 1):
            before = replace(recipe, placements=recipe.placements[:k])
            after = replace(recipe, placements=recipe.placements[: k + 1])
            change = render(before, bank).astype(int) - render(after, bank)
            canvas = (recipe.height, recipe.width)
            there = laid_on(canvas, Scenes(bank), recipe.placements[k], whole)
            if there is None or not (there.edge > EDGE).any():
                continue  # it lies off this canvas
            found = truth(after, bank, annotation=annotation)
            mine = found.instances == found.cells[-1].instance
            away = cv2.distanceTransform(1 - mine.astype(np.uint8), cv2.DIST_L2, 5)
            blend = recipe.placements[k].blend
            reach, faint = REACH[blend]
            assert np.abs(change[away > reach]).max(initial=0) <= faint, blend
            assert change[mine].any(axis=1).mean() > 0.8
            seen.add(blend)
    assert seen == set(REACH)


def test_painting_and_truth_together_are_both(bank: CellBank) -> None:
    drawn, annotation = varied(bank), BankAnnotation(bank)
    for i in (0, 1, len(drawn) - 1):
        recipe = drawn.recipe(i)
        image, found = painted(recipe, bank, annotation=annotation)
        np.testing.assert_array_equal(image, render(recipe, bank))
        wanted = truth(recipe, bank, annotation=annotation)
        np.testing.assert_array_equal(found.instances, wanted.instances)
        assert found.cells == wanted.cells


def test_later_cells_cover_earlier_ones_and_hidden_ones_are_left_out() -> None:
    cell = OneCell(np.full((20, 20, 3), 90, np.uint8), np.ones((20, 20), bool))
    first = one_cell_recipe((60, 50), cx=20, cy=20)
    placed = first.placements[0]
    recipe = replace(
        first,
        placements=(
            placed,
            replace(placed, cell_id="hidden", kind="rbc"),
            replace(placed, cell_id="top", kind="platelet", cx=20, cy=20),
            replace(placed, cell_id="aside", cx=35, cy=20),
            replace(placed, cell_id="off", cx=-40),
        ),
    )
    found = truth(recipe, cell, annotation=Nothing())
    assert [(c.instance, c.cell_id, c.kind) for c in found.cells] == [
        (1, "top", "platelet"),
        (2, "aside", "wbc"),
    ]
    assert [c.box for c in found.cells] == [(10, 10, 25, 30), (25, 10, 45, 30)]
    assert found.instances.dtype == np.uint16
    assert found.instances.shape == (50, 60)
    assert found.mask(1).all()


@pytest.mark.parametrize("turn", range(8))
def test_a_scene_brings_its_cells_along_however_it_is_turned(bank: CellBank, turn: int) -> None:
    image_id = bank.backgrounds["image_id"].to_pylist()[1]
    rows = [row for row in bank.table.to_pylist() if row["image_id"] == image_id]
    # as numpy turns them: flipped left–right first, then counter-clockwise
    ids = np.zeros((160, 160), object)
    for row in rows:
        mask = bank.mask(row["cell_id"])
        ids[row["y0"] : row["y1"], row["x0"] : row["x1"]][mask] = row["cell_id"]
    wanted = np.rot90(ids[:, ::-1] if turn >= 4 else ids, turn % 4)[6:146, 11:141]
    ground = Background(SLIDE, image_id, image_id, turn, 11, 6)
    recipe = Recipe("SNE", "scene", 130, 140, ground, ())
    found = truth(recipe, bank)
    names = np.array([0, *(cell.cell_id for cell in found.cells)], object)
    np.testing.assert_array_equal(names[found.instances], wanted)
    (target,) = (cell for cell in found.cells if cell.kind == "wbc")
    assert target.label == bank.row(target.cell_id)["label"]
    assert {cell.label for cell in found.cells if cell.kind != "wbc"} == {None}


@pytest.mark.parametrize(("removal", "kinds"), [("white", {"rbc"}), ("bare", set())])
def test_what_was_taken_out_of_a_scene_is_not_there(
    bank: CellBank, removal: str, kinds: set[str]
) -> None:
    image_id = bank.backgrounds["image_id"].to_pylist()[0]
    ground = Background(SLIDE, f"{image_id}:{removal}", image_id)
    found = truth(Recipe("SNE", "scene", 160, 160, ground, ()), bank)
    assert {cell.kind for cell in found.cells} == kinds


def checked(found: Truth) -> None:
    """Assert that boxes are tight and numbers without gap."""
    assert [cell.instance for cell in found.cells] == list(range(1, len(found.cells) + 1))
    assert set(np.unique(found.instances)) - {0} == {cell.instance for cell in found.cells}
    for cell in found.cells:
        rows, columns = np.nonzero(found.instances == cell.instance)
        tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert cell.box == tight


@pytest.mark.parametrize("size", [None, 80, (97, 64), 400])
def test_boxes_are_tight_and_sizes_agree(bank: CellBank, size) -> None:
    drawn, annotation = varied(bank), BankAnnotation(bank)
    for i in (0, 3, len(drawn) - 3, len(drawn) - 1):
        recipe = drawn.recipe(i)
        whole = truth(recipe, bank, annotation=annotation)
        found = truth(recipe, bank, annotation=annotation, size=size)
        checked(found)
        assert found.instances.shape == render(recipe, bank, size=size).shape[:2]
        height, width = found.instances.shape
        kinds = [np.array(["", *(cell.cell_id for cell in t.cells)]) for t in (whole, found)]
        rows = ((np.arange(height) + 0.5) * recipe.height / height).astype(int)
        columns = ((np.arange(width) + 0.5) * recipe.width / width).astype(int)
        wanted = kinds[0][whole.instances[np.ix_(rows, columns)]]
        assert (wanted == kinds[1][found.instances]).mean() > 0.95


def test_a_store_and_what_is_known_of_a_plan_say_the_same(bank: CellBank, tmp_path: Path) -> None:
    drawn = varied(bank)
    store = CropStore.build(drawn, bank, tmp_path / "crops", what=None)
    annotation = PlanAnnotation.build(drawn, bank, tmp_path / "annotation", work=tmp_path / "work")
    annotation = pickle.loads(pickle.dumps(annotation))
    of_bank = BankAnnotation(bank)
    for i in range(len(drawn)):
        a = truth(drawn.recipe(i), bank, annotation=of_bank)
        b = truth(drawn.recipe(i), store, annotation=annotation)
        np.testing.assert_array_equal(a.instances, b.instances)
        assert a.cells == b.cells
    stamp = (tmp_path / "annotation" / "scenes.arrow").stat().st_mtime_ns
    PlanAnnotation.build(drawn, bank, tmp_path / "annotation", work=tmp_path / "work")
    assert (tmp_path / "annotation" / "scenes.arrow").stat().st_mtime_ns == stamp
    few = Plan.of([drawn.recipe(0)], bank=bank.fingerprint)
    other = PlanAnnotation.build(few, bank, tmp_path / "annotation", work=tmp_path / "work")
    with pytest.raises(InputError, match="no scene"):
        other.scene(drawn.recipe(len(drawn) - 1).background.background_id)


def test_what_cannot_be_known_is_told(bank: CellBank, tmp_path: Path) -> None:
    drawn = varied(bank)
    store = CropStore.build(drawn, bank, tmp_path / "crops", what=None)
    with pytest.raises(InputError, match="annotation=BankAnnotation"):
        truth(drawn.recipe(0), store)
    with pytest.raises(SettingsError, match="'feather'"):
        truth(one_cell_recipe((9, 9), blend="fether"), drawn_cell(), annotation=Nothing())
    with pytest.raises(SettingsError, match="size"):
        truth(drawn.recipe(0), bank, size=0)
