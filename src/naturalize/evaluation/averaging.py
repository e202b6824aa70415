"""Weights for an averaging ensemble, found on labelled images, and what they are worth there."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from naturalize.base.console import track, warn
from naturalize.base.engine import prefetched
from naturalize.base.errors import ImageReadError, InputError
from naturalize.evaluation.metrics import scores
from naturalize.evaluation.predictions import Item, known_items, read_item
from naturalize.models.ensemble import check_classes, fit_weights
from naturalize.models.folder import read_config
from naturalize.models.predictor import Predictor
from naturalize.models.shipped import find

_PIECE = 32


@dataclass(frozen=True)
class AveragingFit:
    """What was found: one weight a model, the scores of each, and those of their mean.

    Scores are ``n``, ``loss`` (mean negative log-likelihood), ``accuracy`` and ``macro_f1``.
    """

    weights: np.ndarray
    each: list[dict[str, float]]
    mean: dict[str, float]


def fit_averaging(
    models: Sequence[str | Path], items: Sequence[Item], root: Path, *, device: str = "cpu"
) -> AveragingFit:
    """Find the weights that make the images' labels most probable; see `fit_weights`.

    The images, whose paths start from ``root``, are best those that neither trained the models nor
    are to test them. Unreadable ones are named in a warning and left out. ``SettingsError`` if the
    models' classes differ, ``InputError`` if no image is of their classes, or none can be read.
    """
    folders = [find(model) for model in models]
    configs = [read_config(path) for path in folders]
    check_classes(folders, configs)
    classes = configs[0].classes
    known, _ = known_items(items, classes)
    predictors = [Predictor.load(path, device=device) for path in folders]
    targets, found = _predicted(predictors, known, root, classes)
    weights = fit_weights(found, targets)
    return AveragingFit(
        weights,
        [_judged(probabilities, targets, classes) for probabilities in found],
        _judged(np.tensordot(weights, found, 1), targets, classes),
    )


def _predicted(
    predictors: Sequence[Predictor], items: Sequence[Item], root: Path, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return targets (N,) and probabilities (M, N, C) of the images that can be read."""
    read = partial(read_item, root=root)
    columns = [[p.classes.index(name) for name in classes] for p in predictors]
    targets: list[int] = []
    rows: list[np.ndarray] = []
    pairs = track(zip(items, prefetched(read, items), strict=True), "predict", len(items))
    while piece := list(itertools.islice(pairs, _PIECE)):
        images = []
        for item, image in piece:
            if isinstance(image, ImageReadError):
                warn(f"{image}; left out")
                continue
            targets.append(classes.index(item.label))
            images.append(image)
        each = [
            predictor.probabilities(images)[:, order]
            for predictor, order in zip(predictors, columns, strict=True)
        ]
        rows.append(np.stack(each).astype(np.float64))
    if not targets:
        raise InputError(f"{root}: none of {len(items)} images can be read")
    return np.array(targets), np.concatenate(rows, axis=1)


def _judged(
    probabilities: np.ndarray, targets: np.ndarray, classes: Sequence[str]
) -> dict[str, float]:
    true = [classes[i] for i in targets]
    whole = scores(list(classes), true, [classes[i] for i in probabilities.argmax(axis=1)])
    likely = np.maximum(probabilities[np.arange(len(targets)), targets], 1e-12)
    return {
        "n": len(targets),
        "loss": float(-np.log(likely).mean()),
        "accuracy": float(whole["accuracy"]),
        "macro_f1": float(whole["macro_f1"]),
    }
