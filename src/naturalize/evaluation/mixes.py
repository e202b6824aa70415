"""Scores of the same answers under several mixes of classes, with intervals, predicted once.

A laboratory's collection is no day's work there: it has as many basophils as somebody looked for.
Scores under another mix are those of the same answers, each image counted by its class's share.
That holds where a class looks the same in either mix (Saerens et al., Neural Computation 14, 2002).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from naturalize.base.errors import SettingsError
from naturalize.base.rng import rng
from naturalize.base.statistics import percentile_interval, resampled_units
from naturalize.dataset.schemes import meaning
from naturalize.evaluation import metrics
from naturalize.evaluation.calibration import calibration_errors
from naturalize.evaluation.intervals import group_numbers
from naturalize.evaluation.risk import area, coverage_at, risk_coverage

#: Confidence above which a wrong answer is called sure.
SURE = 0.9

#: Class → share of an adult's blood count, rounded; all lie within the usual reference ranges.
BLOOD_COUNT = {
    "neutrophil": 0.6, "lymphocyte": 0.3, "monocyte": 0.06, "eosinophil": 0.03, "basophil": 0.01,
}  # fmt: skip

#: Names of the mixes that need no shares: as the images are, and each class the same.
FOUND, BALANCED = "as found", "balanced"

#: The mixes that scores are given for.
MIXES: dict[str, Mapping[str, float]] = {FOUND: {}, BALANCED: {}, "blood count": BLOOD_COUNT}

#: Images times resamples that are worked on at a time.
_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Answers:
    """A model's answers to the N images of a laboratory.

    ``true`` and ``predicted`` are int (N,), places in ``labels``; ``confidence`` is float (N,), NaN
    where the answer was that there is no cell: such an answer is wrong, has no part in the
    calibration, and is given last. ``groups`` names what belongs together (patients).
    """

    labels: Sequence[str]
    true: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    groups: Sequence[str | None] | None = None

    @property
    def right(self) -> np.ndarray:
        """Whether each answer is right, bool (N,)."""
        return self.true == self.predicted

    @property
    def counts(self) -> dict[str, int]:
        """Class → number of images, of the classes that occur."""
        n = np.bincount(self.true, minlength=len(self.labels))
        return {label: int(k) for label, k in zip(self.labels, n, strict=True) if k}

    @property
    def grouped(self) -> bool:
        """Whether any image has a group."""
        return any(group is not None for group in self.groups or ())

    @property
    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Coverage and risk, float (T,); see `risk_coverage`."""
        return risk_coverage(_ranked(self.confidence), self.right)


def shares_of(
    mix: str,
    wanted: Mapping[str, float],
    counts: Mapping[str, int],
    parts: Mapping[str, Sequence[str]],
) -> tuple[dict[str, float], float] | None:
    """Return class → share under a mix, and how much of the mix the classes that occur make up.

    ``counts`` are the images of each class, ``parts`` the model's classes that make up each.
    Classes that share one entry of the mix (bands and segmented neutrophils) divide it as they were
    found; those in no entry have no share. Null where no class is in the mix.
    """
    total = sum(counts.values())
    if mix == FOUND:
        return {label: n / total for label, n in counts.items()}, 1.0
    if mix == BALANCED:
        return {label: 1 / len(counts) for label in counts}, 1.0
    entry = {label: _entry(wanted, (label, *parts.get(label, ()))) for label in counts}
    of_entry = {
        name: sum(n for label, n in counts.items() if entry[label] == name) for name in wanted
    }
    covered = sum(share for name, share in wanted.items() if of_entry[name])
    if not covered:
        return None
    found = {}
    for label, n in counts.items():
        name = entry[label]
        found[label] = wanted[name] / covered * n / of_entry[name] if name is not None else 0.0
    return found, covered


def _entry(wanted: Mapping[str, float], names: Sequence[str]) -> str | None:
    """Return the entry of a mix that a class, or all the classes that it is made of, belong to."""
    label, *parts = names
    if label in wanted:
        return label
    of_label = frozenset().union(*map(meaning, parts)) or meaning(label)
    return next((name for name in wanted if of_label and of_label <= meaning(name)), None)


def parsed_mixes(texts: Sequence[str] | None) -> dict[str, dict[str, float]]:
    """Read ``"NAME:neutrophil=0.2,lymphocyte=0.8"``, several of them; ``SettingsError`` if none.

    Examples
    --------
    >>> parsed_mixes(["viral: lymphocyte=7, neutrophil=3"])
    {'viral': {'lymphocyte': 0.7, 'neutrophil': 0.3}}
    """
    found: dict[str, dict[str, float]] = {}
    for text in texts or ():
        name, _, rest = text.partition(":")
        pairs = [piece.partition("=") for piece in rest.split(",")]
        try:
            shares = {label.strip(): float(value) for label, _, value in pairs}
        except ValueError:
            shares = {}
        name = name.strip()
        if not name or not shares or min(shares.values()) < 0 or sum(shares.values()) <= 0:
            raise SettingsError(
                f"--mix {text}: expected NAME:CLASS=SHARE,…, such as "
                "viral:lymphocyte=0.7,neutrophil=0.3"
            )
        if name in MIXES or name in found:
            raise SettingsError(f"--mix {text}: there is a mix {name!r} already; name it otherwise")
        found[name] = {label: share / sum(shares.values()) for label, share in shares.items()}
    return found


def reweighted(weights: np.ndarray, answers: Answers, shares: Mapping[str, float]) -> np.ndarray:
    """Return weights (R, N) of images such that each class has its share, rows summing to one."""
    member = _members(answers.true, len(answers.labels))
    of_class = weights @ member
    wanted = np.array([shares.get(label, 0.0) for label in answers.labels])
    factor = np.divide(wanted, of_class, out=np.zeros(of_class.shape), where=of_class > 0)
    return weights * factor[:, answers.true]


def weighted_scores(answers: Answers, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores of answers under weights of the images, float64 (R,) each for (R, N).

    ``balanced_accuracy``, ``macro_f1``, ``accuracy`` (see `metrics`), ``ece``, ``mean_confidence``,
    ``sure_wrong`` (share of the wrong answers with a confidence above `SURE`), ``aurc`` and
    ``coverage_at_risk`` (see `risk`). 0/0 is 0.
    """
    k = len(answers.labels)
    weights = np.asarray(weights, np.float64)
    cells = _members(answers.true * k + answers.predicted, k * k)
    found = metrics.summary((weights @ cells).reshape(-1, k, k))
    asked = ~np.isnan(answers.confidence)
    sure, right, given = answers.confidence[asked], answers.right[asked], weights[:, asked]
    total = given.sum(axis=1)
    coverage, risk = risk_coverage(_ranked(answers.confidence), answers.right, weights)
    wrong = (weights * ~answers.right).sum(axis=1)
    return {
        "balanced_accuracy": found["balanced_accuracy"],
        "macro_f1": found["macro_f1"],
        "accuracy": found["accuracy"],
        "ece": calibration_errors(sure, right, given),
        "mean_confidence": given @ sure / np.where(total > 0, total, 1),
        "sure_wrong": given @ (~right & (sure > SURE)) / np.where(wrong > 0, wrong, 1),
        "aurc": area(coverage, risk),
        "coverage_at_risk": coverage_at(coverage, risk),
    }


def resampled(answers: Answers, resamples: int, seed: int, name: str) -> np.ndarray:
    """Return how often each image counts in a bootstrap, uint16 (1 + resamples, N).

    The first row is the sample itself. Images are drawn within their class, so that every resample
    has all classes; where there are groups, whole groups are drawn instead.
    """
    if resamples < 100:
        raise SettingsError(f"resamples: expected 100 or more, got {resamples}")
    if answers.grouped:
        units = group_numbers(answers.groups, len(answers.true))
        return resampled_units(units, resamples, rng(seed, "labs", name)).astype(np.uint16)
    weights = np.zeros((1 + resamples, len(answers.true)), np.uint16)
    for k in np.unique(answers.true):
        of_class = np.flatnonzero(answers.true == k)
        draw = rng(seed, "labs", name, answers.labels[k])
        weights[:, of_class] = resampled_units(np.arange(len(of_class)), resamples, draw)
    return weights


def drawn_scores(
    answers: Answers, weights: np.ndarray, shares: Mapping[str, float] | None
) -> dict[str, np.ndarray]:
    """Return `weighted_scores` for all rows of ``weights``, with ``shares`` reweighted to a mix."""
    pieces = []
    step = max(1, _AT_ONCE // weights.shape[1])
    for start in range(0, len(weights), step):
        some = weights[start : start + step].astype(np.float64)
        some = some if shares is None else reweighted(some, answers, shares)
        pieces.append(weighted_scores(answers, some))
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def with_intervals(drawn: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Return score → ``value`` (the first row's), and the others' 95 % percentile ``interval``.

    Resampled images repeat, which widens the gaps of the calibration error: its interval is that of
    the resamples less their bias (Efron & Tibshirani 1993, ch. 10).
    """
    found = {}
    for name, (value, *others) in drawn.items():
        values = np.asarray(others)
        if name == "ece":
            values = np.clip(values - values.mean() + value, 0, 1)
        interval = percentile_interval(values).tolist()
        found[name] = {"value": float(value), "interval": interval}
    return found


def _ranked(confidence: np.ndarray) -> np.ndarray:
    """Return confidences to rank by: an answer without one comes last."""
    return np.where(np.isnan(confidence), -1.0, confidence)


def _members(cells: np.ndarray, n: int) -> Any:
    """Return a sparse matrix (N, n) that adds weights of images up into cells."""
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(cells)), (np.arange(len(cells)), cells)), shape=(len(cells), n))
