"""Cells set into the unlabelled images of another laboratory.

The laboratory is a phantom that was photographed anew by other means: smaller, through another
stain and light, out of focus, and as JPEG files of its own quality. What it gave is measured on the
composites by the segmenter and the profile that predictions use, which know nothing of composing.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
import typer
from compose_makers import make_bank, split_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from naturalize.base.artifacts import read_json
from naturalize.base.errors import InputError, SettingsError
from naturalize.base.images import content_hash, read_image, write_image
from naturalize.cells.bank import CellBank
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.cells.segmenters import segmenter
from naturalize.cells.tables import BACKGROUNDS, BANK, cell_row
from naturalize.cli.compose import compose
from naturalize.compose.deliver.laboratory import about_laboratory, scene_images
from naturalize.compose.draw.look import stain_between
from naturalize.compose.draw.places import free_disc, padded
from naturalize.compose.draw.planner import plan
from naturalize.compose.draw.taken import grouped
from naturalize.compose.paint.render import render
from naturalize.compose.paint.scenes import Scenes
from naturalize.compose.recipe.plan import Plan, check
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.phantom import PhantomImage, render_phantom
from naturalize.dataset.split import Split
from naturalize.imaging.jpeg.codec import Codec
from naturalize.imaging.jpeg.estimate import estimate
from naturalize.imaging.slide import slide_colour
from naturalize.imaging.stain import focus
from naturalize.inputs.compose import ComposeSource, open_plan
from naturalize.inputs.laboratory import check_scenes, set_into
from naturalize.inputs.training import open_data
from naturalize.models.preprocess import View
from naturalize.prediction.profile import Profile

LABELS = ("SNE", "LY", "EO", "MO")
GOLDEN = Path(__file__).parent / "golden" / "foreign.png"
SLIDE = (253.0, 229.0, 203.0)

#: The laboratory: pixels to one of the phantom's, its slide, what it makes of densities, its blur.
SCALE, LIGHT, BLUR = 0.6, (232.0, 226.0, 240.0), 0.9
STAIN = np.array([[0.8, 0.1, 0.0], [0.1, 1.1, 0.0], [0.0, 0.1, 1.2]])
CODEC = Codec(85, "4:4:4")


def bank_of(root: Path, per_class: int = 3) -> CellBank:
    """A bank of phantom images with their true cells, as JPEG files."""
    rows, grounds = [], []
    root.mkdir(parents=True, exist_ok=True)
    for label in LABELS:
        for number in range(per_class):
            phantom = render_phantom(label, 3, number)
            path = f"{label}_{number}.jpg"
            save(root / path, phantom.image, Codec(92, "4:4:4"))
            data, image = (root / path).read_bytes(), read_image(root / path)
            image_id = content_hash(data)
            for i, one in enumerate(phantom.cells):
                cell = Cell(one.kind, one.box, one.mask, 1.0, one.nucleus)
                row = cell_row(f"{label}-{number}-{i}", image_id, path, image, cell, SLIDE)
                own = one.label is not None
                more = {"label": label if own else None, "target": own, "accepted": True}
                rows.append({**row, **more, "reason": None})
            ground = (image_id, image_id, path, *SLIDE, 0.7)
            grounds.append(dict(zip(BACKGROUNDS.names, ground, strict=True)))
    return CellBank(
        pa.Table.from_pylist(rows, schema=BANK),
        pa.Table.from_pylist(grounds, schema=BACKGROUNDS),
        root=root,
        labels=LABELS,
        inputs={"phantom": "foreign"},
    )


def save(file: Path, image: np.ndarray, codec: Codec) -> None:
    buffer = io.BytesIO()
    picture = Image.fromarray(image)
    picture.save(buffer, "jpeg", quality=codec.quality, subsampling=codec.subsampling)
    file.write_bytes(buffer.getvalue())


def photographed(phantom: PhantomImage) -> np.ndarray:
    """Return a phantom as the other laboratory takes it."""
    density = np.log10(np.array(SLIDE) / np.maximum(phantom.image, 1.0)) @ STAIN.T
    light = np.clip(np.array(LIGHT) * 10.0**-density, 0, 255).astype(np.float32)
    small = cv2.resize(light, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small, (0, 0), BLUR)
    grain = np.random.default_rng(len(phantom.cells)).normal(0, 1.0, soft.shape)
    return np.clip(np.rint(soft + grain), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> CellBank:
    return bank_of(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of the laboratory; its folders are no classes."""
    root = tmp_path_factory.mktemp("laboratory") / "theirs"
    root.mkdir()
    for number in range(12):
        phantom = render_phantom(LABELS[number % 4], 40, number)
        save(root / f"{number}.jpg", photographed(phantom), CODEC)
    return root


@pytest.fixture(scope="module")
def theirs(bank: CellBank, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ComposeSource:
    return set_into_folder(bank, folder, tmp_path_factory.mktemp("work"))


def set_into_folder(bank: CellBank, folder: Path, work: Path, **more) -> ComposeSource:
    wanted = dict.fromkeys(bank.labels, 2)
    return set_into(ComposeSource(bank), folder, wanted=wanted, work=work, **more)


@pytest.fixture(scope="module")
def recipes(theirs: ComposeSource) -> Plan:
    return plan(theirs.drawn_from, mode="scene", donors="foreign", add=2)


@pytest.fixture(scope="module")
def composites(theirs: ComposeSource, recipes: Plan) -> list[np.ndarray]:
    source = Scenes(theirs.drawn_from)
    return [render(recipes.recipe(i), source) for i in range(len(recipes))]


def segmented(images: list[np.ndarray]) -> Iterator[tuple[np.ndarray, Segmentation]]:
    finder = segmenter("unet")
    for image in images:
        yield image, finder.segment(image)


def test_composites_have_the_profile_of_the_laboratory(
    folder: Path, composites: list[np.ndarray]
) -> None:
    real = [read_image(file) for file in sorted(folder.iterdir())]
    made, theirs = (list(segmented(images)) for images in (composites, real))
    ours, goal = (Profile.of(seen) for seen in (made, theirs))
    slides = [np.median([slide_colour(i) for i in each], axis=0) for each in (composites, real)]
    sharp = [
        np.median([focus(image, whole(image, cell)) for image, s in seen for cell in s.of("wbc")])
        for seen in (made, theirs)
    ]
    print(ours, goal, slides, sharp)
    assert ours.white_cell == pytest.approx(goal.white_cell, rel=0.12)
    assert np.abs(np.subtract(ours.nucleus_stain, goal.nucleus_stain)).max() < 0.08
    assert np.abs(np.subtract(*slides)).max() < 4
    assert abs(np.log(sharp[0] / sharp[1])) < 0.35


def whole(image: np.ndarray, cell: Cell) -> np.ndarray:
    mask = np.zeros(image.shape[:2], bool)
    x0, y0, x1, y1 = cell.box
    mask[y0:y1, x0:x1] = cell.mask
    return mask


def test_what_was_measured_is_the_scale_light_and_stain_of_the_laboratory(
    theirs: ComposeSource,
) -> None:
    about = about_laboratory(theirs.drawn_from)
    (group,) = about["groups"]
    look = group["look"]
    # of the training images' red cells the whole outlines are known, of theirs what is seen
    assert look["scale"] == pytest.approx(SCALE, rel=0.08)
    assert np.abs(np.subtract(look["slide"], LIGHT)).max() < 4
    assert look["blur"] > 0.4
    assert look["sharpening"] == 0
    nucleus = np.array(about["training"]["nucleus_stain"])
    assert np.abs(np.array(look["stain"]) @ nucleus - STAIN @ nucleus).max() < 0.12
    assert group["scenes"] == 12


def test_the_old_cell_gives_way_and_nothing_else_changes(
    theirs: ComposeSource, recipes: Plan, composites: list[np.ndarray]
) -> None:
    source = Scenes(theirs.drawn_from)
    for i, made in enumerate(composites):
        recipe = recipes.recipe(i)
        (placed,) = recipe.placements
        assert recipe.background.background_id == f"{recipe.background.image_id}:white"
        scene = source.background(recipe.background.background_id)
        assert (
            made.shape == scene.shape == theirs.drawn_from.image(recipe.background.image_id).shape
        )
        changed = cv2.absdiff(made, scene).max(axis=2) > 12
        y, x = np.nonzero(changed)
        box = theirs.drawn_from.row(placed.cell_id)
        reach = np.hypot(box["x1"] - box["x0"], box["y1"] - box["y0"]) / 2 + 16 + 16
        assert np.hypot(x + 0.5 - placed.cx, y + 0.5 - placed.cy).max() < reach
        (old,) = [c for c in source.cells(recipe.background.image_id) if c.kind == "wbc"][:1]
        x0, y0, x1, y1 = old.box
        assert x0 < placed.cx < x1
        assert y0 < placed.cy < y1


def test_composites_went_through_the_codec_of_their_scene_only(
    theirs: ComposeSource, recipes: Plan, composites: list[np.ndarray]
) -> None:
    scenes = [recipes.recipe(i).background.image_id for i in range(len(recipes))]
    found = [
        [estimate(image) for image in images]
        for images in (composites, [theirs.drawn_from.image(image_id) for image_id in scenes])
    ]
    # how colour was sampled cannot always be seen in images so small
    qualities = [[codec and codec.quality for codec in codecs] for codecs in found]
    assert qualities == [[CODEC.quality] * len(composites)] * 2


def test_every_image_is_a_parent_and_cells_keep_that_of_training(
    bank: CellBank, folder: Path, theirs: ComposeSource, recipes: Plan
) -> None:
    own = set(bank.backgrounds["image_id"].to_pylist())
    foreign = {content_hash(file.read_bytes()) for file in folder.iterdir()}
    assert recipes.background_images() <= foreign
    assert {image_id for _, image_id, _ in recipes.cells()} <= own
    assert set(scene_images(theirs.drawn_from)) == foreign
    assert scene_images(bank) == []
    look = about_laboratory(theirs.drawn_from)["groups"][0]["look_id"]
    assert all(cell_id.endswith(f"@{look}") for cell_id, _, _ in recipes.cells())


def test_scenes_may_be_parents_unless_they_are_tested_on(
    bank: CellBank, theirs: ComposeSource, recipes: Plan
) -> None:
    split, scenes = split_of(bank), scene_images(theirs.drawn_from)
    assert check(recipes, split)["outside"] == len(recipes)
    found = check(recipes, split, scenes)
    assert found["outside"] == 0
    assert found["parents_by_part"]["laboratory"] == len(recipes.background_images())
    tested = sorted(recipes.background_images())[0]
    split.part_of()[tested] = "test"
    leaking = check(recipes, split, scenes)
    uses = [recipes.recipe(i).background.image_id == tested for i in range(len(recipes))]
    assert leaking["outside"] == sum(uses) > 0
    assert leaking["outside_parents"] == [{"image_id": tested, "part": "test"}]


def test_images_that_are_tested_on_are_refused_as_scenes(
    bank: CellBank, folder: Path, tmp_path: Path
) -> None:
    split = split_of(bank)
    split.part_of()[content_hash((folder / "3.jpg").read_bytes())] = "test"
    source = ComposeSource(bank, split)
    with pytest.raises(InputError, match=r"1 of its 12 images .*3\.jpg, test"):
        set_into(source, folder, wanted={"LY": 1}, work=tmp_path)


def test_equal_input_gives_equal_composites_and_work_is_not_done_twice(
    bank: CellBank, folder: Path, theirs: ComposeSource, recipes: Plan, composites, tmp_path: Path
) -> None:
    again = set_into_folder(bank, folder, tmp_path / "work")
    assert again.drawn_from.fingerprint == theirs.drawn_from.fingerprint
    drawn = plan(again.drawn_from, mode="scene", donors="foreign", add=2)
    assert drawn.ids == recipes.ids
    assert np.array_equal(render(drawn.recipe(5), again.drawn_from), composites[5])
    (tmp_path / "kept").mkdir()
    again.keep(tmp_path / "kept")
    file = tmp_path / "kept" / "laboratory" / "artifact.json"
    before = file.stat().st_mtime_ns
    third = set_into_folder(bank, folder, tmp_path / "other", kept=tmp_path / "kept")
    assert third.drawn_from.root == tmp_path / "kept" / "laboratory" / "images"
    assert file.stat().st_mtime_ns == before


def test_the_composites_are_those_that_were_looked_at(composites: list[np.ndarray]) -> None:
    side = min(min(image.shape[:2]) for image in composites)
    picture = np.hstack([image[:side, :side] for image in composites[::2]])
    off = cv2.absdiff(picture, read_image(GOLDEN))
    assert off.mean() < 0.05
    assert off.max() < 40


def test_an_image_without_a_white_cell_is_a_scene_and_a_padded_one_is_none(
    bank: CellBank, folder: Path, theirs: ComposeSource, tmp_path: Path
) -> None:
    scenes = tmp_path / "scenes"
    shutil.copytree(folder, scenes)
    source = Scenes(theirs.drawn_from)
    for number, image_id in enumerate(scene_images(theirs.drawn_from)[:2]):
        bare = source.background(f"{image_id}:white")
        write_image(scenes / f"bare{number}.png", bare)
    image = read_image(folder / "0.jpg")
    write_image(scenes / "padded.png", cv2.copyMakeBorder(image, 0, 20, 0, 0, cv2.BORDER_CONSTANT))
    write_image(scenes / "small.png", image[:-30, :-40])
    made = set_into_folder(bank, scenes, tmp_path / "work")
    about = about_laboratory(made.drawn_from)
    assert about["left_out"]["padded (an edge of one colour)"] == 1
    discs = [r for r in made.drawn_from.table.to_pylist() if r["cell_id"].endswith("-place")]
    assert discs
    for row in discs:
        cell = next(c for c in Scenes(made.drawn_from).cells(row["image_id"]) if c.score == 0)
        image = made.drawn_from.image(row["image_id"])
        inside = image[whole(image, cell)]
        assert np.abs(np.median(inside, axis=0) - LIGHT).max() < 8
    drawn = plan(made.drawn_from, mode="scene", donors="foreign", add=3)
    sizes = {render(drawn.recipe(i), made.drawn_from).shape for i in range(len(drawn))}
    assert sizes <= {made.drawn_from.image(i).shape for i in scene_images(made.drawn_from)}


def test_scenes_that_cannot_be_used_are_refused_in_words(
    bank: CellBank, folder: Path, theirs: ComposeSource, tmp_path: Path, capsys
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="no image in it"):
        set_into_folder(bank, empty, tmp_path / "a")
    with pytest.raises(InputError, match="all its images are images of the bank"):
        set_into_folder(bank, bank.root, tmp_path / "b")
    assert "12 images are images of the bank itself" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(InputError, match="look of another laboratory already"):
        set_into_folder(theirs.drawn_from, folder, tmp_path / "c")
    crops = tmp_path / "crops"
    bank.save(crops, self_contained="crops")
    with pytest.raises(InputError, match="holds no whole images"):
        set_into_folder(CellBank.load(crops), folder, tmp_path / "d")
    grey = tmp_path / "grey"
    grey.mkdir()
    write_image(grey / "a.png", np.full((120, 120, 3), 200, np.uint8))
    with pytest.raises(InputError, match=r"no size was measured|can be a scene"):
        set_into_folder(bank, grey, tmp_path / "e")


def test_one_image_is_enough_and_is_said(
    bank: CellBank, folder: Path, tmp_path: Path, capsys
) -> None:
    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(folder / "0.jpg", one)
    made = set_into_folder(bank, one, tmp_path / "work")
    assert "every composite stands in it" in " ".join(capsys.readouterr().err.split())
    drawn = plan(made.drawn_from, mode="scene", donors="foreign", add=2)
    assert len(drawn.background_images()) == 1


@pytest.mark.parametrize(
    ("mode", "more", "gate", "said"),
    [
        ("layout", {}, False, "mode layout makes its own"),
        ("scene", {"donors": "same"}, False, "donors must be foreign"),
        ("scene", {}, True, "the gate compares"),
    ],
)
def test_what_does_not_go_with_scenes_is_refused(mode, more, gate, said) -> None:
    with pytest.raises(SettingsError, match=said):
        check_scenes(mode, more, gate=gate)


def test_foreign_donors_need_a_laboratory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images of another laboratory"):
        plan(make_bank(tmp_path), mode="scene", donors="foreign", add=1)


def test_the_command_composes_and_keeps_the_bank_of_its_composites(
    bank: CellBank, folder: Path, tmp_path: Path
) -> None:
    bank.save(tmp_path / "bank")
    out, one = tmp_path / "out", tmp_path / "one"
    one.mkdir()
    shutil.copy(folder / "1.jpg", one)
    app = typer.Typer()
    app.command()(compose)
    words = [str(tmp_path / "bank"), "--scenes", str(one), "--add", "1"]
    words += ["--write", "imagefolder", "--engine", "serial", "-o", str(out)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert len(list((out / "images").rglob("*.jpg"))) == 4
    drawn, cells = open_plan(out)
    assert cells.holds == "laboratory"
    assert drawn.bank == cells.fingerprint
    assert read_json(out / "plan" / "plan.json")["settings"]["donors"] == "foreign"
    trained_on(bank, drawn, out, tmp_path)
    refused = CliRunner().invoke(app, ["-m", "paper", *words])
    assert isinstance(refused.exception, SettingsError)


def trained_on(bank: CellBank, drawn: Plan, out: Path, tmp_path: Path) -> None:
    """Open a plan for training as the command does, and read what is trained on."""
    from naturalize.training.data import CellImages, classes_of
    from naturalize.training.settings import TrainSettings

    for file in bank.root.iterdir():
        label = tmp_path / "tree" / file.name.split("_")[0]
        label.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, label)
    catalog = Catalog.build(tmp_path / "tree")
    catalog.save(tmp_path / "catalog")
    cells = {image_id for _, image_id, _ in drawn.cells()}
    held = [i for i in catalog.table["image_id"].to_pylist() if i not in cells]
    split = Split.build(catalog, fractions=(0.7, 0.3, 0.0), seed=next(seeds(catalog, held)))
    split.save(tmp_path / "split")
    places = {name: tmp_path / name for name in ("catalog", "split", "bank")}
    data = open_data(None, **places, plan=out / "plan", composites=True)
    assert data.laboratory is not None
    assert data.laboratory.fingerprint == drawn.bank
    assert data.bank.holds is None
    images = CellImages(
        TrainSettings.parse({"composites": True}),
        data.catalog,
        data.split,
        classes=classes_of(data.catalog, data.split),
        view=View(32),
        work=tmp_path / "training",
        plan=data.plan,
        bank=data.bank,
        laboratory=data.laboratory,
    )
    assert images.n_composites == len(drawn)
    expected = View(32).prepare(render(drawn.recipe(0), data.laboratory))
    assert np.array_equal(images.train.pixels(images.n_real), expected)
    with pytest.raises(SettingsError, match="bank of another laboratory"):
        open_data(
            None, **{**places, "bank": out / "laboratory"}, plan=out / "plan", composites=True
        )


def seeds(catalog: Catalog, held: list[str]) -> Iterator[int]:
    """Yield seeds of splits that hold out only images that no cell was taken of."""
    for seed in range(200):
        split = Split.build(catalog, fractions=(0.7, 0.3, 0.0), seed=seed)
        if set(split.ids("val")) <= set(held):
            yield seed


positive = st.floats(0.05, 1.2)
colour = st.tuples(positive, positive, positive)


@given(colour, colour, colour, colour)
@settings(max_examples=60, deadline=None)
def test_nuclei_become_those_of_the_laboratory(nucleus, red, goal, red_goal) -> None:
    here = Profile(1.0, 1.0, nucleus, red)
    strength = np.linalg.norm(goal) / np.linalg.norm(nucleus)
    matrix = stain_between(here, Profile(1.0, 1.0, goal, red_goal))
    assert np.allclose(matrix @ nucleus, goal, atol=1e-6)
    alone = stain_between(here, Profile(1.0, 1.0, goal, None))
    assert np.allclose(alone @ nucleus, goal, atol=1e-6)
    # what is at right angles to nuclei changes in strength only
    across = np.cross(nucleus, (1.0, 0.3, -0.4))
    if 0.4 < strength < 2.5:
        assert np.allclose(alone @ across, strength * across, atol=1e-6)


def test_red_cells_become_theirs_where_stains_differ_in_hue() -> None:
    here = Profile(1.0, 1.0, (0.7, 0.9, 0.2), (0.05, 0.5, 0.6))
    there = Profile(1.0, 1.0, (0.5, 0.9, 0.3), (0.1, 0.4, 0.5))
    assert np.allclose(stain_between(here, there) @ here.red_stain, there.red_stain, atol=0.02)
    pale = Profile(1.0, 1.0, None, (0.1, 0.4, 0.5))
    plain = np.linalg.norm(pale.red_stain) / np.linalg.norm(here.red_stain)
    assert np.allclose(stain_between(here, pale), np.eye(3) * plain)


def test_padding_is_an_edge_of_one_colour_that_is_no_slide() -> None:
    noise = np.random.default_rng(0).integers(215, 235, (60, 80, 3)).astype(np.uint8)
    slide = (225.0, 225.0, 225.0)
    assert not padded(noise, slide)
    for sides in ((4, 0, 0, 0), (0, 4, 0, 0), (0, 0, 4, 0), (0, 0, 0, 4)):
        assert padded(cv2.copyMakeBorder(noise, *sides, cv2.BORDER_CONSTANT), slide)
    # a slide that is brighter than the camera can say is no padding
    assert not padded(np.full((60, 80, 3), 255, np.uint8), (255.0, 255.0, 255.0))


def test_the_free_disc_lies_on_the_slide_as_far_from_cells_as_can_be() -> None:
    left = Cell("rbc", (0, 0, 50, 100), np.ones((100, 50), bool))
    disc = free_disc((100, 150), [left], 50.0)
    assert disc is not None
    x0, y0, x1, y1 = disc.box
    assert abs((x0 + x1) / 2 - 100) < 3
    assert abs((y0 + y1) / 2 - 50) < 3
    assert x0 > 50
    assert disc.area < np.pi * 30**2 * 1.1
    assert free_disc((100, 150), [left], 200.0) is None


def test_images_are_grouped_by_the_colour_of_their_light() -> None:
    draw = np.random.default_rng(1)
    yellow = draw.normal((250, 240, 150), 6, (30, 3))
    white = draw.normal((250, 250, 250), 3, (12, 3))
    odd = np.array([[120.0, 120.0, 200.0]])
    found = grouped(np.vstack([yellow, white, odd]))
    assert set(found[:30]) == {0}
    assert set(found[30:42]) == {1}
    assert found[42] in (0, 1)
    assert grouped(yellow).tolist() == [0] * 30
    assert grouped(yellow[:1]).tolist() == [0]
