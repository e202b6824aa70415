"""Sets of classes and a limit of what a network has seen, fitted on labelled images.

What they are, and what is promised, is said in `naturalize.models.doubt`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from naturalize.base.console import track
from naturalize.base.engine import prefetched
from naturalize.base.errors import ImageReadError, InputError, SettingsError
from naturalize.evaluation.predictions import Item, read_item
from naturalize.models.doubt import ENOUGH, SHARE, Doubt, fit_doubt
from naturalize.models.folder import with_description
from naturalize.models.predictor import NetworkPredictor, Predictor
from naturalize.prediction.standardise import Standardiser


def write_doubt(
    model: Path, items: Sequence[Item], root: Path, out: Path, *, share: float = SHARE
) -> Doubt:
    """Write a copy of a model that knows sets and a limit, fitted on labelled images.

    ``items`` lie under ``root``; best they are those of the model's validation, and never those it
    was trained on. Images that look unlike the training images, or cannot be read, are left out.

    ``SettingsError`` for an ensemble, whose members have their own; ``InputError`` for fewer than
    100 images.
    """
    predictor = Predictor.load(model)
    if predictor.members:
        raise SettingsError(f"{model}: an ensemble has no sets of its own; fit its members'")
    logits, true = _answers(predictor, items, partial(read_item, root=root))
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
    predictor: NetworkPredictor, items: Sequence[Item], read: Any
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
