"""From a model folder to a network: built by name, filled with the stored numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from naturalize.base.artifacts import read_manifest
from naturalize.base.errors import ArtifactError, NaturalizeError
from naturalize.models.config import Network, NetworkConfig
from naturalize.models.ensemble import is_ensemble, read_members
from naturalize.models.folder import WEIGHTS, check_file, read_config
from naturalize.models.shipped import find

if TYPE_CHECKING:
    from torch import nn


def load_model(path: str | Path) -> tuple[nn.Module, NetworkConfig]:
    """Open a model folder, or a shipped model by its name.

    Returns
    -------
    tuple
        The module in evaluation mode on the CPU, and its configuration.

    Raises
    ------
    ArtifactError
        If the folder is missing, of another kind or format version, or its weights are damaged,
        incomplete or of another architecture.
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
    from naturalize.models.fused import Averaged

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
