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


def test_workers_device_and_loggers_decide_no_result():
    here, there = TrainSettings(), TrainSettings(workers=4, device="cpu", loggers=("mlflow",))
    assert here.model_dump(mode="json") == there.model_dump(mode="json")
    assert TrainSettings(seed=1).model_dump() != here.model_dump()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "unknown key 'epoch'.*did you mean 'epochs'"),
        ({"augment": {"rotat": 3}}, "unknown key 'augment.rotat'.*did you mean 'rotate'"),
        ({"epochs": 0}, "epochs.*greater than or equal to 1, found 0"),
        ({"lr": "fast"}, "lr.*valid number.*found 'fast'"),
        ({"mode": "frozen"}, "mode.*'scratch', 'transfer' or 'finetune'"),
        ({"mode": "scratch", "weights": "imagenet"}, "mode scratch takes no weights"),
        ({"mode": "transfer", "weights": "none"}, "mode transfer needs weights"),
        ({"class_weights": "balanced", "sampler": "balanced"}, "choose one of them"),
        ({"label_smoothing": 1.0}, "label_smoothing.*less than 1"),
        ({"neighbours": 0.6}, "neighbours.*less than or equal to 0.5"),
        ({"mode": "transfer", "mixup": 0.2}, "mixup and cutmix mix images"),
        ({"mode": "scratch", "head_epochs": 1}, "mode scratch has no use for it"),
        ({"mode": "scratch", "layer_decay": 0.8}, "layer_decay is for mode finetune"),
        ({"head_epochs": 8}, r"head_epochs \(8\) must be fewer than epochs \(8\)"),
        ({"loss": "balanced_softmax", "sampler": "balanced"}, "corrects for the counts"),
        ({"loss": "balanced_softmax", "class_weights": "balanced"}, "corrects for the counts"),
        ({"loss": "hinge"}, "loss.*'focal'"),
        ({"device": "gpu"}, "device: expected one of auto, cpu, cpu:2.*found 'gpu'"),
        ({"device": "cpu:3"}, "batch_size 32 cannot be dealt evenly to the processes of .*cpu:3"),
        ({"loggers": ["wandb"]}, "'tensorboard' or 'mlflow'.*found 'wandb'"),
        ({"augment": {"randaugment": 9}}, "less than or equal to 8"),
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
