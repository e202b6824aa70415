"""The model's answers against the person's, in the manner of CLSI H20-A2 (2007).

H20-A2 compares a method's differential with the mean of two 200-cell counts by examiners. Here both
differentials are of the same cells, so they differ by how cells are named, not by which were
counted. The limits that chance sets between two 200-cell counts (Rümke) are given beside them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from naturalize.base.errors import InputError
from naturalize.base.rng import rng
from naturalize.dataset.schemes import NO_LEUKOCYTES
from naturalize.evaluation import metrics
from naturalize.evaluation.intervals import RESAMPLES, group_numbers, resampled
from naturalize.review.service.deliver.differential import Share, is_immature
from naturalize.review.service.readings import kappa_of

#: White cells that an examiner counts (H20-A2).
COUNTED = 200

#: Samples that a comparison of two methods needs (CLSI EP09c), and without which none is fitted.
ENOUGH, FEWEST = 40, 3

#: What the model's answer is called where it gave none.
NONE = "unidentified"

#: Normal quantile of 95 % limits.
_Z = 1.959964


@dataclass(frozen=True)
class Line:
    """y = intercept + slope · x, with 95 % limits of both."""

    slope: float
    slope_interval: tuple[float, float]
    intercept: float
    intercept_interval: tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """Mean difference y − x, its 95 % interval, and the limits of agreement with theirs."""

    bias: float
    bias_interval: tuple[float, float]
    limits: tuple[float, float]
    lower_interval: tuple[float, float]
    upper_interval: tuple[float, float]


def passing_bablok(x: np.ndarray, y: np.ndarray) -> Line | None:
    """Fit a line to two methods that both err; null where no pair of samples has a slope.

    ``x`` and ``y`` are float (N,), N ≥ 3. The slope is the median of the slopes of all pairs,
    shifted by the number of slopes below −1; pairs of equal samples, and slopes of −1, are left out
    (Passing & Bablok, J. Clin. Chem. Clin. Biochem. 21, 1983). A limit that does not exist is ±∞.

    Examples
    --------
    >>> x = np.arange(5.0)
    >>> found = passing_bablok(x, 2 * x + 1)
    >>> found.slope, found.intercept
    (2.0, 1.0)
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < FEWEST:
        raise InputError(f"passing_bablok: expected two vectors of one length, {FEWEST} or more")
    first, second = np.triu_indices(len(x), 1)
    across, up = x[second] - x[first], y[second] - y[first]
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = up / across  # ±∞ where x is the same
    slopes = np.sort(slopes[~np.isnan(slopes) & (slopes != -1)])
    n, shift = len(slopes), int((slopes < -1).sum())
    if not n:
        return None

    def ordered(rank: int) -> float:
        place = rank + shift - 1
        return float(slopes[place]) if 0 <= place < n else math.copysign(math.inf, place)

    middle = [ordered((n + 1) // 2), ordered(n // 2 + 1)]
    slope = float(np.mean(middle)) if math.isfinite(sum(middle)) else middle[0]
    if not math.isfinite(slope):
        return None
    width = _Z * math.sqrt(len(x) * (len(x) - 1) * (2 * len(x) + 5) / 18)
    lowest = round((n - width) / 2)
    low, high = ordered(lowest), ordered(n - lowest + 1)

    def intercept(at: float) -> float:
        return float(np.median(y - at * x)) if math.isfinite(at) else -at

    return Line(slope, (low, high), intercept(slope), (intercept(high), intercept(low)))


def bland_altman(x: np.ndarray, y: np.ndarray) -> Difference:
    """Return bias and limits of agreement of y − x, float (N,) each, N ≥ 3.

    Limits are the mean ± 1.96 standard deviations, and their variance is
    (1/n + 1.96²/(2(n − 1)))·s² (Bland & Altman, Stat. Methods Med. Res. 8, 1999).
    """
    from scipy.special import stdtrit

    d = np.asarray(y, float) - np.asarray(x, float)
    n = len(d)
    if n < FEWEST:
        raise InputError(f"bland_altman: expected {FEWEST} samples or more, got {n}")
    bias, spread, t = float(d.mean()), float(d.std(ddof=1)), float(stdtrit(n - 1, 0.975))
    low, high = bias - _Z * spread, bias + _Z * spread
    of_bias = t * spread / math.sqrt(n)
    of_limit = t * spread * math.sqrt(1 / n + _Z**2 / (2 * (n - 1)))
    return Difference(
        bias,
        (bias - of_bias, bias + of_bias),
        (low, high),
        (low - of_limit, low + of_limit),
        (high - of_limit, high + of_limit),
    )


def chance_limit(share: float, counted: int = COUNTED) -> float:
    """Return how far two counts of the same blood differ in 95 % of cases, as a share.

    The least d such that two independent binomial counts of ``counted`` cells, with ``share`` of
    them of the class, differ by more than d in at most 5 % (Rümke, J. Chronic Dis. 28, 1975, by the
    exact distribution).

    Examples
    --------
    >>> chance_limit(0.5, 100), chance_limit(0)
    (0.14, 0.0)
    """
    from scipy.stats import binom

    each = binom.pmf(np.arange(counted + 1), counted, share)
    apart = np.convolve(each, each[::-1])  # of X1 − X2 = −counted … counted
    within = [apart[counted - d : counted + d + 1].sum() for d in range(counted + 1)]
    return int(np.argmax(np.array(within) >= 0.95 - 1e-12)) / counted


def compare(
    bins: Sequence[str],
    pre: Sequence[str | None],
    post: Sequence[str],
    units: Sequence[str],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare the model's answers with the person's; a JSON-able dict.

    ``pre`` (null: unidentified), ``post`` and ``units`` (field, folder or upload of each) have one
    entry a cell. Per cent are of the white cells of a unit. ``InputError`` without a cell.

    The dict holds ``cells``; ``unidentified``: how many of them the model gave no class;
    ``accuracy`` and ``kappa`` (its interval by bootstrap over units, over cells where there is one
    unit; null where one class is all there is); ``confusion`` with its ``classes``, rows the
    person's; ``per_class`` sensitivity, specificity and predictive value with exact intervals;
    ``immature``: the same of the samples, by whether any cell is immature; ``samples``, and for
    each class a ``regression``: per cent by person and by model, Passing–Bablok and Bland–Altman.
    """
    if not post:
        raise InputError("comparison: no cell is confirmed by a person yet")
    answers = [code if code is not None else NONE for code in pre]
    classes = [*bins, *dict.fromkeys(c for c in (*post, *answers) if c not in bins)]
    true = metrics.label_indices(classes, post, what="post")
    said = metrics.label_indices(classes, answers, what="pre")
    counts = metrics.confusion_matrix(true, said, len(classes))
    groups = group_numbers(units, len(post))
    names = list(dict.fromkeys(units))
    drawn_by = groups if len(names) > 1 else np.arange(len(post))
    flat = resampled(
        true * len(classes) + said, drawn_by, len(classes) ** 2, RESAMPLES, rng(seed, "comparison")
    )
    drawn = np.concatenate(list(flat)).reshape(-1, len(classes), len(classes))
    kappa, interval = kappa_of(counts, drawn)
    return {
        "cells": len(post),
        "unidentified": answers.count(NONE),
        "accuracy": asdict(Share.counted(int(np.trace(counts)), len(post))),
        "kappa": {"value": kappa, "interval": interval and list(interval)},
        "drawn": f"{len(names)} samples" if len(names) > 1 else f"{len(post)} cells of one sample",
        "classes": classes,
        "confusion": counts.tolist(),
        "per_class": _per_class(classes, counts),
        "immature": _immature(answers, post, groups, len(names)),
        "samples": names,
        "enough": len(names) >= ENOUGH,
        "regression": _regressions(bins, true, said, groups, classes),
    }


def _per_class(classes: Sequence[str], counts: np.ndarray) -> list[dict[str, Any]]:
    total, right = int(counts.sum()), np.diag(counts)
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    found = []
    for i, code in enumerate(classes):
        if code == NONE or not rows[i] + columns[i]:
            continue
        true_negative = int(total - rows[i] - columns[i] + right[i])
        found.append(
            {
                "code": code,
                "pre": int(columns[i]),
                "post": int(rows[i]),
                "sensitivity": asdict(Share.counted(int(right[i]), int(rows[i]))),
                "specificity": asdict(Share.counted(true_negative, int(total - rows[i]))),
                "predictive": asdict(Share.counted(int(right[i]), int(columns[i]))),
            }
        )
    return found


def _immature(
    pre: Sequence[str], post: Sequence[str], groups: np.ndarray, n: int
) -> dict[str, Any]:
    """Of the samples, where the person found an immature cell, and where the model did."""
    found = []
    for labels in (pre, post):
        young = np.array([is_immature(code) for code in labels])
        found.append(np.bincount(groups, weights=young, minlength=n) > 0)
    said, true = found
    return {
        "samples": n,
        "sensitivity": asdict(Share.counted(int((said & true).sum()), int(true.sum()))),
        "specificity": asdict(Share.counted(int((~said & ~true).sum()), int((~true).sum()))),
    }


def _regressions(
    bins: Sequence[str], true: np.ndarray, said: np.ndarray, groups: np.ndarray, classes: list[str]
) -> list[dict[str, Any]]:
    """Per cent of each class in each sample, by person (x) and model (y), and what fits them."""
    x, y = (_shares(bins, labels, groups, classes) for labels in (true, said))
    found: list[dict[str, Any]] = []
    usable = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)
    for i, code in enumerate(bins):
        person, model = x[usable, i], y[usable, i]
        if code in NO_LEUKOCYTES or not (person.any() or model.any()):
            continue
        limits = np.array([100 * chance_limit(p / 100) for p in (person + model) / 2])
        entry: dict[str, Any] = {
            "code": code,
            "person": person.round(4).tolist(),
            "model": model.round(4).tolist(),
            "beyond_chance": int((np.abs(person - model) > limits + 1e-9).sum()),
            "passing_bablok": None,
            "bland_altman": None,
        }
        if len(person) >= FEWEST:
            line = passing_bablok(person, model)
            entry["passing_bablok"] = line and _finite(asdict(line))
            entry["bland_altman"] = asdict(bland_altman(person, model))
        found.append(entry)
    return found


def _shares(
    bins: Sequence[str], labels: np.ndarray, groups: np.ndarray, classes: list[str]
) -> np.ndarray:
    """Per cent of each of ``bins`` among the white cells of each sample; not a number of none."""
    white = [i for i, code in enumerate(classes) if code not in (*NO_LEUKOCYTES, NONE)]
    n = np.zeros((int(groups.max()) + 1, len(classes)))
    np.add.at(n, (groups, labels), 1)
    whites = n[:, white].sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return 100 * n[:, : len(bins)] / whites


def _finite(value: Any) -> Any:
    """Return limits as JSON has them: null for one that does not exist."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [_finite(each) for each in value]
    return value if math.isfinite(value) else None
