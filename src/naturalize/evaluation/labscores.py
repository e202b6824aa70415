"""Scores of a model's answers in several laboratories: of each, their mean, the worst."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.evaluation import metrics, mixes
from naturalize.evaluation.calibration import calibration
from naturalize.evaluation.laboratory import Laboratory
from naturalize.evaluation.mixes import SURE, Answers
from naturalize.evaluation.risk import thinned
from naturalize.prediction.standardise import NO_CELL, NO_WHITE_CELL

#: The scores, as :func:`naturalize.evaluation.mixes.weighted_scores` calls them.
SCORES = (
    "balanced_accuracy", "macro_f1", "accuracy", "ece", "mean_confidence", "sure_wrong", "aurc",
    "coverage_at_risk",
)  # fmt: skip

#: Scores of which less is better.
LESS = ("ece", "sure_wrong", "aurc")


@dataclass(frozen=True)
class Scored:
    """The answers of a model in a laboratory, what is said of them, and the scores of resamples."""

    table: pa.Table
    entry: dict[str, Any]
    drawn: Mapping[str, Mapping[str, np.ndarray]]
    grouped: bool


def answers_of(table: pa.Table) -> Answers:
    """Return the answers in a predictions table of this artifact."""
    classes = [n.removeprefix("prob_") for n in table.column_names if n.startswith("prob_")]
    true, predicted = table["label"].to_pylist(), table["predicted"].to_pylist()
    labels = [*dict.fromkeys([*classes, *true])]  # a class that a model lacks is never answered
    labels += [v for v in (NO_CELL, NO_WHITE_CELL) if v in predicted]
    return Answers(
        labels,
        metrics.label_indices(labels, true, what="label"),
        metrics.label_indices(labels, predicted, what="predicted"),
        table["confidence"].to_numpy().astype(np.float64),
        table["group"].to_pylist(),
    )


def scored(
    table: pa.Table,
    lab: Laboratory,
    model: str,
    all_mixes: Mapping[str, Mapping[str, float]],
    resamples: int,
    seed: int,
) -> Scored:
    """Score the predictions table of a laboratory under each mix: name → class → share."""
    answers = answers_of(table)
    weights = mixes.resampled(answers, resamples, seed, lab.name)
    parts = lab.merges[model].classes
    drawn: dict[str, dict[str, np.ndarray]] = {}
    of_mix: dict[str, Any] = {}
    for mix, wanted in all_mixes.items():
        shares = mixes.shares_of(mix, wanted, answers.counts, parts)
        if shares is None:
            continue
        reweighted_to = None if mix == mixes.FOUND else shares[0]
        drawn[mix] = mixes.drawn_scores(answers, weights, reweighted_to)
        scores = mixes.with_intervals(drawn[mix])
        of_mix[mix] = {"shares": shares[0], "covered": shares[1], "scores": scores}
    asked = ~np.isnan(answers.confidence)
    flags = [flag.split("; ") for flag in table["flag"].to_pylist()]
    sure, right = answers.confidence[asked], answers.right[asked]
    counts = metrics.confusion_matrix(answers.true, answers.predicted, len(answers.labels))
    entry = {
        **metrics.from_confusion(answers.labels, counts),
        "map": lab.merges[model].described(),
        "n_wrong": int((~answers.right).sum()),
        "n_sure_wrong": int((~right & (sure > SURE)).sum()),
        "n_unsure": sum("unsure" in flag for flag in table["flag"].to_pylist()),
        "n_no_cell": int((~asked).sum()),
        "n_standardised": sum("standardised" in each for each in flags),
        "mixes": of_mix,
        "calibration": calibration(sure, right) if asked.any() else None,
        "risk_coverage": thinned(*answers.curve),
    }
    return Scored(table, entry, drawn, answers.grouped)


def of_model(each: Mapping[str, Scored]) -> dict[str, Any]:
    """Return what ``labs.json`` says of a model: by laboratory, and over all of them."""
    overall: dict[str, Any] = {}
    for mix in next(iter(each.values())).drawn:
        there = {name: one.drawn[mix] for name, one in each.items() if mix in one.drawn}
        mean = {
            score: np.mean([drawn[score] for drawn in there.values()], axis=0) for score in SCORES
        }
        overall[mix] = {
            "laboratories": list(there),
            "mean": mixes.with_intervals(mean),
            "worst": {score: _worst(score, there) for score in SCORES},
        }
    return {
        "n": sum(one.entry["n"] for one in each.values()),
        "laboratories": {name: one.entry for name, one in each.items()},
        "overall": overall,
    }


def _worst(score: str, there: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    values = {name: float(drawn[score][0]) for name, drawn in there.items()}
    worst = (max if score in LESS else min)(values, key=values.__getitem__)
    return {"value": values[worst], "laboratory": worst}
