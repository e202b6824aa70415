"""Statistics that several rooms need: robust spread, intervals, connected sets."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from math import sqrt
from statistics import NormalDist
from typing import Any, TypeVar

import numpy as np

from naturalize.base.errors import InputError

K = TypeVar("K", bound=Hashable)

#: A normal distribution's standard deviation over its median absolute deviation.
MAD_TO_DEVIATION = 1.4826


def robust_spread(values: np.ndarray, centre: Any = None) -> float:
    """Return the spread of values that outliers do not widen: 1.4826 × median |value − centre|.

    It estimates the standard deviation of a normal distribution; ``centre`` is the median unless
    it is given.

    Examples
    --------
    >>> robust_spread(np.array([1.0, 2.0, 3.0, 4.0, 1000.0]))
    1.4826
    """
    centre = np.median(values) if centre is None else centre
    return MAD_TO_DEVIATION * float(np.median(np.abs(values - centre)))


def percentile_interval(values: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Return the percentile interval of resampled values, float64 (2, …) of (resamples, …).

    Resamples that say nothing of a value are NaN and do not count (Efron & Tibshirani 1993,
    chapter 13).

    Examples
    --------
    >>> percentile_interval(np.arange(101.0), 0.5).tolist()
    [25.0, 75.0]
    """
    tail = (1 - level) / 2
    return np.nanquantile(values, [tail, 1 - tail], axis=0)


def resampled_units(units: np.ndarray, resamples: int, draw: np.random.Generator) -> np.ndarray:
    """Return how often each of N items counts in a bootstrap, float64 (1 + resamples, N).

    Items of one unit are drawn together; ``units``, int (N,), numbers them from 0. In the first
    row, the sample itself, each counts once.
    """
    n = int(units.max()) + 1
    drawn = draw.multinomial(n, np.full(n, 1 / n), size=resamples)
    return np.concatenate([np.ones((1, n)), drawn])[:, units]


def connected(pairs: Iterable[tuple[K, K]]) -> list[list[K]]:
    """Return the sets that pairs connect, each sorted, ordered by their first members.

    A pair of an item with itself brings that item in.

    Examples
    --------
    >>> connected([(3, 1), (2, 2), (4, 3)])
    [[1, 3, 4], [2]]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    number: dict[K, int] = {}
    ends = [tuple(number.setdefault(key, len(number)) for key in pair) for pair in pairs]
    if not ends:
        return []
    rows, columns = np.array(ends).T
    graph = coo_array((np.ones(len(ends), np.int8), (rows, columns)), shape=(len(number),) * 2)
    sets: dict[int, list[K]] = {}
    for key, found in zip(number, connected_components(graph, directed=False)[1], strict=True):
        sets.setdefault(int(found), []).append(key)
    return sorted(sorted(members) for members in sets.values())  # type: ignore[type-var]


def wilson(right: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a share (Wilson, JASA 1927, p. 209).

    It is right also where the bootstrap fails: with no or only mistakes. ``InputError`` if not
    0 ≤ right ≤ n, n ≥ 1. By hand, as `scipy.stats` takes a second to import.

    Examples
    --------
    >>> [round(limit, 4) for limit in wilson(10, 10)]
    [0.7225, 1.0]
    """
    if not (n >= 1 and 0 <= right <= n):
        raise InputError(f"wilson: expected 0 ≤ right ≤ n and n ≥ 1, got {right} of {n}")
    share, z = right / n, NormalDist().inv_cdf((1 + level) / 2)
    middle, width = share + z**2 / (2 * n), z * sqrt(share * (1 - share) / n + (z / n) ** 2 / 4)
    low, high = (middle - width) / (1 + z**2 / n), (middle + width) / (1 + z**2 / n)
    return max(0.0, low), min(1.0, high)
