"""The small convolutional network of the paper, plain or with CBAM, trained from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from naturalize.models.cbam import attention

#: Short trainings: running statistics must follow within a few dozen steps.
_MOMENTUM = 0.3


class CustomCNN(nn.Module):
    """Blocks of convolution, batch norm, ReLU and pooling; global average; a dense layer.

    It has timm's interface (``forward_features``, ``forward_head``, ``get_classifier``,
    ``num_features``), so that training, prediction and explanation treat all networks alike.

    Parameters
    ----------
    num_classes
        Number of outputs.
    channels
        Output channels of each block; every block halves height and width.
    drop_rate
        Share of the pooled features dropped in training.
    cbam
        Whether each block ends in CBAM, before its pooling.
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
