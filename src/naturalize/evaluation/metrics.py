"""Scores of a classifier, as pure functions of one confusion matrix.

Every score here depends on the counts alone, so it takes confusion matrices: counts of any number
type, (…, C, C), where the leading axes may hold the bootstrap's resamples. Scores of a class are
float64 (…, C), others float64 (…). Conventions, the same everywhere:

- rows are true classes, columns are predicted ones;
- 0/0 is 0: the precision of a class that is never predicted, the recall and F1 of one that never
  occurs;
- *macro* is the plain mean over the classes that occur (support > 0), and macro-F1 is the mean of
  the classes' F1, not the harmonic mean of macro precision and macro recall.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from naturalize.base.errors import InputError, closest

#: Names of the single-number scores, in the order in which they are shown.
SUMMARY = (
    "accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "kappa", "mcc",
)  # fmt: skip

#: What `metrics.json` says about 0/0 and absent classes.
CONVENTION = "0/0 is 0; macro scores are means over the classes with support > 0"


def label_indices(
    labels: Sequence[str], values: Sequence[str], *, what: str = "y_true"
) -> np.ndarray:
    """Return the position of each of ``values`` (N) among ``labels`` (C): int64 (N,).

    ``InputError`` for a label that occurs twice, or a value that is no label; ``what`` names the
    argument in it.

    Examples
    --------
    >>> label_indices(["EO", "LY"], ["LY", "LY", "EO"])
    array([1, 1, 0])
    """
    place = {label: i for i, label in enumerate(labels)}
    if len(place) != len(labels):
        raise InputError(f"labels: expected each class once, got {list(labels)}")
    try:
        return np.array([place[value] for value in values], dtype=np.int64)
    except KeyError as error:
        name = str(error.args[0])
        raise InputError(
            f"{what}: expected one of {', '.join(labels)}, "
            f"got {name!r}{closest(name, list(labels))}"
        ) from error


def confusion_matrix(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> np.ndarray:
    """Count how often class i was taken for class j: int64 (C, C), rows true, columns predicted.

    Takes integers (N,), each 0 … C − 1; ``InputError`` if lengths differ or one is out of range.

    Examples
    --------
    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    if y_true.shape != y_pred.shape or y_true.ndim != 1:
        raise InputError(
            f"y_true and y_pred: expected two vectors of one length, got shapes {y_true.shape} "
            f"and {y_pred.shape}"
        )
    for name, values in (("y_true", y_true), ("y_pred", y_pred)):
        if values.size and not (values.min() >= 0 and values.max() < n_classes):
            raise InputError(
                f"{name}: expected classes 0 to {n_classes - 1}, "
                f"got {values.min()} to {values.max()}"
            )
    flat = np.bincount(y_true.astype(np.int64) * n_classes + y_pred, minlength=n_classes**2)
    return flat.reshape(n_classes, n_classes)


def accuracy(confusion: np.ndarray) -> np.ndarray:
    r"""Share of right answers, :math:`\sum_i n_{ii} / \sum_{ij} n_{ij}`.

    Examples
    --------
    >>> float(accuracy(np.array([[1, 1], [0, 2]])))
    0.75
    """
    right = np.trace(confusion, axis1=-2, axis2=-1)
    return ratio(right, confusion.sum(axis=(-2, -1)))


def precision(confusion: np.ndarray) -> np.ndarray:
    r"""Share of the answers *j* that are right, :math:`n_{jj} / \sum_i n_{ij}`, for each class.

    Examples
    --------
    >>> precision(np.array([[1, 1], [0, 3]]))
    array([1.  , 0.75])
    """
    return ratio(_diagonal(confusion), confusion.sum(axis=-2))


def recall(confusion: np.ndarray) -> np.ndarray:
    r"""Share of class *i* that is found, :math:`n_{ii} / \sum_j n_{ij}`, for each class.

    Examples
    --------
    >>> recall(np.array([[1, 1], [0, 3]]))
    array([0.5, 1. ])
    """
    return ratio(_diagonal(confusion), confusion.sum(axis=-1))


def f1(confusion: np.ndarray) -> np.ndarray:
    r"""Harmonic mean of precision and recall, :math:`2 n_{ii} / (\sum_j n_{ij} + \sum_j n_{ji})`.

    Examples
    --------
    >>> f1(np.array([[1, 1], [0, 3]])).round(3)
    array([0.667, 0.857])
    """
    return ratio(2 * _diagonal(confusion), confusion.sum(axis=-1) + confusion.sum(axis=-2))


def macro(per_class: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """Mean of a per-class score over the classes that occur; 0 where none does.

    Examples
    --------
    The second class never occurs, so it has no say:

    >>> counts = np.array([[3, 1], [0, 0]])
    >>> float(macro(recall(counts), counts))
    0.75
    """
    present = confusion.sum(axis=-1) > 0
    return ratio((per_class * present).sum(axis=-1), present.sum(axis=-1))


def kappa(confusion: np.ndarray, costs: np.ndarray | None = None) -> np.ndarray:
    r"""Agreement beyond chance, :math:`1 - \sum w_{ij} n_{ij} / \sum w_{ij} e_{ij}` (Cohen 1968).

    :math:`e_{ij}` are the counts that the margins give by chance. ``costs``, float (C, C), are the
    weights w of the mistakes; by default each counts 1.

    Examples
    --------
    >>> float(kappa(np.array([[2, 0], [1, 1]])))
    0.5
    """
    confusion = np.asarray(confusion, np.float64)
    costs = 1 - np.eye(confusion.shape[-1]) if costs is None else costs
    n, rows, columns = confusion.sum(axis=(-2, -1)), confusion.sum(-1), confusion.sum(-2)
    chance = ratio(((rows @ costs) * columns).sum(axis=-1), n)
    return ratio(chance - (confusion * costs).sum(axis=(-2, -1)), chance)


def mcc(confusion: np.ndarray) -> np.ndarray:
    r"""Matthews' correlation of true and predicted class, for any number of classes.

    :math:`(n c - \sum_k t_k p_k) / \sqrt{(n^2 - \sum_k t_k^2)(n^2 - \sum_k p_k^2)}`, with c right
    answers and the margins t and p (Gorodkin, Comput. Biol. Chem. 28, 2004, eq. 8).

    Examples
    --------
    >>> round(float(mcc(np.array([[2, 0], [1, 1]]))), 3)
    0.577
    """
    confusion = np.asarray(confusion, np.float64)
    n, rows, columns = confusion.sum(axis=(-2, -1)), confusion.sum(-1), confusion.sum(-2)
    shared = n * np.trace(confusion, axis1=-2, axis2=-1) - (rows * columns).sum(-1)
    return ratio(shared, np.sqrt((n**2 - (rows**2).sum(-1)) * (n**2 - (columns**2).sum(-1))))


def summary(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores named in `SUMMARY`, float64 (…) each, for counts (…, C, C).

    Balanced accuracy is macro recall (Brodersen et al., ICPR 2010); both names are given because
    both are asked for.

    Examples
    --------
    >>> {name: round(float(v), 3) for name, v in summary(np.array([[1, 1], [0, 3]])).items()}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'accuracy': 0.8, 'balanced_accuracy': 0.75, 'macro_precision': 0.875,
     'macro_recall': 0.75, 'macro_f1': 0.762, 'kappa': 0.545, 'mcc': 0.612}
    """
    macro_recall = macro(recall(confusion), confusion)
    return {
        "accuracy": accuracy(confusion),
        "balanced_accuracy": macro_recall,
        "macro_precision": macro(precision(confusion), confusion),
        "macro_recall": macro_recall,
        "macro_f1": macro(f1(confusion), confusion),
        "kappa": kappa(confusion),
        "mcc": mcc(confusion),
    }


def scores(labels: Sequence[str], y_true: Sequence[str], y_pred: Sequence[str]) -> dict[str, Any]:
    """Score predicted class names against true ones, both of length N.

    Of the C ``labels``, in order, those that do not occur in ``y_true`` get support 0 and are left
    out of the macro scores. ``InputError`` if a name is no label, the lengths differ, or there is
    nothing to score.

    Returns
    -------
    dict
        JSON-able: ``n``, the scores of `SUMMARY`, ``per_class`` {label: {precision, recall, f1,
        support}}, ``confusion`` (C lists of C counts, rows true), ``labels``, ``absent`` (labels
        with support 0).

    Examples
    --------
    >>> result = scores(["EO", "LY"], ["EO", "EO", "LY"], ["EO", "LY", "LY"])
    >>> result["confusion"], round(result["macro_f1"], 3)
    ([[1, 1], [0, 1]], 0.667)
    """
    true = label_indices(labels, y_true, what="y_true")
    predicted = label_indices(labels, y_pred, what="y_pred")
    counts = confusion_matrix(true, predicted, len(labels))
    if not counts.sum():
        raise InputError("scores: expected at least one labelled prediction, got none")
    return from_confusion(labels, counts)


def from_confusion(labels: Sequence[str], confusion: np.ndarray) -> dict[str, Any]:
    """Return what `scores` returns, from the counts: integers (C, C), rows true."""
    columns = zip(
        labels,
        precision(confusion),
        recall(confusion),
        f1(confusion),
        confusion.sum(axis=-1),
        strict=True,
    )
    per_class = {
        label: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for label, p, r, f, n in columns
    }
    return {
        "n": int(confusion.sum()),
        **{name: float(value) for name, value in summary(confusion).items()},
        "per_class": per_class,
        "confusion": confusion.tolist(),
        "labels": list(labels),
        "absent": [label for label, row in per_class.items() if not row["support"]],
    }


def _diagonal(confusion: np.ndarray) -> np.ndarray:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """``above / below`` in float64, with 0/0 = 0."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below > 0)
