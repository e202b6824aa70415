"""The small convolutional network of the paper, plain or with CBAM, trained from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from naturalize.base.errors import ArtifactError, SettingsError
from naturalize.base.settings import Settings, validated
from naturalize.models import weights as sources
from naturalize.models.config import Network, NetworkConfig, Wanted
from naturalize.models.torchvision_compat import ensure

#: Short trainings: running statistics must follow within a few dozen steps.
_MOMENTUM = 0.3


class CustomCNN(nn.Module):
    """Blocks of convolution, batch norm, ReLU and pooling; global average; a dense layer.

    It has timm's interface (``forward_features``, ``forward_head``, ``get_classifier``,
    ``num_features``), so that training, prediction and explanation treat all networks alike.
    ``channels`` are those of each block, which halves height and width; with ``cbam`` each block
    ends in CBAM, before its pooling; ``drop_rate`` is the share of the pooled features dropped in
    training.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        channels: Sequence[int] = (32, 64, 128, 256),
        drop_rate: float = 0.3,
        cbam: bool = False,
    ) -> None:
        super().__init__()
        blocks, width = [], 3
        for out in channels:
            blocks.append(_block(width, out, pool=True, cbam=cbam))
            width = out
        blocks.append(_block(width, width, pool=False, cbam=cbam))
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(drop_rate)
        self.classifier = nn.Linear(width, num_classes)
        self.num_features, self.num_classes = width, num_classes
        for block in blocks:  # not CBAM's: its gates would start shut or wide open
            convolution = block[0]
            assert isinstance(convolution, nn.Conv2d)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last feature maps, (N, D, H, W), of normalised images (N, 3, H, W)."""
        return self.blocks(x)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Return logits (N, C), or with ``pre_logits`` the pooled features (N, D)."""
        pooled = x.mean(dim=(2, 3))
        return pooled if pre_logits else self.classifier(self.dropout(pooled))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, C) of normalised images (N, 3, H, W)."""
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """Return the dense layer that gives the logits."""
        return self.classifier

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return timm's description of which parameters lie how deep, for layer-wise rates."""
        return {"stem": r"^blocks\.0\.", "blocks": r"^blocks\.(\d+)"}


def attention(channels: int) -> nn.Module:
    r"""Return a convolutional block attention module (Woo et al., ECCV 2018, eq. 1–3).

    Maps :math:`F`, (N, C, H, W), become :math:`F' = M_c(F) \otimes F` and then
    :math:`F'' = M_s(F') \otimes F'`, with
    :math:`M_c = \sigma(MLP(AvgPool(F)) + MLP(MaxPool(F)))`, one number a channel, and
    :math:`M_s = \sigma(BN(f^{7 \times 7}[AvgPool(F'); MaxPool(F')]))`, one a place. The batch norm
    is that of the authors' code. The module is timm's; its MLP's hidden layer has C / 16 units, at
    least one.
    """
    ensure()
    from timm.layers.cbam import CbamModule

    return CbamModule(channels, rd_ratio=1 / 16)


def _block(width: int, out: int, *, pool: bool, cbam: bool) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(width, out, 3, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
    ]
    if cbam:
        layers.append(attention(out))
    if pool:
        layers.append(nn.MaxPool2d(2))
    block = nn.Sequential(*layers)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = _MOMENTUM
    return block


#: Side of the input in pixels, unless another is asked for.
SIZE = 128
_SMALLEST = 16

#: A whole number of channels, cells of a grid and the like.
Count = Annotated[int, Field(strict=True, ge=1)]


class _Options(Settings):
    channels: Annotated[list[Count], Field(min_length=1, max_length=4)] | None = None


def build_own(wanted: Wanted) -> Network:
    """Build the custom CNN, plain or with CBAM; option ``channels``: of each block."""
    name = wanted.name
    if wanted.weights in ("imagenet", "download"):
        raise SettingsError(f"{name} is trained from scratch: there are no ImageNet weights for it")
    size = wanted.input_size or SIZE
    if size < _SMALLEST:
        raise SettingsError(f"input_size: {name} needs {_SMALLEST} pixels or more, got {size}")
    asked = validated(_Options, wanted.options, what=f"network_options of {name}")
    options = asked.model_dump(exclude_none=True)
    if wanted.dropout is not None:
        options["drop_rate"] = wanted.dropout
    module = CustomCNN(len(wanted.classes), cbam=name.endswith("_cbam"), **options)
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std, source = mean, "scratch"
    if wanted.weights not in ("auto", "none"):
        found = sources.find(name, wanted.weights)
        assert found is not None
        load_all_but_head(module, found, "classifier", name)
        source, mean, std = found.source, found.mean or mean, found.std or std
    config = NetworkConfig(name, wanted.classes, size, mean, std, source, options=wanted.options)
    return Network(module, config)


def load_all_but_head(module: Any, found: sources.Weights, head: str, name: str) -> None:
    """Load a state dict, but for a classifier (called ``head``) of another size.

    ``ArtifactError`` if any other tensor is missing, unknown or of another shape.
    """
    own = module.state_dict()
    state = {
        k: v
        for k, v in found.state.items()
        if not (k.startswith(f"{head}.") and k in own and own[k].shape != v.shape)
    }
    dropped = {k for k in own if k.startswith(f"{head}.") and k not in state}
    wrong = [
        k for k in own if k not in dropped and (k not in state or state[k].shape != own[k].shape)
    ]
    if wrong or set(state) - set(own):
        first = (wrong or sorted(set(state) - set(own)))[0]
        raise ArtifactError(
            f"{found.source.removeprefix('file:')}: no weights of {name} (see tensor {first!r})"
        )
    module.load_state_dict(state, strict=False)
