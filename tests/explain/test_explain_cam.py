"""Grad-CAM and Score-CAM against torch-cam, on tiny double-precision networks."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn
from torchcam.methods import GradCAM, ScoreCAM

from naturalize.base.errors import SettingsError
from naturalize.explain.maps import (
    evaluating,
    grad_cam,
    grouped_maps,
    map_layer,
    recording,
    score_cam,
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


@pytest.mark.parametrize("layer", ["2", "4", "5"])
def test_grad_cam_equals_torchcam(images: torch.Tensor, layer: str) -> None:
    module = small_cnn().eval()
    with GradCAM(module, layer) as oracle:
        (expected,) = oracle(TARGETS.tolist(), module(images))
    _close(grad_cam(module, images, TARGETS, module.get_submodule(layer)), expected)


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
    for method in (grad_cam, score_cam):
        together = method(module, images, TARGETS, module[5])
        for i in range(3):
            alone = method(module, images[i : i + 1], TARGETS[i : i + 1], module[5])
            torch.testing.assert_close(alone[0], together[i])


def test_layers_that_work_in_place_give_the_same(images: torch.Tensor) -> None:
    for method in (grad_cam, score_cam):
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


def test_grouping_all_maps_alone_changes_nothing(images: torch.Tensor) -> None:
    module = small_cnn()
    full = score_cam(module, images, TARGETS, module[5])
    torch.testing.assert_close(score_cam(module, images, TARGETS, module[5], channels=9), full)


def test_groups_join_maps_of_one_shape() -> None:
    torch.manual_seed(0)
    shapes = torch.rand(3, 5, 5, dtype=torch.float64)
    maps = torch.cat([shapes * k for k in (1, 2, 6)])  # each shape at three strengths
    groups = grouped_maps(maps, 3)
    found = torch.tensor(sorted(groups.flatten(1).tolist()))
    torch.testing.assert_close(found, torch.tensor(sorted((3 * shapes).flatten(1).tolist())))


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


@pytest.mark.parametrize("setting", [{"batch": 0}, {"channels": 0}])
def test_settings_below_one_are_refused(images: torch.Tensor, setting: dict[str, int]) -> None:
    module = small_cnn()
    with pytest.raises(SettingsError, match="expected 1 or more, got 0"):
        score_cam(module, images, TARGETS, module[5], **setting)


def test_progress_is_told_an_image_at_a_time(images: torch.Tensor) -> None:
    module, calls = small_cnn(), []
    score_cam(module, images, TARGETS, module[5], done=lambda: calls.append(1))
    assert len(calls) == 3
