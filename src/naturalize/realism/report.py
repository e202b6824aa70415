"""What is written of a probe: ``realism.json`` and ``scores.parquet``, and said of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base.console import say
from naturalize.realism.auc import Auc
from naturalize.realism.describe import PROBES
from naturalize.realism.pictures import GOAL
from naturalize.realism.probing import ProbeResult

#: Columns of ``scores.parquet``, as in ``docs/formats.md``.
SCORES = pa.schema(
    [
        ("set", pa.string()),
        ("image", pa.string()),
        ("label", pa.string()),
        ("composite", pa.bool_()),
        ("fold", pa.int32()),
        *((name, pa.float32()) for name in PROBES),
    ]
)

#: Telling statistics that are kept.
_KEPT = 40


def found(results: dict[str, ProbeResult]) -> dict[str, Any]:
    """Return the part of ``realism.json`` that the probes found; the plan's set comes first."""
    first = next(iter(results.values()))
    return {
        "absent_probes": first.absent,
        "goal": GOAL,
        "sets": {name: summary(one) for name, one in results.items()},
        "families": {name: _auc(one, classes=False) for name, one in first.families.items()},
        "telling": [
            {"family": one.family, "name": one.name, "auc": one.auc, "words": str(one)}
            for one in first.telling[:_KEPT]
        ],
    }


def _auc(auc: Auc, *, classes: bool = True) -> dict[str, Any]:
    whole: dict[str, Any] = {"auc": auc.value, "interval": [auc.low, auc.high]}
    if classes:
        whole["per_class"] = {
            label: {"auc": value, "interval": [low, high]}
            for label, (value, low, high) in auc.per_class.items()
        }
    return whole


def summary(result: ProbeResult) -> dict[str, Any]:
    """Return what ``realism.json`` says of one set."""
    composite = np.array(result.labels)[result.composite].tolist()
    real = np.array(result.labels)[~result.composite].tolist()
    return {
        "counts": {
            label: {"real": real.count(label), "composite": composite.count(label)}
            for label in dict.fromkeys(composite)
        },
        "units": int(result.units.max()) + 1,
        "probes": {name: _auc(one) for name, one in result.auc.items()},
        "space": result.space,
        "kid": {"value": result.kid.value, "interval": [result.kid.low, result.kid.high]},
        "nearest": {
            "real_to_real": result.nearest.real_to_real,
            "composite_to_real": result.nearest.composite_to_real,
            "ratio": result.nearest.ratio.value,
            "ratio_interval": [result.nearest.ratio.low, result.nearest.ratio.high],
            "composite_to_parent": result.nearest.composite_to_parent,
            "parent_ratio": result.nearest.parent_ratio,
        },
    }


def scores_table(name: str, result: ProbeResult, ids: Sequence[str]) -> pa.Table:
    """Return the rows of ``scores.parquet`` of one set; ``ids`` name its images in order."""
    n = len(ids)
    columns: dict[str, Any] = {
        "set": [name] * n,
        "image": list(ids),
        "label": list(result.labels),
        "composite": result.composite,
        "fold": result.fold.astype(np.int32),
    }
    for probe in PROBES:
        scores = result.scores.get(probe)
        columns[probe] = [None] * n if scores is None else scores.astype(np.float32)
    return pa.table(columns, schema=SCORES)


def tell(report: dict[str, Any]) -> None:
    """Say in a few lines what the report holds beyond its table."""
    say(f"history: {report['history']['used']}; kept together: {report['kept_together']}")
    if report["families"]:
        alone = (f"{name} {one['auc']:.2f}" for name, one in report["families"].items())
        say(f"statistics alone: {', '.join(alone)}")
    told: dict[str, int] = {}
    for one in report["telling"]:
        told[one["family"]] = told.get(one["family"], 0) + 1
        if told[one["family"]] <= 2:
            say(f"telling: {one['words']} (AUC {max(one['auc'], 1 - one['auc']):.2f} alone)")
