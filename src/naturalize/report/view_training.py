"""Training: what each run was, and how its losses and scores went over the epochs."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from naturalize.base.errors import ArtifactError
from naturalize.report import charts, words
from naturalize.report.folder import Run, StudyFolder
from naturalize.report.pictures import Pictures
from naturalize.report.section import Section

TITLE, ID = "Training", "training"


@dataclass(frozen=True)
class RunCard:
    """One run: what sets it apart from the others, and its charts with their headings."""

    name: str
    key: Markup
    facts: tuple[str, ...]
    charts: tuple[tuple[str, Markup], ...]


def view(study: StudyFolder, _pictures: Pictures) -> Section:
    """Return the section on training."""
    runs = [run for run in study.runs if run.model is not None]
    if not runs:
        return Section(ID, TITLE, "No model has been trained in this study yet.")
    facts = [_facts(run) for run in runs]
    names = list(dict.fromkeys(name for its in facts for name in its))
    values = {name: [its.get(name, words.ABSENT) for its in facts] for name in names}
    # one run needs no table; of several, what all share is said once
    apart = [n for n in names if len(runs) > 1 and (n in _ALWAYS or len(set(values[n])) > 1)]
    return Section(
        ID,
        TITLE,
        _takeaway(runs),
        "training.html.j2",
        {
            "shared": [(name, values[name][0]) for name in names if name not in apart],
            "columns": apart,
            "cards": [
                RunCard(
                    run.name,
                    charts.marker(study.number(run)),
                    tuple(values[name][i] for name in apart),
                    _charts(run),
                )
                for i, run in enumerate(runs)
            ],
        },
    )


#: Facts that stand in the table of several runs even if all are equal.
_ALWAYS = ("best epoch", "macro-F1 on validation")


def _takeaway(runs: list[Run]) -> str:
    known = [run for run in runs if run.validation_f1 is not None]
    text = f"{words.count(len(runs), 'run')} {words.verb(len(runs), 'was', 'were')} trained"
    if not known:
        return text + "."
    best = max(known, key=lambda run: run.validation_f1 or 0.0)
    where = "" if len(runs) == 1 else f" by “{best.name}”"
    return (
        f"{text}; the best macro-F1 on the validation images, {words.score(best.validation_f1)}, "
        f"was reached{where}{_when(best)}."
    )


def _when(run: Run) -> str:
    training = dict(run.card.get("training") or {})
    epoch, epochs = training.get("best_epoch"), training.get("epochs_run")
    if epoch is None:
        return ""
    return f" in epoch {epoch}" + (f" of {epochs}" if epochs is not None else "")


def _facts(run: Run) -> dict[str, str]:
    """Return what a run was, as name → words."""
    card, training = run.card, dict(run.card.get("training") or {})
    settings = dict(training.get("settings") or {})
    side = card.get("input_size")
    found = {
        "network": card.get("architecture"),
        "weights at start": card.get("weights_source"),
        "mode": settings.get("mode"),
        "input": f"{side} × {side} pixels" if side else None,
        "parameters": _count(card.get("parameters")),
        "source images": _count(training.get("n_real")),
        "composites": _count(training.get("n_composites")),
        "images an epoch": _count(training.get("samples_per_epoch")),
        "class weights": settings.get("class_weights"),
        "sampler": settings.get("sampler"),
        "learning rate": settings.get("lr"),
        "batch": settings.get("batch_size"),
        "seed": settings.get("seed"),
        "epochs": training.get("epochs_run"),
        "best epoch": training.get("best_epoch"),
        "macro-F1 on validation": _score(run.validation_f1),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _count(n: int | None) -> str | None:
    return None if n is None else words.number(n)


def _score(value: float | None) -> str | None:
    return None if value is None else words.score(value)


def _charts(run: Run) -> tuple[tuple[str, Markup], ...]:
    """Return the charts of a run's history: losses, and scores on validation."""
    assert run.model is not None
    columns = history(run.model.path / "history.csv")
    epochs = columns.pop("epoch", [])
    best = dict(run.card.get("training") or {}).get("best_epoch")
    drawn = []
    for title, wanted, top in (
        ("Loss", ("loss",), None),
        ("Scores on validation", ("macro_f1", "accuracy"), 1.0),
    ):
        series = [
            charts.Series(_name(column), list(zip(epochs, ys, strict=True)))
            for column, ys in columns.items()
            if column.endswith(wanted) and ys
        ]
        if series:
            label = f"{title} of {run.name} over the epochs: {_ends(series)}"
            mark = None if best is None else float(best)
            drawn.append((title, charts.lines(series, label=label, best=mark, top=top)))
    return tuple(drawn)


#: Columns of ``history.csv`` as the charts name them.
_NAMES = {
    "train_loss": "training",
    "val_loss": "validation",
    "val_accuracy": "accuracy",
    "val_macro_f1": "macro-F1",
}


def _name(column: str) -> str:
    return _NAMES.get(column, column.replace("_", " "))


def _ends(series: list[charts.Series]) -> str:
    return words.listed([f"{s.name} ends at {s.points[-1][1]:.3f}" for s in series])


def history(file: Path) -> dict[str, list[float]]:
    """Return the columns of ``history.csv``; empty without the file or without epochs."""
    if not file.is_file():
        return {}
    try:
        rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}
    except (UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{file}: not a table of epochs ({error})") from error
