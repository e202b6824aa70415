"""Recipes: what they say survives every form they are kept in, and their id is their content."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Callable
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
from naturalize.compose.recipe.placement import FIELDS, KERNELS, MAX_SEED, Field
from naturalize.compose.recipe.plan import Plan
from naturalize.compose.recipe.recipe import Background, Camera, Finish, Placement, Recipe
from naturalize.compose.recipe.table import SCHEMA, from_table

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
    """Draw how a cell is varied."""
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
        camera=draw(st.none() | cameras()),
    )


@st.composite
def cameras(draw) -> Camera:
    share = st.floats(0, 0.5, width=32)
    return Camera(
        mixing=tuple(draw(st.floats(-1, 1, width=32)) for _ in range(9)),
        tone=draw(st.floats(0.5, 2, width=32)),
        slope=(draw(share), draw(share)),
        vignette=draw(share),
        noise=draw(share),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


@settings(max_examples=100, deadline=None)
@given(recipes())
def test_a_row_is_the_recipe(recipe: Recipe) -> None:
    table = pa.Table.from_pylist([recipe.to_row()], schema=SCHEMA)
    back = from_table(table).recipe(0)
    assert back == recipe
    assert back.recipe_id == recipe.recipe_id


@settings(max_examples=50, deadline=None)
@given(st.lists(recipes(), min_size=1, max_size=5))
def test_a_plan_holds_recipes_as_they_are(several: list[Recipe]) -> None:
    plan = Plan.of(several)
    assert [plan.recipe(i) for i in range(len(plan))] == several
    assert plan.ids == [recipe.recipe_id for recipe in several]
    assert plan.table.schema == SCHEMA
    back = from_table(plan.table)
    assert [back.recipe(i) for i in range(len(back))] == several
    assert plan.parents() == set().union(*(recipe.parents() for recipe in several))


def test_a_recipe_survives_parquet(tmp_path) -> None:
    placed = Placement("a-0", "a", "wbc", 1 / 3, 2 / 3, angle=0.1, stain=(0.1, -0.2, 0.3))
    recipe = Recipe("SNE", "paper", 9, 8, Background((253, 229, 203)), (placed,))
    file = tmp_path / "plan.parquet"
    write_table(file, Plan.of([recipe]).table)
    assert from_table(read_table(file, SCHEMA)).recipe(0) == recipe


#: Fields of a placement that are names.
NAMES = {name for name, field in FIELDS.items() if field.kind == "name"}

BASE = Recipe(
    "SNE", "paper", 20, 30, Background((1, 2, 3)), (Placement("a-0", "a", "wbc", 5, 6),), Finish()
)
OTHERS = {
    "label": "BNE", "mode": "scene", "width": 21, "height": 31,
    "background": Background((1, 2, 4)), "placements": (), "finish": Finish("png"),
    "camera": Camera(),
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


def test_the_kept_plan_opens_as_it_was(tmp_path) -> None:
    plan = Plan.load(V1)
    assert plan.ids == [
        "e24bfee62ba07b4a", "4f966f3c0abb2432", "54f9066fb7196e44", "802927357080f3db",
    ]  # fmt: skip
    assert [plan.recipe(i).recipe_id for i in range(len(plan))] == plan.ids
    last = plan.recipe(3)
    assert (last.background.turn, last.background.x, last.background.y) == (0, 0, 0)
    assert last.placements[0].stain_scale == (1, 1, 1)
    assert last.placements[0].kernel == "linear"
    assert last.placements[0].feather == 1.5
    plan.save(tmp_path / "plan")
    kept, again = (read_table(path / "plan.parquet") for path in (V1, tmp_path / "plan"))
    assert again["camera"].null_count == len(again)  # a column that came later
    assert again.drop_columns(["camera"]).equals(kept)


@pytest.mark.parametrize("name", ["finish", "placements", "background_turn"])
def test_a_table_without_a_column_is_refused(tmp_path, name: str) -> None:
    damaged(tmp_path / "plan", lambda table: table.drop_columns([name]))
    with pytest.raises(ArtifactError, match=rf"lacks the column\(s\) {name}"):
        Plan.load(tmp_path / "plan")


def test_a_table_whose_placements_lack_a_field_is_refused(tmp_path) -> None:
    def without_grain(table: pa.Table) -> pa.Table:
        rows = [{**row, "placements": [{k: v for k, v in p.items() if k != "grain"}
                 for p in row["placements"]]} for row in table.to_pylist()]  # fmt: skip
        return pa.Table.from_pylist(rows)

    damaged(tmp_path / "plan", without_grain)
    with pytest.raises(ArtifactError, match=r"plan"):
        Plan.load(tmp_path / "plan")


def damaged(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write the kept plan to ``folder`` with another table."""
    shutil.copytree(V1, folder)
    write_table(folder / "plan.parquet", change(read_table(V1 / "plan.parquet")))


def test_parts_with_and_without_variation_join() -> None:
    plain, placed = BASE, BASE.placements[0]
    varied = replace(BASE, placements=(replace(placed, **OTHER_PLACEMENTS), placed))
    whole = Plan.of([plain, varied, plain])
    both = Columns.concat([whole.columns.take(np.array([k])) for k in (0, 1, 2)])
    assert [both.recipe(i) for i in range(3)] == [plain, varied, plain]
    # the row that says nothing has the id it has alone
    assert both.ids() == [plain.recipe_id, varied.recipe_id, plain.recipe_id]
    bare = Plan.of([plain, plain]).columns
    spelled = {name: bare.placed_or_plain(name) for name in OTHER_PLACEMENTS if name not in NAMES}
    assert set(bare.placed) < set(spelled)
    assert replace(bare, placed=spelled).ids() == bare.ids()


@pytest.mark.parametrize(
    ("placed", "words"),
    [
        ({"aspect": [0.0]}, r"aspect: expected 0\.5 to 2"),
        ({"aspect": [math.nan]}, r"aspect: expected 0\.5 to 2"),
        ({"cx": [math.inf]}, "finite"),
        ({"scale": [0.0]}, "scale: expected more than 0"),
        ({"kernel": [3]}, "kernel: expected linear, cubic, lanczos"),
        ({"elastic_seed": [-1]}, "elastic_seed: expected 0 to 2147483647"),
        ({"aspect": [1.0, 1.0]}, "aspect: expected 1 rows, got 2"),
    ],
)
def test_columns_that_could_not_be_painted_are_refused(placed: dict, words: str) -> None:
    columns = Plan.of([BASE]).columns
    with pytest.raises(SettingsError, match=words):
        replace(columns, placed={name: np.array(column) for name, column in placed.items()})


def test_a_turn_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="turn of 0 to 7"):
        replace(Plan.of([BASE]).columns, ground=np.array([[8, 0, 0]], np.int32))


def test_columns_and_placements_refuse_the_same_values() -> None:
    for name, field in FIELDS.items():
        for value in (field.low, field.high, field.low - 0.5, field.high + 0.5):
            if field.kind in ("number", "triple") and math.isfinite(value):
                said = (value,) * 3 if field.kind == "triple" else value
                column = np.array([said], np.float32)
                assert refused(field, said) == refused_column(field, column), (name, value)


def refused(field: Field, value: object) -> bool:
    try:
        field.checked(value)
    except SettingsError:
        return True
    return False


def refused_column(field: Field, column: np.ndarray) -> bool:
    try:
        field.checked_column(column)
    except SettingsError:
        return True
    return False


TOY = """
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

ordinary = SourceFileLoader.get_code

def get_code(loader, name):
    if name != "naturalize.compose.recipe.placement":
        return ordinary(loader, name)
    # one more line in the one table, and nothing else
    source = loader.get_data(loader.path).decode()
    place = "    blur: float = _number("
    assert source.count(place) == 1
    source = source.replace(place, "    toy: float = _number(0.5, low=0, high=2)\\n" + place)
    return compile(source, loader.path, "exec")

SourceFileLoader.get_code = get_code

from dataclasses import replace
from naturalize.base.artifacts import read_table
from naturalize.base.errors import SettingsError
from naturalize.compose.recipe.columns import Columns
from naturalize.compose.recipe.plan import Plan
from naturalize.compose.recipe.recipe import Background, Placement, Recipe

out = sys.argv[1]
plain = Recipe("SNE", "paper", 9, 8, Background((1, 2, 3)), (Placement("a-0", "a", "wbc", 5, 6),))
toy = replace(plain, placements=(replace(plain.placements[0], toy=1.25),))
assert plain.recipe_id == "%s", "a new field must leave old ids as they are"
assert toy.recipe_id != plain.recipe_id
plan = Plan.of([plain, toy])
assert plan.ids == [plain.recipe_id, toy.recipe_id]
assert plan.columns.placed["toy"].tolist() == [0.5, 1.25]
plan.save(out)
rows = read_table(Path(out) / "plan.parquet").to_pylist()
assert [row["placements"][0]["toy"] for row in rows] == [0.5, 1.25]
back = Plan.load(out)
assert [back.recipe(0), back.recipe(1)] == [plain, toy]
joined = Columns.concat([back.columns, Plan.of([plain]).columns])
assert joined.recipe(1) == toy
for wrong in (-1.0, 2.5, float("nan")):
    try:
        Placement("a-0", "a", "wbc", 5, 6, toy=wrong)
    except SettingsError as error:
        assert "toy" in str(error) or "finite" in str(error)
    else:
        raise AssertionError(wrong)
print("travelled")
"""


def test_a_new_field_is_added_in_one_place(tmp_path) -> None:
    code = TOY % "8ad51ca8331ff1fb"  # as it was before any such field
    command = [sys.executable, "-c", code, str(tmp_path / "plan")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "travelled\n", done.stderr
