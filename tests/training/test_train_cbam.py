"""CBAM ensembles are trained like any network."""

from __future__ import annotations

import pytest

from naturalize.models.folder import describe, save_model
from naturalize.models.load import load_model
from naturalize.models.predictor import Predictor
from naturalize.models.zoo import build
from naturalize.training.fit import train
from naturalize.training.settings import TrainSettings

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def name(tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    torch.manual_seed(1)
    for member in ("custom_cnn", "custom_cnn_cbam"):
        network = build(member, 3, weights="none", input_size=24, options={"channels": [8, 16]})
        save_model(folder / member, network.module, network.config)
    return f"cbam:{folder / 'custom_cnn'}+{folder / 'custom_cnn_cbam'}"


@pytest.mark.parametrize(("mode", "epochs"), [("transfer", 2), ("finetune", 8)])
def test_a_cbam_ensemble_is_trained_on_its_members_backbones(mode, epochs, name, toys, tmp_path):
    catalog, split, _ = toys
    settings = TrainSettings.parse(
        {
            "model": name,
            "mode": mode,
            "epochs": epochs,
            "batch_size": 12,
            "samples_per_epoch": 72,
            "lr": 0.005,
            "network_options": {"width": 16},
            "workers": 0,
            "device": "cpu",
        }
    )
    train(settings, catalog, split, out=tmp_path / "model")
    about = describe(tmp_path / "model")
    assert about["architecture"] == "cbam:custom_cnn+custom_cnn_cbam"
    assert about["options"]["width"] == 16
    trained = load_model(tmp_path / "model")[0]
    for member, folder in zip(trained.members, name.removeprefix("cbam:").split("+"), strict=True):
        before, after = load_model(folder)[0].blocks.state_dict(), member.state_dict()
        same = [torch.equal(before[key], after[key]) for key in before]
        assert all(same) if mode == "transfer" else not any(same)
    if mode == "finetune":
        assert about["metrics"]["macro_f1"] > 0.6  # chance is 1/3
    assert Predictor.load(tmp_path / "model").classes == ("blue", "green", "red")
