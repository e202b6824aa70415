"""Selective answers: how often a model is wrong, if it answers only where it is surest.

The risk–coverage curve (El-Yaniv & Wiener, JMLR 11, 2010) orders answers by confidence; its area is
the mean risk over all coverages (Geifman, Uziel & El-Yaniv, ICLR 2019). Answers of equal confidence
are given together, so that the order of files decides nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from naturalize.base.errors import InputError

#: Risk at which coverage is given.
RISK = 0.05

#: Points of a curve that are written at most.
_POINTS = 200

#: What rounding may add to a risk.
_ROUNDING = 1e-9


def risk_coverage(
    confidence: np.ndarray, right: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return coverage and risk at each distinct confidence, the highest first.

    Parameters
    ----------
    confidence, right
        float (N,), and whether the answer was right, bool (N,).
    weights
        float (…, N), of the images; all 1 by default.

    Returns
    -------
    tuple
        coverage (share of the images that are answered) and risk (share of wrong ones among
        them), float64 (…, T) for T distinct confidences; risk is 0 where nothing is answered.
        ``InputError`` if there is nothing, or lengths differ.

    Examples
    --------
    >>> coverage, risk = risk_coverage(np.array([0.9, 0.8, 0.8, 0.5]), np.array([1, 1, 0, 0]))
    >>> coverage.tolist(), risk.round(3).tolist()
    ([0.25, 0.75, 1.0], [0.0, 0.333, 0.5])
    """
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right, bool)
    if confidence.shape != right.shape or confidence.ndim != 1 or not confidence.size:
        raise InputError(
            "risk_coverage: expected two vectors of one length, at least 1, got shapes "
            f"{confidence.shape} and {right.shape}"
        )
    weights = np.ones(len(right)) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(-confidence, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(confidence[order]) != 0, True))
    answered = np.cumsum(weights[..., order], axis=-1)[..., ends]
    wrong = np.cumsum((weights * ~right)[..., order], axis=-1)[..., ends]
    total = answered[..., -1:]
    return (
        answered / np.where(total > 0, total, 1),
        wrong / np.where(answered > 0, answered, 1),
    )


def area(coverage: np.ndarray, risk: np.ndarray) -> np.ndarray:
    """Return the area under risk–coverage curves (…, T): the mean risk over coverages, float64 (…).

    Examples
    --------
    >>> float(area(np.array([0.25, 0.75, 1.0]), np.array([0.0, 0.4, 0.5])))
    0.325
    """
    steps = np.diff(coverage, axis=-1, prepend=0.0)
    return (steps * risk).sum(axis=-1)


def coverage_at(coverage: np.ndarray, risk: np.ndarray, most: float = RISK) -> np.ndarray:
    """Return the largest coverage whose risk is at most ``most``, float64 (…); 0 if there is none.

    Examples
    --------
    >>> float(coverage_at(np.array([0.25, 0.75, 1.0]), np.array([0.0, 0.04, 0.5])))
    0.75
    """
    return np.where(risk <= most + _ROUNDING, coverage, 0.0).max(axis=-1)


def thinned(coverage: np.ndarray, risk: np.ndarray) -> dict[str, list[float]]:
    """Return a curve (T,) as JSON: ``coverage`` and ``risk``, at most 200 points, ends kept."""
    shown = np.unique(np.linspace(0, len(coverage) - 1, _POINTS).round().astype(int))
    return {"coverage": coverage[shown].tolist(), "risk": risk[shown].tolist()}


def selective(confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Return a curve with its area (``aurc``) and its ``coverage_at_risk``; see `risk_coverage`.

    Examples
    --------
    >>> found = selective(np.array([0.9, 0.8, 0.8, 0.5]), np.array([1, 1, 0, 0]))
    >>> round(found["aurc"], 3), found["coverage_at_risk"]
    (0.292, 0.25)
    """
    curve = risk_coverage(confidence, right)
    found = {"aurc": float(area(*curve)), "coverage_at_risk": float(coverage_at(*curve))}
    return found | thinned(*curve)
