"""``naturalize adapt`` from end to end, on phantoms and a small network."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

import naturalize as nz
from naturalize.adaptation.adapt import adapt
from naturalize.base.errors import ArtifactError, InputError, SettingsError
from naturalize.base.images import read_image
from naturalize.base.walk import find_images
from naturalize.cli.app import run_app
from naturalize.dataset.phantom import write_phantom
from naturalize.models.config import Standard
from naturalize.models.ensemble import save_ensemble
from naturalize.models.export import export_model
from naturalize.models.folder import describe, save_model
from naturalize.models.predictor import Predictor
from naturalize.models.zoo import build

CLASSES = ("BA", "BNE", "EO", "ERB", "LY", "MMY", "MO", "MY", "PLT", "PMY", "SNE")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    out = tmp_path_factory.mktemp("laboratory") / "phantom"
    return write_phantom(out, per_class=4, seed=5)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small network that knows nothing, with its graph."""
    out = tmp_path_factory.mktemp("models") / "small"
    options = {"channels": [8, 16]}
    network = build("custom_cnn", CLASSES, weights="none", input_size=32, options=options)
    save_model(out, network.module, network.config, half=True)
    export_model(out)
    return out


@pytest.fixture(scope="module")
def labels(images):
    """A table of labels: granulocytes as one class, and two others."""
    meant = {"BNE": "Neutrophil", "SNE": "Neutrophil", "LY": "LY", "EO": "EO"}
    rows = [
        (path, meant[name])
        for path in find_images([images])
        if (name := path.stem.rsplit("_", 1)[0]) in meant
    ]
    return _table(images, "labels.csv", rows)


def _table(images, name, rows):
    """A table of labels beside the images."""
    root = images.parent
    lines = [f"{path.relative_to(root)},{label}" for path, label in rows]
    (root / name).write_text("path,label\n" + "\n".join(lines) + "\n")
    return root / name


def test_the_last_layer_alone_is_another(model, images, labels, tmp_path, capsys):
    out = tmp_path / "ours"
    found = adapt(model, images, out, labels=labels, merge="Neutrophil=BNE+SNE")
    assert found.helped
    assert found.check.balanced[1] > found.check.balanced[0]
    assert found.labelled == {"EO": 4, "LY": 4, "Neutrophil": 8}
    assert found.absent == tuple(c for c in CLASSES if c not in ("BNE", "SNE", "LY", "EO"))
    before, after = (load_file(each / "weights.safetensors") for each in (model, out))
    assert [k for k in before if not np.array_equal(before[k], after[k])] == [
        "classifier.bias",
        "classifier.weight",
    ]
    assert after["classifier.weight"].dtype == np.float16
    record = describe(out)["adapted"]
    assert record["cells"] == 44
    assert record["helped"]
    assert record["map"] == {"classes": {"Neutrophil": ["BNE", "SNE"]}, "only": False}
    shown = [read_image(path) for path in find_images([images])]
    engines = [Predictor.load(out, engine=each).probabilities(shown) for each in ("onnx", "torch")]
    np.testing.assert_allclose(*engines, atol=1e-4)


def test_a_model_that_is_not_helped_stays_as_it_was(model, images, tmp_path, monkeypatch, capsys):
    from naturalize.adaptation import adapt as module

    real = module.check
    monkeypatch.setattr(module, "check", lambda *a: replace(real(*a), stability=0.1))
    run_app_ok(["adapt", str(model), str(images), "-o", str(tmp_path / "same")])
    assert "did not help" in capsys.readouterr().out
    for name in ("weights.safetensors", "network.onnx"):
        assert (tmp_path / "same" / name).read_bytes() == (model / name).read_bytes()
    assert describe(tmp_path / "same")["adapted"]["helped"] is False


def run_app_ok(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_app(arguments)
    assert ended.value.code == 0


@pytest.mark.parametrize("like", [False, True])
def test_of_two_networks_the_one_that_answers_is_fitted(model, images, labels, tmp_path, like):
    """The phantom's slide is like that of the training images, or it is not."""
    low = (150.0,) * 3 if like else (0.0,) * 3
    high = (255.0,) * 3 if like else (10.0,) * 3
    stain = {"nucleus_stain": (0.5, 0.6, 0.3), "red_stain": (0.1, 0.3, 0.2)}
    sizes = {"height": 363, "width": 360, "red_cell": 80.0, "white_cell": 130.0}
    slide = {"slide": high, "slide_low": low, "slide_high": high}
    standard = Standard(**slide, **sizes, **stain, alone=True, focus=0.02)
    opened = Predictor.load(model, engine="torch")
    for name in ("home", "away"):
        config = replace(opened.config, standard=standard)
        save_model(tmp_path / name, opened.module, config)
    export_model(tmp_path / "home", tmp_path / "pair", elsewhere=tmp_path / "away")
    out = tmp_path / "ours"
    assert adapt(tmp_path / "pair", images, out, labels=labels, merge="Neutrophil=BNE+SNE").helped
    same = [
        (out / part / "weights.safetensors").read_bytes()
        == (tmp_path / "pair" / part / "weights.safetensors").read_bytes()
        for part in (".", "elsewhere")
    ]
    assert same == [not like, like]
    Predictor.load(out)  # whole, with the graphs that belong to the weights
    assert describe(out)["adapted"]["helped"]


def test_the_same_images_give_the_same_model(model, images, labels, tmp_path):
    for name in ("one", "two"):
        nz.adapt(model, images, tmp_path / name, labels=labels, merge="Neutrophil=BNE+SNE")
    one, two = (tmp_path / name / "weights.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_too_few_cells_are_refused(model, images, tmp_path):
    few = find_images([images])[:20]
    (tmp_path / "bad.png").write_bytes(b"no image")
    again = shutil.copy(few[0], tmp_path / "again.png")
    with pytest.raises(InputError, match=r"20 cells .* 32 are needed") as error:
        adapt(model, [*few, tmp_path / "bad.png", again], tmp_path / "out")
    assert "1 unreadable" in str(error.value)
    assert "1 the same picture again" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_labels_that_do_not_fit_are_refused(model, images, tmp_path):
    files = find_images([images])
    out = tmp_path / "out"
    unknown = _table(images, "unknown.csv", [(files[0], "LY"), (files[1], "Lymph")])
    with pytest.raises(SettingsError, match=r"Lymph.*--map"):
        adapt(model, images, out, labels=unknown)
    one = _table(images, "one.csv", [(files[0], "LY"), (files[1], "LY")])
    with pytest.raises(InputError, match="one class only"):
        adapt(model, images, out, labels=one)
    copy = shutil.copy(files[0], images.parent / f"copy{files[0].suffix}")
    both = _table(images, "both.csv", [(files[0], "LY"), (copy, "EO")])
    with pytest.raises(InputError, match="one picture with two labels"):
        adapt(model, images, out, labels=both)
    with pytest.raises(SettingsError, match="class of the model in --map"):
        adapt(model, images, out, merge="Neutrophil=NEU")
    with pytest.raises(InputError):
        adapt(model, images, out, labels=tmp_path / "nowhere.csv")
    assert not out.exists()


def test_models_without_one_linear_layer_are_refused(model, images, tmp_path):
    save_ensemble(tmp_path / "two", [model, model])
    with pytest.raises(SettingsError, match="adapt its members"):
        adapt(tmp_path / "two", images, tmp_path / "out")
    network = build("cbam:custom_cnn+custom_cnn", CLASSES, weights="none", input_size=32)
    save_model(tmp_path / "cbam", network.module, network.config)
    with pytest.raises(SettingsError, match="not linear"):
        adapt(tmp_path / "cbam", images, tmp_path / "out")
    with pytest.raises(ArtifactError, match="no such model"):
        adapt("nomodel", images, tmp_path / "out")


def test_a_place_that_is_taken_is_said_before_anything_is_read(model, images, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="taken"):
        adapt(model, images, tmp_path / "taken")
    assert json.loads((model / "model.json").read_text()).get("adapted") is None
