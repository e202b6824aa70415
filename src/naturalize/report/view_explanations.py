"""Explanations: where the model looked, when it was right and in its worst mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from naturalize.report import words
from naturalize.report.folder import Artifact, Run, StudyFolder
from naturalize.report.pictures import Picture, Pictures
from naturalize.report.section import Section

TITLE, ID = "Explanations", "explanations"

#: How many explained images of each sort, and lines of the table of mistakes, are shown.
_RIGHT, _WRONG, _LISTED = 11, 12, 12


@dataclass(frozen=True)
class Example:
    """One explained image: it and its overlays, one a method, and what the model said of it."""

    path: str
    label: str
    predicted: str
    confidence: str
    heat: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Mistake:
    """One line of the table of mistakes."""

    path: str
    label: str
    predicted: str
    confidence: str


def view(study: StudyFolder, pictures: Pictures) -> Section:
    """Return the section on explanations and the worst mistakes."""
    artifact = study.artifacts.get("explanations")
    run = _run_of(study, artifact)
    predictions = _predictions(run)
    groups = _groups(artifact)
    if not groups and not predictions:
        return Section(ID, TITLE, "No prediction of this study has been explained yet.")
    wrong = sorted(
        (g for g in groups if _is_wrong(g[0])),
        key=lambda g: (-float(g[0].get("confidence") or 0.0), g[0]["path"]),
    )
    right = _one_a_class([g for g in groups if not _is_wrong(g[0])], study.labels)
    # mistakes first: if the budget of pictures runs out, it shall not be on these
    shown_wrong = _examples(artifact, wrong[:_WRONG], pictures) if artifact else []
    shown_right = _examples(artifact, right[:_RIGHT], pictures) if artifact else []
    methods = dict.fromkeys(str(entry["method"]) for group in groups for entry in group)
    return Section(
        ID,
        TITLE,
        _takeaway(run, predictions, groups),
        "explanations.html.j2",
        {
            "run": run.name if run else "",
            "methods": words.listed(list(methods)),
            "wrong": shown_wrong,
            "right": shown_right,
            "mistakes": _mistakes(predictions),
        },
    )


def _is_wrong(entry: dict[str, Any]) -> bool:
    return entry["label"] is not None and entry["label"] != entry["predicted"]


def _run_of(study: StudyFolder, artifact: Artifact | None) -> Run | None:
    """Return the run that was explained: by the fingerprints it came from, else the chosen one."""
    for run in study.runs:
        known = {part.fingerprint for part in (run.model, run.evaluation) if part is not None}
        if artifact is not None and known & set(artifact.inputs.values()):
            return run
    return study.chosen


def _predictions(run: Run | None) -> list[dict[str, Any]]:
    if run is None or run.evaluation is None:
        return []
    columns = ["path", "label", "predicted", "confidence"]
    table = run.evaluation.table("predictions.parquet", columns)
    return [] if table is None else table.to_pylist()


def _groups(artifact: Artifact | None) -> list[list[dict[str, Any]]]:
    """Return the explanations, those of one image together, in the artifact's order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in artifact.entries("explanations.json") if artifact else []:
        found.setdefault(str(entry["path"]), []).append(entry)
    return list(found.values())


def _one_a_class(
    groups: list[list[dict[str, Any]]], labels: tuple[str, ...]
) -> list[list[dict[str, Any]]]:
    """Return the groups in the order of the classes, the first of each class before any second."""
    seen: dict[str, int] = {}
    turns: list[tuple[int, int, int, list[dict[str, Any]]]] = []
    for group in groups:
        label = str(group[0]["label"])
        seen[label] = seen.get(label, 0) + 1
        place = labels.index(label) if label in labels else len(labels)
        turns.append((seen[label], place, len(turns), group))
    return [group for *_, group in sorted(turns, key=lambda turn: turn[:3])]


def _examples(
    artifact: Artifact, groups: list[list[dict[str, Any]]], pictures: Pictures
) -> list[Example]:
    """Return the explained images whose pictures find room: the image, then its overlays."""
    examples = []
    for group in groups:
        first = group[0]
        said = f"truly {first['label']}, called {first['predicted']}"
        shown = [
            pictures.tile(
                artifact.path / "overlays" / str(entry["overlay"]),
                f"Where the model looked ({entry['method']}): {entry['path']}, {said}",
                str(entry["method"]),
            )
            for entry in group
        ]
        if first.get("image"):
            original = artifact.path / str(first["image"])
            shown.insert(0, pictures.tile(original, f"{first['path']}, {said}", "image"))
        kept = tuple(picture for picture in shown if picture is not None)
        if kept:
            examples.append(_example(first, kept))
    return examples


def _example(entry: dict[str, Any], shown: tuple[Picture, ...]) -> Example:
    confidence, inside, share = (
        entry.get(key) for key in ("confidence", "heat_inside", "cell_share")
    )
    heat = ""
    if inside is not None and share is not None:
        heat = (
            f"{words.percent(inside)} of the heat on the cell, {words.percent(share)} of the image"
        )
    return Example(
        str(entry["path"]),
        str(entry["label"] or ""),
        str(entry["predicted"]),
        words.percent(confidence) if confidence is not None else "",
        heat,
        shown,
    )


def _mistakes(predictions: list[dict[str, Any]]) -> list[Mistake]:
    """Return the mistakes that the model was surest of."""
    wrong = [row for row in predictions if row["label"] != row["predicted"]]
    wrong.sort(key=lambda row: (-row["confidence"], row["path"]))
    return [
        Mistake(row["path"], row["label"], row["predicted"], words.percent(row["confidence"]))
        for row in wrong[:_LISTED]
    ]


def _takeaway(
    run: Run | None, predictions: list[dict[str, Any]], groups: list[list[dict[str, Any]]]
) -> str:
    n = len(groups)
    explained = f"{words.count(n, 'prediction')} {words.verb(n, 'is', 'are')} explained"
    if not predictions or run is None:
        return explained + "."
    wrong = [row for row in predictions if row["label"] != row["predicted"]]
    images = words.count(len(predictions), "test image")
    text = f"“{run.name}” is wrong on {words.number(len(wrong))} of {images}"
    if wrong:
        sure = sum(1 for row in wrong if row["confidence"] >= 0.9)
        many = words.number(sure) if sure else "none"
        text += f", {many} of them with a confidence of 90{words.NBSP}% or more"
    return f"{text}; {explained}."
