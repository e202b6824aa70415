"""Model folders that are not as they should be."""

from __future__ import annotations

import json

import pytest

from naturalize.base.artifacts import file_hash
from naturalize.base.errors import ArtifactError
from naturalize.models.folder import describe, save_model
from naturalize.models.load import load_model
from naturalize.models.zoo import build

pytest.importorskip("torch")


@pytest.fixture
def model(tmp_path):
    network = build("custom_cnn", ["A", "B"], weights="none", input_size=32)
    return save_model(tmp_path / "model", network.module, network.config, metrics={"n": 4})


def edit(file, **changes):
    raw = json.loads(file.read_text())
    raw.update(changes)
    gone = {name for name, value in changes.items() if value is None}
    file.write_text(json.dumps({k: v for k, v in raw.items() if k not in gone}))


def rehash(model):
    files = {f: file_hash(model / f) for f in ("model.json", "weights.safetensors")}
    edit(model / "artifact.json", files=files)


def test_the_folder_has_what_the_format_says(model):
    assert sorted(p.name for p in model.iterdir()) == [
        "artifact.json",
        "model.json",
        "weights.safetensors",
    ]
    about = describe(model)
    assert about["classes"] == ["A", "B"]
    assert about["input_size"] == 32
    assert about["temperature"] == 1.0
    assert about["weights_source"] == "scratch"
    assert about["protocol"] == "honest"
    assert about["metrics"] == {"n": 4}


def test_another_format_version_is_refused(model):
    edit(model / "artifact.json", format_version=99)
    with pytest.raises(ArtifactError, match="format version 99"):
        load_model(model)


def test_another_kind_is_refused(model):
    edit(model / "artifact.json", kind="bank")
    with pytest.raises(ArtifactError, match="is a bank of cells; expected a model"):
        load_model(model)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"nothing-here: no such model folder"):
        load_model(tmp_path / "nothing-here")


def test_one_flipped_bit_in_the_weights_is_found(model):
    file = model / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match="damaged weights"):
        load_model(model)


def test_truncated_weights_are_found(model):
    file = model / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    rehash(model)
    with pytest.raises(ArtifactError, match="damaged weights"):
        load_model(model)


def test_absent_weights_are_named(model):
    (model / "weights.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"weights\.safetensors.*no such file"):
        load_model(model)


def test_missing_tensors_are_named(model):
    from safetensors.torch import load_file, save_file

    state = load_file(model / "weights.safetensors")
    del state["classifier.bias"]
    save_file(state, model / "weights.safetensors")
    rehash(model)
    with pytest.raises(ArtifactError, match=r"lacks 'classifier\.bias'.*1 missing"):
        load_model(model)


def test_tensors_of_another_shape_are_named(model):
    edit(model / "model.json", classes=["A", "B", "C"])
    with pytest.raises(ArtifactError, match=r"classifier\.\w+' has shape \(2.*expected \(3"):
        load_model(model)


def test_a_description_that_lacks_a_key_is_refused(model):
    edit(model / "model.json", mean=None)
    with pytest.raises(ArtifactError, match=r"damaged description.*mean"):
        load_model(model)


def test_an_architecture_that_is_not_known_here_is_refused(model):
    edit(model / "model.json", architecture="resnet_from_the_future")
    with pytest.raises(ArtifactError, match="cannot be built here: unknown model"):
        load_model(model)
