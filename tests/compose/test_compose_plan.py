"""Plans: what is drawn depends on the seed, the class and the number, and on nothing else."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from compose_makers import LABELS, SIDE, make_bank

from naturalize.base.artifacts import read_json, read_table, write_table
from naturalize.base.errors import ArtifactError, InputError, SettingsError
from naturalize.cells.bank import CellBank
from naturalize.compose.draw.planner import plan
from naturalize.compose.draw.targets import named
from naturalize.compose.recipe.plan import Plan, check_parts

paper = partial(plan, mode="paper")


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> CellBank:
    return make_bank(tmp_path_factory.mktemp("bank"), per_class=3)


def by_class(drawn: Plan) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for label, recipe_id in zip(drawn.table["label"].to_pylist(), drawn.ids, strict=True):
        found.setdefault(label, []).append(recipe_id)
    return found


def test_the_first_of_2k_are_1k(bank: CellBank) -> None:
    small, large = (
        by_class(paper(bank, add=700)),
        by_class(paper(bank, add=1400)),
    )
    assert all(large[label][:700] == ids for label, ids in small.items())


def test_a_class_does_not_depend_on_the_others(bank: CellBank) -> None:
    assert (
        by_class(paper(bank, add=9, classes=["SNE"]))["SNE"] == by_class(paper(bank, add=9))["SNE"]
    )


def test_another_seed_draws_others(bank: CellBank) -> None:
    assert not set(paper(bank, add=20).ids) & set(paper(bank, add=20, seed=1).ids)


def test_the_banks_order_decides_nothing(bank: CellBank) -> None:
    shuffled = np.random.default_rng(5).permutation(bank.table.num_rows)
    other = CellBank(
        bank.table.take(pa.array(shuffled)), bank.backgrounds, root=bank.root, labels=bank.labels,
        inputs=bank.inputs,
    )  # fmt: skip
    assert paper(other, add=12).ids == paper(bank, add=12).ids


def test_ids_are_unique_and_fit_the_recipes(bank: CellBank) -> None:
    drawn = paper(bank, add=300)
    assert len(set(drawn.ids)) == len(drawn) == 900
    assert all(drawn.recipe(i).recipe_id == drawn.ids[i] for i in range(0, 900, 77))


def test_paper_composes_the_weak_classes_where_there_are_any(bank: CellBank, tmp_path) -> None:
    assert paper(bank, add=1).targets == {"BNE": 1, "MMY": 1, "SNE": 1}
    others = make_bank(tmp_path, per_class=1, labels=("EO", "LY"))
    assert paper(others, add=1).targets == {"EO": 1, "LY": 1}


def test_paper_is_the_published_algorithm(bank: CellBank) -> None:
    boxes = {row["cell_id"]: row for row in bank.table.to_pylist()}
    drawn = paper(bank, add=200)
    for row in drawn.table.to_pylist():
        assert (row["width"], row["height"]) == (360, 363)
        assert [row[f"background_{c}"] for c in "rgb"] == [253, 229, 203]
        cells = row["placements"]
        assert [cell["kind"] for cell in cells] == ["wbc"] + ["rbc"] * (len(cells) - 1)
        assert len(cells) <= 9
        assert boxes[cells[0]["cell_id"]]["label"] == row["label"]
        covered = np.zeros((363, 360), int)
        for cell in cells:
            assert (cell["scale"], cell["angle"], cell["flip"]) == (1, 0, False)
            assert (cell["stain"], cell["blend"]) == ([0, 0, 0], "hard")
            box = boxes[cell["cell_id"]]
            width, height = box["x1"] - box["x0"], box["y1"] - box["y0"]
            left, top = cell["cx"] - width / 2, cell["cy"] - height / 2
            assert left == int(left) >= 0
            assert top == int(top) >= 0
            assert left + width <= 360
            assert top + height <= 363
            covered[int(top) : int(top) + height, int(left) : int(left) + width] += 1
        assert covered.max() == 1


def test_the_white_cell_may_lie_anywhere(bank: CellBank) -> None:
    first = [row["placements"][0] for row in paper(bank, add=400).table.to_pylist()]
    x = np.array([cell["cx"] for cell in first])
    y = np.array([cell["cy"] for cell in first])
    # uniform over what keeps it inside: mean in the middle, deviation of range / sqrt(12)
    assert abs(x.mean() - 180) < 12
    assert abs(y.mean() - 181.5) < 12
    assert 75 < x.std() < 95
    assert 75 < y.std() < 95


def test_parents_take_even_turns(bank: CellBank) -> None:
    drawn = paper(bank, add=10, classes=["SNE"])
    used = Counter(row["placements"][0]["cell_id"] for row in drawn.table.to_pylist())
    assert sorted(used.values()) == [3, 3, 4]
    (most_used,) = [cell_id for cell_id, times in used.items() if times == 4]
    assert drawn.reuse == {"SNE": {"cells": 3, "used": 3, "most": 4, "most_used": most_used}}


@pytest.mark.parametrize(("name", "n"), [("1K-PBC", 1000), ("2k", 2000), ("3K-pbc", 3000)])
def test_data_sets_of_the_paper_have_names(name: str, n: int) -> None:
    assert named(name) == n


def test_targets_by_real_counts(bank: CellBank) -> None:
    real = {"BNE": 2, "LY": 7, "MMY": 5, "SNE": 9}
    assert paper(bank, per_class=6, real=real).targets == {
        "BNE": 4,
        "MMY": 1,
        "SNE": 0,
    }
    assert paper(bank, balance=True, real=real).targets == {
        "BNE": 7,
        "MMY": 4,
        "SNE": 0,
    }
    every = paper(bank, balance=True, real=real, classes=list(LABELS))
    assert every.targets == {"BNE": 7, "LY": 2, "MMY": 4, "SNE": 0}
    assert paper(bank, per_class=5).targets == {"BNE": 2, "MMY": 2, "SNE": 2}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({}, "none"),
        ({"add": 2, "balance": True}, "add and balance"),
        ({"name": "2K-PBC", "add": 3}, "name and add"),
        ({"name": "2M"}, "1K-PBC"),
        ({"add": 0}, "at least 1"),
        ({"per_class": -1}, "at least 1"),
        ({"add": 1, "max_reuse": 0}, "max_reuse"),
        ({"add": 1, "classes": []}, "at least one"),
        ({"add": 1, "classes": ["SEN"]}, "'SNE'"),
        ({"add": 1, "mode": "papre"}, "'paper'"),
        ({"add": 1, "turm": "any"}, "'turn'"),
        ({"add": 1, "turn": "left"}, "right"),
        ({"add": 1, "red_cells": -1}, "red_cells"),
        ({"add": 1, "background": [1, 2]}, "background"),
    ],
)
def test_settings_that_make_no_sense_are_refused(bank: CellBank, wrong: dict, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        paper(bank, **wrong)


def test_too_few_cells_are_named_with_their_class_and_counts(bank: CellBank, tmp_path) -> None:
    with pytest.raises(InputError, match=r"class SNE: 7 .* 3 cells with max_reuse 2 make 6"):
        paper(bank, add=7, classes=["SNE"], max_reuse=2)
    assert len(paper(bank, add=6, classes=["SNE"], max_reuse=2)) == 6
    empty = CellBank(
        bank.table.filter(pa.compute.not_equal(bank.table["label"].fill_null(""), "SNE")),
        bank.backgrounds, root=bank.root, labels=bank.labels,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"class SNE: 4 composites .* no cell"):
        paper(empty, add=4, classes=["BNE", "SNE"])
    with pytest.raises(InputError, match="class BNE"):
        paper(bank, add=1, width=20)
    with pytest.raises(InputError, match="no composite is needed"):
        paper(bank, per_class=2)


def test_a_bank_without_red_cells_says_so(bank: CellBank) -> None:
    white = CellBank(
        bank.table.filter(pa.compute.equal(bank.table["kind"], "wbc")), bank.backgrounds,
        root=bank.root, labels=bank.labels,
    )  # fmt: skip
    with pytest.raises(InputError, match="no whole red cell"):
        paper(white, add=1)
    assert {len(r["placements"]) for r in paper(white, add=3, red_cells=0).table.to_pylist()} == {1}


def test_a_plan_opens_as_it_was_saved(bank: CellBank, tmp_path: Path) -> None:
    drawn = paper(bank, add=5, turn="any", finish="jpeg", quality=80)
    drawn.save(tmp_path / "plan")
    back = Plan.load(tmp_path / "plan")
    assert back.table.equals(drawn.table)
    assert (back.ids, back.fingerprint) == (drawn.ids, drawn.fingerprint)
    assert back.recipe(3) == drawn.recipe(3)
    about = read_json(tmp_path / "plan" / "plan.json")
    assert about["targets"] == {"BNE": 5, "MMY": 5, "SNE": 5}
    assert about["bank"] == bank.fingerprint


def test_equal_plans_are_equal_files(bank: CellBank, tmp_path: Path) -> None:
    for name in ("a", "b"):
        paper(bank, add=4).save(tmp_path / name)
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert "plan.parquet" in files
    assert all(
        (tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files
    )


def test_a_plan_changed_by_hand_is_refused(bank: CellBank, tmp_path: Path) -> None:
    paper(bank, add=2).save(tmp_path / "plan")
    file = tmp_path / "plan" / "plan.parquet"
    table = read_table(file)
    moved = table.set_column(
        table.schema.get_field_index("width"), "width", pa.array([361] * 6, pa.int32())
    )
    write_table(file, moved)
    with pytest.raises(ArtifactError, match="changed after planning"):
        Plan.load(tmp_path / "plan")


def test_rejections_are_counted(bank: CellBank) -> None:
    drawn = paper(bank, add=3, width=80, height=80, tries=1)
    placed = sum(len(row["placements"]) for row in drawn.table.to_pylist())
    assert drawn.rejections["red cells left out for lack of room"] == 9 * 9 - placed > 0
    assert SIDE > 80  # a white cell fits, eight red ones do not


def test_a_leak_is_found_and_counted(bank: CellBank) -> None:
    drawn = paper(bank, add=30)
    rows = drawn.table.to_pylist()
    inside = dict.fromkeys(drawn.parents(), "train")
    clean = check_parts(drawn, inside)
    assert (clean["n_composites"], clean["outside"], clean["outside_ids"]) == (90, 0, [])
    assert clean["statement"] == "0 of 90 training composites have a parent outside train"
    stranger = rows[7]["placements"][0]["image_id"]
    guilty = [r["recipe_id"] for r in rows if stranger in {p["image_id"] for p in r["placements"]}]
    for part in ("test", None):
        parts = (
            {**inside, stranger: part}
            if part
            else {k: v for k, v in inside.items() if k != stranger}
        )
        found = check_parts(drawn, parts)
        assert found["outside"] == len(guilty) > 0
        assert found["outside_ids"] == guilty[:20]
        assert found["outside_parents"] == [{"image_id": stranger, "part": part}]


def test_a_plan_is_a_sequence_of_recipes_that_prints_in_a_line(bank: CellBank) -> None:
    drawn = plan(bank, mode="scene", add=3)
    assert len(drawn) == len(list(drawn)) == 12
    assert [recipe.recipe_id for recipe in drawn] == drawn.ids
    assert drawn[-1].recipe_id == drawn.ids[-1]
    assert [recipe.recipe_id for recipe in drawn[2:5]] == drawn.ids[2:5]
    with pytest.raises(IndexError, match="recipe 12 of 12"):
        drawn[12]
    assert repr(drawn) == "<Plan: 12 composites, mode scene, seed 0: BNE 3, LY 3, MMY 3, SNE 3>"


def test_the_table_by_class_counts_reuse_for_each_class(bank: CellBank) -> None:
    drawn = plan(bank, mode="layout", add=7)
    wanted = []
    for label in LABELS:
        last = [drawn[int(row)].placements[-1].cell_id for row in drawn.rows_of(label)]
        times = Counter(last)
        (row,) = [row for row in drawn.by_class().to_pylist() if row["label"] == label]
        assert (row["composites"], row["cells"]) == (7, 3)
        assert (row["used"], row["most"]) == (len(times), max(times.values()))
        assert times[row["most_used"]] == row["most"]
        wanted.append(f"<td>{label}</td><td>7</td><td>3</td><td>{len(times)}</td>")
    assert all(row in drawn._repr_html_() for row in wanted)
