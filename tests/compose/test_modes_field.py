"""Mode ``field``: whole fields of which every cell is known."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import typer
from compose_makers import make_bank
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from naturalize.base.errors import InputError, SettingsError
from naturalize.cells.bank import CellBank
from naturalize.cli.compose import compose
from naturalize.compose import CropStore, Naturalize, Plan, fields, plan, render, truth
from naturalize.compose.deliver import write
from naturalize.compose.deliver.annotation import BankAnnotation
from naturalize.compose.deliver.files import field_sheet
from naturalize.compose.draw.materials import Materials
from naturalize.compose.draw.modes import mode
from naturalize.compose.draw.modes.scatter import Scatter, overlap_of_circles, set_white
from naturalize.compose.recipe.recipe import Finish, Recipe
from naturalize.imaging.runlength import rle_to_mask
from naturalize.realism.run import realism

LABELS = ("LY", "PLT", "SNE")
SMALL = {"width": 220, "height": 180, "sizes": [0.6, 1.1], "white": [1, 4]}


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> CellBank:
    return make_bank(tmp_path_factory.mktemp("field") / "images", per_class=3, labels=LABELS)


@pytest.fixture(scope="module")
def materials(bank: CellBank) -> Materials:
    return Materials.of(bank)


@pytest.fixture(scope="module")
def drawn(bank: CellBank, materials: Materials) -> Plan:
    return plan(bank, mode="field", add=2, seed=4, materials=materials, **SMALL)


@pytest.fixture(scope="module")
def source(bank: CellBank, drawn: Plan, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the truth of recipes of ``drawn`` is made from."""
    store = CropStore.build(drawn, bank, tmp_path_factory.mktemp("field") / "crops", what=None)
    return {"source": store, "annotation": BankAnnotation(bank)}


def bare(recipe: Recipe, keep: list[int] | None = None) -> Recipe:
    """Return a recipe as it is painted, without camera and codec, or some of its cells."""
    cells = recipe.placements if keep is None else tuple(recipe.placements[i] for i in keep)
    return replace(recipe, camera=None, finish=Finish(), placements=cells)


def test_a_field_holds_several_white_cells_its_own_class_among_them(
    drawn: Plan, source: dict[str, Any]
) -> None:
    numbers = []
    for recipe in drawn:
        found = truth(recipe, **source)
        white = [cell.label for cell in found.cells if cell.kind == "wbc"]
        assert recipe.label in white
        assert set(white) <= set(LABELS)
        assert {cell.label for cell in found.cells if cell.kind == "rbc"} == {None}
        numbers.append(len(white))
    assert max(numbers) > 1
    assert {p.blend for recipe in drawn for p in recipe.placements} == {"density"}
    assert drawn.reuse.keys() == set(LABELS)
    assert all(about["used"] <= about["cells"] for about in drawn.reuse.values())


def test_the_same_seed_gives_the_same_bytes_and_another_others(
    bank: CellBank, materials: Materials, drawn: Plan, source: dict[str, Any]
) -> None:
    again = plan(bank, mode="field", add=2, seed=4, **SMALL)
    assert again.ids == drawn.ids
    np.testing.assert_array_equal(
        render(again[1], source["source"]), render(drawn[1], source["source"])
    )
    part = plan(bank, mode="field", add=1, seed=4, classes=["SNE"], materials=materials, **SMALL)
    assert part.ids[0] == drawn.ids[int(drawn.rows_of("SNE")[0])]
    other = plan(bank, mode="field", add=2, seed=5, materials=materials, **SMALL)
    assert not set(other.ids) & set(drawn.ids)


def test_a_plan_on_disk_keeps_cameras_exactly(bank: CellBank, drawn: Plan, tmp_path: Path) -> None:
    drawn.save(tmp_path / "plan")
    again = Plan.load(tmp_path / "plan")
    assert again.ids == drawn.ids
    assert list(again) == list(drawn)
    assert len({recipe.camera for recipe in again}) == len(again)
    assert Plan.of(list(drawn)).ids == drawn.ids
    assert replace(drawn[0], camera=None).recipe_id != drawn[0].recipe_id


def test_masks_are_what_was_painted(drawn: Plan, source: dict[str, Any]) -> None:
    recipe = bare(drawn[0])
    found, image = truth(recipe, **source), render(recipe, source["source"]).astype(int)
    n = len(recipe.placements)
    order = {cell.cell_id: [] for cell in found.cells}
    assert len(found.cells) == n  # none is hidden wholly, so numbers are those of the placements
    for k in sorted({0, n // 2, n - 1}):
        without = render(bare(recipe, [i for i in range(n) if i != k]), source["source"]).astype(
            int
        )
        changed = np.abs(image - without).max(axis=2) > 12
        whole = found.whole(k + 1)
        assert changed[whole].mean() > 0.9
        assert not changed[~_wider(whole, 3)].any()
        order[recipe.placements[k].cell_id].append(k)


def _wider(mask: np.ndarray, by: int) -> np.ndarray:
    from scipy.ndimage import binary_dilation

    return binary_dilation(mask, iterations=by)


def test_overlapping_cells_add_their_optical_densities(drawn: Plan, source: dict[str, Any]) -> None:
    base = bare(drawn[0])
    red = next(p for p in base.placements if p.kind == "rbc")
    pair = [replace(red, cx=90.0, cy=90.0), replace(red, cx=100.0, cy=90.0)]
    slide = np.array(base.background.colour)

    def density(*cells: object) -> np.ndarray:
        image = render(replace(base, placements=tuple(cells)), source["source"])
        return -np.log10(np.maximum(image, 1) / slide)

    both = truth(replace(base, placements=tuple(pair)), **source)
    shared = both.whole(1) & both.whole(2)
    assert shared.sum() > 20
    one, two, together = density(pair[0]), density(pair[1]), density(*pair)
    np.testing.assert_allclose(together[shared], (one + two)[shared], atol=0.02)


def test_boxes_fit_masks_and_instances_are_their_topmost(
    drawn: Plan, source: dict[str, Any]
) -> None:
    hidden = 0
    for recipe in list(drawn)[:3]:
        found = truth(recipe, **source)
        canvas = np.zeros(found.instances.shape, int)
        for cell in found.cells:
            seen, whole = found.instances == cell.instance, found.whole(cell.instance)
            for mask, box in ((seen, cell.box), (whole, found.wholes[cell.instance - 1][0])):
                rows, columns = np.nonzero(mask)
                assert box == (
                    columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                )  # fmt: skip
            assert not (seen & ~whole).any()
            canvas[whole] = cell.instance
            hidden += int((whole & ~seen).sum())
        np.testing.assert_array_equal(canvas, found.instances)
    assert hidden > 0


@pytest.mark.parametrize("hidden", [0.0, 0.2])
def test_no_white_cell_is_hidden_beyond_the_limit(
    bank: CellBank, materials: Materials, hidden: float
) -> None:
    crowd = {"white": [10, 10], "coverage": [0, 0], "platelets": 0, "sizes": [0.7, 0.7]}
    made = plan(bank, mode="field", add=2, hidden=hidden, materials=materials, **{**SMALL, **crowd})
    for recipe in made:
        found = truth(recipe, bank)
        for cell in found.cells:
            whole = int(found.whole(cell.instance).sum())
            assert (found.instances == cell.instance).sum() >= (1 - hidden - 0.02) * whole


def test_coverage_says_how_crowded_a_field_is(bank: CellBank, materials: Materials) -> None:
    shares = []
    for cover in (0.05, 0.3, 0.7):
        how = {**SMALL, "coverage": [cover, cover], "platelets": 0, "white": [1, 1]}
        made = plan(bank, mode="field", add=1, materials=materials, **how)
        placed = [p for recipe in made for p in recipe.placements if p.kind == "rbc"]
        area = sum(bank.row(p.cell_id)["area"] * p.scale**2 for p in placed)
        shares.append(area / (3 * 220 * 180))
    assert shares[0] < shares[1] < shares[2]
    assert 0.02 < shares[0] < 0.09
    assert shares[2] > 0.4


def test_small_cells_are_shrunk_without_losing_area(drawn: Plan, source: dict[str, Any]) -> None:
    recipe = bare(drawn[0])
    cell = replace(recipe.placements[-1], cx=90.0, cy=90.0, angle=0.0)
    areas = {}
    for scale in (1.0, 0.5, 0.3, 0.2):
        one = replace(recipe, placements=(replace(cell, scale=scale),))
        areas[scale] = float((truth(one, **source).instances > 0).sum()) / scale**2
    assert all(abs(area / areas[1.0] - 1) < 0.08 for area in areas.values()), areas


def test_a_camera_changes_nothing_but_the_picture(drawn: Plan, source: dict[str, Any]) -> None:
    recipe = drawn[0]
    np.testing.assert_array_equal(
        truth(recipe, **source).instances, truth(bare(recipe), **source).instances
    )
    assert (render(recipe, source["source"]) != render(bare(recipe), source["source"])).any()
    half = render(recipe, source["source"], size=(110, 90))
    assert half.shape == (90, 110, 3)
    assert truth(recipe, **source, size=(110, 90)).instances.shape == (90, 110)
    twice = truth(recipe, **source, size=(440, 360))
    assert twice.whole(1).sum() == pytest.approx(
        4 * truth(recipe, **source).whole(1).sum(), rel=0.1
    )


def test_coco_says_what_is_seen_and_what_lies_below(
    bank: CellBank, drawn: Plan, source: dict[str, Any], tmp_path: Path
) -> None:
    write(drawn, bank, tmp_path / "out", "coco", format="png")
    found = json.loads((tmp_path / "out" / "annotations.json").read_text())
    names = {image["id"]: image["recipe_id"] for image in found["images"]}
    amodal = 0
    for recipe in list(drawn)[:2]:
        wanted = truth(recipe, **source)
        rows = [a for a in found["annotations"] if names[a["image_id"]] == recipe.recipe_id]
        assert len(rows) == len(wanted.cells)
        for row, cell in zip(rows, wanted.cells, strict=True):
            seen, whole = wanted.instances == cell.instance, wanted.whole(cell.instance)
            np.testing.assert_array_equal(rle_to_mask(row["segmentation"]), seen)
            assert row["label"] == cell.label
            if (whole == seen).all():
                assert "amodal_segmentation" not in row
                continue
            amodal += 1
            np.testing.assert_array_equal(rle_to_mask(row["amodal_segmentation"]), whole)
            (x0, y0, x1, y1), mask = wanted.wholes[cell.instance - 1]
            assert row["amodal_bbox"] == [x0, y0, x1 - x0, y1 - y0]
            assert row["amodal_area"] == int(mask.sum())
    assert amodal


def test_fields_of_a_bank_are_a_data_set(
    bank: CellBank, materials: Materials, tmp_path: Path
) -> None:
    made = fields(bank, 5, folder=tmp_path / "crops", seed=2, materials=materials, **SMALL)
    assert len(made) == 6  # as many for each of three classes
    again = pickle.loads(pickle.dumps(made))
    for one, other in ((made[1], again[1]), (made[-1], again[5])):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.instances, other.instances)
    field = made[0]
    assert field.image.shape == (180, 220, 3)
    assert field.image.dtype == np.uint8
    assert field.instances.max() == len(field.kinds) == len(field.classes)
    assert all(
        (kind == "rbc") == (name is None)
        for kind, name in zip(field.kinds, field.classes, strict=True)
    )
    own = truth(made.plan[0], bank, annotation=BankAnnotation(bank)).instances
    assert any((made[i].instances == own).all() for i in range(len(made)))
    with pytest.raises(IndexError):
        made[6]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"coverage": 0.5}, "coverage: expected two numbers: the least and the most"),
        ({"coverage": [0.5, 0.1]}, "the lesser one first"),
        ({"coverage": [0, 3]}, "coverage: expected 2 at most"),
        ({"sizes": [0, 1]}, "sizes: expected 0.05 to 4"),
        ({"sizes": [1, float("inf")]}, "sizes: expected two numbers from 0 on"),
        ({"white": [0, 3]}, "white: expected whole numbers from 1 on"),
        ({"white": [1, 2.5]}, "white: expected whole numbers"),
        ({"cameras": 2}, "cameras: .*less than or equal to 1"),
        ({"hidden": 0.9}, "hidden: .*less than or equal to 0.5"),
        ({"mix": "odd"}, "mix: input should be 'even' or 'bank'"),
        ({"stain": 0.1}, "unknown key 'stain'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        mode("field", **wrong)


def test_what_is_about_one_cell_refuses_fields(bank: CellBank, drawn: Plan, tmp_path: Path) -> None:
    for more in ({"gate": True}, {"max_reuse": 2}):
        with pytest.raises(SettingsError, match="gate and max_reuse, which are about one"):
            plan(bank, mode="field", add=1, **more)
    with pytest.raises(SettingsError, match="train: these composites are whole fields"):
        drawn.check_about_one("train")
    with pytest.raises(SettingsError, match="realism: these composites are whole fields"):
        realism(drawn, bank, tmp_path / "realism")
    with pytest.raises(SettingsError, match="Naturalize: these composites are whole fields"):
        Naturalize(bank, mode="field", per_class=1, **SMALL)
    assert not (tmp_path / "realism").exists()


def test_a_bank_without_red_cells_is_refused(bank: CellBank) -> None:
    import pyarrow.compute as pc

    white = bank.table.filter(pc.field("kind") == "wbc")
    few = CellBank(white, bank.backgrounds, root=bank.root, labels=bank.labels)
    with pytest.raises(InputError, match="mode field: the bank has no whole red cell"):
        plan(few, mode="field", add=1)


def test_a_bank_of_crops_and_a_canvas_smaller_than_a_cell_will_do(bank: CellBank) -> None:
    crops = CellBank(
        bank.table, bank.backgrounds.slice(0, 0), root=bank.root, labels=bank.labels, holds="crops"
    )
    for source, side in ((crops, 90), (bank, 12)):
        how = {"width": side, "height": side, "sizes": [1, 1], "white": [1, 1]}
        (recipe,) = plan(source, mode="field", add=1, classes=["LY"], **how)
        assert render(recipe, bank).shape == (side, side, 3)
        assert "LY" in {cell.label for cell in truth(recipe, bank).cells}


def test_the_command_writes_fields_and_a_sheet_of_them(bank: CellBank, tmp_path: Path) -> None:
    bank.save(tmp_path / "bank")
    app = typer.Typer()
    app.command()(compose)
    size = ["width=200", "height=160", "sizes=[0.8, 1]", "coverage=[0.1, 0.2]"]
    how = [word for pair in size for word in ("--set", pair)]
    files = ["--write", "imagefolder", "--masks", "-o", tmp_path / "out", "--engine", "serial"]
    words = [tmp_path / "bank", "-m", "field", "--add", 1, *how, *files]
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.stdout.startswith("3 composites, mode field")
    assert len(list((tmp_path / "out").glob("images/*/*.jpg"))) == 3
    assert len(list((tmp_path / "out").glob("masks/*/*.png"))) == 3
    made = Plan.load(tmp_path / "out" / "plan")
    sheet = field_sheet(made, bank)
    assert sheet.shape[1] > 2 * 640


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(0, 0.5))
@settings(max_examples=40, deadline=None)
def test_white_discs_keep_the_limit_for_any_draw(seed: int, n: int, hidden: float) -> None:
    generator = np.random.default_rng(seed)
    radius = generator.uniform(3, 30, n)
    area = np.pi * radius**2
    at = set_white((100, 80), radius, area, hidden, generator.random((n, 6, 2)))
    assert np.isfinite(at[0]).all()
    kept = np.flatnonzero(np.isfinite(at[:, 0]))
    for i in kept:
        others = kept[kept != i]
        apart = np.hypot(*(at[others] - at[i]).T)
        assert overlap_of_circles(apart, radius[others], radius[i]).sum() <= hidden * area[i] + 1e-6


def test_a_group_goes_no_further_into_others_than_it_may() -> None:
    scatter = Scatter((50, 50))
    scatter.add(np.array([[25.0, 25.0]]), np.array([20.0]))
    chances = np.full((4, 2), 0.5)
    one = np.zeros((1, 2)), np.array([5.0])
    assert scatter.try_group(*one, 0.2, 0.5, chances) is None
    assert scatter.try_group(*one, 1.0, 0.0, chances) is not None
    assert scatter.into_others(np.array([[[25.0, 50.0]]]), np.array([5.0])) == pytest.approx(0)


def test_specks_are_painted_and_named_by_no_truth(
    bank: CellBank,
) -> None:
    rows = bank.table.to_pylist()
    taken = [row for row in rows if row["kind"] == "rbc" and not row["touches_border"]][:2]
    for row in taken:
        row |= {"kind": "platelet", "accepted": False, "reason": "too small for its kind"}
    refused = {row["cell_id"] for row in taken}
    dirty = CellBank(
        pa.Table.from_pylist(rows, schema=bank.table.schema),
        bank.backgrounds,
        root=bank.root,
        labels=bank.labels,
        part=bank.part,
        inputs=bank.inputs,
        holds=bank.holds,
    )
    made = plan(dirty, mode="field", add=1, seed=4, specks=20, **SMALL)
    clean = plan(dirty, mode="field", add=1, seed=4, specks=0, **SMALL)
    recipe, without = next(iter(made)), next(iter(clean))
    specks = [p for p in recipe.placements if p.kind == "speck"]
    assert specks
    assert {p.cell_id for p in specks} <= refused
    assert not refused & {p.cell_id for p in without.placements}
    found = truth(recipe, dirty)
    assert refused.isdisjoint(cell.cell_id for cell in found.cells)
    cells = [i for i, p in enumerate(recipe.placements) if p.kind != "speck"]
    plain = bare(recipe, cells)
    assert np.array_equal(found.instances, truth(plain, dirty).instances)
    changed = np.abs(render(bare(recipe), dirty).astype(int) - render(plain, dirty)).max(axis=2) > 8
    assert changed.any()
    y, x = np.nonzero(changed)
    near = np.min([np.hypot(p.cx - x, p.cy - y) for p in specks], axis=0)
    assert near.max() < 60
    spotless = plan(bank, mode="field", add=1, **SMALL)
    assert all(p.kind != "speck" for one in spotless for p in one.placements)
