"""The CAM methods against torch-cam and hand work, on tiny double-precision networks."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import nn
from torchcam.methods import GradCAM, LayerCAM, ScoreCAM

from naturalize.base.errors import SettingsError
from naturalize.explain.maps import (
    evaluating,
    grad_cam,
    grad_cam_plus_plus,
    grouped_maps,
    layer_cam,
    map_layer,
    recording,
    score_cam,
    strongest_maps,
)

logging.getLogger("torchcam").setLevel(logging.ERROR)


def small_cnn(*, inplace: bool = False) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=inplace),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 9, 3, padding=1),
        nn.ReLU(inplace=inplace),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(9, 4),
    ).double()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(3, 3, 12, 12, dtype=torch.float64, generator=torch.manual_seed(5))


TARGETS = torch.tensor([0, 3, 1])


def _unit(maps: torch.Tensor) -> torch.Tensor:
    maps = maps - maps.amin(dim=(1, 2), keepdim=True)
    return maps / (maps.amax(dim=(1, 2), keepdim=True) + 1e-8)  # as torch-cam does


def _close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(_unit(ours), theirs, rtol=1e-9, atol=1e-9)


#: torch-cam's Grad-CAM++ leaves out its division (0.5.0), so that one is worked out by hand below.
BY_GRADIENT = {grad_cam: GradCAM, layer_cam: LayerCAM}
METHODS = [*BY_GRADIENT, grad_cam_plus_plus, score_cam]


@pytest.mark.parametrize("layer", ["2", "4", "5"])
@pytest.mark.parametrize("method", BY_GRADIENT)
def test_gradient_methods_equal_torchcam(images: torch.Tensor, layer: str, method) -> None:
    module = small_cnn().eval()
    with BY_GRADIENT[method](module, layer) as oracle:
        (expected,) = oracle(TARGETS.tolist(), module(images))
    _close(method(module, images, TARGETS, module.get_submodule(layer)), expected)


@pytest.mark.parametrize("layer", ["2", "4", "5"])
def test_score_cam_equals_torchcam(images: torch.Tensor, layer: str) -> None:
    module = small_cnn().eval()
    with ScoreCAM(module, layer) as oracle:
        with torch.no_grad():
            module(images)
        (expected,) = oracle(TARGETS.tolist())
    _close(score_cam(module, images, TARGETS, module.get_submodule(layer)), expected)


@pytest.mark.parametrize("batch", [1, 2, 4, 100])
def test_chunks_give_what_one_pass_gives(images: torch.Tensor, batch: int) -> None:
    module = small_cnn()
    whole = score_cam(module, images, TARGETS, module[5], batch=9)
    chunked = score_cam(module, images, TARGETS, module[5], batch=batch)
    torch.testing.assert_close(chunked, whole, rtol=1e-12, atol=1e-12)


def test_images_together_give_what_each_gives_alone(images: torch.Tensor) -> None:
    module = small_cnn()
    for method in METHODS:
        together = method(module, images, TARGETS, module[5])
        for i in range(3):
            alone = method(module, images[i : i + 1], TARGETS[i : i + 1], module[5])
            torch.testing.assert_close(alone[0], together[i])


def test_layers_that_work_in_place_give_the_same(images: torch.Tensor) -> None:
    for method in METHODS:
        one, other = small_cnn(), small_cnn(inplace=True)
        torch.testing.assert_close(
            method(other, images, TARGETS, other[5]), method(one, images, TARGETS, one[5])
        )


def test_frozen_networks_can_be_explained_and_no_gradient_is_left(images: torch.Tensor) -> None:
    module, frozen = small_cnn(), small_cnn().requires_grad_(False)
    expected = grad_cam(module, images, TARGETS, module[5])
    torch.testing.assert_close(grad_cam(frozen, images, TARGETS, frozen[5]), expected)
    assert all(p.grad is None for p in module.parameters())
    assert not any(p.requires_grad for p in frozen.parameters())


@pytest.fixture
def linear() -> tuple[nn.Sequential, np.ndarray, np.ndarray, np.ndarray]:
    """Return a network of maps W x and logits Σ V · maps; the image, W (4, 3), V (2, 4, 5, 6)."""
    draw = np.random.default_rng(7)
    image, w, v = (draw.normal(size=shape) for shape in ((3, 5, 6), (4, 3), (2, 4, 5, 6)))
    w[1] = 0  # a map without anything
    module = nn.Sequential(
        nn.Conv2d(3, 4, 1, bias=False), nn.Flatten(), nn.Linear(120, 2, bias=False)
    ).double()
    module[0].weight.data = torch.tensor(w)[..., None, None]
    module[2].weight.data = torch.tensor(v).flatten(1)
    return module, image, w, v


def score_cam_by_hand(
    image: np.ndarray, w: np.ndarray, v: np.ndarray, kept: list[int]
) -> np.ndarray:
    """Return the map of the class with weights ``v`` (K, h, w), of the maps ``kept`` alone."""
    maps, masks = np.einsum("kc,chw->khw", w, image)[kept], []
    for one in maps:
        span = one.max() - one.min()
        masks.append((one - one.min()) / span if span else np.zeros_like(one))
    seen = np.array([(v * np.einsum("kc,chw->khw", w, image * mask)).sum() for mask in masks])
    shares = np.exp(seen - seen.max()) / np.exp(seen - seen.max()).sum()
    return np.maximum(np.einsum("k,khw->hw", shares, maps), 0)


def test_a_linear_network_by_hand(linear) -> None:
    module, image, w, v = linear
    given = (module, torch.tensor(image)[None], torch.tensor([1]), module[0])
    maps, slope = np.einsum("kc,chw->khw", w, image), v[1]  # the gradient at every place
    alpha = slope**2 / (2 * slope**2 + slope**3 * maps.sum(axis=(1, 2), keepdims=True))
    found = {method: method(*given)[0].numpy() for method in METHODS}
    for method, weights in (
        (grad_cam, slope.mean(axis=(1, 2), keepdims=True)),
        (grad_cam_plus_plus, (alpha * slope.clip(0)).sum(axis=(1, 2), keepdims=True)),
        (layer_cam, slope.clip(0)),
    ):
        expected = np.maximum((weights * maps).sum(axis=0), 0)
        np.testing.assert_allclose(found[method], expected, atol=1e-12)
    expected = score_cam_by_hand(image, w, v[1], [0, 1, 2, 3])
    np.testing.assert_allclose(found[score_cam], expected, atol=1e-12)


def test_a_share_of_the_energy_takes_the_strongest_maps() -> None:
    maps = torch.tensor([1.0, 3.0, 0.0, -2.0])[:, None, None].expand(4, 2, 2)  # energy 4, 36, 0, 16
    for share, kept in ((0.1, [3.0]), (0.64, [3.0]), (0.65, [3, -2]), (0.99, [1, 3, -2])):
        assert strongest_maps(maps, share)[:, 0, 0].tolist() == kept
    assert len(strongest_maps(torch.zeros(4, 2, 2), 0.9)) >= 1


def test_score_cam_of_the_strongest_maps_by_hand(linear) -> None:
    module, image, w, v = linear
    energy = (np.einsum("kc,chw->khw", w, image) ** 2).sum(axis=(1, 2))
    weakest = int(energy.argsort()[1])  # the first has none at all
    share = float(1 - energy[weakest] / energy.sum()) - 1e-9
    given = (module, torch.tensor(image)[None], torch.tensor([0]), module[0])
    kept = [k for k in range(4) if k not in (1, weakest)]
    expected = score_cam_by_hand(image, w, v[0], kept)
    np.testing.assert_allclose(score_cam(*given, channels=share)[0], expected, atol=1e-12)


def test_grouping_all_maps_alone_changes_nothing(images: torch.Tensor) -> None:
    module = small_cnn()
    full = score_cam(module, images, TARGETS, module[5])
    torch.testing.assert_close(score_cam(module, images, TARGETS, module[5], channels=9), full)


def test_groups_join_maps_of_one_shape() -> None:
    torch.manual_seed(0)
    shapes = torch.rand(3, 5, 5, dtype=torch.float64)
    maps = torch.cat([shapes * k for k in (1, 2, 6)])  # each shape at three strengths
    groups, members = grouped_maps(maps, 3)
    assert members.tolist() == [3, 3, 3]
    found = torch.tensor(sorted(groups.flatten(1).tolist()))
    torch.testing.assert_close(found, torch.tensor(sorted((3 * shapes).flatten(1).tolist())))


def test_a_joined_map_counts_as_often_as_it_has_members() -> None:
    # maps of one shape show the same through their masks, so that joining them changes nothing
    draw = torch.manual_seed(0)
    shapes = torch.rand(3, 3, dtype=torch.float64, generator=draw)
    strengths = 0.5 + torch.rand(7, 1, dtype=torch.float64, generator=draw)
    linear = torch.nn.Linear(7 * 36, 2, bias=False)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 7, 1, bias=False), torch.nn.Flatten(), linear
    ).double()
    module[0].weight.data = (shapes[[0, 1, 1, 2, 2, 2, 2]] * strengths)[..., None, None]
    image = torch.rand(1, 3, 6, 6, dtype=torch.float64, generator=draw)
    given = (module, image, torch.tensor([0]), module[0])
    torch.testing.assert_close(score_cam(*given, channels=3), score_cam(*given))


def test_hooks_are_gone_and_modes_are_back_after_an_error(images: torch.Tensor) -> None:
    module = small_cnn().train()
    module[1].eval()
    before = [part.training for part in module.modules()]
    with pytest.raises(IndexError):  # no class 9
        score_cam(module, images, torch.tensor([9, 9, 9]), module[5])
    with pytest.raises(RuntimeError):  # two channels
        map_layer(module, images[:1, :2])
    with pytest.raises(ZeroDivisionError), recording(module[0]), evaluating(module):
        _ = 1 / 0
    assert not any(part._forward_hooks for part in module.modules())
    assert [part.training for part in module.modules()] == before


def test_last_layer_with_maps_is_found(images: torch.Tensor) -> None:
    module = small_cnn()
    assert map_layer(module, images[:1]) is module[5]
    assert map_layer(module, images[:1], "0") is module[0]


@pytest.mark.parametrize(
    ("name", "said"),
    [("55", "unknown layer '55'"), ("7", r"gives an output of shape \(1, 9\)"),
     ("6", r"shape \(1, 9, 1, 1\)")],
)  # fmt: skip
def test_wrong_layers_are_named(images: torch.Tensor, name: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        map_layer(small_cnn(), images[:1], name)


def test_a_network_without_maps_is_told_so() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(SettingsError, match="need feature maps"):
        map_layer(module, torch.zeros(1, 3, 2, 2))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"batch": 0}, "batch: expected 1 or more, got 0"),
        ({"channels": 0}, "a share of the energy between 0 and 1, got 0"),
        ({"channels": 1.5}, "a whole number of masks from 1 on, .* got 1.5"),
        ({"channels": float("nan")}, "got nan"),
    ],
)
def test_settings_out_of_range_are_refused(
    images: torch.Tensor, setting: dict[str, float], said: str
) -> None:
    module = small_cnn()
    with pytest.raises(SettingsError, match=said):
        score_cam(module, images, TARGETS, module[5], **setting)


def test_progress_is_told_an_image_at_a_time(images: torch.Tensor) -> None:
    module, calls = small_cnn(), []
    score_cam(module, images, TARGETS, module[5], done=lambda: calls.append(1))
    assert len(calls) == 3
