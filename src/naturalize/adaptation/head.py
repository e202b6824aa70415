"""A network's last layer: labels that spread among like cells, and the layer fitted to them.

Cells of one class lie together in a laboratory that a network never saw, although its last layer
divides them in the wrong places. So its answers are spread among cells with like features (Zhou et
al., *Learning with local and global consistency*, NeurIPS 2004), and the layer is fitted to them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_softmax, softmax

#: Neighbours of a cell, the power of their cosine that is the weight of an edge, and how much of a
#: label comes from neighbours (Zhou's alpha).
_NEIGHBOURS, _POWER, _ALPHA = 7, 3, 0.97

#: Answers are divided by their class's sum to this power, so that a class of many cells does not
#: flood one of few: 0 leaves them, 1 gives each class the same sum, which a real mix contradicts.
_EVEN = 0.1

#: What a labelled and another cell count when labels spread, where some are labelled, and how often
#: a labelled one counts when the layer is fitted. Chosen on BCCD.
_TOLD, _UNTOLD, _TIMES = 10.0, 0.3, 5.0

#: How many cells the layer before counts as, where none has a label: what 40 cells say, most of
#: them of one class, holds for themselves and not for the next ones, least for a class not there.
_BEFORE = 64

#: The pull towards the layer as it was, for features of spread 1, and the most steps of the fit.
_PULL, _STEPS = 0.01, 60

#: What is added to a feature's spread, in mean spreads, so that one that hardly varies stays small.
_SLACK = 0.1

#: How many of a cell's views a layer is fitted to; the mirrored ones are left for the check.
TURNS = 4

#: The least probability of a class that a label allows: its share is never quite nothing.
_LEAST = 1e-6


@dataclass(frozen=True)
class Head:
    """A linear layer: weights float (C, D), bias float (C,), and what divides its logits."""

    weights: np.ndarray
    bias: np.ndarray
    temperature: float = 1.0

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return (…, C) for features (…, D), divided by the temperature."""
        return (features @ self.weights.T + self.bias) / self.temperature

    def fitted(self, features: np.ndarray, targets: np.ndarray, times: np.ndarray) -> Head:
        r"""Return the layer whose answers are nearest to targets, pulled towards this one.

        Minimises, by L-BFGS over the change :math:`A` of the layer in standardised features,
        :math:`-\sum_i w_i \sum_c q_{ic} \log p_{ic} / \sum_i w_i + \lambda |A|^2 / 2`.

        Parameters
        ----------
        features, targets
            float (N, V, D) of V views of N cells; float (N, C), rows sum to one.
        times
            What each cell counts, float (N,).
        """
        from scipy.optimize import minimize

        views, width = features.shape[1:]
        flat = features.reshape(-1, width).astype(np.float64)
        mean, spread = flat.mean(axis=0), flat.std(axis=0)
        spread += _SLACK * spread.mean() + np.finfo(float).tiny
        before = self.logits(flat)
        flat = np.c_[(flat - mean) / spread, np.ones(len(flat))].astype(np.float32)
        wanted = np.repeat(targets, views, axis=0)
        counts = np.repeat(times / (times.sum() * views), views)[:, None]

        def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
            change = values.reshape(width + 1, -1)
            logs = log_softmax(before + flat @ change.astype(np.float32), axis=1)
            errors = (counts * (np.exp(logs) - wanted)).astype(np.float32)
            slope = flat.T @ errors + _PULL * change
            value = -(counts * wanted * logs).sum() + _PULL / 2 * (change**2).sum()
            return float(value), slope.ravel()

        start = np.zeros((width + 1) * len(self.bias))
        options = {"maxiter": _STEPS}
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
        change = self.temperature * found.reshape(width + 1, -1)
        added = (change[:-1] / spread[:, None]).T
        bias = self.bias + change[-1] - added @ mean
        return Head(self.weights + added, bias, self.temperature)


@dataclass(frozen=True)
class Cells:
    """Features of cells, and what is known of each.

    ``features`` float32 (N, 8, D): four quarter turns, then the same mirrored; ``allowed`` bool
    (N, C): the classes that are of the kind that the segmenter found; ``told`` bool (N, C): the
    classes that a label allows, none where there is no label.
    """

    features: np.ndarray
    allowed: np.ndarray
    told: np.ndarray

    @property
    def labelled(self) -> np.ndarray:
        """Which cells have a label, bool (N,)."""
        return np.asarray(self.told.any(axis=1))

    def __len__(self) -> int:
        return len(self.features)

    def only(self, rows: np.ndarray) -> Cells:
        """Return some of them."""
        return Cells(self.features[rows], self.allowed[rows], self.told[rows])

    def unlabelled(self, rows: np.ndarray) -> Cells:
        """Return all of them, some without their labels."""
        told = self.told.copy()
        told[rows] = False
        return Cells(self.features, self.allowed, told)

    def each_view(self, head: Head) -> np.ndarray:
        """Return the probabilities that a layer gives each view, float (N, 8, C)."""
        found = softmax(head.logits(self.features), axis=-1) * self.allowed[:, None]
        total = found.sum(axis=-1, keepdims=True)
        even = np.broadcast_to(1 / found.shape[-1], found.shape).copy()
        return np.divide(found, total, out=even, where=total > 0)

    def answers(self, head: Head) -> np.ndarray:
        """Return the mean probabilities of four turned views, as predicted: float (N, C)."""
        return np.asarray(self.each_view(head)[:, :TURNS].mean(axis=1))


#: The range of mean confidences that a layer may be scaled to, and of the scale.
_SUREST, _SCALES = 0.99, (0.05, 50.0)


def adapted(cells: Cells, head: Head) -> Head:
    """Return a layer fitted to cells and the labels that some of them may have.

    Without labels it stands between the one before, which counts as 64 cells, and the fitted one,
    and is as sure as the one before.
    """
    times = np.where(cells.labelled, _TIMES, 1.0)
    new = head.fitted(cells.features[:, :TURNS], targets(cells, head), times)
    if cells.labelled.any():
        return new
    sure = float(cells.answers(head).max(axis=1).mean())
    new = as_sure_as(cells, new, sure)
    share = len(cells) / (len(cells) + _BEFORE)
    weights, bias = (
        share * after + (1 - share) * before
        for before, after in ((head.weights, new.weights), (head.bias, new.bias))
    )
    return as_sure_as(cells, Head(weights, bias, head.temperature), sure)


def targets(cells: Cells, head: Head) -> np.ndarray:
    """Return what a layer is fitted to, float (N, C): answers and labels, spread among like cells.

    A cell's own label stays.
    """
    start, told = cells.answers(head), cells.labelled
    start[told] = cells.told[told] * np.maximum(start[told], _LEAST)
    start /= start.sum(axis=1, keepdims=True)
    given = np.where(told, _TOLD, _UNTOLD if told.any() else 1.0)[:, None] * start
    given /= np.maximum(given.sum(axis=0), 1) ** _EVEN
    found = spread(neighbours(cells.features[:, :TURNS].mean(axis=1)), given)
    found[told] = start[told]
    return found


def as_sure_as(cells: Cells, head: Head, share: float) -> Head:
    """Return a layer with the same answers, scaled so that its mean confidence is ``share``.

    Two networks that learnt apart agree about as often as either is right (Jiang et al., ICLR
    2022): ``share`` is how often layers of two halves agree. Labels that spread say too little.
    """
    from scipy.optimize import brentq

    def missing(logarithm: float) -> float:
        scaled = replace(head, temperature=head.temperature / np.exp(logarithm))
        return float(cells.answers(scaled).max(axis=-1).mean()) - wanted

    low, high = np.log(_SCALES)
    wanted = min(share, _SUREST)
    if missing(low) > 0 or missing(high) < 0:
        return head
    scale = float(np.exp(brentq(missing, low, high, xtol=1e-3)))
    return Head(scale * head.weights, scale * head.bias, head.temperature)


def neighbours(features: np.ndarray) -> np.ndarray:
    """Return the graph of like cells, float (N, N): symmetric, no cell its own neighbour.

    Features (N, D) are compared by the cosine about their mean; each cell has an edge to the 7
    nearest.
    """
    about = features - features.mean(axis=0)
    about /= np.linalg.norm(about, axis=1, keepdims=True) + np.finfo(float).tiny
    cosine = (about @ about.T).astype(np.float64)
    np.fill_diagonal(cosine, -np.inf)
    most = min(_NEIGHBOURS, len(features) - 1)
    nearest = np.argpartition(-cosine, most - 1, axis=1)[:, :most]
    graph = np.zeros_like(cosine)
    rows = np.arange(len(features))[:, None]
    graph[rows, nearest] = np.maximum(cosine[rows, nearest], 0) ** _POWER
    return graph + graph.T


def spread(graph: np.ndarray, start: np.ndarray) -> np.ndarray:
    r"""Return labels (N, C) spread over a graph (N, N); rows sum to one.

    :math:`(I - \alpha D^{-1/2} W D^{-1/2})^{-1} Y` (Zhou et al. 2004, eq. 3), where :math:`D` holds
    the sums of the rows of the graph :math:`W`, and :math:`Y` is ``start``.
    """
    size = np.sqrt(graph.sum(axis=1)) + np.finfo(np.float32).tiny
    found = np.linalg.solve(np.eye(len(graph)) - _ALPHA * graph / size[:, None] / size, start)
    found = np.maximum(found, 0)
    return found / found.sum(axis=1, keepdims=True)
