"""CBAM against plain numpy, and the ensemble that it refines."""

from __future__ import annotations

import json

import numpy as np
import pytest

from naturalize.base.errors import SettingsError
from naturalize.models.custom_cnn import attention
from naturalize.models.folder import describe, save_model
from naturalize.models.predictor import Predictor
from naturalize.models.torch_predictor import TorchPredictor
from naturalize.models.zoo import build

torch = pytest.importorskip("torch")

CLASSES = ("A", "B", "C")


def images(n: int = 3, side: int = 40) -> list[np.ndarray]:
    generator = np.random.default_rng(7)
    return [generator.integers(0, 256, (side, side + 3, 3), dtype=np.uint8) for _ in range(n)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two model folders whose networks are unlike each other in all but their classes."""
    folder = tmp_path_factory.mktemp("members")
    torch.manual_seed(2)
    small = build("custom_cnn", CLASSES, weights="none", input_size=32, options={"channels": [8]})
    res = build("test_resnet", CLASSES, weights="none", input_size=48)
    save_model(folder / "small", small.module, small.config)
    save_model(folder / "res", res.module, res.config)
    return {"small": (folder / "small", small), "res": (folder / "res", res)}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_attention_is_what_the_paper_writes_down():
    torch.manual_seed(0)
    module = attention(32).double()
    norm = module.spatial.conv.bn
    norm.running_mean.fill_(0.1)
    norm.running_var.fill_(0.7)
    module.eval()
    maps = torch.randn(2, 32, 5, 6, dtype=torch.float64)
    state = {k: v.detach().numpy() for k, v in module.state_dict().items()}
    first, second = state["channel.fc1.weight"][..., 0, 0], state["channel.fc2.weight"][..., 0, 0]
    kernel = state["spatial.conv.conv.weight"][0]
    assert first.shape == (2, 32)  # a sixteenth

    f = maps.numpy()
    pooled = [f.mean(axis=(2, 3)), f.max(axis=(2, 3))]
    channel = sigmoid(sum(np.maximum(p @ first.T, 0) @ second.T for p in pooled))
    f = f * channel[:, :, None, None]
    two = np.stack([f.mean(axis=1), f.max(axis=1)], axis=1)
    padded = np.pad(two, ((0, 0), (0, 0), (3, 3), (3, 3)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), axis=(2, 3))
    place = np.einsum("nchwij,cij->nhw", windows, kernel)
    place = (place - 0.1) / np.sqrt(0.7 + norm.eps)
    place = place * state["spatial.conv.bn.weight"] + state["spatial.conv.bn.bias"]
    expected = f * sigmoid(place)[:, None]
    with torch.no_grad():
        np.testing.assert_allclose(module(maps).numpy(), expected, atol=1e-12)


def test_the_joined_map_is_the_members_own_maps_on_the_finest_grid(trained):
    (small_path, small), (res_path, res) = trained["small"], trained["res"]
    network = build(f"cbam:{small_path}+{res_path}", CLASSES, input_size=64)
    assert network.config.architecture == "cbam:custom_cnn+test_resnet"
    assert network.config.weights_source == "file:weights.safetensors+file:weights.safetensors"
    predictor = TorchPredictor(network.module, network.config)
    x = predictor.tensor(images())
    with torch.inference_mode():
        joined = predictor.module.forward_features(x)
        first = small.module.eval().forward_features(x)
        # res has another normalisation than the common one, which is the first member's
        pixels = x * 0.5 + 0.5
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (res.config.mean, res.config.std))
        second = res.module.eval().forward_features((pixels - mean) / std)
    assert first.shape[-1] > second.shape[-1]
    side, k = first.shape[-1], first.shape[1]
    assert joined.shape == (3, k + second.shape[1], side, side)
    torch.testing.assert_close(joined[:, :k], first)
    enlarged = torch.nn.functional.interpolate(second, (side, side), mode="bilinear")
    torch.testing.assert_close(joined[:, k:], enlarged, atol=2e-5, rtol=1e-4)


def test_a_cbam_ensemble_steps_saves_and_loads_without_its_members_folders(trained, tmp_path):
    name = f"cbam:{trained['small'][0]}+test_vit+{trained['res'][0]}"
    network = build(name, CLASSES, weights="auto", input_size=32, options={"width": 24, "grid": 3})
    predictor = TorchPredictor(network.module, network.config)
    before = {k: v.clone() for k, v in network.module.named_parameters()}
    optimiser = torch.optim.SGD(network.module.parameters(), lr=0.1)
    network.module.train()
    for _ in range(2):
        optimiser.zero_grad()
        logits = network.module(predictor.tensor(images()))
        torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
        optimiser.step()
    # each parameter has its gradient, which several processes would wait for
    assert all(p.grad is not None for p in network.module.parameters())
    moved = [not torch.equal(v, before[k]) for k, v in network.module.named_parameters()]
    assert np.mean(moved) > 0.9

    expected = predictor.probabilities(images())
    assert predictor.features(images()).shape == (3, 24)
    save_model(tmp_path / "model", network.module, network.config)
    assert str(trained["small"][0]) not in json.dumps(describe(tmp_path / "model"))
    again = Predictor.load(tmp_path / "model")
    assert again.config == network.config
    np.testing.assert_array_equal(again.probabilities(images()), expected)


def test_a_trained_cbam_ensemble_gives_all_but_its_classifier_to_other_classes(trained, tmp_path):
    name = f"cbam:{trained['small'][0]}+test_resnet"
    source = build(name, CLASSES, weights="none", input_size=32, options={"width": 8})
    save_model(tmp_path / "model", source.module, source.config)
    target = build(
        "cbam:custom_cnn+test_resnet",
        5,
        weights=str(tmp_path / "model"),
        input_size=32,
        options=source.config.options,
    )
    ours, theirs = target.module.state_dict(), source.module.state_dict()
    differ = {k for k in ours if not torch.equal(ours[k], theirs[k])}
    assert differ == {"head.fc.weight", "head.fc.bias"}


def test_frozen_backbones_do_not_move_and_keep_their_statistics(trained):
    name = f"cbam:{trained['small'][0]}+{trained['res'][0]}"
    options = {"frozen": True, "width": None}
    module = build(name, CLASSES, input_size=32, options=options).module.train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    free = [p for p in module.parameters() if p.requires_grad]
    assert {id(p) for p in free} == {id(p) for p in module.get_classifier().parameters()}
    optimiser = torch.optim.SGD(free, lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        module(torch.randn(4, 3, 32, 32)).square().mean().backward()
        optimiser.step()
    after = module.state_dict()
    still = {k for k in after if torch.equal(after[k], before[k])}
    assert {k for k in after if k.startswith("members.")} <= still
    assert "head.fc.weight" not in still


def test_rates_by_layer_are_low_for_the_backbones_and_full_for_what_is_new(trained):
    from timm.optim import param_groups_layer_decay

    module = build(f"cbam:{trained['small'][0]}+test_resnet", 3, weights="none").module
    head = {id(p) for p in module.get_classifier().parameters()}
    for group in param_groups_layer_decay(module, layer_decay=0.1):
        new = {id(p) in head for p in group["params"]}
        assert new == {group["lr_scale"] == 1}
        assert group["lr_scale"] in (1, pytest.approx(0.1))


@pytest.mark.parametrize("method", ["score-cam", "grad-cam"])
def test_a_cbam_ensemble_is_explained_on_its_joined_map(trained, method):
    from naturalize.explain.maps import map_layer
    from naturalize.explain.methods import explain

    network = build(
        f"cbam:{trained['small'][0]}+{trained['res'][0]}", CLASSES, options={"width": 6}
    )
    predictor = TorchPredictor(network.module, network.config)
    layer = map_layer(predictor.module, predictor.tensor(images(1)))
    assert layer is predictor.module.head.cbam
    maps = explain(predictor, images(2), method)
    assert maps.shape == (2, 48, 48)  # the larger of the members' sizes
    assert maps.max() == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cbam:", {}, "name the members"),
        ("cbam:resnet18+", {}, "name the members"),
        ("cbam:resnet18+resnet81", {}, "unknown model 'resnet81'"),
        ("cbam:resnet18+cbam:resnet18", {}, "an ensemble itself"),
        ("cbam:test_resnet", {"widht": 3}, "unknown key 'widht'.*did you mean 'width'"),
        (
            "cbam:test_resnet",
            {"width": 0},
            "width: input should be greater than or equal to 1, found 0",
        ),
        ("cbam:test_resnet", {"grid": "7"}, "grid: input should be a valid integer"),
        ("cbam:test_resnet", {"frozen": 1}, "frozen: input should be a valid boolean, found 1"),
        ("cbam:test_resnet+vit_tiny_patch16_224", {}, "cannot take input_size 15"),
    ],
)
def test_a_cbam_ensemble_that_cannot_be_is_refused(name, options, message):
    with pytest.raises(SettingsError, match=message):
        build(name, CLASSES, weights="none", input_size=15, options=options)
