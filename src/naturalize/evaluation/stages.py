"""Scores that mind how far a mistake is along maturation, from one confusion matrix.

Neighbouring stages pass into each other, and experts disagree about them: a band that is called
segmented is another mistake than one that is called a lymphocyte. Conventions as in `metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from naturalize.dataset.schemes import stages
from naturalize.evaluation import metrics

#: With fewer stages there is no distance but one.
FEWEST = 3

#: Names of the scores along maturation, in the order in which they are shown.
ALONG = ("stage_kappa", "stage_cost", "tolerant_accuracy", "tolerant_macro_f1")


def distances(labels: Sequence[str]) -> np.ndarray:
    """Return the stages between each two classes, float64 (C, C); NaN unless both are stages.

    Examples
    --------
    >>> distances(["MY", "EO", "SNE"]).tolist()
    [[0.0, nan, 3.0], [nan, nan, nan], [3.0, nan, 0.0]]
    """
    places = np.array([np.nan if place is None else place for place in stages(labels)], float)
    return np.abs(places[:, None] - places)


def stage_kappa(confusion: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Cohen's kappa with squared distances as costs (Cohen 1968), over stages taken for stages.

    ``confusion`` are counts (…, C, C), ``distance`` what `distances` returns. Answers that name no
    stage have no distance and are left out here; `stage_cost` counts them.
    """
    line = np.flatnonzero(~np.isnan(np.diagonal(distance)))
    return metrics.kappa(confusion[..., line[:, None], line], distance[np.ix_(line, line)] ** 2)


def stage_cost(confusion: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Mean distance of the answer, in stages, over the images of stages.

    An answer that names no stage costs as much as the longest distance.

    Examples
    --------
    Of three images of bands one is called segmented, and one a lymphocyte:

    >>> counts, labels = np.array([[1, 1, 1], [0, 0, 0], [0, 0, 0]]), ["BNE", "SNE", "LY"]
    >>> round(float(stage_cost(counts, distances(labels))), 3)
    0.667
    """
    of_line = ~np.isnan(np.diagonal(distance))
    costs = np.nan_to_num(distance, nan=np.nanmax(distance))[of_line]
    rows = confusion[..., of_line, :]
    return metrics.ratio((rows * costs).sum(axis=(-2, -1)), rows.sum(axis=(-2, -1)))


def tolerant(confusion: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return the counts (…, C, C) where an answer one stage off is as good as a right one.

    Examples
    --------
    >>> tolerant(np.array([[5, 2], [1, 7]]), distances(["BNE", "SNE"])).tolist()
    [[7, 0], [0, 8]]
    """
    near = distance == 1
    forgiven = (confusion * near).sum(axis=-1)
    return confusion * ~near + forgiven[..., None] * np.eye(len(distance), dtype=confusion.dtype)


def summary(confusion: np.ndarray, labels: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the scores of `metrics.summary` and, of three stages or more, those of `ALONG`.

    Float64 (…) each, for counts (…, C, C) of C ``labels``. `ALONG` are `stage_kappa`, `stage_cost`,
    and the accuracy and macro-F1 of the `tolerant` counts.
    """
    found = metrics.summary(confusion)
    distance = distances(labels)
    if np.sum(~np.isnan(np.diagonal(distance))) < FEWEST:
        return found
    forgiven = tolerant(confusion, distance)
    return found | {
        "stage_kappa": stage_kappa(confusion, distance),
        "stage_cost": stage_cost(confusion, distance),
        "tolerant_accuracy": metrics.accuracy(forgiven),
        "tolerant_macro_f1": metrics.macro(metrics.f1(forgiven), forgiven),
    }
