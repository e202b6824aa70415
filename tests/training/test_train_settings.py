"""Settings: what is refused, what is told, what is no part of a result."""

from __future__ import annotations

import pytest

from naturalize.base.errors import SettingsError
from naturalize.cli.train import with_overrides
from naturalize.training.settings import TrainSettings


def test_defaults_are_valid_and_frozen():
    settings = TrainSettings()
    assert settings.model == "tf_efficientnet_lite0"
    with pytest.raises(ValueError, match="frozen"):
        settings.lr = 1.0


def test_workers_and_device_decide_no_result():
    here, there = TrainSettings(), TrainSettings(workers=4, device="cpu")
    assert here.model_dump(mode="json") == there.model_dump(mode="json")
    assert TrainSettings(seed=1).model_dump() != here.model_dump()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "unknown setting 'epoch'.*did you mean 'epochs'"),
        ({"augment": {"rotat": 3}}, "did you mean 'augment.rotate'"),
        ({"epochs": 0}, "epochs.*greater than or equal to 1, got 0"),
        ({"lr": "fast"}, "lr.*valid number.*got 'fast'"),
        ({"mode": "frozen"}, "mode.*'scratch', 'transfer' or 'finetune'"),
        ({"mode": "scratch", "weights": "imagenet"}, "mode scratch takes no weights"),
        ({"mode": "transfer", "weights": "none"}, "mode transfer needs weights"),
        ({"class_weights": "balanced", "sampler": "balanced"}, "choose one of them"),
        ({"label_smoothing": 1.0}, "label_smoothing.*less than 1"),
    ],
)
def test_wrong_settings_are_named(values, message):
    with pytest.raises(SettingsError, match=message):
        TrainSettings.parse(values)


def test_overrides_are_laid_over_and_parsed():
    values = with_overrides({"epochs": 3}, ["lr=0.5", "augment.rotate=0", "augment.flips=false"])
    assert values == {"epochs": 3, "lr": 0.5, "augment": {"rotate": 0, "flips": False}}
    assert TrainSettings.parse(values).augment.rotate == 0
    with pytest.raises(SettingsError, match="expected KEY=VALUE"):
        with_overrides({}, ["lr"])
