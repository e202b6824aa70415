"""Recipes: what they say survives every form they are kept in, and their id is their content."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.base.artifacts import read_table, write_table
from naturalize.base.errors import SettingsError
from naturalize.compose.plan import Plan
from naturalize.compose.recipe import SCHEMA, Background, Finish, Placement, Recipe

number = st.floats(-1e4, 1e4, width=32)
name = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=6)
cell_ids = st.integers(0, 5)


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
        blend=draw(st.sampled_from(["hard", "feather"])),
        feather=draw(st.floats(0, 6, width=32)),
    )


@st.composite
def recipes(draw) -> Recipe:
    ground = draw(st.sampled_from([(None, None), ("g1", "0" * 16), ("g2", "1" * 16)]))
    quality = draw(st.none() | st.integers(1, 100))
    return Recipe(
        label=draw(name),
        mode=draw(name),
        width=draw(st.integers(1, 5000)),
        height=draw(st.integers(1, 5000)),
        background=Background(tuple(draw(st.floats(0, 255, width=32)) for _ in "rgb"), *ground),
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
}  # fmt: skip


@pytest.mark.parametrize("field", [f.name for f in fields(Recipe)])
def test_the_id_changes_with_every_part(field: str) -> None:
    assert replace(BASE, **{field: OTHERS[field]}).recipe_id != BASE.recipe_id


@pytest.mark.parametrize("field", [f.name for f in fields(Placement)])
def test_the_id_changes_with_every_part_of_a_placement(field: str) -> None:
    other = replace(BASE.placements[0], **{field: OTHER_PLACEMENTS[field]})
    assert replace(BASE, placements=(other,)).recipe_id != BASE.recipe_id


def test_the_order_of_painting_is_content() -> None:
    a, b = BASE.placements[0], Placement("b-0", "b", "rbc", 5, 6)
    assert replace(BASE, placements=(a, b)).recipe_id != replace(BASE, placements=(b, a)).recipe_id


def test_minus_zero_is_zero() -> None:
    other = replace(BASE, placements=(replace(BASE.placements[0], angle=-0.0),))
    assert other.recipe_id == BASE.recipe_id


@pytest.mark.parametrize(
    "values",
    [{"scale": 0.0}, {"scale": -1.0}, {"cx": math.nan}, {"angle": math.inf}, {"feather": -0.1},
     {"feather": 7.0}, {"stain": (0.0, 0.0)}],
)  # fmt: skip
def test_a_placement_that_cannot_be_painted_is_refused(values: dict) -> None:
    with pytest.raises(SettingsError):
        Placement(**{"cell_id": "a", "image_id": "a", "kind": "wbc", "cx": 0, "cy": 0, **values})


@pytest.mark.parametrize(
    ("part", "values"),
    [
        (Background, {"colour": (0, 0, 256)}),
        (Background, {"colour": (0, 0, 0), "background_id": "g"}),
        (Finish, {"codec": "webp"}),
        (Finish, {"codec": "jpeg"}),
        (Finish, {"codec": "png", "quality": 90}),
        (Finish, {"codec": "jpeg", "quality": 101}),
    ],
)
def test_a_ground_or_finish_that_makes_no_sense_is_refused(part: type, values: dict) -> None:
    with pytest.raises(SettingsError):
        part(**values)
