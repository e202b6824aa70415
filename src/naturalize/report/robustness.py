"""Robustness: the scores of each run under what microscopes do, from ``robustness.json``."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from naturalize.base.plots import bands, inline_svg
from naturalize.report import figures, sentences
from naturalize.report import formatting as form
from naturalize.report.folder import StudyFolder
from naturalize.report.section import Pictures, Section

#: Percentage of the alert colour where all is lost; text on it stays legible.
_DARKEST = 55


def tested(study: StudyFolder) -> list[tuple[int, str, dict[str, Any]]]:
    """Return number, name and ``robustness.json`` of the runs that have one, the chosen first."""
    return [
        (study.number(run), run.name, found)
        for run in sorted(study.scored, key=study.number)
        if run.evaluation and (found := run.evaluation.json("robustness.json"))
    ]


def view(study: StudyFolder, _pictures: Pictures) -> Section:
    """Return the section on robustness; see `naturalize.report.page` for where it stands."""
    runs = tested(study)
    name, first = runs[0][1:]
    return Section(
        "robustness",
        "Robustness",
        sentences.robustness(name, first),
        "robustness.html.j2",
        {
            "runs": [_run(*each) for each in runs],
            "sample": f"{form.count(first['n'], 'test image')}, up to "
            f"{form.number(first['per_class'])} a class, drawn by seed {first['seed']}",
            "method": str(first["interval_method"]).replace(" %", f"{form.NBSP}%"),
        },
    )


def _run(number: int, name: str, found: dict[str, Any]) -> dict[str, Any]:
    """Return the table of a run and its curves."""
    clean = found["clean"]["macro_f1"]["value"]
    rows = [
        {
            "name": corruption,
            "what": each["what"],
            "amounts": f"{each['amount']}: "
            + ", ".join(f"{one['amount']:g}" for one in each["strengths"]),
            "cells": [
                {**_cell(one["macro_f1"]), "shade": _shade(one["macro_f1"]["value"], clean)}
                for one in each["strengths"]
            ],
            "mean": _cell(each["mean"]["macro_f1"]),
            "balanced": form.score(each["mean"]["balanced_accuracy"]["value"]),
            "ece": form.score(each["mean"]["ece"]["value"]),
        }
        for corruption, each in found["corruptions"].items()
    ]
    fields = {
        corruption: [one["macro_f1"] for one in each["strengths"]]
        for corruption, each in found["corruptions"].items()
    }
    fig = bands(fields, found["clean"]["macro_f1"], "strength", "macro-F1")
    label = f"Macro-F1 of {name} over the strength of each corruption; the numbers are in the table"
    ends = [
        {
            "name": what,
            "mean": _cell(found[key]["macro_f1"]),
            "balanced": form.score(found[key]["balanced_accuracy"]["value"]),
            "ece": form.score(found[key]["ece"]["value"]),
        }
        for what, key in (("all corruptions", "mean_corruption_score"), ("as they are", "clean"))
    ]
    kept = found["relative_robustness"]["macro_f1"]
    return {
        "key": figures.key(number),
        "name": name,
        "strengths": [
            one["strength"] for one in next(iter(found["corruptions"].values()))["strengths"]
        ],
        "rows": rows,
        "ends": ends,
        "kept": f"{form.score(kept['value'])} ({form.span(kept['interval'])})",
        "curves": Markup(inline_svg(fig, label)),
    }


def _cell(score: dict[str, Any]) -> dict[str, Any]:
    return {"value": form.score(score["value"]), "interval": form.span(score["interval"])}


def _shade(value: float, clean: float) -> int:
    """Return the share of a score that is lost as a percentage of the alert colour."""
    return round(_DARKEST * min(1.0, max(0.0, 1 - value / clean))) if clean else 0
