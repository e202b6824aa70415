"""In which order a person sees cells: how doubtful each is, and which are alike.

Clusters hold cells of one class of the model, sure ones and doubtful ones apart, so that a cluster
can be accepted whole: the idea of MorphoCluster (Schröder et al., Sensors 20, 2020).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from naturalize.base.rng import seed_of
from naturalize.prediction.files import BETWEEN, DOUBTFUL, STRANGE
from naturalize.review.service.settings import bins_of
from naturalize.review.store.cells import CellRow

#: Cells of a cluster that are aimed at, and the fewest and most: what fits on a screen.
_SIZE, _FEWEST, _MOST = 40, 10, 60

#: From so many cells of a class k-means takes samples of them a step (Sculley 2010).
_MINIBATCH = 5_000

#: Doubt from which a cell is clustered apart, and the least doubt of cells with a flag: of several
#: classes, of other reasons, and like nothing that the model has seen.
_DOUBTFUL, _BETWEEN, _UNSURE, _STRANGE = 0.2, 0.5, 0.6, 0.8

#: Probabilities below this are noise; their logarithm is bounded.
_FLOOR = 1e-4


def doubt_of(
    probabilities: np.ndarray | None,
    confidence: float | None,
    candidates: Sequence[str],
    flag: str,
    label: str | None,
) -> float:
    """Return how doubtful a class is, 0–1: 1 less the margin of the two most probable.

    Without probabilities (C,) it is 1 less the confidence, without that 0.5, without a class 1. A
    set of several classes and a flag of doubt raise it.
    """
    if label is None:
        return 1.0
    found = 0.5 if confidence is None else 1 - confidence
    if probabilities is not None:
        found = 1.0
        if len(probabilities) > 1:
            second, first = np.partition(probabilities, -2)[-2:]
            found = 1 - float(first - second)
    least = 0.0
    if len(candidates) > 1 or BETWEEN in flag:
        least = _BETWEEN
    elif DOUBTFUL in flag:
        least = _UNSURE
    if STRANGE in flag:
        least = _STRANGE
    return min(1.0, max(0.0, least + (1 - least) * found))


def vectors_of(probabilities: np.ndarray) -> np.ndarray:
    """Return what cells are compared by where no features are: float32 (N, C).

    The logarithm of the probabilities (N, C), that is the logits but for a constant; cells without
    (NaN) are at 0.
    """
    logs = np.log(np.maximum(np.nan_to_num(probabilities, nan=0.0), _FLOOR))
    centred = logs - logs.mean(axis=1, keepdims=True)
    centred[np.isnan(probabilities).any(axis=1)] = 0
    return centred.astype(np.float32)


def in_order(cells: Sequence[CellRow], classes: Sequence[str], *, first: int = 0) -> list[CellRow]:
    """Return cells with their doubt, cluster and rank; ``first``: number of the first of both."""
    bins = {code: place for place, code in enumerate(bins_of(classes))}
    labels = [-1 if c.model_label is None else bins[c.model_label] for c in cells]
    none = np.full(len(classes), np.nan, np.float32)
    shares = np.array([none if c.probabilities is None else c.probabilities for c in cells])
    doubt = [doubt_of(c.probabilities, c.confidence, c.candidates, c.flag, c.model_label)
             for c in cells]  # fmt: skip
    vectors = vectors_of(shares.reshape(len(cells), len(classes)))
    order = ordered(labels, np.array(doubt), vectors, first=first)
    places = zip(cells, doubt, order.cluster.tolist(), order.rank.tolist(), strict=True)
    return [replace(c, doubt=d, cluster=k, rank=r) for c, d, k, r in places]


@dataclass(frozen=True)
class Order:
    """``cluster`` and ``rank`` of each cell, int64 (N,): both count from 0."""

    cluster: np.ndarray
    rank: np.ndarray


def ordered(
    labels: Sequence[int], doubt: np.ndarray, vectors: np.ndarray, *, first: int = 0
) -> Order:
    """Return clusters of like cells, and the place of each cell.

    Parameters
    ----------
    labels
        Number of each cell's class in the order of the bins; −1 without a class, which come first.
    doubt
        float (N,), 0–1. Sure and doubtful cells share no cluster.
    vectors
        float (N, D): cells are alike that are near each other.
    first
        Number of the first cluster, and of the first place.

    Notes
    -----
    Clusters follow each other by class, the most doubtful first; within one the cells nearest to
    its middle come first. Equal input gives equal clusters.
    """
    given = np.asarray(labels)
    cluster, rank = np.zeros(len(given), int), np.zeros(len(given), int)
    number, place = first, first
    for label in np.unique(given):
        found: list[tuple[float, np.ndarray]] = []
        for doubtful in (True, False):
            rows = np.flatnonzero((given == label) & ((doubt >= _DOUBTFUL) == doubtful))
            for part in _clusters(vectors[rows], int(label)):
                inside = rows[part]
                found.append((float(doubt[inside].mean()), inside))
        for _, inside in sorted(found, key=lambda pair: -pair[0]):
            cluster[inside] = number
            rank[inside] = np.arange(place, place + len(inside))
            number, place = number + 1, place + len(inside)
    return Order(cluster, rank)


def _clusters(vectors: np.ndarray, label: int) -> Iterator[np.ndarray]:
    """Yield the rows of each cluster, the nearest to its middle first."""
    if not len(vectors):
        return
    groups = _grouped(vectors, label)
    for rows in _joined(vectors, groups):
        for part in np.array_split(rows, math.ceil(len(rows) / _MOST)):
            away = np.linalg.norm(vectors[part] - vectors[part].mean(axis=0), axis=1)
            yield part[np.argsort(away, kind="stable")]


def _grouped(vectors: np.ndarray, label: int) -> list[np.ndarray]:
    n = round(len(vectors) / _SIZE)
    if n < 2 or len(np.unique(vectors, axis=0)) < n:
        return [np.arange(len(vectors))]
    from sklearn.cluster import KMeans, MiniBatchKMeans

    settings = {"n_clusters": n, "n_init": 1, "random_state": seed_of(0, "review", label) % 2**32}
    if len(vectors) < _MINIBATCH:
        found = KMeans(**settings).fit_predict(vectors)
    else:
        found = MiniBatchKMeans(**settings, batch_size=4096, max_iter=10).fit_predict(vectors)
    return [rows for k in range(n) if len(rows := np.flatnonzero(found == k))]


def _joined(vectors: np.ndarray, groups: list[np.ndarray]) -> list[np.ndarray]:
    """Return groups of which the small ones have joined the nearest.

    A large one is put in order along its first axis, so that its parts are like cells too.
    """
    large = [rows for rows in groups if len(rows) >= _FEWEST]
    if not large:
        return [np.concatenate(groups)]
    middles = np.stack([vectors[rows].mean(axis=0) for rows in large])
    joined = [[rows] for rows in large]
    for rows in groups:
        if len(rows) < _FEWEST:
            away = np.linalg.norm(middles - vectors[rows].mean(axis=0), axis=1)
            joined[int(away.argmin())].append(rows)
    return [_along(vectors, np.sort(np.concatenate(parts))) for parts in joined]


def _along(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    if len(rows) <= _MOST:
        return rows
    centred = vectors[rows] - vectors[rows].mean(axis=0)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    return rows[np.argsort(centred @ axis, kind="stable")]
