"""When is an answer in doubt? Sets of classes, and what looks like nothing a network has seen.

*Sets* (split conformal prediction by class: Vovk 2012; Sadinle, Lei & Wasserman, JASA 2019): a
class is in the set if its probability is no lower than that of all but a share of the validation
images of this class. Of new images like those, the set holds the true class for 90 %, class by
class. *Like nothing seen*: how far the logits are from those of the nearest class (Mahalanobis, one
covariance: Lee et al., NeurIPS 2018), and how little they are as a whole (energy: Liu et al.,
NeurIPS 2020), each in standard deviations of validation images. Logits are the features along the
directions that the last layer reads, so both engines and old graphs have all that is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from naturalize.base.errors import InputError

#: The share of true classes that sets shall hold, and of validation images that look familiar.
SHARE, FAMILIAR = 0.9, 0.99

#: Validation images below which nothing is fitted, and of a class below which it has no mean.
ENOUGH, _LEAST = 100, 2

#: Parts of the validation images: the scores of each are measured by the others' means, so that
#: the limit is that of new images.
_PARTS = 5

#: What is added to the covariance's diagonal, in shares of its mean: classes may be few.
_RIDGE = 0.05


@dataclass(frozen=True)
class Doubt:
    """What a network's answers to validation images say of other answers.

    ``least`` is the probability from which each class is in a set, for sets that hold the true
    class with the probability ``share``; ``counts`` are the validation images of each class;
    ``pooled`` names classes with too few of them for a threshold of their own: theirs is that of
    all images together, so nothing is promised for them. ``means`` of the logits by class,
    ``inverse`` of their covariance, ``centre`` and ``spread`` (standard deviation) of distance and
    energy, and the ``limit`` of the sum within which 99 % of the validation images lie.
    """

    share: float
    least: Mapping[str, float] = field(hash=False)
    counts: Mapping[str, int] = field(hash=False)
    pooled: tuple[str, ...]
    means: Mapping[str, tuple[float, ...]] = field(hash=False)
    inverse: tuple[tuple[float, ...], ...]
    centre: tuple[float, ...]
    spread: tuple[float, ...]
    limit: float

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Doubt:
        """Read what ``dataclasses.asdict`` gave."""
        return cls(
            share=float(raw["share"]),
            least={str(name): float(value) for name, value in raw["least"].items()},
            counts={str(name): int(n) for name, n in raw["counts"].items()},
            pooled=tuple(map(str, raw["pooled"])),
            means={str(name): tuple(map(float, row)) for name, row in raw["means"].items()},
            inverse=tuple(tuple(map(float, row)) for row in raw["inverse"]),
            centre=tuple(map(float, raw["centre"])),
            spread=tuple(map(float, raw["spread"])),
            limit=float(raw["limit"]),
        )

    def sets(self, classes: Sequence[str], probabilities: np.ndarray) -> np.ndarray:
        """Return which classes are in each image's set, bool (N, C), for probabilities (N, C).

        The most probable class always is, so that no set is empty.
        """
        values = np.asarray(probabilities)
        found = values >= np.array([self.least[name] for name in classes])
        found[np.arange(len(values)), values.argmax(axis=1)] = True
        return found

    def strangeness(self, logits: np.ndarray) -> np.ndarray:
        """Return how much stranger than the limit images are, float64 (N,), for logits (N, C).

        In standard deviations of validation images; above 0 an image is like nothing seen, as is
        one whose logits are no numbers.
        """
        means = np.array(list(self.means.values()))
        score = _scores(np.asarray(logits, np.float64), means, np.array(self.inverse))
        each = (score - np.array(self.centre)) / np.array(self.spread)
        return np.nan_to_num(each.sum(axis=1) - self.limit, nan=np.inf, posinf=np.inf)


def least_of(probabilities: np.ndarray, share: float = SHARE) -> float:
    """Return the probability from which a class is in a set; -inf where images are too few.

    ``probabilities`` (N,) are those that validation images of a class gave it. The threshold leaves
    out ⌊(1 − share) (N + 1)⌋ − 1 of them and ties the next, so that a new image of the class is at
    or above it with a probability of at least ``share`` (Vovk 2012, proposition 2).

    Examples
    --------
    >>> least_of(np.arange(1, 20) / 20), least_of(np.array([0.9, 0.8]))
    (0.1, -inf)
    """
    below = math.floor((1 - share) * (len(probabilities) + 1) + 1e-9)
    return float(np.sort(probabilities)[below - 1]) if below else -math.inf


def fit_doubt(
    classes: Sequence[str],
    logits: np.ndarray,
    probabilities: np.ndarray,
    true: np.ndarray,
    *,
    share: float = SHARE,
) -> Doubt | None:
    """Return what validation answers say; null for fewer than 100 images, or 5 of any class.

    Parameters
    ----------
    classes
        The C classes.
    logits, probabilities
        float (N, C): what the network gave for images that it was not trained on.
    true
        int (N,): the true class of each.
    share
        The share of true classes that sets shall hold, within (0, 1).

    Raises
    ------
    InputError
        If shapes do not fit, a logit is no number, or a true class is none of them.
    """
    z, p, true = np.asarray(logits, np.float64), np.asarray(probabilities), np.asarray(true)
    if z.shape != (len(true), len(classes)) or p.shape != z.shape or not 0 < share < 1:
        raise InputError(
            f"fit_doubt: expected logits and probabilities of {len(true)} images by "
            f"{len(classes)} classes and a share within 0–1, got {z.shape}, {p.shape} and {share}"
        )
    if not np.isfinite(z).all() or not np.isfinite(p).all():
        raise InputError("fit_doubt: the network gives numbers that are none (NaN or infinite)")
    if len(true) and not (true.min() >= 0 and true.max() < len(classes)):
        raise InputError(f"fit_doubt: expected classes 0 to {len(classes) - 1}")
    counts = np.bincount(true, minlength=len(classes))
    if len(true) < ENOUGH or counts.max() < _PARTS:
        return None
    own = p[np.arange(len(true)), true]
    thresholds = [least_of(own[true == k], share) for k in range(len(classes))]
    pooled = tuple(c for c, t in zip(classes, thresholds, strict=True) if t == -math.inf)
    least = [least_of(own, share) if t == -math.inf else t for t in thresholds]
    part = _part_of(true)
    scores = np.empty((len(true), 2))
    for k in range(_PARTS):
        means, inverse = _shape(z[part != k], true[part != k])
        scores[part == k] = _scores(z[part == k], means, inverse)
    centre, spread = scores.mean(axis=0), scores.std(axis=0) + 1e-9
    limit = float(np.quantile(((scores - centre) / spread).sum(axis=1), FAMILIAR))
    means, inverse = _shape(z, true)
    named = [c for c, n in zip(classes, counts, strict=True) if n >= _LEAST]
    return Doubt(
        share=share,
        least={c: math.floor(1e6 * t) / 1e6 for c, t in zip(classes, least, strict=True)},
        counts={c: int(n) for c, n in zip(classes, counts, strict=True)},
        pooled=pooled,
        means={c: tuple(np.round(m, 4).tolist()) for c, m in zip(named, means, strict=True)},
        inverse=tuple(tuple(np.round(row, 5).tolist()) for row in inverse),
        centre=tuple(np.round(centre, 4).tolist()),
        spread=tuple(np.round(spread, 4).tolist()),
        limit=round(limit, 3),
    )


def _part_of(true: np.ndarray) -> np.ndarray:
    """Return the part, 0 to 4, of each image: those of a class are dealt in turn."""
    part = np.empty(len(true), int)
    for k in np.unique(true):
        rows = np.flatnonzero(true == k)
        part[rows] = np.arange(len(rows)) % _PARTS
    return part


def _shape(z: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the means (K, C) of classes with images enough, and the inverse covariance (C, C)."""
    names = [k for k in np.unique(true) if (true == k).sum() >= _LEAST]
    means = np.stack([z[true == k].mean(axis=0) for k in names])
    kept = np.isin(true, names)
    rest = z[kept] - means[np.searchsorted(names, true[kept])]
    covariance = rest.T @ rest / len(rest)
    size = max(float(np.trace(covariance)) / len(covariance), 1e-9)
    return means, np.linalg.inv(covariance + _RIDGE * size * np.eye(len(covariance)))


def _scores(z: np.ndarray, means: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Return distance to the nearest mean, and minus the energy's sum of logits: (N, 2)."""
    rest = z[:, None] - means
    far = np.einsum("nki,ij,nkj->nk", rest, inverse, rest).min(axis=1)
    top = z.max(axis=1)
    with np.errstate(all="ignore"):  # logits that are no numbers are answered by the caller
        energy = top + np.log(np.exp(z - top[:, None]).sum(axis=1))
        return np.stack([np.sqrt(np.maximum(far, 0)), -energy], axis=1)
