"""Which predictions to explain: one of each class, and the worst mistakes."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base.rng import rng


def worst_mistakes(predictions: pa.Table, n: int) -> pa.Table:
    """Return the ``n`` most confident wrong predictions, the most confident first.

    Parameters
    ----------
    predictions
        As in ``predictions.parquet``: at least ``path``, ``label``, ``predicted``, ``confidence``.
    n
        How many at most.

    Returns
    -------
    pyarrow.Table
        Rows of ``predictions``; equally confident ones in the order of their paths.
    """
    wrong = predictions.filter(pc.not_equal(predictions["label"], predictions["predicted"]))
    return wrong.sort_by([("confidence", "descending"), ("path", "ascending")]).slice(0, n)


def pick_for_explanation(
    predictions: pa.Table, per_class: int = 1, mistakes: int = 8, seed: int = 0
) -> pa.Table:
    """Return the predictions to explain.

    Parameters
    ----------
    predictions
        As in ``predictions.parquet``.
    per_class
        Right predictions of each class that occurs, drawn at random: what usually happens, not the
        best case. A class with too few of them gives those it has.
    mistakes
        Most confident wrong predictions, as `worst_mistakes`.
    seed
        Of the draw.

    Returns
    -------
    pyarrow.Table
        Rows of ``predictions`` with a column ``reason``: first the ``example`` rows by class, then
        the ``mistake`` rows.
    """
    predictions = predictions.sort_by("path")
    right = predictions.filter(pc.equal(predictions["label"], predictions["predicted"]))
    picked = []
    for label in sorted(set(predictions["label"].to_pylist())):
        rows = right.filter(pc.equal(right["label"], label))
        order = rng(seed, "explain", label).permutation(rows.num_rows)[:per_class]
        picked.append(rows.take(pa.array(sorted(order.tolist()), pa.int64())))
    return pa.concat_tables(
        [
            _with_reason(pa.concat_tables([*picked, right.schema.empty_table()]), "example"),
            _with_reason(worst_mistakes(predictions, mistakes), "mistake"),
        ]
    )


def _with_reason(rows: pa.Table, reason: str) -> pa.Table:
    return rows.append_column("reason", pa.array([reason] * rows.num_rows, pa.string()))
