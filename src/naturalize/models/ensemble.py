"""Averaging ensembles: several model folders made one, and the weights that suit them best."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.artifacts import read_manifest, write_json, writing
from naturalize.base.errors import SettingsError
from naturalize.models.config import NetworkConfig
from naturalize.models.folder import MEMBERS, MODEL, describe, read_config
from naturalize.models.members import check_classes, normalised
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

    The members are copied into it; the result is a model folder like any other.

    Parameters
    ----------
    path
        Where the folder shall be.
    members
        Two model folders (or names of shipped models) or more, of the same classes (in any order).
    weights
        What each counts, 0 or more; they need not sum to one. Equal by default.
    training
        How the weights were found: JSON values.
    metrics
        Validation scores of the ensemble.
    inputs
        Name → fingerprint of what the weights were found on.

    Raises
    ------
    SettingsError
        If there is one member only, the classes differ, or the weights are no weights.
    ArtifactError
        If a member is no model folder.
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
    config = _common(configs)
    settings = {"network": asdict(config), MEMBERS: listed}
    sources = {f"member-{i:02d}": m.fingerprint for i, m in enumerate(manifests)}
    cards = [describe(folder) for folder in folders]
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
    return path


def fit_weights(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    r"""Return the weights of the mean that make the truth most probable.

    Maximises :math:`\frac1N \sum_n \log \sum_m w_m p_{mn}(y_n)` over weights that are positive and
    sum to one, :math:`w = softmax(v)`. It is concave in :math:`w`, so what L-BFGS finds is the best
    there is.

    Parameters
    ----------
    probabilities
        (M, N, C): of M members for N images of known class, best such as chose no epoch.
    targets
        int (N,): the number of the true class.

    Returns
    -------
    numpy.ndarray
        float64 (M,), summing to one.
    """
    from scipy.optimize import minimize

    members, n = probabilities.shape[:2]
    true = np.maximum(probabilities[:, np.arange(n), targets].astype(np.float64), _FLOOR)

    def loss(v: np.ndarray) -> tuple[float, np.ndarray]:
        weights = _softmax(v)
        mixed = weights @ true
        slope = (true / mixed).mean(axis=1)  # of the mean log, by each weight
        return float(-np.log(mixed).mean()), -weights * (slope - weights @ slope)

    found = minimize(
        loss, np.zeros(members), jac=True, method="L-BFGS-B", options={"gtol": 1e-9, "ftol": 1e-14}
    )
    return _softmax(found.x)


def _softmax(v: np.ndarray) -> np.ndarray:
    powers = np.exp(v - v.max())
    return powers / powers.sum()


def _common(configs: Sequence[NetworkConfig]) -> NetworkConfig:
    """Describe the whole by its first member, and by what all of them have."""
    standards = {config.standard for config in configs}
    return replace(
        configs[0],
        architecture=ARCHITECTURE,
        weights_source="members",
        temperature=1.0,
        standard=configs[0].standard if len(standards) == 1 else None,
        options={},
    )
