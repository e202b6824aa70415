"""Which labels may be wrong? Confident learning over cross-validated probabilities.

A simple classifier on a frozen network's features is trained without an image, and asked about it.
Where it is surer of another class than is usual for that class, the label is doubtful (Northcutt,
Jiang & Chuang, JAIR 70, 2021). That is a list for a person to look through, not a verdict.
"""

from __future__ import annotations

import shutil
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base import artifacts
from naturalize.base.console import warn
from naturalize.base.engine import prefetched
from naturalize.base.errors import ImageReadError, InputError, SettingsError
from naturalize.base.images import read_image, write_image
from naturalize.base.rng import rng
from naturalize.base.shards import resumable_rows
from naturalize.base.sheets import contact_sheet
from naturalize.base.table import csv_text
from naturalize.evaluation import metrics
from naturalize.evaluation.intervals import group_numbers
from naturalize.evaluation.predictions import Item, read_item

#: Parts of the cross-validation, as usual; classes of fewer images have fewer.
FOLDS = 5

#: Inverse strengths of the classifier's regularisation to choose from, by the likelihood of the
#: labels of the first part. Strong ones do not learn single wrong labels by heart.
STRENGTHS = (0.001, 0.01, 0.1, 1.0)

#: Steps of the classifier at most, and the gradient at which it stops.
_STEPS, _TOLERANCE = 500, 1e-3

#: Pictures on the sheet.
SHOWN = 60

_PIECE = 64

_FEATURES = pa.schema([("problem", pa.string()), ("features", pa.list_(pa.float32()))])


def cross_validated(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    groups: Sequence[str | None] | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> np.ndarray:
    """Return each image's probabilities by a classifier that was fitted without it.

    ``features`` float (N, D), ``labels`` int (N,), 0 … C − 1, all of which occur; images of one
    group stay together. Returns float64 (N, C), rows summing to 1.

    ``InputError`` if lengths differ, features are no numbers, or a class has fewer than two images
    (or all of them in one group); ``SettingsError`` for fewer than two folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if folds < 2:
        raise SettingsError(f"folds: expected 2 or more, got {folds}")
    if features.ndim != 2 or len(features) != len(labels) or not np.isfinite(features).all():
        raise InputError(
            f"features: expected {len(labels)} rows of numbers, got shape {features.shape}"
            + ("" if np.isfinite(features).all() else " with NaN or infinite ones")
        )
    counts = np.bincount(labels)
    if len(counts) < 2 or counts.min() < 2:
        raise InputError(
            "labels are checked against each other: two classes of two images each are needed, "
            f"got classes of {', '.join(map(str, counts))}"
        )
    parts = StratifiedGroupKFold(
        min(folds, int(counts.min())),
        shuffle=True,
        random_state=int(rng(seed, "label audit").integers(2**31)),
    )
    found = np.zeros((len(labels), len(counts)))

    def asked(strength: float, train: np.ndarray, held: np.ndarray) -> np.ndarray:
        linear = LogisticRegression(C=strength, max_iter=_STEPS, tol=_TOLERANCE)
        fitted = make_pipeline(StandardScaler(), linear).fit(features[train], labels[train])
        return fitted.predict_proba(features[held])

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # a class in fewer groups than folds; said below if it hurts
        splits = list(parts.split(features, labels, group_numbers(groups, len(labels))))
    best = STRENGTHS[0]
    for part, (train, held) in enumerate(splits):
        if len(np.unique(labels[train])) < len(counts):
            missing = np.setdiff1d(np.arange(len(counts)), labels[train])
            raise InputError(
                f"class number {missing[0]}: all its images are in one group; a group stays "
                "together, so nothing is left to learn the class from"
            )
        if part == 0:
            best = max(STRENGTHS, key=lambda c: _likelihood(asked(c, train, held), labels[held]))
        found[held] = asked(best, train, held)
    return found


def _likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean log-probability of the labels."""
    own = probabilities[np.arange(len(labels)), labels]
    return float(np.log(np.maximum(own, np.finfo(float).tiny)).mean())


def doubts(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return how doubtful each label is, the likeliest other class, and whether it is contradicted.

    ``probabilities`` float (N, C), cross-validated; ``labels`` int (N,).

    Returns
    -------
    tuple
        ``doubt`` float64 (N,), 0–1: u / (u + p), where p is the label's probability and u its
        usual one, the mean over the images with that label; 0.5 is as usual. ``likelier`` int
        (N,): the most probable other class. ``wrong`` bool (N,): of the classes whose probability
        is as usual or above, the most probable is another one (the confident joint).

    Examples
    --------
    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.88, 0.12]])
    >>> doubt, likelier, wrong = doubts(p, np.array([0, 0, 1, 1]))
    >>> doubt.round(2).tolist(), wrong.tolist()
    ([0.49, 0.52, 0.36, 0.81], [False, False, False, True])
    """
    rows = np.arange(len(labels))
    own = probabilities[rows, labels]
    others = probabilities.copy()
    others[rows, labels] = -1
    usual = np.full(probabilities.shape[1], np.inf)
    for k in np.unique(labels):
        usual[k] = probabilities[labels == k, k].mean()
    sure = np.where(probabilities >= usual, probabilities, -1)
    wrong = (sure.max(axis=1) >= 0) & (sure.argmax(axis=1) != labels)
    expected = np.maximum(usual[labels], np.finfo(float).tiny)
    return expected / (expected + own), others.argmax(axis=1), wrong


def audit_labels(
    encoder: Any,
    items: Sequence[Item],
    root: str | Path,
    out: str | Path,
    *,
    labels: Sequence[str] | None = None,
    folds: int = FOLDS,
    shown: int = SHOWN,
    seed: int = 0,
    inputs: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Check the labels of ``items``, write a `label-audit` artifact, and return ``labels.json``.

    Parameters
    ----------
    encoder
        What has ``features(images)``, float (N, D), and a ``weights_hash``: a
        `naturalize.models.torch_predictor.TorchPredictor`. Features that were learnt with these
        labels repeat their mistakes.
    items, root
        The labelled images, and the folder that their paths start from. Unreadable ones are left
        out and listed.
    labels
        The order of the classes; that of the alphabet by default.
    folds, seed
        Of the cross-validation.
    shown
        Pictures on the sheet.
    inputs
        Name → fingerprint of the artifacts behind this.
    """
    root, out = Path(root), Path(out)
    artifacts.check_place(out, "label-audit", inputs)
    work = out.with_name(f".{out.name}.work")
    features, kept, skipped = _features(encoder, items, root, work)
    there = {item.label for item in kept}
    order = [label for label in labels or sorted(there) if label in there]
    given = metrics.label_indices(order, [item.label for item in kept], what="label")
    few = [f"{label} ({n})" for label, n in zip(order, np.bincount(given), strict=True) if n < 2]
    if few:
        raise InputError(f"one image of a class has nothing to be compared with: {', '.join(few)}")
    groups = [item.group for item in kept]
    values = cross_validated(features, given, groups=groups, folds=folds, seed=seed)
    doubt, likelier, wrong = doubts(values, given)
    rows = [
        {
            "image": kept[i].path,
            "label": kept[i].label,
            "likelier": order[likelier[i]],
            "p_label": round(float(values[i, given[i]]), 4),
            "p_likelier": round(float(values[i, likelier[i]]), 4),
            "doubt": round(float(doubt[i]), 4),
            "agreed": "no" if wrong[i] else "yes",
        }
        for i in np.argsort(-doubt, kind="stable")
    ]
    result = {
        "n": len(kept),
        "n_doubtful": int(wrong.sum()),
        "by_class": {
            label: {"n": int((given == k).sum()), "doubtful": int(wrong[given == k].sum())}
            for k, label in enumerate(order)
        },
        "confused": _confused(rows),
        "accuracy": float((values.argmax(axis=1) == given).mean()),
        "method": f"confident learning; logistic regression, {folds} folds, seed {seed}",
        "skipped": skipped,
    }
    settings = {"folds": folds, "seed": seed, "encoder": encoder.weights_hash, "shown": shown}
    settings["images"] = sorted((item.image_id, item.label) for item in items)
    settings["images"] = artifacts.fingerprint("images", {"rows": settings["images"]}, {})
    with artifacts.writing(out, "label-audit", settings=settings, inputs=inputs) as folder:
        table = csv_text(list(rows[0]), [list(row.values()) for row in rows])
        artifacts.write_bytes(folder / "labels.csv", table.encode())
        artifacts.write_json(folder / "labels.json", result)
        write_image(folder / "doubtful.jpg", _sheet(rows[:shown], len(rows), root))
    shutil.rmtree(work, ignore_errors=True)
    return result


def _features(
    encoder: Any, items: Sequence[Item], root: Path, work: Path
) -> tuple[np.ndarray, list[Item], list[dict[str, str]]]:
    """Return features (N, D), the images they are of, and those that cannot be read."""
    read = partial(read_item, root=root)

    def rows(piece: Sequence[Item]) -> Iterator[dict[str, Any]]:
        images = list(prefetched(read, piece))
        good = [image for image in images if not isinstance(image, ImageReadError)]
        found = iter(encoder.features(good) if good else ())
        for image in images:
            if isinstance(image, ImageReadError):
                yield {"problem": image.reason, "features": None}
            else:
                yield {"problem": None, "features": next(found)}

    key = f"{encoder.weights_hash} {[(item.image_id, item.path) for item in items]}"
    made = resumable_rows(work, key, items, rows, _FEATURES, piece=_PIECE, what="features")
    problems = made["problem"].to_pylist()
    kept = [item for item, problem in zip(items, problems, strict=True) if problem is None]
    skipped = [
        {"path": item.path, "reason": problem}
        for item, problem in zip(items, problems, strict=True)
        if problem is not None
    ]
    if not kept:
        raise InputError(f"{root}: none of {len(items)} images could be read")
    if skipped:
        warn(f"{len(skipped)} image(s) cannot be read and are left out; labels.json lists them")
    flat = made["features"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(kept), -1), kept, skipped


def _confused(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each pair of label and likelier class that contradict each other, and how often."""
    pairs = Counter((r["label"], r["likelier"]) for r in rows if r["agreed"] == "no")
    return [{"label": a, "likelier": b, "n": n} for (a, b), n in pairs.most_common()]


def _sheet(rows: Sequence[Mapping[str, Any]], n: int, root: Path) -> np.ndarray:
    """Return a picture of the first of ``n`` rows, with their numbers."""
    title = f"The {len(rows)} most doubtful labels of {n:,}: row of labels.csv, given → likelier"
    captions = [f"{k}  {r['label']} → {r['likelier']}" for k, r in enumerate(rows, start=1)]
    tiles = [read_image(root / row["image"]) for row in rows]
    return contact_sheet(tiles, captions=captions, title=title)
