"""How sure a score is, and a model: bootstrap and Wilson intervals, calibration error.

Scores depend on the confusion counts alone, so a resample of N images is one draw of counts from a
multinomial distribution over the C² cells of the confusion matrix: the same distribution as drawing
images with replacement, without touching an image. Groups (patients, duplicates) are drawn whole.
Is a confidence of 0.9 right nine times in ten? The calibration error says how far it is from that.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from naturalize.base.errors import InputError, SettingsError
from naturalize.base.rng import rng
from naturalize.base.statistics import percentile_interval
from naturalize.evaluation import metrics

#: Resamples by default: 95 % limits then wobble by a few per cent of the interval's width.
RESAMPLES = 2000

#: Resamples held in memory at a time; part of how draws are made, so a constant.
_CHUNK = 250


def bootstrap(
    labels: Sequence[str],
    y_true: Sequence[str],
    y_pred: Sequence[str],
    *,
    groups: Sequence[str | None] | None = None,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Percentile bootstrap intervals of every score (Efron & Tibshirani 1993, ch. 13).

    ``labels`` are the C classes in order, ``y_true`` and ``y_pred`` N class names. ``groups`` (N)
    says what belongs together (patient, slide, duplicate) and is drawn together; an image whose
    group is null is a group of its own. ``level`` is the coverage aimed at, 0–1.

    ``InputError`` if there is nothing to score, a name is no label, or lengths differ;
    ``SettingsError`` for fewer than 100 resamples, or a level outside (0, 1).

    Returns
    -------
    dict
        JSON-able: ``intervals`` {score: [low, high]} for `metrics.SUMMARY`; ``per_class`` {label:
        {precision, recall, f1: [low, high]}} for the labels that occur; ``accuracy_wilson``
        [low, high]; ``method`` (one sentence); ``units`` (how many images or groups were drawn).

    Examples
    --------
    >>> result = bootstrap(["EO", "LY"], ["EO", "LY"] * 50, ["EO", "LY"] * 45 + ["EO", "EO"] * 5)
    >>> [round(v, 2) for v in result["intervals"]["accuracy"]]
    [0.91, 0.99]
    """
    if resamples < 100:
        raise SettingsError(f"resamples: expected 100 or more, got {resamples}")
    if not 0 < level < 1:
        raise SettingsError(f"level: expected a share between 0 and 1, got {level}")
    true = metrics.label_indices(labels, y_true, what="y_true")
    predicted = metrics.label_indices(labels, y_pred, what="y_pred")
    counts = metrics.confusion_matrix(true, predicted, len(labels))
    if not counts.sum():
        raise InputError("bootstrap: expected at least one labelled prediction, got none")
    units = group_numbers(groups, len(true))
    cells = true * len(labels) + predicted
    drawn = resampled(cells, units, len(labels) ** 2, resamples, rng(seed, "bootstrap"))
    limits = _limits(drawn, len(labels), level)
    return {
        "intervals": {name: _pair(limits[name]) for name in metrics.SUMMARY},
        "per_class": {
            label: {name: _pair(limits[name][:, i]) for name in ("precision", "recall", "f1")}
            for i, label in enumerate(labels)
            if counts[i].sum()
        },
        "accuracy_wilson": list(wilson(int(np.trace(counts)), int(counts.sum()), level=level)),
        "method": f"percentile bootstrap over {drawn_from(units)}, {resamples:,} resamples, "
        f"{100 * level:g} %, seed {seed}",
        "units": int(units.max() + 1),
    }


def group_numbers(groups: Sequence[str | None] | None, n: int) -> np.ndarray:
    """Return each image's group as a number 0, 1, …: int64 (n,); null is a group of its own."""
    if groups is None:
        return np.arange(n)
    if len(groups) != n:
        raise InputError(f"groups: expected one for each of {n} images, got {len(groups)}")
    numbers: dict[object, int] = {}
    keys = ((name,) if name is not None else i for i, name in enumerate(groups))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def resampled(
    cells: np.ndarray, units: np.ndarray, n_cells: int, resamples: int, draw: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield resampled cell counts, int64 (≤ chunk, K), drawing whole groups with replacement.

    ``cells`` and ``units``, int64 (N,), are the cell (0 … K − 1) that each image falls into, and
    its group (0 … G − 1); ``n_cells`` is K.
    """
    from scipy.sparse import coo_array

    n_groups = int(units.max()) + 1
    sizes = [min(_CHUNK, resamples - start) for start in range(0, resamples, _CHUNK)]
    if n_groups == len(units):  # each image alone: the counts themselves are multinomial
        share = np.bincount(cells, minlength=n_cells) / len(cells)
        for size in sizes:
            yield draw.multinomial(len(cells), share, size=size)
        return
    ones = np.ones(len(cells), np.int64)
    table = coo_array((ones, (units, cells)), shape=(n_groups, n_cells)).tocsr()
    for size in sizes:
        yield draw.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=size) @ table


def drawn_from(units: np.ndarray) -> str:
    """Say what is drawn: ``"120 images"``, or groups of them."""
    n = int(units.max()) + 1
    return f"{n:,} {'images' if n == len(units) else 'groups of images'}"


def _limits(drawn: Iterator[np.ndarray], n_classes: int, level: float) -> dict[str, np.ndarray]:
    """Percentile limits of every score: float64 (2,) or, for per-class scores, (2, C)."""
    found: dict[str, list[np.ndarray]] = {}
    for flat in drawn:
        counts = flat.reshape(-1, n_classes, n_classes)
        values = metrics.summary(counts)
        drawn_at_all = counts.sum(axis=-1) > 0  # a resample without the class says nothing of it
        for name in ("precision", "recall", "f1"):
            values[name] = np.where(drawn_at_all, getattr(metrics, name)(counts), np.nan)
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # classes that never occur: all NaN, unused
        return {
            name: percentile_interval(np.concatenate(value), level) for name, value in found.items()
        }


def wilson(right: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson, JASA 1927).

    It is right also where the bootstrap fails: with no or only mistakes. ``InputError`` if not
    0 ≤ right ≤ n, n ≥ 1.

    Examples
    --------
    >>> [round(limit, 4) for limit in wilson(10, 10)]
    [0.7225, 1.0]
    """
    from scipy.stats import binomtest

    if not (n >= 1 and 0 <= right <= n):
        raise InputError(f"wilson: expected 0 ≤ right ≤ n and n ≥ 1, got {right} of {n}")
    interval = binomtest(right, n).proportion_ci(confidence_level=level, method="wilson")
    return float(interval.low), float(interval.high)


def _pair(limits: np.ndarray) -> list[float]:
    return [float(limits[0]), float(limits[1])]


#: Bins of equal width, as is usual since Guo et al. 2017.
BINS = 15


def calibration(confidence: np.ndarray, right: np.ndarray, *, bins: int = BINS) -> dict[str, Any]:
    r"""Return the expected calibration error and its bins (Guo et al., ICML 2017, eq. 3).

    :math:`ECE = \sum_b \frac{n_b}{N} |acc_b - conf_b|`, bins being half-open from the left,
    :math:`(b/B, (b+1)/B]`, and 0 falling into the first.

    ``confidence`` is float (N,), the probability given to the predicted class, ``right`` bool (N,).
    Returns a JSON-able dict: ``ece``, ``mean_confidence``, ``accuracy``, ``overconfidence`` (mean
    confidence minus accuracy), ``bins``: a list of {low, high, n, confidence, accuracy}, the last
    two null where ``n`` is 0. ``InputError`` if lengths differ, there is nothing to score, or a
    confidence is not within 0–1; ``SettingsError`` for fewer than one bin.

    Examples
    --------
    >>> result = calibration(np.array([0.9, 0.9, 0.9, 0.9]), np.array([1, 1, 1, 0]), bins=10)
    >>> round(result["ece"], 3)
    0.15
    """
    confidence = np.asarray(confidence, np.float64)
    right = np.asarray(right, np.float64)
    if bins < 1:
        raise SettingsError(f"bins: expected 1 or more, got {bins}")
    if confidence.shape != right.shape or confidence.ndim != 1 or not confidence.size:
        raise InputError(
            "calibration: expected two vectors of one length, at least 1, got shapes "
            f"{confidence.shape} and {right.shape}"
        )
    if not (confidence.min() >= 0 and confidence.max() <= 1 + 1e-6):
        raise InputError("calibration: expected confidences between 0 and 1")
    edges, place = np.linspace(0, 1, bins + 1), _bin_of(confidence, bins)
    n = np.bincount(place, minlength=bins)
    filled = np.maximum(n, 1)
    mean = np.bincount(place, confidence, minlength=bins) / filled
    share = np.bincount(place, right, minlength=bins) / filled
    return {
        "ece": float((n * np.abs(share - mean)).sum() / n.sum()),
        "mean_confidence": float(confidence.mean()),
        "accuracy": float(right.mean()),
        "overconfidence": float(confidence.mean() - right.mean()),
        "bins": [
            {
                "low": float(edges[b]),
                "high": float(edges[b + 1]),
                "n": int(n[b]),
                "confidence": float(mean[b]) if n[b] else None,
                "accuracy": float(share[b]) if n[b] else None,
            }
            for b in range(bins)
        ],
    }


def calibration_errors(
    confidence: np.ndarray, right: np.ndarray, weights: np.ndarray, *, bins: int = BINS
) -> np.ndarray:
    """Return the expected calibration error of `calibration` under weights of the images.

    ``confidence`` float (N,) and ``right`` bool (N,) as there, ``weights`` float (R, N), a row for
    each resample or mix of classes. Returns float64 (R,); 0 where all weights are 0.

    Examples
    --------
    >>> sure, right = np.array([0.9, 0.9, 0.3]), np.array([1, 0, 1])
    >>> calibration_errors(sure, right, np.array([[1, 1, 0], [1, 1, 2]])).round(3).tolist()
    [0.4, 0.55]
    """
    gap = weights * (np.asarray(right, np.float64) - confidence)
    # within a bin, the weighted gap is the weight times |share right - mean confidence|
    member = np.zeros((len(confidence), bins))
    member[np.arange(len(confidence)), _bin_of(np.asarray(confidence, np.float64), bins)] = 1
    total = weights.sum(axis=1)
    return np.abs(gap @ member).sum(axis=1) / np.where(total > 0, total, 1)


def _bin_of(confidence: np.ndarray, bins: int) -> np.ndarray:
    edges = np.linspace(0, 1, bins + 1)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
