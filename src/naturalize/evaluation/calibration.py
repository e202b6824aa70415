"""Is a confidence of 0.9 right nine times in ten? Expected calibration error and its table."""

from __future__ import annotations

from typing import Any

import numpy as np

from naturalize.base.errors import InputError, SettingsError

#: Bins of equal width, as is usual since Guo et al. 2017.
BINS = 15


def calibration(confidence: np.ndarray, right: np.ndarray, *, bins: int = BINS) -> dict[str, Any]:
    r"""Return the expected calibration error and its bins (Guo et al., ICML 2017, eq. 3).

    :math:`ECE = \sum_b \frac{n_b}{N} |acc_b - conf_b|`, bins being half-open from the left,
    :math:`(b/B, (b+1)/B]`, and 0 falling into the first.

    Parameters
    ----------
    confidence
        float (N,): probability given to the predicted class, 0–1.
    right
        bool (N,): whether the prediction was right.
    bins
        Number of bins B.

    Returns
    -------
    dict
        JSON-able: ``ece``, ``mean_confidence``, ``accuracy``, ``overconfidence`` (mean confidence
        minus accuracy), ``bins``: a list of {low, high, n, confidence, accuracy}, the last two
        null where ``n`` is 0.

    Raises
    ------
    InputError
        If lengths differ, there is nothing to score, or a confidence is not within 0–1.
    SettingsError
        For fewer than one bin.

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
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
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
