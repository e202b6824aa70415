"""Is one classifier better than another, on the same images? Paired tests, never two bare numbers.

McNemar's exact test asks whether the two disagree evenly about who is right; a paired bootstrap of
the difference says how much better, and how sure that is.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base.artifacts import MANIFEST, is_artifact, write_json
from naturalize.base.errors import InputError
from naturalize.base.rng import rng
from naturalize.base.statistics import percentile_interval
from naturalize.evaluation import intervals, metrics, stages
from naturalize.evaluation.predictions import possible_answers, read_predictions

#: Tables of answers to the same images: of the first arm and of the second, trained with one seed.
Pair = tuple[pa.Table, pa.Table]


def paired(
    pred_a: pa.Table,
    pred_b: pa.Table,
    *,
    resamples: int = intervals.RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
    common_only: bool = False,
) -> dict[str, Any]:
    """Compare two prediction tables of the same images: `paired_seeds` of one seed."""
    return paired_seeds(
        [(pred_a, pred_b)],
        resamples=resamples,
        level=level,
        seed=seed,
        common_only=common_only,
    )


def paired_seeds(
    pairs: Sequence[Pair],
    *,
    resamples: int = intervals.RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
    common_only: bool = False,
) -> dict[str, Any]:
    """Compare two arms on the same images, each trained with S seeds; pair s is of seed s.

    The tables are as in ``predictions.parquet``. Scores and differences are means over the seeds.
    Each resample of the bootstrap draws the same images (or whole groups) for all tables and, of
    several seeds, S − 1 with replacement, which makes the variance of the mean unbiased (Rao & Wu,
    JASA 83, 1988). With ``common_only`` the images in all are compared, and tables of different
    images are not refused.

    ``InputError`` if there is no pair, or the tables are of different images (unless
    ``common_only``), have none in common, or give one image two different true labels.

    Returns
    -------
    dict
        JSON-able: ``n``; ``n_only_a``, ``n_only_b`` (images left out); ``seeds`` (S); ``mcnemar``
        {only_a_right, only_b_right, both_right, both_wrong, p_value}, null of several seeds;
        ``scores`` {score: {a, b, a_interval, b_interval, difference, interval, by_seed}} with
        difference = a − b, for the scores of `stages.summary`; ``classes`` {label: the same of the
        F1} for the labels that occur; ``method``.
    """
    intervals.check(resamples, level)
    if not pairs:
        raise InputError("nothing to compare: expected a pair of evaluations or more, got none")
    tables = [table for pair in pairs for table in pair]
    labels = list(dict.fromkeys(name for table in tables for name in possible_answers(table)))
    joined = _join([pair[0] for pair in pairs], [pair[1] for pair in pairs], common_only)
    true = metrics.label_indices(labels, joined["label"], what="label")
    called = np.array(
        [metrics.label_indices(labels, x, what="predicted") for x in joined["predicted"]]
    )
    units = intervals.group_numbers(joined["group"], len(true))
    draw = rng(seed, "paired bootstrap")
    rows = _differences(true, called, units, labels, (resamples, level), draw)
    n_seeds = len(pairs)
    return {
        "n": len(true),
        "n_only_a": joined["n_only_a"],
        "n_only_b": joined["n_only_b"],
        "seeds": n_seeds,
        "mcnemar": mcnemar(called[0] == true, called[1] == true) if n_seeds == 1 else None,
        "scores": {name: row for name, row in rows.items() if isinstance(name, str)},
        "classes": {
            label: rows[k] for k, label in enumerate(labels) if k in rows and (true == k).any()
        },
        "method": ("exact McNemar test; " if n_seeds == 1 else f"mean of {n_seeds} seeds; ")
        + f"paired percentile bootstrap over {intervals.drawn_from(units)}"
        + ("" if n_seeds == 1 else " and seeds")
        + f", {resamples:,} resamples, {100 * level:g} %, seed {seed}",
    }


def pairs_of(first: str | Path, second: str | Path) -> dict[str, Pair]:
    """Open two evaluations, or two folders of them: one a seed, paired by their names.

    Returns name → tables; the name is empty for two evaluations. ``InputError`` if one is an
    evaluation and the other is not, a folder holds none, or the names differ.
    """
    first, second = Path(first), Path(second)
    seeds = [
        [] if (path / MANIFEST).is_file() or not path.is_dir() else _evaluations(path)
        for path in (first, second)
    ]
    if not any(seeds):
        return {"": (read_predictions(first), read_predictions(second))}
    if seeds[0] != seeds[1]:
        said = [", ".join(names) or "one evaluation" for names in seeds]
        raise InputError(
            f"seeds are paired by the names of their folders: {first} holds {said[0]}; {second} "
            f"holds {said[1]}; give both the same names, such as 0, 1, 2"
        )
    return {
        name: (read_predictions(first / name), read_predictions(second / name)) for name in seeds[0]
    }


def _evaluations(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if is_artifact(path, "evaluation"))


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


def _join(
    first: Sequence[pa.Table], second: Sequence[pa.Table], common_only: bool
) -> dict[str, Any]:
    """Return label, group and each table's prediction for each image in all, in order of path.

    ``predicted`` is a list a table: first and second of seed 0, then of seed 1, and so on.
    """
    rows = [_by_image(table) for pair in zip(first, second, strict=True) for table in pair]
    common = [key for key in rows[0] if all(key in its for its in rows)]
    only_a, only_b = (max(len(its) for its in rows[k::2]) - len(common) for k in (0, 1))
    if not common:
        raise InputError("the two evaluations have no image in common; nothing is paired")
    if any(len(its) > len(common) for its in rows) and not common_only:
        raise InputError(
            f"the two evaluations are of different images: {len(common)} in both, {only_a} "
            f"in the first only, {only_b} in the second only; evaluate both on the same images, or "
            "compare those in both with --common"
        )
    for key in common:
        one, *others = (its[key]["label"] for its in rows)
        if other := next((label for label in others if label != one), None):
            path = rows[0][key]["path"]
            raise InputError(
                f"{path} is {one!r} in the first evaluation and {other!r} in the second; "
                "evaluate both under one scheme"
            )
    return {
        "label": [rows[0][key]["label"] for key in common],
        "predicted": [[its[key]["predicted"] for key in common] for its in rows],
        "group": [rows[0][key].get("group") for key in common],
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
    called: np.ndarray,
    units: np.ndarray,
    labels: Sequence[str],
    how: tuple[int, float],
    draw: np.random.Generator,
) -> dict[str | int, dict[str, Any]]:
    """Return the rows of scores by name, and those of the classes' F1 by number.

    ``called``, int (2 S, N), are the answers of both arms in turn; ``how``: resamples and level.
    """
    # all confusions follow from the counts of (true, a, b, …); only those that occur are counted
    c = len(labels)
    kinds, cells = np.unique(np.vstack([true, called]), axis=1, return_inverse=True)
    to = [_membership(kinds[0] * c + answer, c * c) for answer in kinds[1:]]
    cells = cells.ravel()

    def every(flat: np.ndarray) -> dict[str | int, np.ndarray]:
        """Return score → float64 (…, 2 S)."""
        counts = np.stack([flat @ one for one in to], axis=-2)
        counts = counts.reshape(*counts.shape[:-1], c, c)
        f1 = np.where(counts.sum(axis=-1) > 0, metrics.f1(counts), np.nan)
        found: dict[str | int, np.ndarray] = {k: f1[..., k] for k in range(c)}
        found.update(stages.summary(counts, labels).items())
        return found

    resamples, level = how
    pieces = [every(x) for x in intervals.resampled(cells, units, kinds.shape[1], resamples, draw)]
    n_seeds = len(called) // 2
    seeds = np.arange(n_seeds)[None]
    if n_seeds > 1:
        seeds = draw.integers(0, n_seeds, (resamples, n_seeds - 1))

    def row(name: str | int, whole: np.ndarray) -> dict[str, Any]:
        drawn = np.concatenate([piece[name] for piece in pieces])
        a, b = (np.take_along_axis(drawn[:, k::2], seeds, axis=1).mean(axis=1) for k in (0, 1))
        by_seed = whole[0::2] - whole[1::2]
        return {
            "a": float(whole[0::2].mean()),
            "b": float(whole[1::2].mean()),
            "a_interval": percentile_interval(a, level).tolist(),
            "b_interval": percentile_interval(b, level).tolist(),
            "difference": float(by_seed.mean()),
            "interval": percentile_interval(a - b, level).tolist(),
            "by_seed": by_seed.tolist(),
        }

    found = every(np.bincount(cells, minlength=kinds.shape[1]))
    return {name: row(name, v) for name, v in found.items() if not np.isnan(v).any()}


def _membership(cell: np.ndarray, n_cells: int) -> np.ndarray:
    """Matrix (K, n_cells) that adds counts of K kinds up into cells."""
    matrix = np.zeros((len(cell), n_cells))
    matrix[np.arange(len(cell)), cell] = 1
    return matrix
