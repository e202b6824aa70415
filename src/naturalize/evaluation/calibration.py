"""Is a confidence of 0.9 right nine times in ten? Calibration errors and Brier's score.

The plain calibration error is too large in small samples: of N images in a bin, the share of right
answers strays from its mean by chance, and the error counts that. The debiased ones take away what
chance alone is expected to add.
"""

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

    ``confidence`` is float (N,), the probability given to the predicted class, ``right`` bool (N,).
    Returns a JSON-able dict: ``ece``, ``ece_debiased`` (without what chance adds),
    ``mean_confidence``, ``accuracy``, ``overconfidence`` (mean confidence minus accuracy) and
    ``bins``: a list of {low, high, n, confidence, accuracy}, the last two null where ``n`` is 0.
    ``InputError`` if lengths differ, there is nothing to score, or a confidence is not within 0–1;
    ``SettingsError`` for fewer than one bin.

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
        "ece_debiased": _debiased(n, share, mean),
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


#: Standard deviations beyond which a normal distribution has nothing.
_FAR = 30.0

#: How far a row of probabilities may miss a sum of one, as float32 and rounded files do.
ROUNDING = 1e-3


def check_probabilities(
    values: np.ndarray, what: str, *, advice: str = "give it a softmax"
) -> None:
    """Raise ``InputError`` unless rows (N, C) are numbers from 0 that sum to one.

    ``what`` is what gave them, ``advice`` what to do where they do not sum to one.

    Examples
    --------
    >>> check_probabilities(np.array([[0.5, 0.5]]), "the model")
    """
    if not np.isfinite(values).all():
        raise InputError(f"{what} gives probabilities that are no numbers (NaN or infinite)")
    wrong = (np.abs(values.sum(axis=1) - 1) > ROUNDING) | (values.min(axis=1, initial=0) < 0)
    if wrong.any():
        first = int(wrong.argmax())
        raise InputError(
            f"{what} gives probabilities that do not sum to one: row {first} has "
            f"{values[first].sum():.4g}, its least {values[first].min():.4g} "
            f"({int(wrong.sum()):,} of {len(values):,} rows); {advice}"
        )


def brier(probabilities: np.ndarray, true: np.ndarray, *, bins: int = BINS) -> dict[str, float]:
    r"""Return Brier's score of all classes (Brier 1950, eq. 2) and what it is made of.

    :math:`\frac1N \sum_{nc} (p_{nc} - y_{nc})^2 = reliability - resolution + uncertainty + within`,
    class by class over bins of equal width (Murphy 1973, eq. 12). ``within`` is what a bin's spread
    adds (Stephenson et al. 2008). The first three are debiased (Ferro & Fricker 2012, eq. 9), which
    leaves their sum as it is.

    Parameters
    ----------
    probabilities, true
        float (N, C), rows that sum to one, and int (N,), the true class of each.
    bins
        Bins of each class.

    Returns
    -------
    dict
        ``score`` (0 is perfect, 2 the worst), ``reliability`` (less is better; below 0 by chance),
        ``resolution`` (more is better), ``uncertainty`` (of the classes alone) and ``within``.
        ``InputError`` if rows do not sum to one, lengths differ, or there is nothing to score.

    Examples
    --------
    >>> found = brier(np.array([[0.8, 0.2], [0.4, 0.6]]), np.array([0, 0]))
    >>> round(found["score"], 2)
    0.4
    """
    values, true = np.asarray(probabilities, np.float64), np.asarray(true)
    if values.ndim != 2 or not len(values) or true.shape != values.shape[:1]:
        raise InputError(
            "brier: expected probabilities (N, C) and N classes, at least 1, got shapes "
            f"{values.shape} and {true.shape}"
        )
    check_probabilities(values, "brier: the model")
    n, classes = values.shape
    happened = np.eye(classes)[true]
    place = np.stack([_bin_of(column, bins) + i * bins for i, column in enumerate(values.T)], 1)

    def of_bins(weights: np.ndarray) -> np.ndarray:
        flat = np.bincount(place.ravel(), weights.ravel(), minlength=classes * bins)
        return flat.reshape(classes, bins)

    in_bin = of_bins(np.ones_like(values))
    some = np.maximum(in_bin, 1)
    share, mean = of_bins(happened) / some, of_bins(values) / some
    base = happened.mean(axis=0)
    # what chance adds to each: the variance of a share over its images, of which one is no spread
    spread = np.where(in_bin > 1, share * (1 - share) / np.maximum(in_bin - 1, 1), 0.0)
    chance = float((in_bin * spread).sum() / n)
    alone = float((base * (1 - base)).sum())
    more = alone / (n - 1) if n > 1 else 0.0
    score = float(((values - happened) ** 2).sum() / n)
    reliability = float((in_bin * (mean - share) ** 2).sum() / n)
    resolution = float((in_bin * (share - base[:, None]) ** 2).sum() / n)
    return {
        "score": score,
        "reliability": reliability - chance,
        "resolution": resolution - chance + more,
        "uncertainty": alone + more,
        "within": score - (reliability - resolution + alone),
    }


def _debiased(n: np.ndarray, share: np.ndarray, mean: np.ndarray) -> float:
    r"""Return the calibration error of bins without what chance is expected to add, ≥ 0.

    Twice the error less its expectation if the share that is right were drawn again, from a normal
    distribution (Kumar, Liang & Ma, NeurIPS 2019, appendix; Bröcker 2012 for the idea). ``n``,
    ``share`` and ``mean``: images, share right and mean confidence of each bin.
    """
    from scipy.stats import norm

    gap = np.abs(share - mean)
    spread = np.sqrt(share * (1 - share) / np.maximum(n, 1))
    ratio = np.minimum(gap / np.maximum(spread, np.finfo(float).tiny), _FAR)
    # the mean of |X| for X normal about the gap (Leone et al. 1961)
    drawn = 2 * spread * norm.pdf(ratio) + gap * (1 - 2 * norm.cdf(-ratio))
    return max(0.0, float((n * (2 * gap - drawn)).sum() / n.sum()))


def _bin_of(confidence: np.ndarray, bins: int) -> np.ndarray:
    edges = np.linspace(0, 1, bins + 1)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
