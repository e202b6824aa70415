"""Recipes: what they say survives every form they are kept in, and their id is their content."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.base.artifacts import read_table, write_table
from naturalize.base.errors import ArtifactError, SettingsError
from naturalize.compose.recipe.columns import Columns
from naturalize.compose.recipe.fields import read_plan_table, upgraded
from naturalize.compose.recipe.plan import Plan
from naturalize.compose.recipe.recipe import (
    KERNELS,
    MAX_SEED,
    SCHEMA,
    Background,
    Finish,
    Placement,
    Recipe,
)

number = st.floats(-1e4, 1e4, width=32)
name = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=6)
cell_ids = st.integers(0, 5)
offset = st.integers(0, 3000)

V1 = Path(__file__).parent / "samples" / "plan-v1"


@st.composite
def placements(draw) -> Placement:
    cell = draw(cell_ids)
    return Placement(
        cell_id=f"{cell:016x}-0",
        image_id=f"{cell:016x}",
        kind=("wbc", "rbc", "platelet")[cell % 3],
        cx=draw(number),
        cy=draw(number),
        angle=draw(number),
        flip=draw(st.booleans()),
        scale=draw(st.floats(0.125, 4, width=32)),
        stain=tuple(draw(st.floats(-1, 1, width=32)) for _ in range(3)),
        blend=draw(st.sampled_from(["hard", "feather", "poisson", "scene"])),
        feather=draw(st.floats(0, 6, width=32)),
        **draw(st.just({}) | variations()),
    )


@st.composite
def variations(draw) -> dict:
    """Draw what version 1 of a plan could not say."""
    return {
        "aspect": draw(st.floats(0.5, 2, width=32)),
        "elastic": draw(st.floats(0, 4, width=32)),
        "elastic_seed": draw(st.integers(0, MAX_SEED - 1)),
        "kernel": draw(st.sampled_from(KERNELS)),
        "blur": draw(st.floats(0, 4, width=32)),
        "grain": draw(st.floats(0, 1, width=32)),
        "stain_scale": tuple(draw(st.floats(0.25, 4, width=32)) for _ in range(3)),
    }


@st.composite
def recipes(draw) -> Recipe:
    ground = draw(st.sampled_from([(None, None), ("g1", "0" * 16), ("g2", "1" * 16)]))
    quality = draw(st.none() | st.integers(1, 100))
    place = draw(st.just((0, 0, 0)) | st.tuples(st.integers(0, 7), offset, offset))
    return Recipe(
        label=draw(name),
        mode=draw(name),
        width=draw(st.integers(1, 5000)),
        height=draw(st.integers(1, 5000)),
        background=Background(
            tuple(draw(st.floats(0, 255, width=32)) for _ in "rgb"), *ground, *place
        ),
        placements=tuple(draw(st.lists(placements(), max_size=4))),
        finish=Finish("jpeg", quality)
        if quality
        else Finish(draw(st.sampled_from(["none", "png"]))),
    )


@settings(max_examples=100, deadline=None)
@given(recipes())
def test_a_row_is_the_recipe(recipe: Recipe) -> None:
    table = pa.Table.from_pylist([recipe.to_row()], schema=SCHEMA)
    back = Recipe.from_row(table.to_pylist()[0])
    assert back == recipe
    assert back.recipe_id == recipe.recipe_id


@settings(max_examples=50, deadline=None)
@given(st.lists(recipes(), min_size=1, max_size=5))
def test_a_plan_holds_recipes_as_they_are(several: list[Recipe]) -> None:
    plan = Plan.of(several)
    assert [plan.recipe(i) for i in range(len(plan))] == several
    assert plan.ids == [recipe.recipe_id for recipe in several]
    assert plan.table.schema == SCHEMA
    assert [Recipe.from_row(row) for row in plan.table.to_pylist()] == several
    assert plan.parents() == set().union(*(recipe.parents() for recipe in several))


def test_a_recipe_survives_parquet(tmp_path) -> None:
    placed = Placement("a-0", "a", "wbc", 1 / 3, 2 / 3, angle=0.1, stain=(0.1, -0.2, 0.3))
    recipe = Recipe("SNE", "paper", 9, 8, Background((253, 229, 203)), (placed,))
    file = tmp_path / "plan.parquet"
    write_table(file, Plan.of([recipe]).table)
    assert Recipe.from_row(read_table(file, SCHEMA).to_pylist()[0]) == recipe


BASE = Recipe(
    "SNE", "paper", 20, 30, Background((1, 2, 3)), (Placement("a-0", "a", "wbc", 5, 6),), Finish()
)
OTHERS = {
    "label": "BNE", "mode": "scene", "width": 21, "height": 31,
    "background": Background((1, 2, 4)), "placements": (), "finish": Finish("png"),
}  # fmt: skip
OTHER_PLACEMENTS = {
    "cell_id": "b-0", "image_id": "b", "kind": "rbc", "cx": 5.5, "cy": 6.5, "angle": 1.0,
    "flip": True, "scale": 1.1, "stain": (0.0, 0.0, 0.1), "blend": "feather", "feather": 1.0,
    "aspect": 1.1, "elastic": 1.0, "elastic_seed": 7, "kernel": "cubic", "blur": 0.5, "grain": 0.5,
    "stain_scale": (1.0, 1.1, 1.0),
}  # fmt: skip


@pytest.mark.parametrize("field", [f.name for f in fields(Recipe)])
def test_the_id_changes_with_every_part(field: str) -> None:
    assert replace(BASE, **{field: OTHERS[field]}).recipe_id != BASE.recipe_id


@pytest.mark.parametrize("field", [f.name for f in fields(Placement)])
def test_the_id_changes_with_every_part_of_a_placement(field: str) -> None:
    other = replace(BASE.placements[0], **{field: OTHER_PLACEMENTS[field]})
    assert replace(BASE, placements=(other,)).recipe_id != BASE.recipe_id


@pytest.mark.parametrize("where", [{"turn": 1}, {"x": 1}, {"y": 1}])
def test_the_id_changes_with_the_place_in_the_scene(where: dict) -> None:
    ground = Background((1, 2, 3), "g", "0" * 16)
    other = replace(BASE, background=replace(ground, **where))
    assert other.recipe_id != replace(BASE, background=ground).recipe_id


def test_the_order_of_painting_is_content() -> None:
    a, b = BASE.placements[0], Placement("b-0", "b", "rbc", 5, 6)
    assert replace(BASE, placements=(a, b)).recipe_id != replace(BASE, placements=(b, a)).recipe_id


def test_minus_zero_is_zero() -> None:
    other = replace(BASE, placements=(replace(BASE.placements[0], angle=-0.0),))
    assert other.recipe_id == BASE.recipe_id


@pytest.mark.parametrize(
    "values",
    [{"scale": 0.0}, {"scale": -1.0}, {"cx": math.nan}, {"angle": math.inf}, {"feather": -0.1},
     {"feather": 7.0}, {"stain": (0.0, 0.0)}, {"aspect": 0.4}, {"elastic": 4.1}, {"blur": -1.0},
     {"grain": 1.1}, {"stain_scale": (1.0, 1.0)}, {"stain_scale": (1.0, 0.1, 1.0)},
     {"kernel": "cubist"}, {"elastic_seed": -1}, {"elastic_seed": MAX_SEED}],
)  # fmt: skip
def test_a_placement_that_cannot_be_painted_is_refused(values: dict) -> None:
    with pytest.raises(SettingsError):
        Placement(**{"cell_id": "a", "image_id": "a", "kind": "wbc", "cx": 0, "cy": 0, **values})


@pytest.mark.parametrize(
    ("part", "values"),
    [
        (Background, {"colour": (0, 0, 256)}),
        (Background, {"colour": (0, 0, 0), "background_id": "g"}),
        (Background, {"colour": (0, 0, 0), "turn": 8}),
        (Background, {"colour": (0, 0, 0), "x": -1}),
        (Finish, {"codec": "webp"}),
        (Finish, {"codec": "jpeg"}),
        (Finish, {"codec": "png", "quality": 90}),
        (Finish, {"codec": "jpeg", "quality": 101}),
    ],
)
def test_a_ground_or_finish_that_makes_no_sense_is_refused(part: type, values: dict) -> None:
    with pytest.raises(SettingsError):
        part(**values)


def test_a_plan_of_version_1_opens_as_it_was() -> None:
    plan = Plan.load(V1)
    assert plan.ids == [
        "e24bfee62ba07b4a", "4f966f3c0abb2432", "54f9066fb7196e44", "802927357080f3db",
    ]  # fmt: skip
    assert [plan.recipe(i).recipe_id for i in range(len(plan))] == plan.ids
    assert not plan.columns.is_varied
    last = plan.recipe(3)
    assert (last.background.turn, last.background.x, last.background.y) == (0, 0, 0)
    assert last.placements[0].stain_scale == (1, 1, 1)
    assert last.placements[0].kernel == "linear"
    assert last.placements[0].feather == 1.5


def test_a_plan_of_version_1_is_written_as_one_of_today(tmp_path) -> None:
    plan = Plan.load(V1)
    plan.save(tmp_path / "plan")
    assert read_table(tmp_path / "plan" / "plan.parquet").schema == SCHEMA
    assert Plan.load(tmp_path / "plan").ids == plan.ids


def test_a_table_in_pieces_is_upgraded_whole() -> None:
    table = read_table(V1 / "plan.parquet")
    pieces = pa.concat_tables([table.slice(0, 1), table.slice(1, 3)])
    assert upgraded(pieces).equals(upgraded(table))
    assert upgraded(table.slice(0, 0)).num_rows == 0


def test_a_table_without_a_column_of_version_1_is_refused(tmp_path) -> None:
    table = read_table(V1 / "plan.parquet")
    for name in ("finish", "placements"):
        write_table(tmp_path / "plan.parquet", table.drop_columns([name]))
        with pytest.raises(ArtifactError, match=rf"lacks the column\(s\) {name}"):
            read_plan_table(tmp_path / "plan.parquet")


def test_parts_with_and_without_variation_join() -> None:
    plain, placed = BASE, BASE.placements[0]
    varied = replace(BASE, placements=(replace(placed, **OTHER_PLACEMENTS), placed))
    whole = Plan.of([plain, varied, plain])
    both = Columns.concat([whole.columns.take(np.array([k])) for k in (0, 1, 2)])
    assert [both.recipe(i) for i in range(3)] == [plain, varied, plain]
    # the row that says nothing has the id it has alone
    assert both.ids() == [plain.recipe_id, varied.recipe_id, plain.recipe_id]
    table = Plan.of([plain, plain]).columns
    assert not table.is_varied
    assert table.made_variable().ids() == table.ids()


def test_columns_that_could_not_be_painted_are_refused() -> None:
    columns = Plan.of([BASE]).columns.made_variable()
    row = columns.varied.copy()
    for value in (0.0, math.nan):
        row[0, 0] = value
        with pytest.raises(SettingsError, match=r"aspect: expected 0\.5 to 2"):
            replace(columns, varied=row)
    with pytest.raises(SettingsError, match="kernel"):
        replace(columns, chosen=np.array([[0, 3]], np.int32))
    with pytest.raises(SettingsError, match="turn of 0 to 7"):
        replace(columns, ground=np.array([[8, 0, 0]], np.int32))
    with pytest.raises(SettingsError, match="expected 1 rows, got 2"):
        replace(columns, varied=np.ones((2, 7), np.float32))
