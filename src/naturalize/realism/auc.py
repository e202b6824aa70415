"""How well scores tell composite from real: AUC within class and fold, with an interval.

Only images of one class and one fold are compared with each other. Across classes a score may tell
classes; across folds it comes from different classifiers, and pooling them pulls the AUC of a
blind classifier below 0.5 (Airola et al., Comput Stat Data Anal 55:1828, 2011), which would flatter
the composites.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from naturalize.base.errors import InputError, SettingsError
from naturalize.base.rng import rng
from naturalize.base.statistics import percentile_interval, resampled_units

#: Resamples by default.
RESAMPLES = 1000


@dataclass(frozen=True)
class Auc:
    """An area under the ROC curve, its interval (95 % by default), and the same for each class."""

    value: float
    low: float
    high: float
    per_class: dict[str, tuple[float, float, float]]

    def __str__(self) -> str:
        """Return value and interval with two digits."""
        return f"{self.value:.2f} ({self.low:.2f}–{self.high:.2f})"


def won(real: np.ndarray, composite: np.ndarray) -> np.ndarray:
    """Return for each pair whether the composite has the higher score, ties ½: float64 (R, C)."""
    real, composite = real[:, None], composite[None, :]
    return (composite > real) + 0.5 * (composite == real)


def within_auc(scores: np.ndarray, composite: np.ndarray, strata: np.ndarray) -> float:
    """Return the share of pairs (real, composite) of one stratum that the scores order rightly.

    The Mann–Whitney form of the AUC, over all pairs within strata.

    Parameters
    ----------
    scores
        Float (N,): higher means "composite".
    composite
        Bool (N,).
    strata
        Int (N,): only pairs of equal number count.

    Raises
    ------
    InputError
        If no stratum holds both kinds.

    Examples
    --------
    >>> within_auc(np.array([0.1, 0.9, 5.0, 5.1]), np.array([0, 1, 0, 1], bool), np.zeros(4, int))
    0.75
    """
    right, pairs = 0.0, 0
    for stratum in np.unique(strata):
        here = strata == stratum
        table = won(scores[here & ~composite], scores[here & composite])
        right, pairs = right + table.sum(), pairs + table.size
    if not pairs:
        raise InputError("no class has real and composite images in the same fold")
    return float(right / pairs)


def auc_with_interval(
    scores: np.ndarray,
    composite: np.ndarray,
    labels: Sequence[str],
    folds: np.ndarray,
    units: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> Auc:
    """Return the AUC within class and fold, with a percentile bootstrap interval.

    Images that belong together are drawn together; the classifiers are not fitted again, so the
    interval speaks of other images, not of other classifiers.

    Parameters
    ----------
    scores, composite
        As for :func:`within_auc`; scores come from outside the training folds.
    labels
        Class of each of N images.
    folds
        Int (N,): the fold that each image was left out in.
    units
        Int (N,), 0 … U − 1: what is drawn together.
    resamples, level, seed
        Number of resamples, coverage aimed at (0–1), seed of the draws.
    """
    if resamples < 100:
        raise SettingsError(f"resamples: expected 100 or more, got {resamples}")
    if not np.isfinite(scores).all():
        raise InputError("scores: expected finite numbers, got NaN or infinity")
    names = sorted(set(labels))
    label = np.array([names.index(one) for one in labels])
    times = resampled_units(units, resamples, rng(seed, "realism", "bootstrap"))
    right = np.zeros((len(names), resamples + 1))
    pairs = np.zeros((len(names), resamples + 1))
    for number in range(len(names)):
        for fold in np.unique(folds[label == number]):
            here = (label == number) & (folds == fold)
            real, made = np.flatnonzero(here & ~composite), np.flatnonzero(here & composite)
            table = won(scores[real], scores[made])
            of_real, of_made = times[:, real], times[:, made]
            right[number] += ((of_real @ table) * of_made).sum(axis=1)
            pairs[number] += of_real.sum(axis=1) * of_made.sum(axis=1)
    if not pairs[:, 0].any():
        raise InputError("no class has real and composite images in the same fold")
    whole = _limits(right.sum(axis=0), pairs.sum(axis=0), level)
    each = {name: _limits(right[i], pairs[i], level) for i, name in enumerate(names) if pairs[i, 0]}
    return Auc(*whole, per_class=each)


def _limits(right: np.ndarray, pairs: np.ndarray, level: float) -> tuple[float, float, float]:
    values = right[pairs > 0] / pairs[pairs > 0]
    low, high = percentile_interval(values[1:], level) if len(values) > 1 else (0.0, 1.0)
    return float(values[0]), float(low), float(high)
