"""Images from elsewhere come out as the training images look; those from here are left alone."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from naturalize.base.errors import ArtifactError, InputError, SettingsError
from naturalize.base.images import read_image, write_image
from naturalize.cells.bank import CellBank
from naturalize.cells.segment import segment_images
from naturalize.cells.segmenters import segmenter
from naturalize.dataset.catalog import Catalog
from naturalize.imaging.stain import focus, optical_density
from naturalize.models.config import Standard
from naturalize.prediction.files import predict_files
from naturalize.prediction.frame import restained, sharpened, stain_matrix, wanted_sharpening
from naturalize.prediction.predictor import of_kind, standardising
from naturalize.prediction.profile import Profile, diameter, sample
from naturalize.prediction.standard import measure_standard
from naturalize.prediction.standardise import Standardiser

COLOUR = st.tuples(*[st.floats(0.02, 1.2)] * 3)


@pytest.fixture(scope="module")
def abroad(home, tmp_path_factory) -> list[Path]:
    """The same cells as another laboratory would show them: smaller, off centre, bluer, paler."""
    root = tmp_path_factory.mktemp("abroad")
    paths = []
    for i, path in enumerate(home[1][:8]):
        image = read_image(path)
        light = np.asarray(home[0].slide)
        density = optical_density(image, tuple(light)) * (0.6, 0.7, 0.5)
        other = np.clip(np.array([210.0, 220, 225]) * 10**-density, 0, 255).astype(np.uint8)
        small = cv2.resize(other, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
        paths.append(root / f"{i}.png")
        write_image(paths[-1], small[: len(small) - 20, 15:])
    return paths


def test_the_standard_says_what_the_training_images_look_like(home):
    standard, paths = home
    images = [read_image(path) for path in paths]
    assert (standard.height, standard.width) == images[0].shape[:2]
    reds = []
    for image in images:
        height, width = image.shape[:2]
        for cell in segmenter().segment(image).of("rbc"):  # not what the bank was made with
            x0, y0, x1, y1 = cell.box
            if x0 > 0 and y0 > 0 and x1 < width and y1 < height:
                reds.append(diameter(cell))
    assert abs(standard.red_cell - np.median(reds)) < 0.12 * standard.red_cell
    assert all(
        low < value < high
        for low, value, high in zip(
            standard.slide_low, standard.slide, standard.slide_high, strict=True
        )
    )
    assert max(standard.nucleus_stain) > max(standard.red_stain) > 0
    assert Standard.parse({**standard.__dict__}) == standard


def test_images_from_here_are_left_alone(home):
    standard, paths = home
    standardiser = Standardiser(standard).learn(paths)
    assert standardiser.profile is None
    for path in paths[:6]:
        image = read_image(path)
        made = standardiser(image)
        assert made.image is image
        assert made.flags == ()


def test_images_from_elsewhere_get_the_scale_place_and_stain_of_those_from_here(home, abroad):
    standard, _ = home
    standardiser = Standardiser(standard).learn(abroad)
    sizes, places, made_slides = [], [], []
    for path in abroad:
        made = standardiser(read_image(path))
        assert "standardised" in made.flags
        assert made.image.shape == (standard.height, standard.width, 3)
        found = segmenter().segment(made.image)
        made_slides.append(found.background)
        sizes += [diameter(cell) for cell in found.of("rbc")]
        if len(found.of("wbc")) == 1:
            x0, y0, x1, y1 = found.of("wbc")[0].box
            places.append(((x0 + x1) / 2 - standard.width / 2, (y0 + y1) / 2 - standard.height / 2))
    np.testing.assert_allclose(np.median(made_slides, axis=0), standard.slide, atol=8)
    assert abs(np.median(sizes) / standard.red_cell - 1) < 0.2
    assert len(places) >= 3
    assert np.abs(np.median(places, axis=0)).max() < 12


def test_always_and_never_and_models_without_a_standard(home, abroad):
    standard, paths = home
    image, foreign = read_image(paths[0]), read_image(abroad[0])
    assert "standardised" in Standardiser(standard, "always")(image).flags
    assert Standardiser(standard, "never").learn(abroad)(foreign).image is foreign
    assert Standardiser(None).learn(abroad)(foreign).image is foreign
    with pytest.raises(SettingsError, match="does not say what its training images looked like"):
        Standardiser(None, "always")
    with pytest.raises(SettingsError, match=r"unknown standardise 'alway'.*always"):
        Standardiser(standard, "alway")


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_an_empty_image_is_said_to_show_no_cell(home, grey):
    standard, _ = home
    made = Standardiser(standard)(np.full((90, 130, 3), grey, np.uint8))
    assert made.flags[:2] == ("standardised", "no white cell found")
    assert made.verdict == "no cell"
    assert made.image.shape == (standard.height, standard.width, 3)


@settings(deadline=None)
@given(COLOUR, COLOUR, COLOUR, COLOUR)
def test_the_matrix_takes_each_stain_to_the_standards(home, nucleus, red, wanted, wanted_red):
    standard = Standard(**{**home[0].__dict__, "nucleus_stain": wanted, "red_stain": wanted_red})
    matrix = stain_matrix(Profile(None, None, nucleus, red), standard)
    assert np.isfinite(matrix).all()
    nucleus, red, wanted, wanted_red = map(np.array, (nucleus, red, wanted, wanted_red))
    if np.allclose(matrix @ nucleus, wanted, atol=1e-6):
        both = np.allclose(matrix @ red, wanted_red, atol=1e-6)
        if both:
            return
    # two stains of nearly one colour cannot be moved one by one: only their strength is changed
    strength = np.linalg.norm(wanted) / np.linalg.norm(nucleus)
    np.testing.assert_allclose(matrix, np.clip(strength, 0.4, 2.5) * np.eye(3))
    apart = np.linalg.svd(np.stack([nucleus, red]), compute_uv=False)[-1]
    assert apart < 0.0801 * np.linalg.norm(nucleus)


def test_a_blurred_image_is_sharpened_up_to_the_standard(home):
    standard, paths = home
    image = read_image(paths[0])
    mask = np.full(image.shape[:2], 255, np.uint8)
    own = Standard(**{**standard.__dict__, "focus": focus(image, mask > 0)})
    assert wanted_sharpening(image, mask, own) == pytest.approx(0, abs=1e-6)
    assert sharpened(image, 0.0) is image
    blurred = cv2.GaussianBlur(image, (0, 0), 1.0)
    amount = wanted_sharpening(blurred, mask, own)
    assert 0 < amount <= 1
    assert focus(blurred, mask > 0) < focus(sharpened(blurred, amount), mask > 0) < 1.5 * own.focus
    sharper = Standard(**{**own.__dict__, "focus": own.focus / 2})
    assert wanted_sharpening(image, mask, sharper) == 0
    assert wanted_sharpening(image, None, own) == 0


@settings(deadline=None)
@given(npst.arrays(np.uint8, (5, 6, 3)))
def test_restaining_to_its_own_look_changes_nothing(home, image):
    standard = home[0]
    look = Profile(None, None, standard.nucleus_stain, standard.red_stain)
    same = restained(np.maximum(image, 1), standard.slide, look, standard)
    np.testing.assert_allclose(same, np.maximum(image, 1), atol=1)


def test_classes_of_another_kind_get_nothing_where_the_kind_was_seen():
    shares = np.array([0.5, 0.3, 0.2], np.float32)
    kinds = {"PLT": "platelet", "SNE": "wbc"}
    found = of_kind(shares, ("PLT", "SNE", "??"), kinds, "wbc")
    np.testing.assert_allclose(found, [0, 0.6, 0.4], atol=1e-6)
    np.testing.assert_array_equal(of_kind(shares, ("a", "b", "c"), {}, "wbc"), shares)
    certain = np.array([1, 0, 0], np.float32)
    np.testing.assert_array_equal(of_kind(certain, ("PLT", "SNE", "??"), kinds, "wbc"), certain)


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 60))
def test_a_sample_is_spread_over_the_list(n, wanted):
    places = sample(range(n), wanted)
    assert len(places) == len(set(places)) <= wanted
    assert places == sorted(places)
    assert places[0] == 0
    assert n <= wanted or wanted == 1 or places[-1] == n - 1


@pytest.fixture(scope="module")
def model(home, tmp_path_factory) -> Path:
    pytest.importorskip("torch")
    from dataclasses import replace

    from naturalize.models.folder import save_model
    from naturalize.models.zoo import build

    network = build("custom_cnn", ["A", "B", "C"], input_size=32)
    config = replace(network.config, crop=0.75, balanced=True, standard=home[0])
    return save_model(tmp_path_factory.mktemp("m") / "model", network.module, config)


def test_a_model_keeps_its_standard_and_files_are_predicted_by_it(home, abroad, model, tmp_path):
    from naturalize.models.predictor import Predictor

    predictor = Predictor.load(model)
    assert predictor.config.standard == home[0]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    rows = list(predict_files(predictor, [home[1][0], bad, abroad[0]], unsure=1.0))
    assert rows[0].flags == ("unsure: low confidence",)
    assert rows[1].flag == "error: not an image that can be read"
    assert "standardised" in rows[2].flags
    made = Standardiser(home[0]).learn([abroad[0]])(read_image(abroad[0])).image
    turned = [np.rot90(made, k).copy() for k in range(4)]
    expected = predictor.probabilities(turned).mean(axis=0)
    assert "wbc" in home[0].kinds.values()
    np.testing.assert_allclose(rows[2].probabilities, expected, atol=1e-6)


def test_an_evaluation_predicts_as_the_command_does(home, abroad, model):
    from naturalize.models.predictor import Predictor

    predictor = Predictor.load(model)
    paths = [*abroad[:3], home[1][0]]
    stand_in = standardising(predictor, paths)
    rows = list(predict_files(predictor, paths))
    found = stand_in.probabilities(read_image(path) for path in paths)
    np.testing.assert_allclose(found, [row.probabilities for row in rows], atol=1e-6)
    assert "standardise auto" in stand_in.prepared
    assert standardising(predictor, paths, "never") is predictor
    assert stand_in.probabilities([]).shape == (0, 3)


def test_the_command_writes_a_table_and_a_sheet(home, abroad, model, tmp_path):
    from naturalize.cli.app import run_app

    out, sheet = tmp_path / "p.csv", tmp_path / "p.jpg"
    images = (str(abroad[0].parent), str(home[1][0]))
    with pytest.raises(SystemExit, match="0"):
        run_app(["predict", *images, "-m", str(model), "-o", str(out), "--sheet", str(sheet)])
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == len(abroad) + 1
    assert sum("standardised" in row["flag"] for row in rows) == len(abroad)
    assert read_image(sheet).shape[1] > 300


def test_a_model_that_is_not_there_is_named():
    from naturalize.models import shipped

    with pytest.raises(ArtifactError, match="no such model folder"):
        shipped.find("pbc99")


def test_a_bank_without_white_cells_has_no_standard(phantom_root, tmp_path):
    catalog = Catalog.build(phantom_root)
    usable = catalog.usable()
    items = list(zip(usable["image_id"].to_pylist(), usable["path"].to_pylist(), strict=True))[:2]
    segment_images(items, catalog.root, segmenter("classical"), tmp_path / "cells")
    bank = CellBank.build(tmp_path / "cells", catalog)
    bank.table = bank.cells(kind="rbc", accepted=None)
    with pytest.raises(InputError, match="no white cell"):
        measure_standard(catalog, bank, alone=False)
