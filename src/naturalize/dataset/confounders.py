"""Confounders: how well properties of the file alone, no cell looked at, predict the class."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base.rng import rng, seed_of
from naturalize.base.statistics import percentile_interval
from naturalize.dataset.catalog import Catalog

_SIZE, _TINT = ("width", "height"), ("background_r", "background_g", "background_b")

#: Property → columns of the catalog. The number of bytes also follows from what is in the picture.
PROPERTIES: dict[str, tuple[str, ...]] = {
    "size": _SIZE,
    "encoder": ("encoder",),
    "background tint": _TINT,
    "number of bytes": ("n_bytes",),
    "look (size, encoder and tint)": (*_SIZE, "encoder", *_TINT),
}

_FOLDS, _LEAST, _MOST = 5, 10, 6000


def confounders(catalog: Catalog) -> list[dict[str, Any]]:
    """Return, for each file property, how well it predicts the class of usable images.

    A decision tree is fitted to the property, five-fold cross-validated with classes in proportion
    and weighted to count equally (on PBC, a forest does no better). The score is the balanced
    accuracy of the held-out predictions (mean recall over classes), its interval the 2.5 to 97.5 %
    range of a bootstrap over the images of each class. Classes with fewer than ten images are left
    out; above 6,000 images, a stratified sample of that size is used.

    Each has ``property``, ``columns``, ``balanced_accuracy``, ``chance``, ``interval`` [low, high],
    ``best_predicted`` {``label``, ``recall``, ``false_positive_rate``}, and ``verdict`` in words;
    numbers are ``None`` where the data do not allow the test, and the verdict says why.
    """
    rows = _sampled(catalog.usable())
    labels = np.array(rows["label"].to_pylist(), dtype=object)
    classes = sorted(set(labels))
    if len(classes) < 2:
        reason = f"not tested: fewer than two classes have {_LEAST} images"
        return [_entry(name, None, None, None, None, reason) for name in PROPERTIES]
    return [
        _tested(name, _features(rows, columns), labels, classes)
        for name, columns in PROPERTIES.items()
    ]


def _sampled(rows: pa.Table) -> pa.Table:
    """Return the rows of classes large enough, thinned evenly at random to the most."""
    labels = rows["label"].to_pylist()
    n = Counter(labels)
    order = rng(0, "confounders", "sample").permutation(len(labels))
    keep = min(1.0, _MOST / max(1, len(labels)))
    room = {label: max(_LEAST, round(n[label] * keep)) for label in n if n[label] >= _LEAST}
    taken = []
    for i in order.tolist():
        if room.get(labels[i], 0) > 0:
            room[labels[i]] -= 1
            taken.append(i)
    return rows.take(pa.array(sorted(taken), pa.int64()))


def _features(rows: pa.Table, columns: tuple[str, ...]) -> np.ndarray:
    """Return float64 (N, columns); words become numbers in alphabetic order, enough for trees."""
    found = []
    for name in columns:
        values = np.array(rows[name].to_pylist())
        numeric = values if values.dtype.kind in "if" else np.unique(values, return_inverse=True)[1]
        found.append(numeric.astype(np.float64))
    return np.stack(found, axis=1)


def _tested(
    name: str, features: np.ndarray, labels: np.ndarray, classes: list[str]
) -> dict[str, Any]:
    chance = 1 / len(classes)
    if (features == features[0]).all():
        verdict = "the same for all images: says nothing about the class"
        return _entry(name, chance, chance, [chance, chance], None, verdict)
    predicted = _held_out(features, labels)
    n = np.array([(labels == label).sum() for label in classes])
    hits = np.array([((labels == label) & (predicted == label)).sum() for label in classes])
    recall = hits / n
    # resampling n images of a class with recall r and counting hits is a binomial draw
    draws = rng(0, "confounders", name).binomial(n, recall, size=(2000, len(n))) / n
    low, high = percentile_interval(draws.mean(axis=1))
    best = _best_predicted(labels, predicted, classes, recall)
    score = float(recall.mean())
    verdict = _verdict(float(low), chance)
    return _entry(name, score, chance, [float(low), float(high)], best, verdict)


def _best_predicted(
    labels: np.ndarray, predicted: np.ndarray, classes: list[str], recall: np.ndarray
) -> dict[str, Any]:
    """Return the class with the largest recall minus false-positive rate (Youden's J)."""
    false_rate = np.array([(predicted[labels != label] == label).mean() for label in classes])
    best = int((recall - false_rate).argmax())
    return {
        "label": classes[best],
        "recall": round(float(recall[best]), 4),
        "false_positive_rate": round(float(false_rate[best]), 4),
    }


def _held_out(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the class predicted for each image by a tree that has not seen it."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(
        max_leaf_nodes=48, min_samples_leaf=5, class_weight="balanced", random_state=0
    )
    seed = seed_of(0, "confounders", "folds") % 2**32
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    return cross_val_predict(tree, features, labels, cv=folds)


def _verdict(low: float, chance: float) -> str:
    """Return in words what the lower end of the interval is worth, on a scale from chance to 1."""
    lift = (low - chance) / (1 - chance)
    if lift <= 0:
        return "no better than chance"
    if lift < 0.03:
        return "hardly better than chance"
    if lift < 0.15:
        return "hints at the class: a model can gain from it without looking at the cell"
    return "predicts the class: a model can learn the file instead of the cell"


def _entry(
    name: str,
    score: float | None,
    chance: float | None,
    interval: list[float] | None,
    best: dict[str, Any] | None,
    verdict: str,
) -> dict[str, Any]:
    return {
        "property": name,
        "columns": list(PROPERTIES[name]),
        "balanced_accuracy": None if score is None else round(score, 4),
        "chance": None if chance is None else round(chance, 4),
        "interval": None if interval is None else [round(end, 4) for end in interval],
        "best_predicted": best,
        "verdict": verdict,
    }
