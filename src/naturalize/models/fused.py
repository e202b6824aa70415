"""Networks made of several: maps joined and refined by CBAM, or probabilities averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from naturalize.base.errors import SettingsError
from naturalize.models.config import NetworkConfig
from naturalize.models.torchvision_compat import ensure


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


def attention(channels: int, *, reduction: int = 16) -> nn.Module:
    r"""Return a convolutional block attention module (Woo et al., ECCV 2018, eq. 1–3).

    Maps :math:`F`, (N, C, H, W), become :math:`F' = M_c(F) \otimes F` and then
    :math:`F'' = M_s(F') \otimes F'`, with
    :math:`M_c = \sigma(MLP(AvgPool(F)) + MLP(MaxPool(F)))`, one number a channel, and
    :math:`M_s = \sigma(BN(f^{7 \times 7}[AvgPool(F'); MaxPool(F')]))`, one a place. The batch norm
    is that of the authors' code. The module is timm's.

    Parameters
    ----------
    channels
        Channels of the maps.
    reduction
        The MLP's hidden layer has ``channels / reduction`` units, at least one.
    """
    ensure()
    from timm.layers.cbam import CbamModule

    return CbamModule(channels, rd_ratio=1 / reduction)


class Averaged(nn.Module):
    """Networks whose probabilities are averaged.

    Where all of them have one view of an image (size, crop, balance), it is a network like any
    other, whose logits are the logarithms of the mean probabilities.

    Parameters
    ----------
    members
        Networks that take normalised (N, 3, S, S) to logits (N, C).
    configs
        Their configurations, in the same order. Classes may be in any order.
    shares
        What each counts, summing to one.
    """

    shares: torch.Tensor

    def __init__(
        self, members: Sequence[nn.Module], configs: Sequence[NetworkConfig], shares: np.ndarray
    ) -> None:
        super().__init__()
        self.averaged = nn.ModuleList(members)
        self.configs = tuple(configs)
        self.classes = self.configs[0].classes
        self.exact_shares = np.asarray(shares, np.float64)
        # in the state too: other weights are another network
        self.register_buffer("shares", torch.tensor(self.exact_shares, dtype=torch.float32))
        self.columns = tuple(
            tuple(config.classes.index(c) for c in self.classes) for config in self.configs
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, C) of images normalised as the first member wants them.

        Raises
        ------
        SettingsError
            If the members have different views, so that no one input serves them all.
        """
        first = self.configs[0]
        if any(config.view != first.view for config in self.configs):
            raise SettingsError(
                "the members of this ensemble see images of different size, crop or balance, so it "
                "has no single input; use Predictor.probabilities, or its members one by one"
            )
        mean = torch.zeros(len(x), len(self.classes), device=x.device)
        for i, (member, config) in enumerate(zip(self.averaged, self.configs, strict=True)):
            logits = member(_renormalised(x, first, config)).float() / config.temperature
            found = torch.softmax(logits, dim=1)[:, list(self.columns[i])]
            mean = mean + self.shares[i] * found
        return torch.log(mean.clamp_min(torch.finfo(mean.dtype).tiny))


def _renormalised(x: torch.Tensor, given: NetworkConfig, wanted: NetworkConfig) -> torch.Tensor:
    if (given.mean, given.std) == (wanted.mean, wanted.std):
        return x
    mean, std, wanted_mean, wanted_std = (
        torch.tensor(values, dtype=x.dtype, device=x.device).view(3, 1, 1)
        for values in (given.mean, given.std, wanted.mean, wanted.std)
    )
    return (x * std + mean - wanted_mean) / wanted_std
