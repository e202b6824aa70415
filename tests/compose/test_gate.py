"""The quality gate: what fails and why, and that what fails is drawn again, always alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compose_makers import SLIDE, compose_settings, make_bank, split_of

from naturalize.base.artifacts import read_json
from naturalize.base.errors import InputError, SettingsError
from naturalize.cells.bank import CellBank
from naturalize.cells.segmentation import Cell
from naturalize.compose.deliver.files import plan_composites
from naturalize.compose.draw import gate
from naturalize.compose.draw.gate import judge, judge_all
from naturalize.compose.draw.limits import appearance, real_limits
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.blend import BLENDS, Blend
from naturalize.compose.paint.scenes import Scenes
from naturalize.compose.recipe.plan import Plan
from naturalize.compose.recipe.recipe import Background, Recipe


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> CellBank:
    folder = tmp_path_factory.mktemp("gate") / "images"
    return make_bank(folder, per_class=8, labels=("LY", "SNE"))


@pytest.fixture(scope="module")
def limits(bank: CellBank) -> gate.Limits:
    return real_limits(bank)


@pytest.fixture(scope="module")
def good(bank: CellBank, limits: gate.Limits) -> Recipe:
    """A composite that passes: a cell laid back into its own image, where it was."""
    row = bank.cells(target=True, label="LY").to_pylist()[0]
    recipe = plan(bank, mode="scene", add=1, classes=["LY"]).recipe(0)
    placed = replace(
        recipe.placements[0],
        cell_id=row["cell_id"], image_id=row["image_id"], angle=0, flip=False, blend="hard",
        cx=(row["x0"] + row["x1"]) / 2, cy=(row["y0"] + row["y1"]) / 2,
        stain=(0, 0, 0), stain_scale=(1, 1, 1), blur=0,
    )  # fmt: skip
    ground = Background(recipe.background.colour, row["image_id"], row["image_id"])
    recipe = replace(recipe, background=ground, placements=(placed,))
    assert judge(recipe, bank, limits) == []
    return recipe


def changed(recipe: Recipe, **values: object) -> Recipe:
    return replace(recipe, placements=(replace(recipe.placements[0], **values),))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"cx": 5}, "white cell cut by the canvas"),
        ({"stain": (0.4, 0.4, 0.4)}, "colour unlike that of real cells"),
        ({"stain_scale": (1.0, 0.4, 1.0)}, "colour unlike that of real cells"),
        ({"blend": "scene", "feather": 3, "blur": 4}, "edge unlike that of real cells"),
    ],
)
def test_a_composite_fails_for_what_is_wrong_with_it(
    bank: CellBank, limits: gate.Limits, good: Recipe, values: dict, reason: str
) -> None:
    assert reason in judge(changed(good, **values), bank, limits)


def test_pixels_that_a_cell_has_no_part_in_are_a_leak(
    bank: CellBank, limits: gate.Limits, good: Recipe, monkeypatch
) -> None:
    def spill(canvas: np.ndarray, _laid: object) -> None:
        canvas[:40, :80] = 90

    monkeypatch.setitem(BLENDS, "hard", Blend(spill))
    assert "pixels beyond the cell changed" in judge(good, bank, limits)


def test_an_empty_scene_is_not_one_of_these_smears(
    bank: CellBank, limits: gate.Limits, good: Recipe
) -> None:
    bare = replace(good, background=Background(good.background.colour))
    assert judge(bare, bank, limits) == ["scene emptier or fuller than real ones"]


def test_a_look_is_what_it_says() -> None:
    image = np.full((60, 60, 3), (200, 100, 50), np.uint8)
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True
    image[mask] = (20, 10, 5)
    found = appearance(image, mask, (200, 100, 50))
    assert found.red == pytest.approx(1, abs=1e-6)
    assert found.blue == pytest.approx(1, abs=1e-6)
    assert found.fullness == 0
    import cv2

    assert appearance(cv2.GaussianBlur(image, (0, 0), 3), mask, (200, 100, 50)).steepness < (
        0.6 * found.steepness
    )
    image[50:] = (150, 60, 30)  # 600 of the pixels beyond
    assert appearance(image, mask, (200, 100, 50)).fullness == pytest.approx(600 / 2716, abs=0.02)


def test_real_images_pass_their_own_limits(bank: CellBank, limits: gate.Limits) -> None:
    for row in bank.cells(target=True).to_pylist():
        image = bank.image(row["image_id"])
        mask = np.zeros(image.shape[:2], bool)
        mask[row["y0"] : row["y1"], row["x0"] : row["x1"]] = bank.mask(row["cell_id"])
        found = appearance(image, mask, SLIDE)
        for measure, (low, high) in limits[row["label"]].items():
            assert low <= getattr(found, measure) <= high


def test_the_order_of_recipes_and_workers_change_no_verdict(
    bank: CellBank, limits: gate.Limits
) -> None:
    drawn = plan(bank, mode="scene", add=6, stain=0.06)
    recipes = [drawn.recipe(i) for i in range(len(drawn))]
    once = judge_all(recipes, Scenes(bank), limits)
    back = judge_all(recipes[::-1], Scenes(bank), limits, backend="processes", workers=2)
    assert once == back[::-1]


def test_what_fails_is_drawn_again_and_counted(bank: CellBank, limits: gate.Limits) -> None:
    wild = {"mode": "scene", "stain": 0.06}
    before, after = plan(bank, add=12, **wild), plan(bank, add=12, gate=True, **wild)
    recipes = [before.recipe(i) for i in range(len(before))]
    bad = [i for i, why in enumerate(judge_all(recipes, Scenes(bank), limits)) if why]
    assert 0 < len(bad) < len(before)
    assert [i for i in range(len(before)) if before.ids[i] != after.ids[i]] == bad
    assert not any(judge_all(list(after), Scenes(bank), limits))
    assert (
        after.rejections["rejected by the gate: colour unlike that of real cells"] >= len(bad) / 2
    )
    assert after.targets == before.targets
    assert after.settings["gate"] is True
    fewer = plan(bank, add=5, gate=True, **wild)
    assert [fewer.ids[i] for i in fewer.rows_of("SNE")] == [
        after.ids[i] for i in after.rows_of("SNE")[:5]
    ]


def test_a_gate_that_nothing_passes_says_so(bank: CellBank, monkeypatch) -> None:
    never = {label: {"red": (8.0, 9.0)} for label in bank.labels}
    monkeypatch.setattr(gate, "real_limits", lambda *_, **__: never)
    words = r"8 times; class LY: 2 of 2, class SNE: 2 of 2.*mostly for: colour unlike that of real"
    with pytest.raises(InputError, match=words):
        plan(bank, mode="scene", add=2, gate=True)


def test_a_study_asks_for_the_gate_among_the_mode_s_settings(
    bank: CellBank, tmp_path: Path
) -> None:
    settings = compose_settings(mode="scene", settings={"gate": True, "stain": 0.06})
    plan_composites(bank, split_of(bank), None, tmp_path / "plan", settings)
    assert any(
        reason.startswith("rejected by the gate: ")
        for reason in read_json(tmp_path / "plan" / "plan.json")["rejections"]
    )
    assert Plan.load(tmp_path / "plan").settings["gate"] is True
    with pytest.raises(SettingsError, match="gate: expected true or false"):
        plan_composites(
            bank,
            split_of(bank),
            None,
            tmp_path / "other",
            compose_settings(settings={"gate": "yes"}),
        )


def test_a_bank_of_crops_has_nothing_to_compare_with(bank: CellBank) -> None:
    crops = CellBank(
        bank.table, bank.backgrounds.slice(0, 0), root=bank.root, labels=bank.labels, holds="crops"
    )
    with pytest.raises(InputError, match="compares with real images"):
        real_limits(crops)


class Halved(Scenes):
    """A bank whose segmenter found the upper half of one image's first cell."""

    def cells(self, image_id: str) -> list[Cell]:
        first, *others = super().cells(image_id)
        mask = np.zeros_like(first.mask)
        half = len(mask) // 2
        # the box stays: it is what the bank knows the cell by
        mask[:half] = first.mask[:half]
        return [replace(first, mask=mask), *others]


def test_a_cell_whose_mask_left_out_a_part_of_it_is_refused(bank: CellBank, good: Recipe) -> None:
    placed = good.placements[0]
    assert gate.left_out(Scenes(bank), placed.cell_id) < 0.02
    assert gate.left_out(Halved(bank), placed.cell_id) > 0.5
    found = judge_all([good], Halved(bank), {})
    assert found == [["mask leaves out a part of the white cell"]]


def test_composites_that_are_drawn_anew_are_all_different(tmp_path: Path) -> None:
    """Few cells in few scenes give the same composite again; what the gate draws must not."""
    few = make_bank(tmp_path / "images", per_class=3, labels=("LY", "SNE"))
    drawn = plan(few, mode="scene", add=6, gate=True, stain=0.06, turn="none", scene_turn="none")
    assert len(set(drawn.ids)) == len(drawn) == 12
