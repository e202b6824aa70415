"""Pixels: the same on any worker, where the recipe says, and with nothing of the old background."""

from __future__ import annotations

import functools
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from compose_makers import OneCell, make_bank, one_cell_recipe, varied
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.base import engine
from naturalize.base.errors import InputError, NaturalizeError, SettingsError
from naturalize.base.images import read_image
from naturalize.cells.bank import CellBank
from naturalize.compose.deliver import image_bytes, rendering, write
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.blend import BLENDS
from naturalize.compose.paint.crops import CropStore
from naturalize.compose.paint.render import render
from naturalize.compose.paint.sizes import EDGE, PAD
from naturalize.compose.recipe.plan import Plan, check_parts
from naturalize.compose.recipe.recipe import Background, Placement, Recipe

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> CellBank:
    return make_bank(tmp_path_factory.mktemp("bank"), per_class=2)


def test_a_paper_composite_is_what_a_plain_loop_pastes(bank: CellBank) -> None:
    drawn = plan(bank, mode="paper", add=2)
    for i in range(len(drawn)):
        recipe = drawn.recipe(i)
        wanted = np.full((363, 360, 3), (253, 229, 203), np.uint8)
        for p in recipe.placements:
            cutout = bank.cutout(p.cell_id)
            height, width = cutout.mask.shape
            left, top = int(p.cx - width / 2), int(p.cy - height / 2)
            window = wanted[top : top + height, left : left + width]
            window[cutout.mask] = cutout.rgb[cutout.mask]
        np.testing.assert_array_equal(render(recipe, bank), wanted)


def test_bank_and_crops_give_the_same_bytes(bank: CellBank, tmp_path: Path) -> None:
    drawn = varied(bank)
    store = CropStore.build(drawn, bank, tmp_path / "crops", what=None)
    for i in range(len(drawn)):
        recipe = drawn.recipe(i)
        np.testing.assert_array_equal(render(recipe, store), render(recipe, bank))


def test_the_order_of_rendering_changes_nothing(bank: CellBank) -> None:
    drawn = varied(bank)
    order = list(range(len(drawn)))
    first = {i: render(drawn.recipe(i), bank).tobytes() for i in order}
    random.Random(1).shuffle(order)
    assert {i: render(drawn.recipe(i), bank).tobytes() for i in order} == first


def test_workers_change_no_byte(bank: CellBank, tmp_path: Path) -> None:
    drawn = varied(bank)
    one = write(drawn, bank, tmp_path / "one", format="png", backend="serial")
    two = write(drawn, bank, tmp_path / "two", format="png", backend="processes", workers=2)
    assert files(one) == files(two)
    assert len(list((one / "images").rglob("*.png"))) == len(drawn)
    store = CropStore.build(drawn, bank, tmp_path / "crops", what=None)
    paint = functools.partial(image_bytes, source=store, format="jpeg")
    recipes = [drawn.recipe(i) for i in range(len(drawn))]
    runs = [
        list(engine.map(paint, recipes, backend=backend, workers=2, chunk=3))
        for backend in ("serial", "processes")
    ]
    assert runs[0] == runs[1]


def files(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_files_decode_to_what_render_gives(bank: CellBank, tmp_path: Path) -> None:
    drawn = varied(bank)
    for name in ("png", "jpeg"):
        out = write(drawn, bank, tmp_path / name, format=name)
        for i in range(len(drawn)):
            recipe = drawn.recipe(i)
            suffix = {"png": "png", "jpeg": "jpg"}[name]
            file = out / "images" / recipe.label / f"{recipe.recipe_id}.{suffix}"
            found, wanted = read_image(file).astype(int), render(recipe, bank).astype(int)
            exact = name == "png" or recipe.finish.codec == "jpeg"
            assert np.abs(found - wanted).mean() <= (0 if exact else 6)


def test_a_killed_run_goes_on_and_gives_the_same(bank: CellBank, tmp_path: Path) -> None:
    drawn = varied(bank)
    whole = files(write(drawn, bank, tmp_path / "a" / "out"))
    work = tmp_path / "b" / "work"
    names = iter(range(4))

    class Stop(BaseException):
        pass

    painted = rendering.image_bytes

    def stops(*args, **kwargs):
        if next(names, None) is None:
            raise Stop
        return painted(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "image_bytes", stops)
        with pytest.raises(Stop):
            write(drawn, bank, tmp_path / "b" / "out", work=work)
    assert not (tmp_path / "b" / "out").exists()
    assert len(list((work / "images").rglob("*.jpg"))) == 4
    again = write(drawn, bank, tmp_path / "b" / "out", work=work)
    assert files(again) == whole
    assert not work.exists()


def uniform_cell(colour: tuple[int, int, int], around: tuple[int, int, int]) -> OneCell:
    mask = np.zeros((31, 41), np.uint8)
    cv2.ellipse(mask, (20, 15), (20, 15), 0, 0, 360, 1, cv2.FILLED)
    rgb = np.full((31, 41, 3), around, np.uint8)
    rgb[mask > 0] = colour
    return OneCell(rgb, mask > 0)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-180, 180),
    st.floats(0.6, 1.6),
    st.floats(20, 44),
    st.floats(20, 44),
    st.booleans(),
    st.sampled_from([("hard", 0.0), ("feather", 1.0), ("feather", 5.0)]),
)
def test_no_fringe_of_the_old_background(angle, scale, cx, cy, flip, edge) -> None:
    white = uniform_cell((60, 40, 120), around=(255, 255, 255))
    black = uniform_cell((60, 40, 120), around=(0, 0, 0))
    blend, feather = edge
    recipe = one_cell_recipe(
        (64, 64), (200.0, 180.0, 160.0), cx=cx, cy=cy, angle=angle, scale=scale, flip=flip,
        blend=blend, feather=feather,
    )  # fmt: skip
    image = render(recipe, white)
    np.testing.assert_array_equal(image, render(recipe, black))
    low, high = np.array([60, 40, 120]), np.array([200, 180, 160])
    # every pixel lies between the cell and the canvas, with the same share in each channel
    assert (image >= np.minimum(low, high) - 1).all()
    assert (image <= np.maximum(low, high) + 1).all()
    share = (image - low) / (high - low)
    assert np.abs(share - share.mean(axis=2, keepdims=True)).max() < 0.03


@settings(max_examples=40, deadline=None)
@given(st.floats(-180, 180), st.floats(0.7, 1.5), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_a_turned_cell_keeps_its_area_and_place(angle, scale, dx, dy) -> None:
    cell = uniform_cell((0, 0, 0), around=(255, 0, 0))
    recipe = one_cell_recipe(
        (80, 80), (255.0, 255.0, 255.0), cx=40 + dx, cy=40 + dy, angle=angle, scale=scale,
        blend="feather", feather=1.0,
    )  # fmt: skip
    share = 1 - render(recipe, cell)[:, :, 0] / 255
    y, x = np.mgrid[:80, :80] + 0.5
    assert share.sum() == pytest.approx(cell.mask.sum() * scale**2, rel=0.03)
    assert (share * x).sum() / share.sum() == pytest.approx(40 + dx, abs=0.2)
    assert (share * y).sum() / share.sum() == pytest.approx(40 + dy, abs=0.2)


@pytest.mark.parametrize(("quarters", "flip"), [(q, f) for q in range(4) for f in (False, True)])
def test_quarter_turns_are_counter_clockwise_after_the_flip(quarters: int, flip: bool) -> None:
    generator = np.random.default_rng(2)
    cell = OneCell(generator.integers(1, 256, (7, 10, 3)).astype(np.uint8), np.ones((7, 10), bool))
    wanted = np.rot90(cell.rgb[:, ::-1] if flip else cell.rgb, quarters)
    height, width = wanted.shape[:2]
    recipe = one_cell_recipe(
        (30, 30), cx=10 + width / 2, cy=5 + height / 2, angle=90.0 * quarters, flip=flip
    )
    found = render(recipe, cell)[5 : 5 + height, 10 : 10 + width]
    np.testing.assert_array_equal(found, wanted)


def test_a_small_turn_goes_the_way_of_a_large_one() -> None:
    rgb = np.full((21, 21, 3), 60, np.uint8)
    rgb[:, 11:] = 250  # the right half is bright: turned counter-clockwise it comes up
    cell = OneCell(rgb, np.ones((21, 21), bool))
    image = render(one_cell_recipe((40, 40), angle=89.0), cell).astype(int)
    assert image[11:18, 15:25].mean() > 200
    assert image[22:29, 15:25].mean() < 80


def test_stain_is_added_to_the_optical_density() -> None:
    cell = uniform_cell((200, 150, 100), around=(0, 0, 0))
    image = render(one_cell_recipe((64, 64), stain=(0.1, -0.2, 0.05)), cell)
    wanted = np.array([200, 150, 100]) * 10.0 ** -np.array([0.1, -0.2, 0.05])
    np.testing.assert_allclose(image[32, 32], np.minimum(wanted, 255), atol=0.51)


def test_a_cell_beyond_the_edge_is_cut_and_one_outside_is_not_seen() -> None:
    cell = uniform_cell((9, 9, 9), around=(0, 0, 0))
    for angle in (0.0, 30.0):
        cut = render(one_cell_recipe((50, 50), (255.0,) * 3, cx=0.5, cy=0.5, angle=angle), cell)
        assert (cut[0, 0] == 9).all()
        assert (cut[-1, -1] == 255).all()
        far = one_cell_recipe((50, 50), (255.0,) * 3, cx=-900.0, cy=20.0, angle=angle)
        assert (render(far, cell) == 255).all()


def test_rendering_leaves_its_source_alone(bank: CellBank, tmp_path: Path) -> None:
    drawn = varied(bank)
    store = CropStore.build(drawn, bank, tmp_path / "crops", what=None)
    before = files(tmp_path / "crops")
    images = [render(drawn.recipe(i), store) for i in range(len(drawn))]
    for image in images:
        image[:] = 0
    assert files(tmp_path / "crops") == before
    assert render(drawn.recipe(0), store).any()


def test_a_mask_decides_more_than_a_box(bank: CellBank, tmp_path: Path) -> None:
    store = CropStore.build(plan(bank, mode="paper", add=2), bank, tmp_path / "crops", what=None)
    for cell_id, _, _ in plan(bank, mode="paper", add=2).cells():
        found, wanted = store.patch(cell_id), bank.cutout(cell_id)
        inner = np.s_[PAD:-PAD, PAD:-PAD]
        np.testing.assert_array_equal(found.edge[inner] > EDGE, wanted.mask)
        np.testing.assert_array_equal(found.colours[inner][wanted.mask], wanted.rgb[wanted.mask])


def test_what_cannot_be_rendered_says_why(bank: CellBank, tmp_path: Path) -> None:
    drawn = plan(bank, mode="paper", add=1)
    recipe = drawn.recipe(0)
    strange = replace(recipe, placements=(Placement("none-0", "none", "wbc", 5, 5),))
    store = CropStore.build(drawn, bank, tmp_path / "crops", what=None)
    for source in (bank, store):
        with pytest.raises(InputError, match="no cell 'none-0'"):
            render(strange, source)
    image_id = bank.backgrounds["image_id"][0].as_py()
    ground = Background((0, 0, 0), image_id, image_id)
    with pytest.raises(InputError, match=r"160 × 160 pixels, smaller than the canvas of 360 × 363"):
        render(replace(recipe, background=ground), bank)
    with pytest.raises(SettingsError, match="'feather'"):
        render(one_cell_recipe((9, 9), blend="fether"), uniform_cell((1, 1, 1), (0, 0, 0)))


def test_bad_settings_of_files_are_refused_and_leave_nothing(
    bank: CellBank, tmp_path: Path
) -> None:
    drawn = plan(bank, mode="paper", add=1)
    for wrong in ({"format": "gif"}, {"quality": 0}, {"quality": 101}):
        with pytest.raises(SettingsError):
            write(drawn, bank, tmp_path / "out", **wrong)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(NaturalizeError, match="did not write"):
        write(drawn, bank, tmp_path / "mine")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_a_borrowed_background_is_a_parent(bank: CellBank) -> None:
    image_ids = bank.backgrounds["image_id"].to_pylist()
    base = plan(bank, mode="paper", add=1, classes=["SNE"]).recipe(0)
    lender = next(i for i in image_ids if i not in base.parents())
    made = Plan.of([base, replace(base, background=Background((0, 0, 0), lender, lender))])
    inside = dict.fromkeys(base.parents(), "train")
    assert check_parts(made, inside)["outside"] == 1
    assert check_parts(made, {**inside, lender: "train"})["outside"] == 0


def golden_recipes() -> dict[str, tuple[Recipe, int]]:
    """Return name → recipe and how far a pixel may be off with another OpenCV or processor."""
    still = one_cell_recipe((48, 40), (253.0, 229.0, 203.0), cx=24.5, cy=20.5)
    turned = replace(still.placements[0], angle=33.0, scale=0.9, flip=True, stain=(0.05, 0.0, -0.1))
    soft = replace(turned, blend="feather", feather=3.0, cx=22.25)
    bent = replace(
        soft, elastic=1.0, elastic_seed=5, aspect=1.1, kernel="cubic", grain=0.5, blur=0.4,
        stain_scale=(1.1, 0.9, 1.0), blend="scene", feather=1.5,
    )  # fmt: skip
    other = replace(still.placements[0], cx=14.5, cy=29.5)
    upright = replace(still.placements[0], blend="scene", feather=1.5, flip=True, angle=180)
    return {
        "hard": (still, 0),
        "turned": (replace(still, placements=(turned,)), 2),
        "feathered": (replace(still, placements=(soft,)), 2),
        "scene": (replace(still, placements=(other, upright)), 1),
        "poisson": (replace(still, placements=(replace(upright, blend="poisson"),)), 1),
        "bent": (replace(still, placements=(bent,)), 3),
    }


def golden_cell() -> OneCell:
    cell = uniform_cell((0, 0, 0), around=(255, 0, 255))
    y, x = np.mgrid[:31, :41]
    painted = np.stack([60 + 2 * x, 40 + 3 * y, 120 + x + y], axis=2).astype(np.uint8)
    rgb = np.where(cell.mask[:, :, None], painted, cell.rgb)
    return OneCell(rgb, cell.mask)


def golden_cell_on_a_slide() -> OneCell:
    cell = golden_cell()
    rgb = np.where(cell.mask[:, :, None], cell.rgb, np.array((250, 228, 204), np.uint8))
    around = ((9, 9), (9, 9))
    rgb = np.pad(rgb, (*around, (0, 0)), mode="edge")
    rgb = cv2.GaussianBlur(rgb, (0, 0), 0.8)
    return OneCell(rgb, np.pad(cell.mask, around))


@pytest.mark.parametrize("name", list(golden_recipes()))
def test_golden_composites(name: str) -> None:
    recipe, tolerance = golden_recipes()[name]
    wanted = read_image(GOLDEN / f"{name}.png").astype(int)
    carried = BLENDS[recipe.placements[-1].blend].style == "extended"
    cell = golden_cell() if carried else golden_cell_on_a_slide()
    assert np.abs(render(recipe, cell).astype(int) - wanted).max() <= tolerance


def test_composing_needs_no_torch() -> None:
    script = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "timm"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Refuse())
import importlib, pkgutil
import naturalize.compose as room
for module in pkgutil.walk_packages(room.__path__, "naturalize.compose."):
    importlib.import_module(module.name)
import numpy as np
from naturalize.compose import Background, Placement, Recipe
from naturalize.compose.paint.render import render
from naturalize.compose.paint.sizes import EDGE, PAD
class Source:
    rgb, mask = np.full((5, 5, 3), 7, np.uint8), np.ones((5, 5), bool)
    corner = (0, 0)
    def cutout(self, cell_id, *, margin=0):
        return self
recipe = Recipe("a", "paper", 9, 9, Background((0, 0, 0)), (Placement("c", "i", "wbc", 4.5, 4.5),))
assert render(recipe, Source()).sum() == 7 * 75
import naturalize.cli.compose
print("composed")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.strip() == "composed", done.stderr
