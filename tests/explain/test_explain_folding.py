"""Batch norms folded into convolutions: the same logits, and when they are left alone."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from naturalize.explain.folding import folded


def unsettled(module: nn.Module) -> nn.Module:
    """Give every batch norm means, scales and shifts of its own."""
    torch.manual_seed(2)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return module.double().eval()


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", "mobilenetv3_small_050"])
def test_known_networks_lose_their_batch_norms_and_nothing_else(name: str) -> None:
    module = unsettled(timm.create_model(name, num_classes=3))
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    made = folded(module, images[:1])
    assert norms(made) == 0
    with torch.no_grad():
        torch.testing.assert_close(made(images), module(images), rtol=1e-9, atol=1e-9)
    assert norms(module) > 0
    for key, value in module.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)
    assert not any(p._forward_hooks or p._forward_pre_hooks for p in made.modules())


class Odd(nn.Module):
    """A convolution that is read twice, or called twice, or normalised after an activation."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.conv, self.norm = how, nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        if self.how == "read twice":
            y = self.norm(y) + y
        elif self.how == "called twice":
            y = self.norm(self.conv(y))
        else:
            y = self.norm(torch.relu(y))
        return y.mean(dim=(2, 3))


@pytest.mark.parametrize("how", ["read twice", "called twice", "after an activation"])
def test_what_cannot_be_folded_stays(how: str) -> None:
    module = unsettled(Odd(how))
    x = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    made = folded(module, x)
    assert norms(made) == 1
    torch.testing.assert_close(made(x), module(x))
