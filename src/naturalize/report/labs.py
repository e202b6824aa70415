"""Other laboratories: how the model does where it was never trained, from a `labs` artifact."""

from __future__ import annotations

from typing import Any

from naturalize.report import figures, sentences
from naturalize.report import formatting as form
from naturalize.report.folder import StudyFolder
from naturalize.report.section import Pictures, Section

TITLE, ID = "Laboratories", "labs"

#: The columns of the table: key in ``labs.json`` and heading.
_COLUMNS = (
    ("balanced_accuracy", "balanced accuracy"),
    ("macro_f1", "macro-F1"),
    ("ece", "calibration error"),
    ("aurc", "area under risk–coverage"),
    ("coverage_at_risk", "coverage at 5 % risk"),
)


def view(study: StudyFolder, _pictures: Pictures) -> Section:
    """Return the section on laboratories; see `naturalize.report.page` for where it stands."""
    found = study.artifacts["labs"].json("labs.json")
    models = found["models"]
    first = next(iter(models))
    names = [*found["laboratories"], "mean"]
    points = [
        figures.Point(row, number, scores["value"], scores["interval"])
        for number, its in enumerate(models.values())
        for row, scores in enumerate(_of_each(its, "balanced_accuracy"))
    ]
    label = "Balanced accuracy by laboratory with its interval; the numbers follow as a table"
    return Section(
        ID,
        TITLE,
        takeaway(found),
        "labs.html.j2",
        {
            "columns": [heading for _, heading in _COLUMNS],
            "models": [{"name": name, "key": figures.key(i)} for i, name in enumerate(models)],
            "forest": figures.scores_by_class(names, points, len(models), label),
            "rows": [
                row for i, model in enumerate(models) for row in _rows(model, i, models[model])
            ],
            "mixes": _mixes(models),
            "risks": [
                (name, _risk(name, its["laboratories"], f"{ID} {name}"))
                for name, its in models.items()
            ],
            "answers": _answers(models[first]["laboratories"]),
            "first": first,
            "left_out": _left_out(found["laboratories"]),
            "method": str(found["interval_method"]).replace(" %", f"{form.NBSP}%"),
        },
    )


def takeaway(found: dict[str, Any]) -> str:
    """Return the sentence on ``labs.json``'s first model."""
    name, its = next(iter(found["models"].items()))
    over = its["overall"]["as found"]
    return sentences.labs(
        name,
        len(found["laboratories"]),
        over["mean"]["balanced_accuracy"],
        over["worst"]["balanced_accuracy"],
        sure=sum(entry["n_sure_wrong"] for entry in its["laboratories"].values()),
        wrong=sum(entry["n_wrong"] for entry in its["laboratories"].values()),
    )


def _of_each(its: dict[str, Any], score: str) -> list[dict[str, Any]]:
    each = [entry["mixes"]["as found"]["scores"] for entry in its["laboratories"].values()]
    return [scores[score] for scores in [*each, its["overall"]["as found"]["mean"]]]


def _rows(model: str, number: int, its: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row of the table for each laboratory, and one for their mean."""
    names = [*its["laboratories"], "mean"]
    counts = [entry["n"] for entry in its["laboratories"].values()] + [its["n"]]
    columns = [_of_each(its, score) for score, _ in _COLUMNS]
    return [
        {
            "model": model,
            "key": figures.key(number),
            "where": name,
            "last": form.number(n),
            "scores": [
                (form.score(column[i]["value"]), form.span(column[i]["interval"]))
                for column in columns
            ],
        }
        for i, (name, n) in enumerate(zip(names, counts, strict=True))
    ]


def _mixes(models: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the mean scores under each mix of classes."""
    return [
        {
            "model": model,
            "key": figures.key(number),
            "where": mix,
            "scores": [
                (form.score(each["mean"][key]["value"]), form.span(each["mean"][key]["interval"]))
                for key in ("accuracy", "macro_f1", "ece")
            ],
            "last": f"{form.score(each['worst']['accuracy']['value'])} "
            f"({each['worst']['accuracy']['laboratory']})",
        }
        for number, (model, its) in enumerate(models.items())
        for mix, each in its["overall"].items()
    ]


def _risk(model: str, each: dict[str, Any], salt: str) -> Any:
    drawn = [
        figures.Curve(name, entry["risk_coverage"]["coverage"], entry["risk_coverage"]["risk"])
        for name, entry in each.items()
    ]
    return figures.curves(
        drawn,
        limits=((0.0, 1.0), (0.0, 1.0)),
        best=None,
        label=f"Risk at each coverage, {model}, by laboratory ({salt})",
        across="coverage: share answered, the surest first",
    )


def _answers(each: dict[str, Any]) -> list[dict[str, str]]:
    """Return what the first model's answers were, by laboratory."""
    return [
        {
            "laboratory": name,
            "wrong": form.number(entry["n_wrong"]),
            "sure": form.number(entry["n_sure_wrong"]),
            "unsure": form.number(entry["n_unsure"]),
            "empty": form.number(entry["n_no_cell"]),
        }
        for name, entry in each.items()
    ]


def _left_out(each: dict[str, Any]) -> list[str]:
    """Return what was not scored, and which classes a laboratory lacks, a line each."""
    lines = []
    for name, lab in each.items():
        if lab["left_out"]:
            said = form.listed([f"{form.number(n)} {why}" for why, n in lab["left_out"].items()])
            lines.append(f"{name}: of {form.count(lab['n_images'], 'image')} left out: {said}.")
        if lab["absent"]:
            lines.append(f"{name}: has no {form.listed(lab['absent'])}.")
    return lines
