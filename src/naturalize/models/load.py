"""From a model folder to a network: built by name and filled, or the mean of its members."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from naturalize.base.artifacts import read_manifest
from naturalize.base.errors import ArtifactError, NaturalizeError, SettingsError
from naturalize.models.config import Network, NetworkConfig
from naturalize.models.ensemble import is_ensemble, read_members
from naturalize.models.folder import WEIGHTS, check_file, read_config
from naturalize.models.shipped import find


def load_model(path: str | Path) -> tuple[nn.Module, NetworkConfig]:
    """Return the network of a model folder or a shipped model, ready on the CPU, and its settings.

    ``ArtifactError`` if the folder is missing, of another kind or format version, or its weights
    are damaged, incomplete or of another architecture.
    """
    path = find(path)
    manifest = read_manifest(path, "model")
    if is_ensemble(path):
        return _ensemble(path)
    config = read_config(path)
    check_file(path, manifest, WEIGHTS, "copy the folder again")
    network = _empty(config, path)
    _fill(network.module, path / WEIGHTS)
    network.module.eval()
    return network.module, config


def _ensemble(path: Path) -> tuple[nn.Module, NetworkConfig]:
    config, members = read_members(path)
    opened = [load_model(member.path) for member in members]
    modules, configs = [module for module, _ in opened], [each for _, each in opened]
    module = Averaged(modules, configs, np.array([member.share for member in members]))
    return module.eval(), config


def _empty(config: NetworkConfig, path: Path) -> Network:
    from naturalize.models.zoo import build

    try:
        return build(
            config.architecture,
            config.classes,
            weights="none",
            input_size=config.input_size,
            options=config.options,
        )
    except NaturalizeError as error:
        raise ArtifactError(f"{path}: this model cannot be built here: {error}") from error


def _fill(module: nn.Module, file: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{file}: damaged weights ({error})") from error
    own = module.state_dict()
    missing, extra = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    if missing or extra:
        what = f"lacks {missing[0]!r}" if missing else f"has an unknown tensor {extra[0]!r}"
        raise ArtifactError(
            f"{file}: not the weights of this architecture: {what} "
            f"({len(missing)} missing, {len(extra)} unknown)"
        )
    wrong = [k for k in own if own[k].shape != state[k].shape]
    if wrong:
        raise ArtifactError(
            f"{file}: tensor {wrong[0]!r} has shape {tuple(state[wrong[0]].shape)}, "
            f"expected {tuple(own[wrong[0]].shape)}"
        )
    module.load_state_dict(state)


class Averaged(nn.Module):
    """Networks whose probabilities are averaged.

    Where all of them have one view of an image (size, crop, balance), it is a network like any
    other, whose logits are the logarithms of the mean probabilities. Members take normalised
    (N, 3, S, S) to logits (N, C); their classes may be in any order; their shares sum to one.
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
        """Return logits (N, C) of images normalised as the first member wants them."""
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
