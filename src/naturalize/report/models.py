"""The trained models: how training went, and their scores on the test images."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.errors import ArtifactError
from naturalize.dataset.schemes import CLASS_NAMES
from naturalize.report import doubt, figures, sentences
from naturalize.report import formatting as form
from naturalize.report.folder import Run, StudyFolder
from naturalize.report.section import Pictures, Section

#: The columns of the table of runs: key in ``metrics.json`` and heading.
COLUMNS = (
    ("macro_f1", "macro-F1"),
    ("macro_precision", "macro precision"),
    ("macro_recall", "macro recall"),
    ("accuracy", "accuracy"),
)

#: Facts that stand in the table of several runs even if all are equal.
_ALWAYS = ("best epoch", "macro-F1 on validation")

#: Charts of a run: title, columns of ``history.csv`` with their names, upper end of the axis.
_CHARTS = (
    ("Loss", {"train_loss": "training", "val_loss": "validation"}, None),
    ("Scores on validation", {"val_macro_f1": "macro-F1", "val_accuracy": "accuracy"}, 1.0),
)


def training(study: StudyFolder, _pictures: Pictures) -> Section:
    """Return the section on training."""
    runs = {run: run.model for run in study.runs if run.model is not None}
    if not runs:
        return Section("training", "Training", "No model has been trained in this study yet.")
    facts = [_facts(run) for run in runs]
    names = list(dict.fromkeys(name for its in facts for name in its))
    values = {name: [its.get(name, form.ABSENT) for its in facts] for name in names}
    # one run needs no table; of several, what all have in common is said once
    apart = [n for n in names if len(runs) > 1 and (n in _ALWAYS or len(set(values[n])) > 1)]
    histories = [history(model.path / "history.csv") for model in runs.values()]
    return Section(
        "training",
        "Training",
        sentences.training([(run.name, run.validation_f1, _when(run)) for run in runs]),
        "training.html.j2",
        {
            "common": [(name, values[name][0]) for name in names if name not in apart],
            "columns": apart,
            "cards": [
                {
                    "name": run.name,
                    "key": figures.key(study.number(run)),
                    "facts": [values[name][i] for name in apart],
                    "charts": _charts(run, histories[i], histories),
                }
                for i, run in enumerate(runs)
            ],
        },
    )


def _when(run: Run) -> str:
    training = dict(run.card.get("training") or {})
    epoch, epochs = training.get("best_epoch"), training.get("epochs_run")
    if epoch is None:
        return ""
    return f" in epoch {epoch}" + (f" of {epochs}" if epochs is not None else "")


def _facts(run: Run) -> dict[str, str]:
    """Return what a run was, as name → text."""
    card, training = run.card, dict(run.card.get("training") or {})
    settings = dict(training.get("settings") or {})
    side, f1 = card.get("input_size"), run.validation_f1

    def counted(key: str) -> str | None:
        n = training.get(key, card.get(key))
        return None if n is None else form.number(n)

    found = {
        "network": card.get("architecture"),
        "weights at start": card.get("weights_source"),
        "mode": settings.get("mode"),
        "input": f"{side} × {side} pixels" if side else None,
        "parameters": counted("parameters"),
        "source images": counted("n_real"),
        "composites": counted("n_composites"),
        "images an epoch": counted("samples_per_epoch"),
        "class weights": settings.get("class_weights"),
        "sampler": settings.get("sampler"),
        "learning rate": settings.get("lr"),
        "batch": settings.get("batch_size"),
        "seed": settings.get("seed"),
        "epochs": training.get("epochs_run"),
        "best epoch": training.get("best_epoch"),
        "macro-F1 on validation": None if f1 is None else form.score(f1),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _charts(
    run: Run, columns: dict[str, list[float]], histories: list[dict[str, list[float]]]
) -> list[tuple[str, Any]]:
    """Return the charts of a run's history, on the axes of all ``histories``."""
    best = dict(run.card.get("training") or {}).get("best_epoch")
    epochs = [epoch for its in histories for epoch in its.get("epoch", ())]
    drawn = []
    for title, names, top in _CHARTS:
        curves = [
            figures.Curve(name, columns["epoch"], columns[column])
            for column, name in names.items()
            if columns.get(column)
        ]
        every = [value for its in histories for column in names for value in its.get(column, ())]
        if curves:
            ends = [f"{curve.name} ends at {curve.values[-1]:.3f}" for curve in curves]
            chart = figures.curves(
                curves,
                limits=((min(epochs), max(epochs)), (min(every), top or max(every))),
                best=None if best is None else float(best),
                label=f"{title} of {run.name} over the epochs: {form.listed(ends)}",
            )
            drawn.append((title, chart))
    return drawn


def history(file: Path) -> dict[str, list[float]]:
    """Return the columns of ``history.csv``; empty without the file or without epochs."""
    if not file.is_file():
        return {}
    try:
        rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}
    except (UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{file}: not a table of epochs ({error})") from error


def scores(study: StudyFolder, _pictures: Pictures) -> Section:
    """Return the section on the scores: every run, class by class, and against each other."""
    chosen = study.chosen
    if chosen is None:
        return Section("scores", "Scores", "No model of this study has been evaluated yet.")
    runs = sorted(study.scored, key=study.number)
    with_chosen = [p for p in study.comparisons if chosen.name in (p["a"], p["b"])]
    others = [pair for pair in study.comparisons if pair not in with_chosen]
    method = str(chosen.metrics.get("interval_method", "")).replace(" %", f"{form.NBSP}%")
    return Section(
        "scores",
        "Scores",
        sentences.scores(chosen.name, chosen.metrics, with_chosen),
        "scores.html.j2",
        {
            "columns": COLUMNS,
            "runs": [(figures.key(study.number(run)), run, run is chosen) for run in runs],
            "interval": sentences.interval_name(chosen.metrics),
            "method": method,
            "choice": sentences.choice(
                len(runs), by_validation=study.chosen_by_validation, tied=study.chosen_tied
            )[1],
            **_classes(runs),
            "comparisons": [comparison(pair) for pair in with_chosen],
            "other_comparisons": [comparison(pair) for pair in others],
            "forest": _forest([*with_chosen, *others]),
            "further": _further(runs),
            "confusion": _confusion(chosen),
            "others": [_confusion(run) for run in runs if run is not chosen],
            "calibration": sentences.calibration(chosen.metrics),
            "doubt": doubt.of_runs(chosen, runs),
            "notes": _notes(runs),
        },
    )


def _classes(runs: list[Run]) -> dict[str, Any]:
    """Return the F1 of each class by run: as a figure, and as rows of a table."""
    entries = [run.metrics["per_class"] for run in runs]
    labels = [
        label
        for label in dict.fromkeys(x for run in runs for x in run.metrics["labels"])
        if any(its.get(label, {}).get("support") for its in entries)
    ]
    points, rows = [], []
    for row, label in enumerate(labels):
        tested = [its.get(label) if its.get(label, {}).get("support") else None for its in entries]
        for number, (run, entry) in enumerate(zip(runs, tested, strict=True)):
            if entry:
                bounds = dict(dict(run.metrics.get("per_class_intervals") or {}).get(label) or {})
                points.append(figures.Point(row, number, entry["f1"], bounds.get("f1")))
        supports = sorted({entry["support"] for entry in tested if entry})
        rows.append(
            {
                "label": label,
                "name": CLASS_NAMES.get(label, ""),
                "scores": [form.score(entry["f1"] if entry else None) for entry in tested],
                "support": " / ".join(form.number(n) for n in supports),
            }
        )
    return {"classes": rows, "by_class": figures.scores_by_class(labels, points, len(runs))}


def comparison(pair: dict[str, Any]) -> dict[str, Any]:
    """Return one paired comparison: who is better, by how much, and how sure that is."""
    found = sentences.Difference.of(pair)
    return {
        "said": sentences.comparison(found),
        "clear": found.agreed,
        "difference": form.difference(found.change),
        "interval": form.signed_span(found.interval),
        "counts": sentences.comparison_counts(found),
        "p": form.p_value(found.p_value),
    }


def _forest(pairs: list[dict[str, Any]]) -> Any:
    """Return the differences of all pairs as one figure; null with fewer than two."""
    if len(pairs) < 2:
        return None
    found = [sentences.Difference.of(pair) for pair in pairs]
    rows = [(f"{one.first} − {one.second}", one.change, one.interval) for one in found]
    return figures.differences(rows, "difference of macro-F1 with its interval")


def _further(runs: list[Run]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the scores that no other table shows: name, and each run's value and interval."""
    shown = {"balanced_accuracy", *(key for key, _ in COLUMNS)}
    spans = [dict(run.metrics.get("intervals") or {}) for run in runs]
    names = [n for n in dict.fromkeys(name for its in spans for name in its) if n not in shown]
    return [
        (
            name.replace("_", " "),
            [
                (form.score(run.metrics.get(name)), form.span(its.get(name)))
                for run, its in zip(runs, spans, strict=True)
            ],
        )
        for name in names
    ] + _confirmed(runs)


def _confirmed(runs: list[Run]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return macro-F1 and accuracy over the images whose label another source confirms."""
    found = [dict(run.metrics.get("agreed") or {}) for run in runs]
    if not any(found):
        return []
    return [
        (
            f"{title}, confirmed labels",
            [(form.score(its.get(k)), form.span(dict(its.get("intervals") or {}).get(k)))
             for its in found],
        )
        for k, title in (("macro_f1", "macro-F1"), ("accuracy", "accuracy"))
    ]  # fmt: skip


def _confusion(run: Run) -> dict[str, Any]:
    """Return the confusion matrix of a run: as a picture, and as rows of a table."""
    m = run.metrics
    labels = [str(label) for label in m["labels"]]
    right = sum(row[i] for i, row in enumerate(m["confusion"]))
    label = (
        f"Confusion matrix of {run.name}: {right} of {m['n']} test images right, "
        f"{m['n'] - right} wrong; the counts follow as a table"
    )
    worst = [
        f"{true} taken for {called} ({n} of {total})"
        for n, total, true, called in sentences.mistakes(m)[:3]
    ]
    return {
        "run": run.name,
        "picture": figures.confusion(labels, m["confusion"], label),
        "labels": labels,
        "rows": list(zip(labels, m["confusion"], strict=True)),
        "worst": form.listed(worst),
    }


def _notes(runs: list[Run]) -> list[str]:
    """Return what was left out of the scores."""
    notes: dict[str, None] = {}
    for run in runs:
        skipped = [str(entry["path"]) for entry in run.metrics.get("skipped") or []]
        if skipped:
            n = form.count(len(skipped), "test image")
            names = ", ".join(skipped[:5]) + (", …" if len(skipped) > 5 else "")
            notes[f"Not scored, because unreadable: {n} ({names})."] = None
        absent = [str(label) for label in run.metrics.get("absent") or []]
        if absent:
            notes[f"Not scored, because no test image has it: {form.listed(absent)}."] = None
        answered = zip(run.metrics["labels"], np.sum(run.metrics["confusion"], axis=0), strict=True)
        never = [str(k) for k, n in answered if not n and run.metrics["per_class"][k]["support"]]
        if never:
            who = "" if len(runs) == 1 else f" by {run.name}"
            said = f"Never answered{who}, so precision and F1 count as 0: {form.listed(never)}."
            notes[said] = None
    return list(notes)
