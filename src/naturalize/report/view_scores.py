"""Scores: every run with its intervals, class by class, against each other, and the mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from naturalize.report import charts, words
from naturalize.report.folder import Run, StudyFolder
from naturalize.report.pictures import Pictures
from naturalize.report.section import Section
from naturalize.report.view_head import interval_name
from naturalize.report.view_inputs import CLASS_NAMES

TITLE, ID = "Scores", "scores"

#: The columns of the table of runs: key in ``metrics.json`` and heading.
COLUMNS = (
    ("macro_f1", "macro-F1"),
    ("macro_precision", "macro precision"),
    ("macro_recall", "macro recall"),
    ("accuracy", "accuracy"),
)


@dataclass(frozen=True)
class RunScores:
    """One run of the table: its scores as ``(value, interval)`` in the order of `COLUMNS`."""

    name: str
    key: Markup
    scores: tuple[tuple[str, str], ...]
    n: str
    chosen: bool


@dataclass(frozen=True)
class ClassScores:
    """One class: its support, the F1 of each run, and the dots that show them."""

    label: str
    name: str
    support: str
    dots: Markup
    values: tuple[str, ...]


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix of one run: as a picture, and as rows of a table."""

    run: str
    picture: Markup
    labels: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    worst: str


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same images, in words."""

    said: str
    clear: bool
    difference: str
    interval: str
    counts: str
    p: str


def view(study: StudyFolder, _pictures: Pictures) -> Section:
    """Return the section on the scores."""
    chosen = study.chosen
    if chosen is None:
        return Section(ID, TITLE, "No model of this study has been evaluated yet.")
    numbered = [(study.number(run), run) for run in study.scored]
    low = _low_end([run for _, run in numbered])
    others = [run for _, run in numbered if run is not chosen]
    return Section(
        ID,
        TITLE,
        _takeaway(study, chosen),
        "scores.html.j2",
        {
            "columns": [heading for _, heading in COLUMNS],
            "runs": [_run(run, i, run is chosen) for i, run in numbered],
            "interval": interval_name(chosen.metrics),
            "method": str(chosen.metrics.get("interval_method", "")).replace(
                " %", f"{words.NBSP}%"
            ),
            "choice": _choice(study),
            "classes": _classes(numbered, low),
            "axis": charts.dots_axis(low),
            "comparisons": [
                comparison(p) for p in study.comparisons if chosen.name in (p["a"], p["b"])
            ],
            "other_comparisons": [
                comparison(p) for p in study.comparisons if chosen.name not in (p["a"], p["b"])
            ],
            "confusion": _confusion(chosen),
            "others": [_confusion(run) for run in others],
            "calibration": _calibration(chosen),
            "notes": _notes([run for _, run in numbered]),
        },
    )


def _takeaway(study: StudyFolder, chosen: Run) -> str:
    m = chosen.metrics
    text = f"“{chosen.name}” names {words.percent(m['accuracy'])} of the test images rightly"
    for n, total, true, called in mistakes(m)[:1]:
        text += (
            f"; its most frequent mistake is {true} taken for {called} "
            f"({words.number(n)} of {words.number(total)})"
        )
    held_against = [pair for pair in study.comparisons if chosen.name in (pair["a"], pair["b"])]
    if held_against and not any(is_clear(pair) for pair in held_against):
        others = words.verb(len(held_against), "the other run", "the other runs")
        text += f". Its lead over {others} is not beyond chance"
    return text + "."


def _choice(study: StudyFolder) -> str:
    if len(study.scored) < 2:
        return ""
    if study.chosen_by_validation:
        return "The marked run was chosen on the validation images; test images decided nothing."
    return (
        "The marked run has the best score on the test images themselves, so its score is a little "
        "too kind."
    )


def _run(run: Run, number: int, chosen: bool) -> RunScores:
    intervals = dict(run.metrics.get("intervals") or {})
    scores = tuple(
        (words.score(run.metrics.get(key)), words.span(intervals.get(key))) for key, _ in COLUMNS
    )
    n = words.number(run.metrics["n"])
    return RunScores(run.name, charts.marker(number), scores, n, chosen)


def class_interval(metrics: dict[str, Any], label: str) -> list[float] | None:
    """Return the interval of a class's F1, where the evaluation gives one."""
    found = dict(dict(metrics.get("per_class_intervals") or {}).get(label) or {})
    return found.get("f1")


def _tested(metrics: dict[str, Any]) -> list[str]:
    return [label for label in metrics["labels"] if metrics["per_class"][label]["support"]]


def _low_end(runs: list[Run]) -> float:
    """Return where the axis of F1 begins for all runs together."""
    values = []
    for run in runs:
        for label in _tested(run.metrics):
            values.append(run.metrics["per_class"][label]["f1"])
            values += class_interval(run.metrics, label) or []
    return charts.low_end(values)


def _classes(numbered: list[tuple[int, Run]], low: float) -> list[ClassScores]:
    labels = dict.fromkeys(label for _, run in numbered for label in _tested(run.metrics))
    rows = []
    for label in labels:
        points, supports = [], set()
        for number, run in numbered:
            entry = run.metrics["per_class"].get(label)
            if not entry or not entry["support"]:
                continue
            interval = class_interval(run.metrics, label)
            title = f"{run.name}, {label}: F1 {words.score(entry['f1'])} ({words.span(interval)})"
            points.append(charts.Point(entry["f1"], interval, number, title))
            supports.add(entry["support"])
        rows.append(
            ClassScores(
                label,
                CLASS_NAMES.get(label, ""),
                " / ".join(words.number(n) for n in sorted(supports)),
                charts.dots(points, low=low),
                tuple(
                    words.score(dict(run.metrics["per_class"].get(label) or {}).get("f1"))
                    for _, run in numbered
                ),
            )
        )
    return rows


def says_chance(pair: dict[str, Any]) -> tuple[bool, bool]:
    """Return whether the interval, and whether the test, leaves room for mere chance."""
    low, high = pair["interval"]
    return bool(low <= 0 <= high), bool(pair["p_value"] >= 0.05)


def is_clear(pair: dict[str, Any]) -> bool:
    """Return whether a difference lies beyond chance by both the interval and the test."""
    return not any(says_chance(pair))


def comparison(pair: dict[str, Any]) -> Comparison:
    """Return one paired comparison in words: who is better, by how much, and how sure that is.

    ``comparisons.json`` tells a − b; here the better run is named first, so the difference is
    never negative.
    """
    change, interval = float(pair["macro_f1_difference"]), [float(v) for v in pair["interval"]]
    first, second = str(pair["a"]), str(pair["b"])
    only = [int(pair["mcnemar"][key]) for key in ("only_a_right", "only_b_right")]
    if change < 0:
        first, second = second, first
        change, interval = -change, [-interval[1], -interval[0]]
        only.reverse()
    if is_clear(pair):
        said = f"“{first}” is better than “{second}”:"
    elif change == 0:
        said = f"“{first}” and “{second}” have the same macro-F1:"
    elif all(says_chance(pair)):
        said = f"“{first}” scores higher than “{second}”, but the difference may be chance:"
    else:
        said = f"“{first}” scores higher than “{second}”, but interval and test do not agree:"
    return Comparison(
        said=said,
        clear=is_clear(pair),
        difference=words.difference(change),
        interval=words.signed_span(interval),
        counts=(
            f"Of {words.count(int(pair['n']), 'image')}, {words.number(only[0])} are right with "
            f"“{first}” only and {words.number(only[1])} with “{second}” only"
        ),
        p=words.p_value(float(pair["p_value"])),
    )


def mistakes(metrics: dict[str, Any]) -> list[tuple[int, int, str, str]]:
    """Return the mistakes, most frequent first: how often, of how many, true and called class."""
    labels, matrix = metrics["labels"], metrics["confusion"]
    found = [
        (value, sum(row), labels[i], labels[j])
        for i, row in enumerate(matrix)
        for j, value in enumerate(row)
        if i != j and value
    ]
    # of equally many, the larger share of its class first, then by name
    return sorted(found, key=lambda f: (-f[0], f[1], f[2], f[3]))


def _confusion(run: Run) -> Confusion:
    m = run.metrics
    labels = tuple(str(label) for label in m["labels"])
    wrong = m["n"] - sum(row[i] for i, row in enumerate(m["confusion"]))
    label = (
        f"Confusion matrix of {run.name}: {m['n'] - wrong} of {m['n']} test images right, "
        f"{wrong} wrong; the counts follow as a table"
    )
    rows = tuple(
        (name, tuple(str(v) for v in row)) for name, row in zip(labels, m["confusion"], strict=True)
    )
    worst = words.listed(
        [
            f"{true} taken for {called} ({n} of {total})"
            for n, total, true, called in mistakes(m)[:3]
        ]
    )
    return Confusion(run.name, charts.confusion(labels, m["confusion"], label), labels, rows, worst)


def _calibration(run: Run) -> str:
    """Return one sentence on whether the model's confidence can be believed."""
    told = dict(run.metrics.get("calibration") or {})
    ece = told.get("ece")
    if ece is None:
        return ""
    return (
        f"Its confidence is off by {float(ece) * 100:.1f} percentage points on average "
        "(expected calibration error)."
    )


def _notes(runs: list[Run]) -> list[str]:
    """Return what was left out of the scores."""
    notes: dict[str, None] = {}
    for run in runs:
        skipped = [str(entry["path"]) for entry in run.metrics.get("skipped") or []]
        if skipped:
            n = words.count(len(skipped), "test image")
            names = ", ".join(skipped[:5]) + (", …" if len(skipped) > 5 else "")
            notes[f"Not scored, because unreadable: {n} ({names})."] = None
        absent = [str(label) for label in run.metrics.get("absent") or []]
        if absent:
            notes[f"Not scored, because no test image has it: {words.listed(absent)}."] = None
    return list(notes)
