"""Which models an averaging ensemble is made of, as its folder says; nothing is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from naturalize.base.artifacts import MANIFEST, file_hash, read_json, read_manifest
from naturalize.base.errors import ArtifactError, SettingsError
from naturalize.models.config import NetworkConfig
from naturalize.models.folder import MEMBERS, MODEL, describe, read_config


@dataclass(frozen=True)
class Member:
    """A member of an averaging ensemble: its model folder, and what it counts."""

    path: Path
    share: float


def is_ensemble(path: Path) -> bool:
    """Whether the model folder ``path`` is an averaging ensemble."""
    return MEMBERS in describe(path)


def read_members(path: Path) -> tuple[NetworkConfig, list[Member]]:
    """Read which members an averaging ensemble has, and check that they are those.

    Raises
    ------
    ArtifactError
        If the list is damaged, or a member is not the one that was written.
    """
    manifest = read_manifest(path, "model")
    config, listed = read_config(path), read_json(path / MODEL)[MEMBERS]
    try:
        places = [str(entry["folder"]) for entry in listed]
        shares = normalised([float(entry["share"]) for entry in listed], len(listed))
    except (KeyError, TypeError, ValueError, SettingsError) as error:
        raise ArtifactError(f"{path / MODEL}: damaged list of members ({error})") from error
    for place in places:
        file = path / place / MANIFEST
        if not file.is_file() or manifest.files.get(f"{place}/{MANIFEST}") != file_hash(file):
            raise ArtifactError(
                f"{path / place}: not the member that was written; copy the model folder again"
            )
    folders = [path / place for place in places]
    check_classes(folders, [read_config(folder) for folder in folders])
    return config, [Member(*pair) for pair in zip(folders, shares.tolist(), strict=True)]


def check_classes(folders: Sequence[Path], configs: Sequence[NetworkConfig]) -> None:
    """Raise ``SettingsError`` unless all members have the same set of classes."""
    first = set(configs[0].classes)
    for folder, config in zip(folders, configs, strict=True):
        other = set(config.classes)
        if other != first:
            apart = [f"lacks {c}" for c in sorted(first - other)]
            apart += [f"also has {c}" for c in sorted(other - first)]
            raise SettingsError(
                f"the members' classes differ: {folder} {', '.join(apart)}, compared with "
                f"{folders[0]}; an ensemble needs models of the same classes"
            )


def normalised(weights: Sequence[float] | None, n: int) -> np.ndarray:
    """Return ``n`` weights that sum to one, float64; equal ones by default.

    Raises
    ------
    SettingsError
        If there are fewer than two, not ``n``, or one is negative or no number, or all are 0.
    """
    if n < 2:
        raise SettingsError(f"an ensemble needs two models or more, got {n}")
    if weights is None:
        return np.full(n, 1 / n)
    values = np.asarray(weights, np.float64)
    if len(values) != n:
        raise SettingsError(f"weights: expected {n}, one for each model, got {len(values)}")
    if not np.isfinite(values).all() or (values < 0).any() or values.sum() <= 0:
        given = ", ".join(f"{value:g}" for value in values)
        raise SettingsError(f"weights: expected numbers from 0, not all 0, got {given}")
    return values / values.sum()
