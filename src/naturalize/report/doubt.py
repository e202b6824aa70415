"""How far a model's confidence goes: part of the section on the scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from naturalize.report import figures
from naturalize.report import formatting as form
from naturalize.report.folder import Run


def of_runs(chosen: Run, runs: Sequence[Run]) -> dict[str, Any] | None:
    """Return pictures and tables on the confidence of runs; null where it was not measured."""
    its = [(run, run.metrics) for run in runs if run.metrics.get("brier")]
    found = chosen.metrics
    if not found.get("brier"):
        return None
    bins = [row for row in found["calibration"]["bins"] if row["n"]]
    label = f"Share of right answers at each confidence of {chosen.name}; the numbers follow"
    return {
        "run": chosen.name,
        "reliability": figures.reliability(bins, label),
        "bins": [
            (f"{row['low']:.2f}–{row['high']:.2f}", form.number(row["n"]),
             form.score(row["confidence"]), form.score(row["accuracy"]))
            for row in bins
        ],
        "risk": _risk(its),
        "rows": [
            (run.name, form.score(m["calibration"]["ece"]),
             form.score(m["calibration"]["ece_debiased"]), form.score(m["brier"]["score"]),
             form.difference(m["brier"]["reliability"]), form.score(m["brier"]["resolution"]),
             f"{m['risk_coverage']['aurc']:.4f}",
             form.percent(m["risk_coverage"]["coverage_at_risk"]))
            for run, m in its
        ],
        "sets": _sets(found.get("sets")),
        "shortcuts": _shortcuts(found.get("shortcuts")),
    }  # fmt: skip


def _risk(its: Sequence[tuple[Run, dict[str, Any]]]) -> Any:
    drawn = [
        figures.Curve(run.name, m["risk_coverage"]["coverage"], m["risk_coverage"]["risk"])
        for run, m in its
    ]
    top = max(max(curve.values) for curve in drawn)
    return figures.curves(
        drawn,
        limits=((0.0, 1.0), (0.0, top)),
        best=None,
        label="Share of wrong answers among the surest ones; areas follow as a table",
        across="coverage: share answered, the surest first",
    )


def _sets(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what was measured of sets of classes, as a sentence and rows of a table."""
    if not found:
        return None
    short = [
        name for name, row in found["per_class"].items() if row["interval"][1] < found["share"]
    ]
    said = (
        f"Of {form.count(found['n'], 'test image')}, the set holds the true class for "
        f"{form.score(found['coverage'])} ({form.span(found['interval'])}); "
        f"{form.percent(found['single'])} of the sets have one class. "
        f"{form.score(found['share'])} is promised class by class, for images like those of the "
        "validation"
    )
    said += f"; {form.listed(short)} fall short of it beyond chance." if short else "."
    if found["pooled"]:
        said += f" Nothing is promised for {form.listed(found['pooled'])}: too few were validated."
    return {
        "said": said,
        "rows": [
            (name, form.number(row["n"]), form.number(row["validation"]),
             form.score(row["coverage"]), form.span(row["interval"]), f"{row['size']:.2f}")
            for name, row in found["per_class"].items()
        ],
    }  # fmt: skip


def _shortcuts(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what a model answers without the cell, as a sentence and rows of a table."""
    if not found or not found["n"]:
        return None
    names = {"context": "without the white cell", "background": "the background alone"}
    above = [said for key, said in names.items() if found[key]["interval"][0] > found["chance"]]
    said = (
        f"On {form.count(found['n'], 'test image')} whose cells were painted over, chance is "
        f"{form.score(found['chance'])} in balanced accuracy. "
    )
    said += (
        f"The model is above it on {form.listed(above)}: what is around a cell says something of "
        "its class."
        if above
        else "The model is not above it beyond chance: no shortcut was found."
    )
    rows = [
        (said_of, form.score(found[key]["balanced_accuracy"]), form.span(found[key]["interval"]),
         form.score(found[key]["mean_confidence"]))
        for key, said_of in names.items()
    ]  # fmt: skip
    return {"said": said, "rows": rows}
