"""``layout`` mode: how many, how near, how far over the edge; and the statistics it draws from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from compose_makers import LABELS, make_bank
from hypothesis import given
from hypothesis import strategies as st

from naturalize.base.errors import ArtifactError, InputError, SettingsError
from naturalize.cells.bank import CellBank
from naturalize.compose.draw.modes import mode
from naturalize.compose.draw.modes.placing import place_discs
from naturalize.compose.draw.modes.sites import DISTRIBUTIONS, LEVELS, smears
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.render import render
from naturalize.compose.recipe.plan import Plan
from naturalize.compose.recipe.recipe import Recipe


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> CellBank:
    return make_bank(tmp_path_factory.mktemp("layout") / "images", per_class=4)


def recipes(drawn: Plan) -> list[Recipe]:
    return [drawn.recipe(i) for i in range(len(drawn))]


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, ...]:
    n, k, tries = draw(st.integers(1, 3)), draw(st.integers(1, 12)), draw(st.integers(1, 5))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    canvas = generator.integers(20, 120, size=(n, 2))
    centres = generator.random((n, k, tries, 2)) * (canvas[:, None, None] + 40) - 20
    radius = generator.random((n, k)) * draw(st.sampled_from([4.0, 20.0, 60.0]))
    near, beside = generator.uniform(0.6, 1.0, size=(2, n, k))
    return centres, radius, near, beside, canvas


@given(scenes())
def test_discs_keep_the_distance_that_was_stated(scene: tuple[np.ndarray, ...]) -> None:
    centres, radius, near, beside, canvas = scene
    taken = place_discs(centres, radius, near, beside, canvas)
    for row, choice in enumerate(taken):
        placed = np.flatnonzero(choice >= 0)
        at = centres[row, np.arange(len(choice)), np.maximum(choice, 0)]
        assert choice[0] == 0
        for later, i in enumerate(placed):
            for j in placed[:later]:
                bound = beside[row, i] if j == 0 else near[row, i]
                apart = np.hypot(*(at[i] - at[j]))
                assert apart >= bound * (radius[row, i] + radius[row, j]) - 1e-6
            if i:  # a part of every disc is on the canvas
                inside = 0.8 * radius[row, i] + 1e-6
                assert (at[i] >= -inside).all()
                assert (at[i] <= canvas[row] + inside).all()


@given(scenes())
def test_a_disc_is_dropped_only_if_no_try_is_free(scene: tuple[np.ndarray, ...]) -> None:
    centres, radius, near, beside, canvas = scene
    taken = place_discs(centres, radius, near, beside, canvas)
    row, k = 0, centres.shape[1]
    at: dict[int, np.ndarray] = {0: centres[row, 0, 0]}
    for i in range(1, k):
        free = []
        for place in centres[row, i]:
            reach = 0.8 * radius[row, i]
            inside = (place >= -reach).all() and (place <= canvas[row] + reach).all()
            clear = all(
                ((place - other) ** 2).sum()
                >= ((beside if j == 0 else near)[row, i] * (radius[row, i] + radius[row, j])) ** 2
                for j, other in at.items()
            )
            free.append(inside and clear)
        first = free.index(True) if True in free and radius[row, i] > 0 else -1
        assert taken[row, i] == first
        if first >= 0:
            at[i] = centres[row, i, first]


def test_the_white_cell_is_painted_last_and_lies_on_the_canvas(bank: CellBank) -> None:
    sizes = {r["cell_id"]: (r["x1"] - r["x0"], r["y1"] - r["y0"]) for r in bank.table.to_pylist()}
    drawn = plan(bank, mode="layout", add=20)
    assert drawn.targets == dict.fromkeys(LABELS, 20)
    for recipe in recipes(drawn):
        *others, target = recipe.placements
        assert (target.kind, target.blend) == ("wbc", "scene")
        assert all((p.kind, p.blend) == ("rbc", "density") for p in others)
        width, height = sizes[target.cell_id]
        assert width / 2 <= target.cx <= recipe.width - width / 2
        assert height / 2 <= target.cy <= recipe.height - height / 2
        for placed in others:
            width, height = sizes[placed.cell_id]
            assert -width / 2 < placed.cx < recipe.width + width / 2
            assert -height / 2 < placed.cy < recipe.height + height / 2


def test_scenes_are_as_full_as_those_that_were_measured(bank: CellBank) -> None:
    drawn = recipes(plan(bank, mode="layout", add=60, width=140, height=150))
    counts = np.array([len(recipe.placements) - 1 for recipe in drawn])
    expected = smears("pbc")[0].quantiles["red_cells_per_100k"].mean() * 140 * 150 / 1e5
    assert abs(counts.mean() - expected) < 0.35 * expected
    many = recipes(plan(bank, mode="layout", add=60, width=140, height=150, crowding=3))
    assert np.mean([len(recipe.placements) - 1 for recipe in many]) > 1.5 * counts.mean()
    none = recipes(plan(bank, mode="layout", add=3, crowding=0))
    assert {len(recipe.placements) for recipe in none} == {1}


def test_a_crowd_beyond_measure_ends(bank: CellBank) -> None:
    drawn = plan(bank, mode="layout", add=2, crowding=5, tries=2, overlap=0)
    assert drawn.rejections["cells left out for lack of room"] > 0
    assert len(drawn) == 8


def test_plans_are_prefixes_and_repeatable(bank: CellBank) -> None:
    few, many = plan(bank, mode="layout", add=4), plan(bank, mode="layout", add=9)
    for label in LABELS:
        assert [few.ids[i] for i in few.rows_of(label)] == [
            many.ids[i] for i in many.rows_of(label)[:4]
        ]
    assert plan(bank, mode="layout", add=4).ids == few.ids
    assert plan(bank, mode="layout", add=4, seed=1).ids != few.ids


def test_both_backgrounds_render(bank: CellBank) -> None:
    bare = plan(bank, mode="layout", add=1, classes=["LY"]).recipe(0)
    assert (bare.background.background_id or "").endswith(":bare")
    flat = plan(bank, mode="layout", add=1, classes=["LY"], background="flat").recipe(0)
    assert flat.background.background_id is None
    for recipe in (bare, flat):
        image = render(recipe, bank)
        assert image.shape == (160, 160, 3)
        target = recipe.placements[-1]
        assert image[round(target.cy), round(target.cx)].astype(int).sum() < 500


def test_red_cells_take_light_from_each_other(bank: CellBank) -> None:
    from dataclasses import replace

    recipe = plan(bank, mode="layout", add=1, classes=["LY"], background="flat").recipe(0)
    red = recipe.placements[0]
    one = replace(recipe, placements=(replace(red, cx=80.5, cy=80.5),))
    two = replace(one, placements=(one.placements[0],) * 2)
    slide, once, twice = (
        render(r, bank)[78:83, 78:83].mean(axis=(0, 1))
        for r in (replace(one, placements=()), one, two)
    )
    assert np.allclose(twice, once * once / slide, atol=2.5)


def test_a_bank_of_crops_needs_a_flat_slide(bank: CellBank) -> None:
    crops = CellBank(
        bank.table, bank.backgrounds.slice(0, 0), root=bank.root, labels=bank.labels, holds="crops"
    )
    with pytest.raises(InputError, match="set background to flat"):
        plan(crops, mode="layout", add=1)
    drawn = recipes(plan(crops, mode="layout", add=2, background="flat"))
    assert {(recipe.width, recipe.height) for recipe in drawn} == {(360, 363)}


def test_a_canvas_larger_than_every_slide_is_refused_with_counts(bank: CellBank) -> None:
    told = r"none of 16 bare slides .* 400 × 300 pixels \(the largest: 160 × 160\)"
    with pytest.raises(InputError, match=told):
        plan(bank, mode="layout", add=1, width=400, height=300)
    wide = plan(bank, mode="layout", add=1, width=400, height=300, background="flat")
    assert wide.recipe(0).width == 400
    with pytest.raises(InputError, match=r"class BNE: 1 composites .* no cell"):
        plan(bank, mode="layout", add=1, width=40, height=40)


def test_the_packaged_statistics_are_those_of_real_smears() -> None:
    for one in smears("pbc"):
        for what in DISTRIBUTIONS:
            assert (np.diff(one.quantiles[what]) >= 0).all()
        assert 60 < one.draw("red_diameter", np.array([0.5]))[0] < 90
        assert 0.8 < one.draw("nearest_red_cells", np.array([0.1]))[0] < 1.05


def test_what_is_measured_can_be_drawn_from(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    from tools.smears import measure

    bank = make_bank(tmp_path / "images", per_class=10)
    found = measure(bank)
    (domain,) = found["domains"]
    assert domain["n_images"] == 40
    assert domain["red_cells_per_100k"] == [round(3 / 0.256, 3)] * len(LEVELS)
    assert domain["platelets_per_100k"] == [0.0] * len(LEVELS)
    assert domain["red_cells_cut"] == 0
    assert 28 < domain["red_diameter"][10] < 34
    file = tmp_path / "own.json"
    file.write_text(json.dumps({"source": "drawn", **found}))
    drawn = recipes(plan(bank, mode="layout", add=5, smears=str(file)))
    assert {len(recipe.placements) for recipe in drawn} <= {2, 3, 4}
    with pytest.raises(InputError, match="no domain of 40 images"):
        measure(make_bank(tmp_path / "few", per_class=2))


@pytest.mark.parametrize("content", ['{"domains": []}', '{"domains": [{"name": "x"}]}', "[]"])
def test_other_files_are_no_statistics(content: str, tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    file.write_text(content)
    with pytest.raises(ArtifactError, match="no statistics of smears"):
        mode("layout", smears=str(file))
    with pytest.raises(ArtifactError, match="no such file"):
        mode("layout", smears=str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"background": "blue"}, "background: expected bare, flat or a colour.*found 'blue'"),
        ({"background": [1, 2]}, "background: expected bare, flat or a colour"),
        ({"crowding": -1}, "crowding"),
        ({"overlap": 0.9}, "overlap: .*less than or equal to 0.6, found 0.9"),
        ({"tries": 0}, "tries"),
        ({"scenes": 1.5}, "scenes"),
        ({"width": 100}, "width and height, or neither"),
        ({"smears": 3}, "smears: input should be a valid string"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        mode("layout", **wrong)
