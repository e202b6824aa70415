"""Sets of classes: fitted, and how often they hold the true class measured.

What they are, and what is promised, is said in `naturalize.models.doubt`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base.console import track
from naturalize.base.engine import prefetched
from naturalize.base.errors import ImageReadError, InputError, SettingsError
from naturalize.evaluation import metrics
from naturalize.evaluation.intervals import exact
from naturalize.models.doubt import ENOUGH, SHARE, Doubt, fit_doubt
from naturalize.models.folder import with_description
from naturalize.models.predictor import NetworkPredictor, Predictor
from naturalize.prediction.standardise import Standardiser


def score_sets(doubt: Doubt, table: pa.Table) -> dict[str, Any]:
    """Return the coverage of sets in a predictions table whose classes are the model's.

    Returns
    -------
    dict
        JSON-able: ``share`` (promised), ``n``, ``covered`` (images whose set holds their class),
        ``coverage`` with its exact binomial ``interval``, ``size`` (mean classes of a set),
        ``single`` (share of sets of one class), ``wrong_single`` (share of those that are wrong),
        ``pooled`` (classes for which nothing is promised), ``per_class`` {label: {``n``,
        ``covered``, ``coverage``, ``interval``, ``size``, ``validation`` (images that the threshold
        is from)}} for classes that occur.
    """
    classes = list(doubt.least)
    values = np.stack([table[f"prob_{name}"].to_numpy() for name in classes], axis=1)
    true = metrics.label_indices(classes, table["label"].to_pylist(), what="label")
    inside = doubt.sets(classes, values)
    held, size = inside[np.arange(len(true)), true], inside.sum(axis=1)

    def over(rows: np.ndarray) -> dict[str, Any]:
        n, covered = int(rows.sum()), int(held[rows].sum())
        return {"n": n, "covered": covered, "coverage": covered / n,
                "interval": list(exact(covered, n)), "size": float(size[rows].mean())}  # fmt: skip

    single = size == 1
    return {
        "share": doubt.share,
        **over(np.ones(len(true), bool)),
        "single": float(single.mean()),
        "wrong_single": float((~held[single]).mean()) if single.any() else 0.0,
        "pooled": list(doubt.pooled),
        "per_class": {
            name: {**over(true == k), "validation": doubt.counts[name]}
            for k, name in enumerate(classes)
            if (true == k).any()
        },
    }


def write_doubt(
    model: Path, items: Sequence[Any], root: Path, out: Path, *, share: float = SHARE
) -> Doubt:
    """Write a copy of a model that knows sets and a limit, fitted on labelled images.

    ``items`` are `naturalize.evaluation.evaluate.Item` under ``root`` that the model was not
    trained on, best those of its validation. Images that look unlike the training images, or cannot
    be read, are left out. ``SettingsError`` for an ensemble, whose members have their own;
    ``InputError`` for fewer than 100 images.
    """
    from naturalize.evaluation.evaluate import read_item

    predictor = Predictor.load(model)
    if predictor.members:
        raise SettingsError(f"{model}: an ensemble has no sets of its own; fit its members'")
    logits, true = _answers(predictor, items, partial(read_item, root=root))
    from scipy.special import softmax

    probabilities = softmax(logits / predictor.config.temperature, axis=1)
    found = fit_doubt(predictor.classes, logits, probabilities, true, share=share)
    if found is None:
        raise InputError(
            f"--doubt: {len(true)} images like the model's training images say too little; "
            f"{ENOUGH} are needed, 10 or more of each class"
        )
    with_description(model, out, {"doubt": asdict(found)})
    return found


def _answers(
    predictor: NetworkPredictor, items: Sequence[Any], read: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return logits (N, C) and true classes (N,) of images that look like training images."""
    standardiser = Standardiser(predictor.config.standard)
    place = {name: k for k, name in enumerate(predictor.classes)}
    known = [item for item in items if item.label in place]
    rows, true = [], []
    images = track(prefetched(read, known, window=32), "doubt", len(known))
    for item, image in zip(known, images, strict=True):
        if not isinstance(image, ImageReadError) and standardiser.usual(image):
            rows.append(predictor.logits([image])[0])
            true.append(place[item.label])
    return np.array(rows).reshape(len(rows), len(place)), np.array(true, int)
