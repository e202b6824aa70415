"""Averaging: the networks of an ensemble side by side, as one network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from naturalize.base.errors import SettingsError
from naturalize.models.config import NetworkConfig


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
