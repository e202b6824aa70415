"""Averaging ensembles: several model folders made one, and the weights that suit them best."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.artifacts import read_json, read_manifest, read_written, write_json, writing
from naturalize.base.errors import ArtifactError, SettingsError
from naturalize.models.config import NetworkConfig
from naturalize.models.folder import (
    ELSEWHERE,
    GRAPH,
    MEMBERS,
    MODEL,
    check_part,
    describe,
    elsewhere_of,
    read_config,
)
from naturalize.models.shipped import find

#: What ``model.json`` calls the architecture of an averaging ensemble.
ARCHITECTURE = "average"

#: Below this, a probability counts as this much: a member that excludes the truth is not forgiven,
#: but the others' weights still matter.
_FLOOR = 1e-12


def save_ensemble(
    path: str | Path,
    members: Sequence[str | Path],
    *,
    weights: Sequence[float] | None = None,
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
) -> Path:
    """Write model folders as one, whose probabilities are the mean of theirs.

    The members are copied into it; the result is a model folder like any other. Where members have
    a model for images from elsewhere, so has the ensemble: the mean of theirs.

    ``members`` are two model folders (or names of shipped models) or more, of the same classes in
    any order; ``weights`` what each counts, 0 or more (equal by default; they need not sum to one).
    How these were found is said by ``training`` (JSON values), ``inputs`` (fingerprints by name),
    and ``metrics``, the ensemble's validation scores.

    ``SettingsError`` if there is one member only, the classes differ, or the weights are none;
    ``ArtifactError`` if a member is no model folder.
    """
    path, folders = Path(path), [find(member) for member in members]
    if path.resolve() in [folder.resolve() for folder in folders]:
        raise SettingsError(f"{path}: is one of the members; write the ensemble to another place")
    shares = normalised(weights, len(folders))
    manifests = [read_manifest(folder, "model") for folder in folders]
    configs = [read_config(folder) for folder in folders]
    check_classes(folders, configs)
    listed = [
        {
            "folder": f"{MEMBERS}/{i:02d}",
            "share": float(share),
            "architecture": config.architecture,
            "fingerprint": manifest.fingerprint,
        }
        for i, (share, config, manifest) in enumerate(zip(shares, configs, manifests, strict=True))
    ]
    standards = {config.standard for config in configs}
    # members answer at their own temperatures; elsewhere the mean is as much less sure as they are
    ratios = [(c.temperature_elsewhere or c.temperature) / c.temperature for c in configs]
    elsewhere = float(shares @ ratios) if any(c.temperature_elsewhere for c in configs) else None
    config = replace(  # the whole is described by its first member, and by what all of them have
        configs[0],
        architecture=ARCHITECTURE,
        weights_source="members",
        temperature=1.0,
        temperature_elsewhere=elsewhere,
        standard=configs[0].standard if len(standards) == 1 else None,
        doubt=None,  # thresholds of one member's probabilities are not those of the mean
        options={},
    )
    settings = {"network": asdict(config), MEMBERS: listed}
    sources = {f"member-{i:02d}": m.fingerprint for i, m in enumerate(manifests)}
    cards = [read_written(folder, MODEL) for folder in folders]
    with writing(path, "model", settings=settings, inputs={**sources, **dict(inputs or {})}) as out:
        for folder, entry in zip(folders, listed, strict=True):
            shutil.copytree(folder, out / str(entry["folder"]))
        about = {
            **asdict(config),
            MEMBERS: listed,
            "parameters": sum(card["parameters"] for card in cards),
            "protocol": "paper" if any(c["protocol"] == "paper" for c in cards) else "honest",
            "training": dict(training or {}),
            "metrics": dict(metrics or {}),
        }
        write_json(out / MODEL, about)
        inner = [elsewhere_of(folder) for folder in folders]
        if any(inner):
            away = [each or folder for each, folder in zip(inner, folders, strict=True)]
            save_ensemble(out / ELSEWHERE, away, weights=weights)
    return path


def fit_weights(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    r"""Return the weights of the mean that make the truth most probable.

    Maximises :math:`\frac1N \sum_n \log \sum_m w_m p_{mn}(y_n)` over weights that are positive and
    sum to one. Less :math:`\sum_m w_m`, it has the same maximum where no sum is asked for (Kim et
    al., J Comput Graph Stat 29:261, 2020) and is concave, so what L-BFGS-B finds is the best there
    is: float64 (M,).

    ``probabilities``, (M, N, C), are those of M members for N images of known class, best such as
    chose no epoch; ``targets``, int (N,), number the true classes.
    """
    from scipy.optimize import minimize

    members, n = probabilities.shape[:2]
    true = np.maximum(probabilities[:, np.arange(n), targets].astype(np.float64), _FLOOR)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = np.maximum(weights @ true, _FLOOR)
        slope = (true / mixed).mean(axis=1)  # of the mean log, by each weight
        return float(weights.sum() - np.log(mixed).mean()), 1 - slope

    found = minimize(
        loss,
        np.full(members, 1 / members),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * members,
        options={"gtol": 1e-9, "ftol": 1e-14},
    )
    return found.x / found.x.sum()


@dataclass(frozen=True)
class Member:
    """A member of an averaging ensemble: its model folder, and what it counts."""

    path: Path
    share: float


def is_ensemble(path: Path) -> bool:
    """Whether the model folder ``path`` is an averaging ensemble."""
    return MEMBERS in describe(path)


def read_members(path: Path) -> tuple[NetworkConfig, list[Member]]:
    """Read an averaging ensemble's members; ``ArtifactError`` unless they are those written."""
    config, listed = read_config(path), read_json(path / MODEL)[MEMBERS]
    try:
        places = [str(entry["folder"]) for entry in listed]
        shares = normalised([float(entry["share"]) for entry in listed], len(listed))
    except (KeyError, TypeError, ValueError, SettingsError) as error:
        raise ArtifactError(f"{path / MODEL}: damaged list of members ({error})") from error
    for place in places:
        check_part(path, place)
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
    """Return ``n`` weights that sum to one, float64; equal ones by default."""
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


def has_graph(path: str | Path) -> bool:
    """Whether a model folder, and every member of an ensemble, came with a graph.

    A graph that the manifest does not name was not written by this package, and does not count.
    The model for images from elsewhere, if there is one, needs a graph too.
    """
    path = Path(path)
    inner = elsewhere_of(path)
    if inner is not None and not has_graph(inner):
        return False
    if is_ensemble(path):
        return all(has_graph(member.path) for member in read_members(path)[1])
    return GRAPH in read_manifest(path, "model").files and (path / GRAPH).is_file()
