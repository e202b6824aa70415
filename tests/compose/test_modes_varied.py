"""``varied`` mode: what varies, how far, and that it is all in the recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from compose_makers import make_bank, phantom_bank
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from naturalize.base.errors import SettingsError
from naturalize.base.images import read_image
from naturalize.cells.bank import CellBank
from naturalize.compose.deliver.truth import truth
from naturalize.compose.draw.materials import Materials
from naturalize.compose.draw.modes import mode
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.render import render
from naturalize.compose.paint.scenes import Scenes
from naturalize.compose.recipe.plan import Plan
from naturalize.compose.recipe.recipe import Recipe
from naturalize.training.settings import AUGMENTATIONS

GOLDEN = Path(__file__).parent / "golden" / "varied.png"
SIDE = 120
#: Settings under which only one kind of composite is made.
KINDS = {
    "scene": {"crowded": 0.0, "alone": 0.0},
    "anew": {"crowded": 1.0, "alone": 0.0},
    "alone": {"crowded": 0.0, "alone": 1.0},
}


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> CellBank:
    return make_bank(tmp_path_factory.mktemp("varied") / "images", per_class=4)


@pytest.fixture(scope="module")
def materials(bank: CellBank) -> Materials:
    return Materials.of(bank)


def test_the_same_seed_gives_the_same_recipes_and_bytes(bank: CellBank, tmp_path: Path) -> None:
    drawn = plan(bank, mode="varied", add=6, seed=3)
    drawn.save(tmp_path / "plan")
    again = Plan.load(tmp_path / "plan")
    assert again.ids == drawn.ids == plan(bank, mode="varied", add=6, seed=3).ids
    assert drawn.ids != plan(bank, mode="varied", add=6, seed=4).ids
    assert set(plan(bank, mode="varied", add=2, seed=3).ids) < set(drawn.ids)
    for i in range(0, len(drawn), 11):
        one, two = render(drawn.recipe(i), bank), render(again.recipe(i), Scenes(bank))
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("crowded", "alone", "kinds"),
    [(0.0, 0.0, {"scene"}), (1.0, 0.0, {"anew"}), (0.0, 1.0, {"alone"}),
     (0.4, 0.3, {"scene", "anew", "alone"})],
)  # fmt: skip
def test_shares_say_how_many_composites_are_of_each_kind(
    bank: CellBank, crowded: float, alone: float, kinds: set[str]
) -> None:
    drawn = plan(bank, mode="varied", add=100, crowded=crowded, alone=alone)
    found = {"scene": 0, "anew": 0, "alone": 0}
    for i in range(len(drawn)):
        recipe = drawn.recipe(i)
        ground, last = recipe.background.background_id, recipe.placements[-1]
        assert (recipe.mode, last.kind != "rbc") == ("varied", True)
        if ground is None:
            assert len(recipe.placements) == 1
        kind = "alone" if ground is None else "anew" if ground.endswith(":bare") else "scene"
        found[kind] += 1
    assert {kind for kind, n in found.items() if n} == kinds
    assert found["alone"] / len(drawn) == pytest.approx(alone, abs=0.12)
    assert found["anew"] / len(drawn) == pytest.approx(crowded, abs=0.12)


@settings(max_examples=12, deadline=None)
@given(
    scale=st.floats(0, 0.15), focus=st.floats(0, 1.5), stain=st.floats(0, 0.2),
    rotate=st.floats(0, 20), seed=st.integers(0, 9),
)  # fmt: skip
def test_no_cell_varies_further_than_was_asked(
    bank: CellBank,
    materials: Materials,
    scale: float,
    focus: float,
    stain: float,
    rotate: float,
    seed: int,
) -> None:
    asked = {"scale": scale, "focus": focus, "stain": stain, "rotate": rotate, "match_stain": 0.0}
    asked |= {"alone": 0.5, "crowded": 0.0, "materials": materials}
    drawn = plan(bank, mode="varied", add=4, seed=seed, **asked)
    placed = [p for row in drawn.table["placements"].to_pylist() for p in row]
    assert all(abs(p["scale"] - 1) <= scale + 1e-6 for p in placed)
    off = np.array([p["angle"] for p in placed])
    assert (np.abs(off - 90 * np.rint(off / 90)) <= rotate + 1e-3).all()
    # cells are blurred for their scene's sake as well: by one pixel at most
    assert all(0 <= p["blur"] <= np.hypot(focus, 1.0) + 0.01 for p in placed)
    factors = np.log([p["stain_scale"] for p in placed])
    assert (np.abs(factors) <= 6 * stain + 0.02).all()


def test_cells_stand_in_scenes_of_any_class_and_light(bank: CellBank, materials: Materials) -> None:
    drawn = plan(bank, mode="varied", add=60, crowded=0.0, alone=0.0, materials=materials)
    label_of = dict(zip(materials.images.ids, materials.images.label.tolist(), strict=True))
    recipes = [drawn.recipe(i) for i in range(len(drawn))]
    for label in bank.labels:
        own = [r for r in recipes if r.label == label]
        assert len({label_of[r.background.image_id] for r in own}) > 1
        assert not any(r.background.image_id == r.placements[0].image_id for r in own)
    assert {r.background.turn for r in recipes} == set(range(8))


def test_red_cells_are_set_against_the_white_one_and_never_nearer_than_asked(
    bank: CellBank, materials: Materials
) -> None:
    area = dict(zip([cell for cell, _, _ in materials.cells], materials.area.tolist(), strict=True))
    beside = {}
    for touching in (0, 6):
        drawn = plan(
            bank, mode="varied", add=20, crowded=1.0, alone=0.0, scale=0.0, overlap=0.2,
            crowding=0.5, touching=touching, materials=materials,
        )  # fmt: skip
        nearest = []
        for i in range(len(drawn)):
            *red, own = drawn.recipe(i).placements
            apart = [np.hypot(p.cx - own.cx, p.cy - own.cy) for p in red]
            reach = [np.sqrt(area[p.cell_id] / np.pi) for p in (*red, own)]
            nearest += [d / (r + reach[-1]) for d, r in zip(apart, reach[:-1], strict=True)]
        assert min(nearest) > 0.8 - 0.02
        beside[touching] = np.mean(np.array(nearest) < 1.06)
    assert beside[6] > beside[0] + 0.2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"crowded": 0.7, "alone": 0.4}, "crowded and alone are shares of all"),
        ({"focus": 2}, "focus: .*less than or equal to 1.5, found 2"),
        ({"scale": 0.5}, "scale: .*less than or equal to 0.15"),
        ({"donors": "foreign"}, "donors: input should be 'same' or 'any', found 'foreign'"),
        ({"taken": "own"}, "taken: input should be 'alike' or 'any', found 'own'"),
        ({"width": 90}, "name width and height, or neither"),
    ],
)
def test_bad_options_are_refused_in_a_line(wrong: dict, words: str) -> None:
    with pytest.raises(SettingsError, match=f"^mode varied: {words}") as caught:
        mode("varied", **wrong)
    assert "\n" not in str(caught.value)


def test_training_shows_as_many_real_cells_alone_as_the_mode_does() -> None:
    assert AUGMENTATIONS["varied"]["alone"] == mode("varied").settings["alone"]


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_mask_of_the_white_cell_is_where_it_was_painted(
    bank: CellBank, materials: Materials, kind: str
) -> None:
    """Rendered without it, a picture differs only there and as far as its edge reaches."""
    drawn = plan(bank, mode="varied", add=1, seed=1, materials=materials, **KINDS[kind])
    scenes = Scenes(bank)
    for i in range(2):
        recipe = drawn.recipe(i)
        without = render(replace(recipe, placements=recipe.placements[:-1]), scenes)
        change = np.abs(render(recipe, scenes).astype(int) - without).max(axis=2)
        found = truth(recipe, bank)
        mine = found.instances == found.cells[-1].instance
        assert (found.cells[-1].label, found.cells[-1].kind) == (recipe.label, "wbc")
        away = cv2.distanceTransform(1 - mine.astype(np.uint8), cv2.DIST_L2, 5)
        assert change[away > 7].max() <= 12
        assert (change[mine] > 12).mean() > 0.95
        placed = recipe.placements[-1]
        whole = bank.row(placed.cell_id)["area"] * placed.scale**2
        assert mine.sum() == pytest.approx(whole, rel=0.08)


def golden_recipes(bank: CellBank) -> list[Recipe]:
    plans = [
        plan(bank, mode="varied", add=1, classes=["SNE", "EO"], **how) for how in KINDS.values()
    ]
    return [drawn.recipe(i) for drawn in plans for i in range(2)]


def test_golden_composites(tmp_path: Path) -> None:
    bank = phantom_bank(tmp_path)
    wanted, scenes = read_image(GOLDEN).astype(int), Scenes(bank)
    for i, recipe in enumerate(golden_recipes(bank)):
        off = np.abs(render(recipe, scenes, size=SIDE) - wanted[:, i * SIDE : (i + 1) * SIDE])
        # another OpenCV may round the other way
        assert (off > 2).mean() < 0.01, i


if __name__ == "__main__":  # draws the golden picture anew
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        made = phantom_bank(Path(folder))
        images = [render(recipe, Scenes(made), size=SIDE) for recipe in golden_recipes(made)]
    Image.fromarray(np.concatenate(images, axis=1)).save(GOLDEN, optimize=True)
