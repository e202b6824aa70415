"""``scene`` mode: what takes whose place, where, and what cannot be had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from compose_makers import LABELS, make_bank

from naturalize.base.errors import ArtifactError, InputError, SettingsError
from naturalize.cells.bank import CellBank
from naturalize.compose.draw.materials import Materials, check_sources
from naturalize.compose.draw.modes import mode
from naturalize.compose.draw.modes.fit import unlike
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.render import render
from naturalize.compose.recipe.plan import Plan
from naturalize.compose.recipe.recipe import Recipe


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> CellBank:
    return make_bank(tmp_path_factory.mktemp("scene") / "images", per_class=6)


def recipes(drawn: Plan) -> list[Recipe]:
    return [drawn.recipe(i) for i in range(len(drawn))]


def labels_of(bank: CellBank) -> dict[str, str]:
    rows = bank.cells(target=True)
    return dict(zip(rows["image_id"].to_pylist(), rows["label"].to_pylist(), strict=True))


def altered(bank: CellBank, **columns: list) -> CellBank:
    """Return a bank with some columns of its cells exchanged."""
    table = bank.table
    for name, values in columns.items():
        kind = table.schema.field(name).type
        table = table.set_column(table.column_names.index(name), name, pa.array(values, kind))
    return CellBank(table, bank.backgrounds, root=bank.root, labels=bank.labels)


def test_every_class_is_composed_by_default(bank: CellBank) -> None:
    assert plan(bank, mode="scene", add=2).targets == dict.fromkeys(LABELS, 2)


def test_a_scene_is_another_image_of_the_same_class(bank: CellBank) -> None:
    label = labels_of(bank)
    drawn = recipes(plan(bank, mode="scene", add=20))
    for recipe in drawn:
        (cell,) = recipe.placements
        scene = recipe.background.image_id
        assert recipe.background.background_id == f"{scene}:white"
        assert scene != cell.image_id
        assert label[scene] == label[cell.image_id] == recipe.label
        assert (recipe.width, recipe.height) == (160, 160)
    assert len({recipe.background.image_id for recipe in drawn}) >= 20


def test_scenes_of_any_class_are_drawn_if_asked_for(bank: CellBank) -> None:
    label = labels_of(bank)
    drawn = recipes(plan(bank, mode="scene", add=20, donors="any"))
    assert {label[recipe.background.image_id or ""] for recipe in drawn} == set(LABELS)
    assert all(label[r.placements[0].image_id] == r.label for r in drawn)


def test_the_new_cell_stands_where_the_old_one_stood(bank: CellBank) -> None:
    rows = {row["image_id"]: row for row in bank.cells(target=True).to_pylist()}
    for recipe in recipes(plan(bank, mode="scene", add=12)):
        (cell,), old = recipe.placements, rows[recipe.background.image_id]
        off = np.array(
            [cell.cx - (old["x0"] + old["x1"]) / 2, cell.cy - (old["y0"] + old["y1"]) / 2]
        )
        assert np.abs(off).max() <= 0.5  # PNG files have no grid
        own = rows[cell.image_id]
        width, height = own["x1"] - own["x0"], own["y1"] - own["y0"]
        assert (cell.cx - width / 2) % 1 == (cell.cy - height / 2) % 1 == 0


def test_nothing_is_resampled_unless_it_is_asked_for(bank: CellBank) -> None:
    for recipe in recipes(plan(bank, mode="scene", add=6)):
        (cell,) = recipe.placements
        assert (cell.scale, cell.aspect, cell.elastic) == (1, 1, 0)
        assert cell.angle in (0, 180)
    spread = {"rotate": 20, "scale": 0.05, "aspect": 0.04, "elastic": 1.0, "stain": 0.05}
    drawn = recipes(plan(bank, mode="scene", add=30, **spread))
    cells = [recipe.placements[0] for recipe in drawn]
    assert all(0.95 <= cell.scale <= 1.05 and 0 <= cell.elastic <= 1 for cell in cells)
    assert all(abs((cell.angle + 90) % 180 - 90) <= 20.001 for cell in cells)
    assert len({cell.elastic_seed for cell in cells}) > 100
    assert {cell.kernel for cell in cells} == {"cubic"}
    assert 0.02 < np.std([cell.stain_scale[1] for cell in cells]) < 0.08


def test_plans_are_prefixes_and_do_not_depend_on_the_bank_s_order(bank: CellBank) -> None:
    few, many = plan(bank, mode="scene", add=5), plan(bank, mode="scene", add=30)
    for label in LABELS:
        assert few.rows_of(label).size == 5
        first = [many.ids[i] for i in many.rows_of(label)[:5]]
        assert [few.ids[i] for i in few.rows_of(label)] == first
    backwards = CellBank(
        bank.table.take(pa.array(np.arange(bank.table.num_rows)[::-1])),
        bank.backgrounds.take(pa.array(np.arange(bank.backgrounds.num_rows)[::-1])),
        root=bank.root, labels=bank.labels,
    )  # fmt: skip
    assert plan(backwards, mode="scene", add=5).ids == few.ids
    assert plan(bank, mode="scene", add=5, classes=["LY"]).ids == [
        few.ids[i] for i in few.rows_of("LY")
    ]


def test_all_recipes_differ_though_cells_have_few_scenes(bank: CellBank) -> None:
    drawn = plan(bank, mode="scene", add=60, scene_turn="right")
    assert len(set(drawn.ids)) == len(drawn) == 240
    with pytest.raises(SettingsError, match="cannot draw 5,000 different"):
        plan(bank, mode="scene", add=5000, stain=0)


def test_the_old_cell_is_gone_and_the_new_one_is_there(bank: CellBank) -> None:
    recipe = plan(bank, mode="scene", add=1, classes=["SNE"]).recipe(0)
    image = render(recipe, bank)
    (cell,) = recipe.placements
    old = bank.image(recipe.background.image_id or "")
    assert image.shape == old.shape
    corner = np.s_[:12, 60:100]  # bare slide far from all cells
    assert np.array_equal(image[corner], old[corner])
    cut = bank.cutout(cell.cell_id)
    height, width = cut.mask.shape
    top, left = round(cell.cy - height / 2), round(cell.cx - width / 2)
    turned = np.rot90(cut.rgb[:, ::-1] if cell.flip else cut.rgb, round(cell.angle / 90))
    middle = np.s_[height // 2 - 8 : height // 2 + 8, width // 2 - 8 : width // 2 + 8]
    shown = image[top : top + height, left : left + width][middle]
    assert np.abs(shown.astype(int) - turned[middle]).max() <= 3


def test_images_that_must_not_be_combined_are_not(bank: CellBank) -> None:
    images = Materials.of(bank).images
    everyone = np.arange(len(images))
    cost = unlike(images, everyone, everyone)
    assert np.isinf(np.diag(cost)).all()
    assert np.isfinite(cost[~np.eye(len(images), dtype=bool)]).all()
    lights = bank.backgrounds
    lilac = pa.array([220.0] * 3 + [250.0] * (lights.num_rows - 3), pa.float32())
    other = CellBank(
        bank.table, lights.set_column(lights.column_names.index("r"), "r", lilac),
        root=bank.root, labels=bank.labels,
    )  # fmt: skip
    strange = set(lights["image_id"].to_pylist()[:3])
    drawn = recipes(plan(other, mode="scene", add=20, classes=["BNE"]))
    for recipe in drawn:
        assert (recipe.background.image_id in strange) == (recipe.placements[0].image_id in strange)


def test_crowds_and_crowded_cells_lend_no_scene(bank: CellBank) -> None:
    targets = bank.table["target"].to_pylist()
    owner = bank.table["image_id"].to_pylist()
    crowd = owner[targets.index(True)]
    kinds = bank.table["kind"].to_pylist()
    second = next(i for i, o in enumerate(owner) if o == crowd and not targets[i])
    kinds[second] = "wbc"
    drawn = recipes(plan(altered(bank, kind=kinds), mode="scene", add=30, classes=["BNE"]))
    assert crowd not in {recipe.background.image_id for recipe in drawn}
    assert crowd in {recipe.placements[0].image_id for recipe in drawn}
    touching = [0.9 if o == crowd else 0.0 for o in owner]
    drawn = recipes(plan(altered(bank, contact=touching), mode="scene", add=30, classes=["BNE"]))
    assert crowd not in {recipe.background.image_id for recipe in drawn}


def test_a_platelet_takes_the_place_of_a_platelet(bank: CellBank) -> None:
    kinds = [
        "platelet" if target else kind
        for kind, target in zip(
            bank.table["kind"].to_pylist(), bank.table["target"].to_pylist(), strict=True
        )
    ]
    drawn = recipes(plan(altered(bank, kind=kinds), mode="scene", add=3))
    assert all((r.background.background_id or "").endswith(":target") for r in drawn)
    assert all(r.placements[0].kind == "platelet" for r in drawn)


def test_a_canvas_smaller_than_the_scene_is_cut_around_the_cell(bank: CellBank) -> None:
    for recipe in recipes(plan(bank, mode="scene", add=4, width=100, height=90)):
        (cell,) = recipe.placements
        assert (recipe.width, recipe.height) == (100, 90)
        assert abs(cell.cx - 50) < 12
        assert abs(cell.cy - 45) < 12
    assert render(recipe, bank).shape == (90, 100, 3)


def test_what_cannot_be_had_is_told_with_class_and_counts(bank: CellBank) -> None:
    with pytest.raises(
        InputError, match=r"class BNE: none of its 6 scenes .* 400 × any .*160 × 160"
    ):
        plan(bank, mode="scene", add=1, width=400)
    crops = CellBank(
        bank.table, bank.backgrounds.slice(0, 0), root=bank.root, labels=bank.labels, holds="crops"
    )
    with pytest.raises(InputError, match="class BNE: the bank holds 6 cells and no whole images"):
        plan(crops, mode="scene", add=1)
    one = bank.cells(target=True, label="SNE")["image_id"][0].as_py()
    lonely = CellBank(
        bank.table.filter(
            pc.or_(
                pc.not_equal(bank.table["label"].fill_null(""), "SNE"),
                pc.equal(bank.table["image_id"], one),
            )
        ),
        bank.backgrounds, root=bank.root, labels=bank.labels,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"class SNE: 3 composites .* no cell .* \(1 accepted\)"):
        plan(lonely, mode="scene", add=3)
    with pytest.raises(InputError, match=r"class SNE: 9 .* 6 cells with max_reuse 1 make 6"):
        plan(bank, mode="scene", add=9, classes=["SNE"], max_reuse=1)


def test_images_that_changed_or_are_gone_are_counted_by_class(tmp_path: Path) -> None:
    bank = make_bank(tmp_path / "images", per_class=3)
    paths = dict(zip(*(bank.backgrounds[c].to_pylist() for c in ("path", "image_id")), strict=True))
    (tmp_path / "images" / "SNE" / "0.png").unlink()
    other = (tmp_path / "images" / "LY" / "1.png").read_bytes()
    (tmp_path / "images" / "LY" / "0.png").write_bytes(other)
    told = r"class LY: 1 of 3, class SNE: 1 of 3\); the first: .*(no such file|has changed)"
    with pytest.raises(ArtifactError, match=told):
        plan(bank, mode="scene", add=1)
    with pytest.raises(ArtifactError, match=told):
        check_sources(bank, paths.values())
    check_sources(bank, [paths["SNE/1.png"], paths["BNE/0.png"]])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"donors": "none"}, "donors: input should be 'same', 'any' or 'foreign'"),
        ({"choices": 0}, "choices: .*greater than or equal to 1"),
        ({"turn": "left"}, "turn: input should be 'none', 'flips', 'right' or 'any'"),
        ({"scene_turn": "up"}, "scene_turn: input should be 'none', 'grid' or 'right'"),
        ({"scale": 0.5}, "scale: .*less than or equal to 0.15"),
        ({"rotate": -1}, "rotate: .*greater than or equal to 0"),
        ({"elastic": "much"}, "elastic: .*number"),
        ({"stain": True}, "stain: .*number, found True"),
        ({"blend": "glue"}, "blend: expected one of hard, feather, scene"),
        ({"feather": 9}, "feather: .*less than or equal to 6"),
        ({"width": 0}, "width: "),
        ({"on_grid": 1}, "on_grid: .*boolean, found 1"),
        ({"finish": "gif"}, "finish: "),
        ({"quality": "high"}, "quality"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        mode("scene", **wrong)
