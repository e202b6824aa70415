"""Distances in a feature space: whether composites are drawn as real images, or are copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from naturalize.base.rng import rng
from naturalize.base.statistics import percentile_interval, resampled_units


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Nearest:
    """How near composites lie to real images, in units of how near real images lie to each other.

    Attributes
    ----------
    real_to_real, composite_to_real
        Median distance to the nearest real image of the class.
    ratio
        The second over the first: below 1, composites crowd around real images.
    composite_to_parent
        Median distance to the nearest image that lent the composite its scene or its target; null
        where parents are not known.
    parent_ratio
        That over ``real_to_real``: near 0, composites are copies.
    """

    real_to_real: float
    composite_to_real: float
    ratio: Estimate
    composite_to_parent: float | None = None
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
    below 0. Interval: bootstrap over ``units``; an image is never paired with itself.

    Parameters
    ----------
    features
        Float (N, d).
    composite, labels, units
        As for :func:`~naturalize.realism.auc.auc_with_interval`.
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
    is left out.

    Parameters
    ----------
    features
        Float (N, d); distances are Euclidean.
    composite, labels
        As above; neighbours are of the same class.
    to_parent
        Distance of composites to the nearest of their own parents, where known.
    """
    names = np.array(labels)
    real_near, made_near = [], []
    for name in np.unique(names):
        real = features[(names == name) & ~composite].astype(np.float64)
        made = features[(names == name) & composite].astype(np.float64)
        if len(real) < 2 or not len(made):
            continue
        among = _distances(real, real)
        np.fill_diagonal(among, np.inf)
        real_near.append(among.min(axis=1))
        across = _distances(made, real)
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


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    from scipy.spatial.distance import cdist

    return cdist(a, b)
