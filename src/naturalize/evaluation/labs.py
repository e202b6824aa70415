"""One model, or several, over the labelled images of several laboratories: the `labs` artifact.

``predictions/<model>/<laboratory>.parquet`` hold every answer, ``labs.json`` all scores that follow
from them. Prediction goes in pieces, so a killed run goes on where it stopped.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base import artifacts
from naturalize.base.console import warn
from naturalize.base.errors import InputError
from naturalize.base.images import content_hash
from naturalize.base.shards import resumable_rows
from naturalize.evaluation import intervals, metrics, mixes
from naturalize.evaluation.evaluate import Item, model_hash
from naturalize.evaluation.intervals import calibration
from naturalize.evaluation.laboratory import Laboratory
from naturalize.evaluation.merge import Merge
from naturalize.evaluation.mixes import MIXES, SURE, Answers
from naturalize.evaluation.risk import RISK
from naturalize.models.predictor import NetworkPredictor
from naturalize.prediction.files import Prediction, predict_files
from naturalize.prediction.standardise import NO_CELL, NO_WHITE_CELL, Standardiser

#: Images a piece, and points of a risk-coverage curve that are written.
_PIECE, _POINTS = 64, 200

#: What the page and the table call each score.
SCORES = {
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    "ece": "calibration error",
    "mean_confidence": "mean confidence",
    "sure_wrong": f"of the wrong, surer than {SURE:g}",
    "aurc": "area under risk–coverage",
    "coverage_at_risk": f"coverage at {RISK:.0%} risk",
}

#: Scores of which less is better.
LESS = ("ece", "sure_wrong", "aurc")

_SHARD = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
        ("answer", pa.string()),
        ("flags", pa.string()),
        ("problem", pa.string()),
        ("probabilities", pa.list_(pa.float32())),
    ]
)


def score_labs(
    models: Mapping[str, NetworkPredictor],
    laboratories: Sequence[Laboratory],
    out: str | Path,
    *,
    standardise: str = "auto",
    more_mixes: Mapping[str, Mapping[str, float]] | None = None,
    resamples: int = intervals.RESAMPLES,
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
) -> Path:
    """Predict each laboratory's images with each model, and write a `labs` artifact to ``out``.

    Each laboratory's images are standardised by what is measured of them, as `predict` does.

    Parameters
    ----------
    models
        Name → model; the first is the one that is asked about, the others stand beside it.
    laboratories
        What to score on; see `naturalize.inputs.labs.open_labs`.
    standardise
        ``auto``, ``always`` or ``never``.
    more_mixes
        Name → class → share, besides `naturalize.evaluation.mixes.MIXES`.
    resamples, seed
        Of the bootstrap.
    facts, inputs
        What else ``labs.json`` shall say, and the fingerprints of what was read.

    Raises
    ------
    InputError
        If a laboratory has no image that can be read.
    SettingsError
        If ``standardise`` is no mode, or there are fewer than 100 resamples.
    """
    out, all_mixes = Path(out), {**MIXES, **(more_mixes or {})}
    artifacts.check_place(out, "labs", inputs)
    settings = {
        "models": {name: model_hash(model) for name, model in models.items()},
        "laboratories": {lab.name: _digest(lab) for lab in laboratories},
        "standardise": standardise,
        "mixes": all_mixes,
        "resamples": resamples,
        "seed": seed,
    }
    work = out.with_name(f".{out.name}.work")
    found: dict[str, dict[str, _Scored]] = {name: {} for name in models}
    for lab in laboratories:
        standardiser: Standardiser | None = None
        for name, model in models.items():
            if standardiser is None or standardiser.standard != model.config.standard:
                standardiser = Standardiser(model.config.standard, standardise).learn(
                    [lab.root / item.path for item in lab.items]
                )
            place = work / f"{file_name(name)}-{file_name(lab.name)}"
            rows = _predicted(model, lab, standardiser, place, f"{lab.name}: {name}")
            table = _table(rows, model.classes, lab.merges[name])
            found[name][lab.name] = _scored(table, lab, name, all_mixes, resamples, seed)
    result = {
        **dict(facts or {}),
        "standardise": standardise,
        "mixes": {name: dict(shares) for name, shares in all_mixes.items()},
        "convention": metrics.CONVENTION,
        "interval_method": _method(found, resamples, seed),
        "laboratories": {lab.name: lab.described() for lab in laboratories},
        "models": {name: _of_model(each) for name, each in found.items()},
    }
    with artifacts.writing(out, "labs", settings=settings, inputs=inputs) as folder:
        for name, each in found.items():
            for lab_name, one in each.items():
                file = folder / "predictions" / file_name(name) / f"{file_name(lab_name)}.parquet"
                artifacts.write_table(file, one.table)
                artifacts.write_bytes(file.with_suffix(".csv"), _csv_of(one.table))
        artifacts.write_json(folder / "labs.json", result)
        artifacts.write_bytes(folder / "labs.csv", _csv_rows(result))
        _draw(folder, result)
    shutil.rmtree(work, ignore_errors=True)
    return out


def read_labs(path: str | Path) -> dict[str, Any]:
    """Read ``labs.json`` of the `labs` artifact ``path``; ``ArtifactError`` if damaged."""
    artifacts.read_manifest(path, "labs")
    return artifacts.read_json(Path(path) / "labs.json")


def file_name(name: str) -> str:
    """Return a name as a file may be called.

    Examples
    --------
    >>> file_name("resnet18, k-NN")
    'resnet18-k-NN'
    """
    return re.sub(r"[^\w.]+", "-", name).strip("-.") or "unnamed"


def _digest(lab: Laboratory) -> str:
    lines = [f"{i.image_id}\t{i.path}\t{i.label}\t{i.group}" for i in lab.items]
    lines += [f"{name}\t{merge.described()}" for name, merge in lab.merges.items()]
    return content_hash("\n".join(lines).encode())


def _predicted(
    model: NetworkPredictor, lab: Laboratory, standardiser: Standardiser, work: Path, what: str
) -> pa.Table:
    """Return a row an image: the model's answer and probabilities, or why it cannot be read."""

    def rows(piece: Sequence[Item]) -> Iterator[dict[str, Any]]:
        paths = [lab.root / item.path for item in piece]
        answers = predict_files(model, paths, standardiser=standardiser, whole=True)
        for item, answer in zip(piece, answers, strict=True):
            yield {**asdict(item), **_row(answer)}

    key = f"{model_hash(model)} {_digest(lab)} {standardiser.mode}: {standardiser.profile}"
    found = resumable_rows(work, key, lab.items, rows, _SHARD, piece=_PIECE, what=what)
    bad = found.filter(pc.is_valid(found["problem"])).to_pylist()
    if len(bad) == found.num_rows:
        why = f": {bad[0]['path']}: {bad[0]['problem']}" if bad else ""
        raise InputError(f"{lab.root}: none of {len(bad)} images can be read{why}")
    if bad:
        first = f"{bad[0]['path']}: {bad[0]['problem']}"
        warn(f"{lab.name}: {len(bad)} images cannot be read, the first: {first}")
    return found.filter(pc.is_null(found["problem"]))


def _row(answer: Prediction) -> dict[str, Any]:
    return {
        "answer": answer.label,
        "flags": "; ".join(answer.flags),
        "problem": answer.error,
        "probabilities": answer.probabilities,
    }


def _table(rows: pa.Table, model_classes: Sequence[str], merge: Merge) -> pa.Table:
    """Return the predictions table of a laboratory, over its own classes."""
    classes = merge.names(model_classes)
    asked = pc.is_valid(rows["probabilities"]).to_numpy()
    values = np.full((rows.num_rows, len(classes)), np.nan, np.float32)
    if asked.any():
        given = rows["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        values[asked] = merge.apply(given.reshape(-1, len(model_classes)), model_classes)
    best = np.where(asked, np.nan_to_num(values).argmax(axis=1), -1)
    answers = rows["answer"].to_pylist()
    columns: dict[str, Any] = {name: rows[name] for name in ("image_id", "path", "label")}
    columns["predicted"] = [
        classes[i] if i >= 0 else answer for i, answer in zip(best, answers, strict=True)
    ]
    columns["confidence"] = pa.array(np.nan_to_num(values).max(axis=1), mask=~asked)
    for i, name in enumerate(classes):
        columns[f"prob_{name}"] = pa.array(values[:, i], mask=~asked)
    return pa.table({**columns, "group": rows["group"], "flag": rows["flags"]})


@dataclass(frozen=True)
class _Scored:
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


def _scored(
    table: pa.Table,
    lab: Laboratory,
    model: str,
    all_mixes: Mapping[str, Mapping[str, float]],
    resamples: int,
    seed: int,
) -> _Scored:
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
    coverage, risk = answers.curve
    shown = np.unique(np.linspace(0, len(coverage) - 1, _POINTS).round().astype(int))
    sure, right = answers.confidence[asked], answers.right[asked]
    counts = metrics.confusion_matrix(answers.true, answers.predicted, len(answers.labels))
    entry = {
        **metrics.from_confusion(answers.labels, counts),
        "map": lab.merges[model].described(),
        "n_wrong": int((~answers.right).sum()),
        "n_sure_wrong": int((~right & (sure > SURE)).sum()),
        "n_unsure": sum("unsure" in each for each in flags),
        "n_no_cell": int((~asked).sum()),
        "n_standardised": sum("standardised" in each for each in flags),
        "mixes": of_mix,
        "calibration": calibration(sure, right) if asked.any() else None,
        "risk_coverage": {"coverage": coverage[shown].tolist(), "risk": risk[shown].tolist()},
    }
    return _Scored(table, entry, drawn, answers.grouped)


def _of_model(each: Mapping[str, _Scored]) -> dict[str, Any]:
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


def _method(found: Mapping[str, Mapping[str, _Scored]], resamples: int, seed: int) -> str:
    grouped = [name for name, one in next(iter(found.values())).items() if one.grouped]
    drawn = "images within their class"
    if grouped:
        drawn += f", whole groups in {', '.join(grouped)}"
    return f"percentile bootstrap over {drawn}, {resamples:,} resamples, 95 %, seed {seed}"


def _csv_of(table: pa.Table) -> bytes:
    from pyarrow.csv import write_csv

    buffer = io.BytesIO()
    write_csv(table, buffer)
    return buffer.getvalue()


def _csv_rows(result: Mapping[str, Any]) -> bytes:
    """Return ``labs.csv``: a row for each model, laboratory and mix, and for the mean of all."""
    text = io.StringIO()
    ends = [f"{score}{end}" for score in SCORES for end in ("", "_low", "_high")]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "laboratory", "mix", "n", *ends])
    for model, found in result["models"].items():
        each = [
            (name, mix, entry["n"], of_mix["scores"])
            for name, entry in found["laboratories"].items()
            for mix, of_mix in entry["mixes"].items()
        ]
        each += [("mean", mix, found["n"], over["mean"]) for mix, over in found["overall"].items()]
        for name, mix, n, scores in each:
            numbers = [
                f"{value:.6f}"
                for score in SCORES
                for value in (scores[score]["value"], *scores[score]["interval"])
            ]
            writer.writerow([model, name, mix, n, *numbers])
    return text.getvalue().encode()


def _draw(folder: Path, result: Mapping[str, Any]) -> None:
    from naturalize.evaluation import pictures

    pictures.forest_picture(result, folder / "balanced_accuracy.svg")
    pictures.risk_picture(result, folder / "risk_coverage.svg")
    first = next(iter(result["models"].values()))
    for name, entry in first["laboratories"].items():
        if entry["calibration"]:
            file = folder / f"reliability-{file_name(name)}.svg"
            pictures.reliability_picture(entry, file, title=name)
