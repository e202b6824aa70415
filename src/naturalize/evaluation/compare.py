"""Is one classifier better than another, on the same images? Paired tests, never two bare numbers.

McNemar's exact test asks whether the two disagree evenly about who is right; a paired bootstrap of
the difference says how much better, and how sure that is.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base.artifacts import write_json
from naturalize.base.errors import InputError, SettingsError
from naturalize.base.rng import rng
from naturalize.base.statistics import percentile_interval
from naturalize.evaluation import intervals, metrics
from naturalize.evaluation.evaluate import classes_of, read_predictions

#: Scores whose difference is given.
COMPARED = ("macro_f1", "accuracy", "balanced_accuracy")


def paired(
    pred_a: pa.Table,
    pred_b: pa.Table,
    *,
    resamples: int = intervals.RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
    common_only: bool = False,
) -> dict[str, Any]:
    """Compare two prediction tables of the same images.

    The tables are as in ``predictions.parquet``. Each resample of the bootstrap draws the same
    images (or whole groups) for both. With ``common_only`` the images in both are compared, and
    tables of different images are not refused.

    ``InputError`` if the tables are of different images (unless ``common_only``), have none in
    common, or give one image two different true labels.

    Returns
    -------
    dict
        JSON-able: ``n``; ``n_only_a``, ``n_only_b`` (images left out); ``mcnemar`` {only_a_right,
        only_b_right, both_right, both_wrong, p_value}; ``scores`` {score: {a, b, difference,
        interval}} with difference = a − b, for `COMPARED`; ``method``.
    """
    if resamples < 100:
        raise SettingsError(f"resamples: expected 100 or more, got {resamples}")
    labels = list(dict.fromkeys([*classes_of(pred_a), *classes_of(pred_b)]))
    joined = _join(pred_a, pred_b, common_only=common_only)
    true = metrics.label_indices(labels, joined["label"], what="label")
    a = metrics.label_indices(labels, joined["a"], what="predicted (a)")
    b = metrics.label_indices(labels, joined["b"], what="predicted (b)")
    units = intervals.group_numbers(joined["group"], len(true))
    return {
        "n": len(true),
        "n_only_a": joined["n_only_a"],
        "n_only_b": joined["n_only_b"],
        "mcnemar": mcnemar(a == true, b == true),
        "scores": _differences(true, a, b, units, len(labels), resamples, level, seed),
        "method": f"exact McNemar test; paired percentile bootstrap over "
        f"{intervals.drawn_from(units)}, {resamples:,} resamples, {100 * level:g} %, seed {seed}",
    }


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> dict[str, Any]:
    """Return McNemar's exact test of two classifiers on the same images (McNemar 1947).

    Under the hypothesis that both are right equally often, of the images that just one gets right,
    each is as likely to be a's as b's: a two-sided binomial test with share 1/2.

    ``right_a``, ``right_b``: bool (N,), whether each was right. Returns ``both_right``,
    ``only_a_right``, ``only_b_right``, ``both_wrong`` (counts), and ``p_value`` (1 when they never
    differ).

    Examples
    --------
    Eight images where just one is right, one of them a's: p = 2 · (1 + 8) / 2⁸.

    >>> a = np.array([True] * 1 + [False] * 7 + [True] * 20)
    >>> b = np.array([False] * 1 + [True] * 7 + [True] * 20)
    >>> mcnemar(a, b)["p_value"]
    0.0703125
    """
    from scipy.stats import binomtest

    right_a, right_b = np.asarray(right_a, bool), np.asarray(right_b, bool)
    if right_a.shape != right_b.shape:
        raise InputError(f"mcnemar: expected one length, got {len(right_a)} and {len(right_b)}")
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    differing = only_a + only_b
    return {
        "both_right": int((right_a & right_b).sum()),
        "only_a_right": only_a,
        "only_b_right": only_b,
        "both_wrong": int((~right_a & ~right_b).sum()),
        "p_value": float(binomtest(only_a, differing).pvalue) if differing else 1.0,
    }


def write_comparisons(
    evaluations: Mapping[str, str | Path], out: str | Path, *, seed: int = 0
) -> list[dict[str, Any]]:
    """Compare every two of the named evaluation folders and write a JSON file.

    Returns what was written, one entry a pair: what `paired` returns, and ``a``, ``b`` (names),
    ``macro_f1_difference`` (a − b) with its ``interval``, and ``p_value``: McNemar's after Holm's
    correction over all pairs (Holm, Scand. J. Stat. 1979), so that one of many comparisons is not
    found good by luck. One evaluation alone gives an empty list.
    """
    tables = {name: read_predictions(path) for name, path in evaluations.items()}
    found = [
        (a, b, paired(tables[a], tables[b], seed=seed, common_only=True))
        for a, b in itertools.combinations(tables, 2)
    ]
    corrected = holm([result["mcnemar"]["p_value"] for *_, result in found])
    pairs = [
        {
            "a": a,
            "b": b,
            "macro_f1_difference": result["scores"]["macro_f1"]["difference"],
            "interval": result["scores"]["macro_f1"]["interval"],
            "p_value": p,
            **result,
        }
        for (a, b, result), p in zip(found, corrected, strict=True)
    ]
    write_json(Path(out), pairs)
    return pairs


def holm(p_values: list[float]) -> list[float]:
    """Return p-values after Holm's step-down correction, in the order given.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    worst = 0.0
    for rank, i in enumerate(np.argsort(p_values, kind="stable")):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = worst
    return adjusted


def _join(pred_a: pa.Table, pred_b: pa.Table, *, common_only: bool) -> dict[str, Any]:
    """Return label, group, a's and b's prediction for each image in both, in order of path."""
    rows_a, rows_b = _by_image(pred_a), _by_image(pred_b)
    common = [key for key in rows_a if key in rows_b]
    only_a, only_b = len(rows_a) - len(common), len(rows_b) - len(common)
    if not common:
        raise InputError("the two evaluations have no image in common; nothing is paired")
    if (only_a or only_b) and not common_only:
        raise InputError(
            f"the two evaluations are of different images: {len(common)} in both, {only_a} "
            f"in the first only, {only_b} in the second only; evaluate both on the same images, or "
            "compare those in both with --common"
        )
    for key in common:
        one, other = rows_a[key]["label"], rows_b[key]["label"]
        if one != other:
            path = rows_a[key]["path"]
            raise InputError(
                f"{path} is {one!r} in the first evaluation and {other!r} in the second; "
                "evaluate both under one scheme"
            )
    return {
        "label": [rows_a[key]["label"] for key in common],
        "a": [rows_a[key]["predicted"] for key in common],
        "b": [rows_b[key]["predicted"] for key in common],
        "group": [rows_a[key].get("group") for key in common],
        "n_only_a": only_a,
        "n_only_b": only_b,
    }


def _by_image(table: pa.Table) -> dict[tuple[str, int], dict[str, Any]]:
    """Index rows by image id; byte-identical files share one, so their count is in the key."""
    names = [
        n for n in ("image_id", "path", "label", "predicted", "group") if n in table.column_names
    ]
    seen: dict[str, int] = {}
    rows = {}
    for row in sorted(table.select(names).to_pylist(), key=lambda row: row["path"]):
        number = seen[row["image_id"]] = seen.get(row["image_id"], -1) + 1
        rows[row["image_id"], number] = row
    return rows


def _differences(
    true: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    units: np.ndarray,
    n_classes: int,
    resamples: int,
    level: float,
    seed: int,
) -> dict[str, Any]:
    """Scores of a and b, their difference, and its paired bootstrap interval."""
    # both confusions follow from the counts of (true, a, b); only triples that occur are counted
    triples = np.ravel_multi_index((true, a, b), (n_classes,) * 3)
    kinds, cells = np.unique(triples, return_inverse=True)
    kind_true, kind_a, kind_b = np.unravel_index(kinds, (n_classes,) * 3)
    to_a = _membership(kind_true * n_classes + kind_a, n_classes**2)
    to_b = _membership(kind_true * n_classes + kind_b, n_classes**2)
    counts = np.bincount(cells, minlength=len(kinds))

    def both(flat: np.ndarray) -> list[dict[str, np.ndarray]]:
        shape = (*flat.shape[:-1], n_classes, n_classes)
        return [metrics.summary((flat @ to).reshape(shape)) for to in (to_a, to_b)]

    draw = rng(seed, "paired bootstrap")
    drawn = intervals.resampled(cells, units, len(kinds), resamples, draw)
    found: dict[str, list[np.ndarray]] = {name: [] for name in COMPARED}
    for flat in drawn:
        one, other = both(flat)
        for name in COMPARED:
            found[name].append(one[name] - other[name])
    one, other = both(counts)
    return {
        name: {
            "a": float(one[name]),
            "b": float(other[name]),
            "difference": float(one[name] - other[name]),
            "interval": percentile_interval(np.concatenate(found[name]), level).tolist(),
        }
        for name in COMPARED
    }


def _membership(cell: np.ndarray, n_cells: int) -> np.ndarray:
    """Matrix (K, n_cells) that adds counts of K kinds up into cells."""
    matrix = np.zeros((len(cell), n_cells))
    matrix[np.arange(len(cell)), cell] = 1
    return matrix
