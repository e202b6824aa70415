"""How sure a score is: bootstrap, Wilson and exact binomial intervals.

Scores depend on the confusion counts alone, so a resample of N images is one draw of counts from a
multinomial distribution over the C² cells of the confusion matrix: the same distribution as drawing
images with replacement, without touching an image. Groups (patients, duplicates) are drawn whole.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from naturalize.base.errors import InputError, SettingsError
from naturalize.base.rng import rng
from naturalize.base.statistics import percentile_interval, wilson
from naturalize.evaluation import metrics, stages

#: Resamples by default: 95 % limits then wobble by a few per cent of the interval's width.
RESAMPLES = 2000

#: With fewer images, or groups of them, intervals are said to mean nothing: four have but 35
#: different resamples, n of 2n - 1.
FEWEST = 5

#: Scores of a class.
PER_CLASS = ("precision", "recall", "f1")

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
        JSON-able: ``intervals`` {score: [low, high]} for the scores of `stages.summary`;
        ``per_class`` {label: {precision, recall, f1: [low, high]}} for the labels that occur;
        ``accuracy_wilson`` [low, high]; ``method`` (one sentence); ``units`` (how many images or
        groups were drawn).

    Examples
    --------
    >>> result = bootstrap(["EO", "LY"], ["EO", "LY"] * 50, ["EO", "LY"] * 45 + ["EO", "EO"] * 5)
    >>> [round(v, 2) for v in result["intervals"]["accuracy"]]
    [0.91, 0.99]
    """
    check(resamples, level)
    true = metrics.label_indices(labels, y_true, what="y_true")
    predicted = metrics.label_indices(labels, y_pred, what="y_pred")
    counts = metrics.confusion_matrix(true, predicted, len(labels))
    if not counts.sum():
        raise InputError("bootstrap: expected at least one labelled prediction, got none")
    units = group_numbers(groups, len(true))
    cells = true * len(labels) + predicted
    drawn = resampled(cells, units, len(labels) ** 2, resamples, rng(seed, "bootstrap"))
    limits = _limits(drawn, labels, level)
    return {
        "intervals": {name: _pair(v) for name, v in limits.items() if name not in PER_CLASS},
        "per_class": {
            label: {name: _pair(limits[name][:, i]) for name in PER_CLASS}
            for i, label in enumerate(labels)
            if counts[i].sum()
        },
        "accuracy_wilson": list(wilson(int(np.trace(counts)), int(counts.sum()), level=level)),
        "method": f"percentile bootstrap over {drawn_from(units)}, {resamples:,} resamples, "
        f"{100 * level:g} %, seed {seed}",
        "units": int(units.max() + 1),
    }


def check(resamples: int, level: float) -> None:
    """Raise ``SettingsError`` for fewer than 100 resamples, or a level outside (0, 1)."""
    if resamples < 100:
        raise SettingsError(f"resamples: expected 100 or more, got {resamples}")
    if not 0 < level < 1:
        raise SettingsError(f"level: expected a share between 0 and 1, got {level}")


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
    """Say what is drawn: ``"120 images"``, or groups of them; and where that is too few to draw.

    Examples
    --------
    >>> drawn_from(np.array([0, 0, 1]))
    '2 groups of images (too few for intervals to mean anything)'
    """
    n, s = int(units.max()) + 1, "" if units.max() == 0 else "s"
    said = f"{n:,} image{s}" if n == len(units) else f"{n:,} group{s} of images"
    return said if n >= FEWEST else f"{said} (too few for intervals to mean anything)"


def _limits(
    drawn: Iterator[np.ndarray], labels: Sequence[str], level: float
) -> dict[str, np.ndarray]:
    """Percentile limits of every score: float64 (2,) or, for per-class scores, (2, C)."""
    found: dict[str, list[np.ndarray]] = {}
    for flat in drawn:
        counts = flat.reshape(-1, len(labels), len(labels))
        values = stages.summary(counts, labels)
        drawn_at_all = counts.sum(axis=-1) > 0  # a resample without the class says nothing of it
        for name in PER_CLASS:
            values[name] = np.where(drawn_at_all, getattr(metrics, name)(counts), np.nan)
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # classes that never occur: all NaN, unused
        return {
            name: percentile_interval(np.concatenate(value), level) for name, value in found.items()
        }


def exact(right: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a binomial share (Clopper & Pearson, Biometrika 26, 1934); as `wilson`.

    Examples
    --------
    >>> [round(limit, 4) for limit in exact(10, 10)]
    [0.6915, 1.0]
    """
    from scipy.special import betaincinv  # scipy.stats takes a second to import

    if not (n >= 1 and 0 <= right <= n):
        raise InputError(f"exact: expected 0 ≤ right ≤ n and n ≥ 1, got {right} of {n}")
    tail = (1 - level) / 2
    low = betaincinv(right, n - right + 1, tail) if right else 0.0
    high = betaincinv(right + 1, n - right, 1 - tail) if right < n else 1.0
    return float(low), float(high)


def _pair(limits: np.ndarray) -> list[float]:
    return [float(limits[0]), float(limits[1])]
