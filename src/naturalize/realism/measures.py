"""How well scores distinguish composite from real, and how far apart both lie.

AUC: only images of one class and one fold are compared with each other. Across classes a score may
reflect the class; across folds it comes from different classifiers, and pooling them pulls the AUC
of a blind classifier below 0.5 (Airola et al., Comput Stat Data Anal 55:1828, 2011), which would
flatter the composites. Distances in a feature space: whether composites are distributed as real
images, or are copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from naturalize.base.errors import InputError, SettingsError
from naturalize.base.rng import rng
from naturalize.base.statistics import percentile_interval, resampled_units
from naturalize.realism.settings import RESAMPLES


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

    The Mann–Whitney form of the AUC, over all pairs within strata, int (N,). ``scores``: float
    (N,), higher means "composite"; ``composite``: bool (N,). ``InputError`` if no stratum holds
    both kinds.

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

    Images that belong together, of one number in ``units``, int (N,), are drawn together; the
    classifiers are not fitted again, so the interval speaks of other images, not of other
    classifiers. ``scores`` come from outside the training folds; ``folds``, int (N,), is the fold
    that each image was left out in; ``level`` is the coverage aimed at, 0–1.
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


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Nearest:
    """How near composites lie to real images, against how near real images lie to each other."""

    #: Median distance to the nearest real image of the class.
    real_to_real: float
    composite_to_real: float
    #: The second over the first: below 1, composites crowd around real images.
    ratio: Estimate
    #: Median distance to the nearest image that the scene or the target comes from; null where
    #: parents are not known.
    composite_to_parent: float | None = None
    #: That over ``real_to_real``: near 0, composites are copies.
    parent_ratio: float | None = None


def kernel_distance(
    features: np.ndarray,
    composite: np.ndarray,
    labels: Sequence[str],
    units: np.ndarray,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Return the kernel inception distance within class, averaged over classes.

    The unbiased estimate of MMD² with the kernel ``(x·y / d + 1)³`` (Bińkowski et al., Demystifying
    MMD GANs, ICLR 2018, eq. 4): 0 on average for two draws from one distribution, so it may fall
    below 0. Interval: bootstrap over ``units``; an image is never paired with itself. ``features``:
    float (N, d); the rest as for :func:`auc_with_interval`.
    """
    times = resampled_units(units, resamples, rng(seed, "realism", "kernel"))
    names = np.array(labels)
    sums, weights = np.zeros(resamples + 1), np.zeros(resamples + 1)
    for name in np.unique(names):
        real = np.flatnonzero((names == name) & ~composite)
        made = np.flatnonzero((names == name) & composite)
        if min(len(real), len(made)) < 2:
            continue
        value = _mmd(features[real], features[made], times[:, real], times[:, made])
        good = np.isfinite(value)
        sums[good] += len(made) * value[good]
        weights[good] += len(made)
    values = sums / np.maximum(weights, 1)
    return Estimate(float(values[0]), *percentile_interval(values[1:]).tolist())


def _mmd(x: np.ndarray, y: np.ndarray, of_x: np.ndarray, of_y: np.ndarray) -> np.ndarray:
    """Return the unbiased MMD² for each row of how often each image counts."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    d = x.shape[1]

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / d + 1) ** 3

    def same(a: np.ndarray, times: np.ndarray) -> np.ndarray:
        table = kernel(a, a)
        np.fill_diagonal(table, 0)
        pairs = times.sum(axis=1) ** 2 - (times**2).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return ((times @ table) * times).sum(axis=1) / pairs

    across = ((of_x @ kernel(x, y)) * of_y).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        across /= of_x.sum(axis=1) * of_y.sum(axis=1)
    return same(x, of_x) + same(y, of_y) - 2 * across


def nearest(
    features: np.ndarray,
    composite: np.ndarray,
    labels: Sequence[str],
    *,
    to_parent: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Nearest:
    """Compare each composite's nearest real image with each real image's nearest other one.

    Both look among equally many: from the real images a composite looks at, one (another for each)
    is left out. Distances are Euclidean, of ``features``, float (N, d), within a class.
    ``to_parent``: those of composites to the nearest of their own parents, where known.
    """
    from scipy.spatial.distance import cdist

    names = np.array(labels)
    real_near, made_near = [], []
    for name in np.unique(names):
        real = features[(names == name) & ~composite].astype(np.float64)
        made = features[(names == name) & composite].astype(np.float64)
        if len(real) < 2 or not len(made):
            continue
        among = cdist(real, real)
        np.fill_diagonal(among, np.inf)
        real_near.append(among.min(axis=1))
        across = cdist(made, real)
        across[np.arange(len(made)), np.arange(len(made)) % len(real)] = np.inf
        made_near.append(across.min(axis=1))
    a, b = np.concatenate(real_near), np.concatenate(made_near)
    draw = rng(seed, "realism", "nearest")
    ratios = [
        np.median(b[draw.integers(len(b), size=len(b))])
        / max(float(np.median(a[draw.integers(len(a), size=len(a))])), 1e-12)
        for _ in range(resamples)
    ]
    unit = max(float(np.median(a)), 1e-12)
    parent = float(np.median(to_parent)) if to_parent is not None and len(to_parent) else None
    return Nearest(
        real_to_real=float(np.median(a)),
        composite_to_real=float(np.median(b)),
        ratio=Estimate(float(np.median(b)) / unit, *percentile_interval(np.array(ratios)).tolist()),
        composite_to_parent=parent,
        parent_ratio=None if parent is None else parent / unit,
    )
