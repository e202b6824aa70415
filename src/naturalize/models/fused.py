"""The CBAM ensemble as a network: maps of several backbones, joined, refined, one classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from naturalize.models.cbam import attention


class Fused(nn.Module):
    """Feature maps of several backbones on one grid, joined, and a head that refines them.

    It has timm's interface (``forward_features``, ``forward_head``, ``get_classifier``,
    ``num_features``, ``group_matcher``). Its classifier is the whole head, reduction and CBAM
    included: it is what learns where the backbones are frozen.

    Parameters
    ----------
    members
        Networks that take (N, 3, S, S) to maps (N, K, h, w), or to a list that ends in such maps.
    channels
        K of each member.
    num_classes
        Number of outputs.
    affine
        Scale and shift, three numbers each, that bring the common input to what each member was
        normalised for; null for a member whose input is the common one.
    width
        Channels after the 1×1 reduction of the joined maps; null: no reduction.
    grid
        Side of the grid; the finest of the members' by default.
    frozen
        Whether the members are never trained and keep their batch statistics.
    drop_rate
        Share of the pooled features dropped in training.
    """

    def __init__(
        self,
        members: Sequence[nn.Module],
        channels: Sequence[int],
        num_classes: int,
        *,
        affine: Sequence[tuple[Sequence[float], Sequence[float]] | None],
        width: int | None = 512,
        grid: int | None = None,
        frozen: bool = False,
        drop_rate: float = 0.2,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.grid, self.frozen = grid, frozen
        for i, pair in enumerate(affine):
            tensors = [None, None] if pair is None else [_column(values) for values in pair]
            for name, tensor in zip(("scale", "shift"), tensors, strict=True):
                self.register_buffer(f"{name}_{i}", tensor, persistent=False)
        self.head = Head(sum(channels), num_classes, width=width, drop_rate=drop_rate)
        self.num_features, self.num_classes = self.head.num_features, num_classes
        if frozen:
            self.members.requires_grad_(False)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the members' maps joined on one grid, (N, ΣK, g, g), of images (N, 3, S, S)."""
        found = []
        for i, member in enumerate(self.members):
            scale, shift = getattr(self, f"scale_{i}"), getattr(self, f"shift_{i}")
            maps = member(x if scale is None else x * scale + shift)
            found.append(maps[-1] if isinstance(maps, list | tuple) else maps)
        side = self.grid or max(maps.shape[-1] for maps in found)
        return torch.cat([on_grid(maps, side) for maps in found], dim=1)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Return logits (N, C) of joined maps, or with ``pre_logits`` pooled features (N, D)."""
        return self.head.pooled(x) if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, C) of normalised images (N, 3, S, S)."""
        return self.head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """Return the head, from joined maps to logits."""
        return self.head

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return timm's description of which parameters lie how deep, for layer-wise rates."""
        return {"stem": r"^members\."}  # the rest is new, hence the last layer together

    def train(self, mode: bool = True) -> Fused:
        """Switch to training, but for frozen members."""
        super().train(mode)
        if self.frozen:
            self.members.eval()
        return self


class Head(nn.Module):
    """From joined maps (N, K, g, g) to logits (N, C): reduction, CBAM, mean, a dense layer."""

    def __init__(
        self, channels: int, num_classes: int, *, width: int | None, drop_rate: float
    ) -> None:
        super().__init__()
        self.reduce: nn.Module = nn.Identity() if width is None else _reduction(channels, width)
        self.num_features = width or channels
        self.cbam = attention(self.num_features)
        self.dropout = nn.Dropout(drop_rate)
        self.fc = nn.Linear(self.num_features, num_classes)

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        """Return the refined maps' means, (N, D)."""
        return self.cbam(self.reduce(x)).mean(dim=(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return self.fc(self.dropout(self.pooled(x)))


def on_grid(maps: torch.Tensor, side: int) -> torch.Tensor:
    """Bring maps (N, K, h, w) to (N, K, side, side): linear upwards, means over areas downwards."""
    size = (side, side)
    if tuple(maps.shape[-2:]) == size:
        return maps
    if side < min(maps.shape[-2:]):
        return functional.adaptive_avg_pool2d(maps, size)
    return functional.interpolate(maps, size, mode="bilinear", align_corners=False)


def _reduction(channels: int, width: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def _column(values: Sequence[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).view(3, 1, 1)
