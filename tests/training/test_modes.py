"""Modes: features that are computed once, heads that warm up, rates by layer, stopping early."""

from __future__ import annotations

import math

import numpy as np
import pytest
from toy import TINY, fit

from naturalize.base.errors import SettingsError
from naturalize.models.folder import describe
from naturalize.training.settings import AugmentSettings, TrainSettings

torch = pytest.importorskip("torch")


def build(name: str, size: int):
    from naturalize.models.zoo import build as zoo_build

    torch.manual_seed(0)
    return zoo_build(name, 3, weights="none", input_size=size)


def states_after_epochs(monkeypatch) -> list[dict]:
    """Collect the network's state after each epoch of the runs that follow."""
    from naturalize.training.learner import Learner

    found, ours = [], Learner.validate

    def validate(self, batches):
        state = self.network.state_dict()
        found.append({name: value.clone() for name, value in state.items()})
        return ours(self, batches)

    monkeypatch.setattr(Learner, "validate", validate)
    return found


def differing(a: dict, b: dict) -> set[str]:
    return {name for name in a if not torch.equal(a[name], b[name])}


# -- transfer ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size"),
    [("custom_cnn", 16), ("test_convnext", 32), ("test_vit", 160), ("test_efficientnet", 32)],
)
def test_a_head_on_features_is_the_whole_network(name, size):
    from naturalize.training.features import classifier_input, learning_part

    network = build(name, size)
    network.module.eval()
    x = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        features = classifier_input(network.module, x)
        head = learning_part(network, "transfer", None).module.eval()
        torch.testing.assert_close(head(features), network.module(x), rtol=1e-5, atol=1e-5)
    assert not network.module.get_classifier()._forward_pre_hooks
    assert learning_part(network, "finetune", None) is network


@pytest.fixture(scope="module")
def start(toys, tmp_path_factory):
    """A network to start from."""
    out = tmp_path_factory.mktemp("start") / "model"
    return fit(toys, out, TINY.model_copy(update={"epochs": 1}))


def test_transfer_computes_features_once_and_trains_the_classifier_alone(
    toys, start, tmp_path, monkeypatch
):
    from safetensors.torch import load_file

    from naturalize.models.custom_cnn import CustomCNN
    from naturalize.models.predictor import Predictor

    images, ours = [], CustomCNN.forward_features

    def counted(self, x):
        images.append(len(x))
        return ours(self, x)

    monkeypatch.setattr(CustomCNN, "forward_features", counted)
    settings = TINY.model_copy(
        update={"mode": "transfer", "weights": str(start), "epochs": 9, "lr": 0.1, "views": 2}
    )
    model = fit(toys, tmp_path / "model", settings)
    train, val = len(toys[1].ids("train")), len(toys[1].ids("val"))
    assert train * 2 + val <= sum(images) <= train * 2 + val + 64  # a block to learn the shape
    before, after = (load_file(p / "weights.safetensors") for p in (start, model))
    assert differing(before, after) == {"classifier.weight", "classifier.bias"}
    assert [p.name for p in tmp_path.iterdir()] == ["model"], "no features are left"

    monkeypatch.undo()
    predictor, about = Predictor.load(model), describe(model)
    catalog, split, _ = toys
    label_of = dict(
        zip(split.table["image_id"].to_pylist(), split.table["label"].to_pylist(), strict=True)
    )
    ids = split.ids("val")
    said = predictor.probabilities(catalog.read(i) for i in ids)
    true = np.array([predictor.classes.index(label_of[i]) for i in ids])
    assert about["metrics"]["accuracy"] == pytest.approx((said.argmax(1) == true).mean())
    loss = -np.log(said[np.arange(len(true)), true]).mean()
    assert about["metrics"]["loss"] == pytest.approx(loss, rel=1e-4)


def test_features_of_a_run_that_was_killed_are_taken_up(toys, tmp_path):
    from naturalize.models.preprocess import View
    from naturalize.training.data import CellImages, classes_of
    from naturalize.training.features import Features

    catalog, split, _ = toys
    data = CellImages(
        TINY, catalog, split, classes=classes_of(catalog, split), view=View(16), work=tmp_path
    )
    network = build("custom_cnn", 16)

    def bytes_of() -> bytes:
        features = Features(data, views=2)
        features.compute(network, "cpu", 1)
        return features.stores["train"].path.read_bytes()

    whole = bytes_of()
    file = next(p for p in tmp_path.glob("features-train-*") if p.suffix == ".done")
    name = file.with_suffix("")
    assert len(whole) == 2 * len(data.train) * 256 * 4
    first, second = np.frombuffer(whole, np.float32).reshape(2, -1)
    assert not np.array_equal(first, second), "views differ"
    # a block is half there: bytes written, the mark not
    name.write_bytes(whole[: len(whole) // 2])
    file.write_bytes(file.read_bytes()[:30])
    assert bytes_of() == whole


def test_one_view_serves_without_augmentation():
    still = AugmentSettings(
        flips=False, right_angles=False, rotate=0, zoom=0, shift=0, stain=0, brightness=0
    )
    assert not still.changes
    assert AugmentSettings().changes
    assert still.model_copy(update={"randaugment": 1}).changes


# -- fine-tuning ------------------------------------------------------------------------------


def test_the_head_warms_up_alone_and_then_all_learn(toys, start, tmp_path, monkeypatch):
    from safetensors.torch import load_file

    states = states_after_epochs(monkeypatch)
    settings = TINY.model_copy(update={"weights": str(start), "head_epochs": 1, "epochs": 2})
    fit(toys, tmp_path / "model", settings)
    before = load_file(start / "weights.safetensors")
    assert differing(before, states[0]) == {"classifier.weight", "classifier.bias"}
    moved = differing(states[0], states[1])
    assert {"classifier.weight", "blocks.0.0.weight", "blocks.0.1.running_mean"} <= moved


def test_what_a_network_never_trains_stays_frozen_after_the_warm_up():
    from naturalize.training.optimiser import learning, only_head

    network = build("custom_cnn", 16).module
    network.blocks[0].requires_grad_(False)
    parameters = learning(network)
    only_head(network, parameters, True)
    assert {id(p) for p in learning(network)} == {id(p) for p in network.classifier.parameters()}
    only_head(network, parameters, False)
    assert learning(network) == parameters
    assert not network.blocks[0][0].weight.requires_grad


def test_rates_are_constant_while_the_head_warms_up_and_then_follow_the_cosine():
    from naturalize.training.optimiser import rate_factor, schedule

    settings = TrainSettings(epochs=6, head_epochs=2, warmup_epochs=1, lr=1.0)
    adam = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    rates = schedule(adam, settings, steps=5)
    found = []
    for _ in range(30):
        found.append(adam.param_groups[0]["lr"])
        adam.step()
        rates.step()
    expected = [1.0] * 10 + [rate_factor(step, 20, 5) for step in range(20)]
    np.testing.assert_allclose(found, expected)


def test_rates_fall_layer_by_layer_from_the_classifier_down():
    from naturalize.training.optimiser import parameter_groups

    network = build("test_convnext", 32).module
    settings = TrainSettings(layer_decay=0.5, lr=1.0, weight_decay=0.1)
    groups = parameter_groups(network, settings)
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    named = dict(network.named_parameters())
    assert sum(len(group["params"]) for group in groups) == len(named) == len(rate)
    assert all(math.log2(value) == round(math.log2(value)) for value in rate.values())
    order = ["stem.0.weight", "stages.0.blocks.0.conv_dw.weight", "head.fc.weight"]
    values = [rate[id(named[name])] for name in order]
    assert values == sorted(values)
    assert len(set(values)) == 3
    assert values[-1] == 1.0
    for group in groups:
        flat = {p.ndim <= 1 for p in group["params"]}
        assert group["weight_decay"] == (0.0 if flat == {True} else 0.1)


def test_rates_by_layer_of_unknown_layers_are_refused():
    from naturalize.training.optimiser import parameter_groups

    network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    with pytest.raises(SettingsError, match=r"layer_decay: the layers of tf_.* are not known"):
        parameter_groups(network, TrainSettings(layer_decay=0.9))


def test_training_stops_when_the_score_gets_no_better(toys, tmp_path, capsys):
    # a rate of nearly nought: every epoch scores as the first one does
    settings = TINY.model_copy(
        update={"model": "test_convnext", "input_size": 32, "epochs": 9, "patience": 2, "lr": 1e-30}
    )
    about = describe(fit(toys, tmp_path / "model", settings))["training"]
    assert (about["epochs_run"], about["best_epoch"]) == (3, 1)
    assert "no better validation score in 2 epochs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("epochs", "best", "head", "finished"),
    [(2, 1, 0, False), (3, 1, 0, True), (4, 3, 0, False), (3, 1, 2, False), (9, 8, 0, True)],
)
def test_a_run_is_finished_by_its_state_alone(tmp_path, epochs, best, head, finished):
    from naturalize.training.checkpoint import Checkpoint

    checkpoint = Checkpoint(tmp_path, TrainSettings(epochs=9, patience=2, head_epochs=head))
    for epoch in range(1, epochs + 1):
        score = {"loss": 1.0, "accuracy": 0.5, "macro_f1": 0.9 if epoch == best else 0.1}
        checkpoint.add({"lr": 0.1, "train_loss": 1.0}, score)
    assert checkpoint.best["epoch"] == best
    assert checkpoint.finished is finished


# -- what composes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"loss": "focal", "class_weights": "balanced", "mixup": 0.3, "ema": 0.9},
        {"loss": "balanced_softmax", "cutmix": 1.0, "augment": AugmentSettings(randaugment=2)},
        {"loss": "focal", "sampler": "balanced", "mode": "scratch", "crop": 0.8, "balanced": True},
    ],
)
def test_parts_go_together(toys, tmp_path, change):
    from naturalize.models.predictor import Predictor

    model = fit(toys, tmp_path / "model", TINY.model_copy(update={"epochs": 1, **change}))
    assert math.isfinite(describe(model)["metrics"]["loss"])
    view = Predictor.load(model).config.view
    assert (view.crop, view.balanced) == (change.get("crop", 1.0), change.get("balanced", False))


def test_a_model_with_its_own_view_predicts_as_it_was_validated(toys, tmp_path):
    from naturalize.models.predictor import Predictor

    settings = TINY.model_copy(update={"epochs": 2, "crop": 0.7, "balanced": True})
    model = fit(toys, tmp_path / "model", settings)
    catalog, split, _ = toys
    ids = split.ids("val")
    label_of = dict(
        zip(split.table["image_id"].to_pylist(), split.table["label"].to_pylist(), strict=True)
    )
    predictor = Predictor.load(model)
    said = predictor.probabilities(catalog.read(i) for i in ids)
    true = np.array([predictor.classes.index(label_of[i]) for i in ids])
    loss = -np.log(said[np.arange(len(true)), true]).mean()
    assert describe(model)["metrics"]["loss"] == pytest.approx(loss, rel=1e-4)
