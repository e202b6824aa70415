"""Shortcuts: what a model still answers when the cell it is asked about is gone.

A class can be told from what is around the cell: from the slide's colour, or from where it was
taken. So the same images are shown again without their white cells (what is left is *context*), and
without any cell (*background*). What is removed is painted over as the background goes on, so that
no outline is left of it. A model that looks at the cell is then at chance, 1 / C in balanced
accuracy (after Beery, Van Horn & Perona, ECCV 2018; Geirhos et al., Nature Machine Intelligence 2,
2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.console import track
from naturalize.base.engine import prefetched
from naturalize.base.errors import ImageReadError
from naturalize.base.images import read_image
from naturalize.base.rng import rng
from naturalize.cells.segmenters import segmenter
from naturalize.evaluation import intervals, metrics
from naturalize.models.predictor import Predictor
from naturalize.restoration.restore import scene

#: What is shown → which cells are gone from it.
SHOWN = {"context": "white", "background": "all"}

#: Images that are shown at most, of each class in turn: segmenting and painting take a second.
MOST = 330


def hidden_scores(
    predictor: Predictor,
    items: Sequence[Any],
    root: str | Path,
    *,
    most: int = MOST,
    seed: int = 0,
) -> dict[str, Any]:
    """Return how a model does on images without their cells.

    Parameters
    ----------
    predictor
        The model, which is shown images as they are: one that standardises has nothing to go by.
    items, root
        `naturalize.evaluation.predictions.Item` of the model's classes, and where paths start.
    most, seed
        Images that are shown at most, drawn as evenly over the classes as they go.

    Returns
    -------
    dict
        JSON-able: ``n`` (images shown), ``n_without_cells`` (left out: the segmenter finds nothing
        that could be removed), ``chance`` (1 / classes that occur), and for each of `SHOWN`
        {``balanced_accuracy``, ``interval``, ``accuracy``, ``mean_confidence``}; these are null
        where nothing was shown.
    """
    chosen, finder = evenly(items, most, seed), segmenter()

    def pictures(item: Any) -> dict[str, np.ndarray] | None:
        try:
            image = read_image(Path(root) / item.path)
        except ImageReadError:
            return None
        cells = finder.segment(image).cells
        made = {what: scene(image, cells, remove=gone, key=item.image_id)
                for what, gone in SHOWN.items()}  # fmt: skip
        # a platelet's image has no white cell: its context is what is left without platelets
        if not made["context"].mask.any():
            made["context"] = scene(image, cells, remove="target", key=item.image_id)
        if not all(one.mask.any() for one in made.values()):
            return None
        return {what: one.image for what, one in made.items()}

    labels: list[str] = []
    shown: dict[str, list[np.ndarray]] = {what: [] for what in SHOWN}
    ahead = track(prefetched(pictures, chosen, window=4), "shortcuts", len(chosen))
    for item, made in zip(chosen, ahead, strict=True):
        if made is not None:
            labels.append(item.label)
            for what, image in made.items():
                shown[what].append(predictor.probabilities([image])[0])
    return {
        "n": len(labels),
        "n_without_cells": len(chosen) - len(labels),
        "chance": 1 / max(1, len(set(labels))),
        **{what: _scored(predictor.classes, labels, rows, seed) for what, rows in shown.items()},
    }


def evenly(items: Sequence[Any], most: int, seed: int) -> list[Any]:
    """Return at most so many items, the first of each class before any second, in drawn order."""
    turns: dict[str, int] = {}
    ranked = []
    for place in rng(seed, "shortcuts").permutation(len(items)).tolist():
        turn = turns[items[place].label] = turns.get(items[place].label, 0) + 1
        ranked.append((turn, place))
    return [items[place] for _, place in sorted(ranked)[:most]]


def _scored(
    classes: Sequence[str], labels: Sequence[str], rows: Sequence[np.ndarray], seed: int
) -> dict[str, Any] | None:
    if not labels:
        return None
    values = np.stack(rows)
    answers = [classes[k] for k in values.argmax(axis=1)]
    sure = intervals.bootstrap(classes, labels, answers, seed=seed)
    found = metrics.scores(classes, labels, answers)
    return {
        "balanced_accuracy": found["balanced_accuracy"],
        "interval": sure["intervals"]["balanced_accuracy"],
        "accuracy": found["accuracy"],
        "mean_confidence": float(values.max(axis=1).mean()),
    }
