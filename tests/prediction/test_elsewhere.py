"""A model of two networks: one for images like its own, one for those that are standardised."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from naturalize.base.errors import ArtifactError, SettingsError
from naturalize.models.ensemble import save_ensemble
from naturalize.models.export import export_model
from naturalize.models.folder import describe, read_config, save_model
from naturalize.models.predictor import Predictor
from naturalize.models.zoo import build
from naturalize.prediction.predictor import StandardisingPredictor, of_standardised
from naturalize.prediction.standardise import Standardised, Standardiser

torch = pytest.importorskip("torch")

CLASSES = ("EO", "LY", "PLT")


def saved(path, seed, classes=CLASSES, size=32, **changes):
    """Write a small network of random weights."""
    torch.manual_seed(seed)
    made = build("custom_cnn", classes, weights="none", input_size=size)
    return save_model(path, made.module, replace(made.config, **changes))


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    away = {"size": 40, "temperature": 0.5, "temperature_elsewhere": 2.0}
    return saved(root / "home", 1), saved(root / "away", 2, **away)


@pytest.fixture(scope="module")
def pair(parts, tmp_path_factory):
    home, away = parts
    out = tmp_path_factory.mktemp("pair") / "pair"
    export_model(home, out, elsewhere=away, half=True)
    return out


def images(n):
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (50, 50, 3), dtype=np.uint8) for _ in range(n)]


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_each_network_answers_for_its_own_images(pair, parts, engine):
    home, away = (Predictor.load(path) for path in parts)
    shown = images(4)
    flags = [(), ("standardised",), (), ("standardised",)]
    made = [Standardised(*one) for one in zip(shown, flags, strict=True)]
    found = of_standardised(Predictor.load(pair, engine=engine), made)
    as_they_are = home.probabilities([shown[0], shown[2]])
    np.testing.assert_allclose(found[[0, 2]], as_they_are, atol=2e-3)  # stored as float16
    for row in (1, 3):
        turned = away.probabilities([np.rot90(shown[row], k).copy() for k in range(4)])
        logits = (
            np.log(turned) * 0.5 / 2.0
        )  # from its temperature to the one for other laboratories
        each = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(found[row], each.mean(axis=0), atol=2e-3)
    assert not np.allclose(found[1], found[0], atol=1e-2)


def test_standardised_images_of_a_laboratory_go_to_the_second_network(home, tmp_path):
    standard, _ = home
    one = saved(tmp_path / "home", 1, standard=standard)
    other = saved(tmp_path / "away", 2, standard=standard)
    export_model(one, tmp_path / "pair", elsewhere=other)
    shown = [np.asarray(image) for image in images(1)]
    opened = {
        name: Predictor.load(tmp_path / name, engine="torch") for name in ("home", "away", "pair")
    }
    for mode, expected in (("always", "away"), ("never", "home")):
        usual = standard if mode == "always" else None
        found = {
            name: StandardisingPredictor(model, Standardiser(usual, mode)).probabilities(shown)
            for name, model in opened.items()
        }
        np.testing.assert_array_equal(found["pair"], found[expected])


def test_the_export_has_half_the_size_and_both_graphs(pair, parts):
    assert (pair / "network.onnx").is_file()
    assert (pair / "elsewhere" / "network.onnx").is_file()
    for written, before in ((pair, parts[0]), (pair / "elsewhere", parts[1])):
        sizes = [(path / "weights.safetensors").stat().st_size for path in (written, before)]
        assert sizes[0] < 0.6 * sizes[1]
        assert describe(written)["stored"] == "float16"
        assert read_config(written) == read_config(before)


def test_models_that_do_not_fit_are_refused(parts, pair, tmp_path):
    home, _ = parts
    other = saved(tmp_path / "other", 3, classes=("LY", "EO", "PLT"))
    with pytest.raises(SettingsError, match=r"other: answers LY, EO, PLT; .* EO, LY, PLT"):
        export_model(home, tmp_path / "out", elsewhere=other)
    with pytest.raises(SettingsError, match="has a model for images from elsewhere itself"):
        export_model(home, tmp_path / "out", elsewhere=pair)
    with pytest.raises(ArtifactError, match="no such model folder"):
        export_model(home, tmp_path / "out", elsewhere=tmp_path / "missing")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["lost", "changed", "weights"])
def test_a_second_network_that_was_changed_is_found(pair, parts, tmp_path, what):
    path = shutil.copytree(pair, tmp_path / "pair")
    if what == "weights":
        (path / "elsewhere" / "weights.safetensors").write_bytes(b"none")
    else:
        shutil.rmtree(path / "elsewhere")
    if what == "changed":
        shutil.copytree(parts[0], path / "elsewhere")
    with pytest.raises(ArtifactError, match=r"copy the (model )?folder again"):
        Predictor.load(path)


def test_an_ensemble_of_pairs_has_a_second_network_too(pair, parts, tmp_path):
    save_ensemble(tmp_path / "both", [pair, parts[0]], weights=[3, 1])
    made = [Standardised(image, ("standardised",)) for image in images(2)]
    found = of_standardised(Predictor.load(tmp_path / "both", engine="torch"), made, views=1)
    # the members' mean, at the mean of how much less sure they are elsewhere: 2.0 / 0.5, and 1
    shown = [one.image for one in made]
    away, home = (
        Predictor.load(path, engine="torch").probabilities(shown)
        for path in (pair / "elsewhere", parts[0])
    )
    expected = (0.75 * away + 0.25 * home) ** (1 / (0.75 * 4 + 0.25))
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), atol=1e-5)
