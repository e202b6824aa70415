"""Scores of the probabilities, not of the answers alone: ROC and PR curves, the second guess.

One class against all others, by how often each image counts: the resamples of a bootstrap at once,
in one walk down the sorted images. Images of equal probability are taken together.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from naturalize.base.errors import InputError
from naturalize.base.rng import rng
from naturalize.base.statistics import percentile_interval
from naturalize.evaluation import intervals, metrics
from naturalize.evaluation.calibration import check_probabilities

#: Images times resamples that are held at a time (2 bytes each), and resamples drawn at a time:
#: part of how draws are made, so constants.
_AT_ONCE, _DRAWN = 32_000_000, 64

#: Names of the single-number scores, in the order in which they are shown.
SUMMARY = ("top_2_accuracy", "macro_auc", "macro_average_precision")

#: Names of the scores of a class.
PER_CLASS = ("auc", "average_precision")


def scores(
    true: np.ndarray, probabilities: np.ndarray, counts: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Return the scores of `PER_CLASS`, float64 (R, C), and of `SUMMARY`, float64 (R,).

    Parameters
    ----------
    true, probabilities
        int (N,), 0 … C − 1, and float (N, C).
    counts
        How often each image counts in each of R resamples, int (N, R) of a type that holds the sum
        of a column; once by default (R is 1). A resample is a column, so that adding up images
        adds rows.

    Returns
    -------
    dict
        ``auc`` is the area under the ROC curve of the class against all others, ties counting half
        (Hanley & McNeil 1982); ``average_precision`` the step-wise area under the precision–recall
        curve, as scikit-learn has it. Both are NaN where the class has no image, the first also
        where the others have none. The macro scores are means over classes that are not NaN, or
        NaN. ``top_2_accuracy`` is the share of images whose class is among the two most probable.

    Examples
    --------
    >>> p = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
    >>> found = scores(np.array([0, 0, 1, 1]), p)
    >>> found["auc"].tolist(), found["average_precision"].round(3).tolist()
    ([[0.75, 0.75]], [[0.833, 0.833]])
    """
    counts = np.ones((len(true), 1), np.int32) if counts is None else counts
    total = counts.sum(axis=0, dtype=counts.dtype)
    missed = counts[~_among_two(true, probabilities)].sum(axis=0, dtype=total.dtype)
    columns = [
        _one_against_others(probabilities[:, k], true == k, counts, total)
        for k in range(probabilities.shape[1])
    ]
    auc, precision = (np.stack(column, axis=1) for column in zip(*columns, strict=True))
    return {
        "auc": auc,
        "average_precision": precision,
        "top_2_accuracy": (total - missed) / np.maximum(total, 1),
        "macro_auc": _mean(auc),
        "macro_average_precision": _mean(precision),
    }


def bootstrap(
    labels: Sequence[str],
    y_true: Sequence[str],
    probabilities: np.ndarray,
    *,
    groups: Sequence[str | None] | None = None,
    resamples: int = intervals.RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Return `scores` with percentile bootstrap intervals, as `intervals.bootstrap` does.

    ``probabilities`` are float (N, C) in the order of ``labels``; the rest as there.

    Returns
    -------
    dict
        JSON-able: ``scores`` {score: value} for `SUMMARY`, null where no class has one;
        ``intervals`` {score: [low, high]} of those that are not null; ``per_class`` {label: {score:
        value}} and ``per_class_intervals`` for `PER_CLASS` and the labels that occur, without
        those that are not defined.

    Examples
    --------
    >>> p = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]] * 30)
    >>> bootstrap(["EO", "LY"], ["EO", "EO", "LY", "LY"] * 30, p)["scores"]["macro_auc"]
    0.75
    """
    intervals.check(resamples, level)
    true = metrics.label_indices(labels, y_true)
    values = np.asarray(probabilities, np.float64)
    if values.shape != (len(true), len(labels)) or not len(true):
        raise InputError(
            f"probabilities: expected shape ({len(true)}, {len(labels)}), at least one row, "
            f"got {values.shape}"
        )
    check_probabilities(values, "the model")
    units = intervals.group_numbers(groups, len(true))
    whole = scores(true, values)
    pieces = [
        scores(true, values, drawn if len(drawn) == len(units) else drawn[units])
        for drawn in _drawn(int(units.max()) + 1, len(units), resamples, rng(seed, "ranks"))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all NaN: not defined, and not returned
        limits = {
            name: percentile_interval(np.concatenate([piece[name] for piece in pieces]), level)
            for name in whole
        }
    single = {name: float(whole[name][0]) for name in SUMMARY}
    of_class = {
        label: [name for name in PER_CLASS if not np.isnan(whole[name][0, k])]
        for k, label in enumerate(labels)
        if (true == k).any()
    }
    place = {label: k for k, label in enumerate(labels)}
    return {
        "scores": {name: None if np.isnan(v) else v for name, v in single.items()},
        "intervals": {name: limits[name].tolist() for name, v in single.items() if not np.isnan(v)},
        "per_class": {
            label: {name: float(whole[name][0, place[label]]) for name in names}
            for label, names in of_class.items()
        },
        "per_class_intervals": {
            label: {name: limits[name][:, place[label]].tolist() for name in names}
            for label, names in of_class.items()
        },
    }


def _drawn(
    n_units: int, n_images: int, resamples: int, draw: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield how often each unit is drawn, int16 (or int32) (U, ≤ R), a resample a column."""
    step = max(_DRAWN, _AT_ONCE // n_images // _DRAWN * _DRAWN)
    kind = np.int16 if n_images < np.iinfo(np.int16).max else np.int32  # holds sums of counts
    for first in range(0, resamples, step):
        counts = np.empty((n_units, min(step, resamples - first)), kind)
        for start in range(0, counts.shape[1], _DRAWN):
            k = min(_DRAWN, counts.shape[1] - start)
            picks = draw.integers(0, n_units, size=(k, n_units), dtype=np.uint32)
            cells = picks + np.arange(0, k * n_units, n_units)[:, None]
            times = np.bincount(cells.ravel(), minlength=k * n_units).reshape(k, n_units)
            counts[:, start : start + k] = times.T
        yield counts


def _among_two(true: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return whether fewer than two classes come before the true one: bool (N,)."""
    own = probabilities[np.arange(len(true)), true][:, None]
    earlier = np.arange(probabilities.shape[1]) < true[:, None]  # of equal ones the first counts
    return ((probabilities > own) | ((probabilities == own) & earlier)).sum(axis=1) < 2


def _one_against_others(
    score: np.ndarray, positive: np.ndarray, counts: np.ndarray, total: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return AUC and average precision of one class, float64 (R,) each."""
    order = np.argsort(-score, kind="stable")
    new = np.flatnonzero(np.diff(score[order])) + 1
    group = np.searchsorted(new, np.arange(len(order)), side="right")
    with_positives = np.unique(group[positive[order]])
    starts, ends = np.append(0, new), np.append(new, len(order))
    found, false = np.zeros_like(total), np.zeros_like(total)  # counts down to here
    all_found = counts[positive].sum(axis=0, dtype=total.dtype)
    all_false = total - all_found
    area, steps, done = np.zeros(len(total)), np.zeros(len(total)), 0
    for start, end in zip(starts[with_positives], ends[with_positives], strict=True):
        for image in order[done:start]:  # between the positives: negatives, most of all images
            false += counts[image]
        tied = order[start:end]
        here = counts[tied[positive[tied]]].sum(axis=0, dtype=total.dtype)
        others = counts[tied[~positive[tied]]].sum(axis=0, dtype=total.dtype)
        area += here * (all_false - false - 0.5 * others)
        found += here
        false += others
        steps += here * (found / np.maximum(found + false, 1))
        done = end
    nothing = np.full(len(total), np.nan)
    pairs = all_found * all_false.astype(np.float64)
    return (
        np.divide(area, pairs, out=nothing.copy(), where=pairs > 0),
        np.divide(steps, all_found, out=nothing, where=all_found > 0),
    )


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over classes that are not NaN: (R,) of (R, C); NaN where all are."""
    known = ~np.isnan(values)
    n = known.sum(axis=1)
    sums = np.where(known, values, 0).sum(axis=1)
    return np.divide(sums, n, out=np.full(len(n), np.nan), where=n > 0)
