"""How often sets of classes hold the true class.

What they are, and what is promised, is said in `naturalize.models.doubt`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.evaluation import metrics
from naturalize.evaluation.intervals import exact
from naturalize.models.doubt import Doubt


def score_sets(doubt: Doubt, table: pa.Table) -> dict[str, Any]:
    """Return the coverage of sets in a predictions table whose classes are the model's.

    Returns
    -------
    dict
        JSON-able: ``share`` (promised), ``n``, ``covered`` (images whose set holds their class),
        ``coverage`` with its exact binomial ``interval``, ``size`` (mean classes of a set),
        ``single`` (share of sets of one class), ``wrong_single`` (share of those that are wrong),
        ``pooled`` (classes for which nothing is promised), ``per_class`` {label: {``n``,
        ``covered``, ``coverage``, ``interval``, ``size``, ``validation`` (images that the threshold
        is from)}} for classes that occur.
    """
    classes = list(doubt.least)
    values = np.stack([table[f"prob_{name}"].to_numpy() for name in classes], axis=1)
    true = metrics.label_indices(classes, table["label"].to_pylist(), what="label")
    inside = doubt.sets(classes, values)
    held, size = inside[np.arange(len(true)), true], inside.sum(axis=1)

    def over(rows: np.ndarray) -> dict[str, Any]:
        n, covered = int(rows.sum()), int(held[rows].sum())
        return {"n": n, "covered": covered, "coverage": covered / n,
                "interval": list(exact(covered, n)), "size": float(size[rows].mean())}  # fmt: skip

    single = size == 1
    return {
        "share": doubt.share,
        **over(np.ones(len(true), bool)),
        "single": float(single.mean()),
        "wrong_single": float((~held[single]).mean()) if single.any() else 0.0,
        "pooled": list(doubt.pooled),
        "per_class": {
            name: {**over(true == k), "validation": doubt.counts[name]}
            for k, name in enumerate(classes)
            if (true == k).any()
        },
    }
