"""Explanations: which pixels counted, in correct answers and in the worst mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from naturalize.base.errors import ArtifactError
from naturalize.report import figures, sentences
from naturalize.report import formatting as form
from naturalize.report.folder import Artifact, Run, StudyFolder
from naturalize.report.section import TILE, Picture, Pictures, Section, in_turn

TITLE, ID = "Explanations", "explanations"

#: How many explained images of each sort, and lines of the table of mistakes, are shown.
_RIGHT, _WRONG, _LISTED = 11, 12, 12

#: Width in pixels and JPEG quality of a training cell beside them.
_SMALL = (160, 80)


@dataclass(frozen=True)
class Example:
    """One explained image: it and its overlays, one a method, and what the model said of it."""

    path: str
    label: str
    predicted: str
    confidence: str
    heat: str
    neighbours: str
    pictures: tuple[Picture, ...]


def view(study: StudyFolder, pictures: Pictures) -> Section:
    """Return the section on explanations and the worst mistakes."""
    artifact = study.artifacts.get("explanations")
    run = _run_of(study, artifact)
    predictions = _predictions(run)
    groups = _groups(artifact)
    missed = sorted(
        (row for row in predictions if row["label"] != row["predicted"]),
        key=lambda row: (-row["confidence"], row["path"]),
    )
    if not groups and not predictions:
        return Section(ID, TITLE, "No prediction of this study has been explained yet.")
    wrong = sorted(
        (g for g in groups if _is_wrong(g[0])),
        key=lambda g: (-float(g[0].get("confidence") or 0.0), g[0]["path"]),
    )
    right = in_turn(
        [g for g in groups if not _is_wrong(g[0])], lambda g: g[0]["label"], study.labels
    )
    methods = dict.fromkeys(str(entry["method"]) for group in groups for entry in group)
    name, sure = run.name if run else "", [row["confidence"] for row in missed]
    return Section(
        ID,
        TITLE,
        sentences.explanations(name, sure, len(predictions), len(groups)),
        "explanations.html.j2",
        {
            "run": name,
            "methods": form.listed(list(methods)),
            # mistakes first: if the budget of pictures runs out, it shall not be on these
            "wrong": _examples(artifact, wrong[:_WRONG], pictures),
            "right": _examples(artifact, right[:_RIGHT], pictures),
            "mistakes": missed[:_LISTED],
            **_checks(artifact),
        },
    )


def _checks(artifact: Artifact | None) -> dict[str, Any]:
    """Return the curves of insertion and deletion, their areas, and the heat of each class."""
    found = artifact.json("checks.json") if artifact else {}
    methods, classes = found.get("methods", {}), found.get("classes", {})
    reds = [label for label, its in classes.items() if its["looks_at_red_cells"]]
    return {
        "curves": [
            (name, _curves(name, methods, found["fractions"]))
            for name in ("insertion", "deletion")
            if methods
        ],
        "areas": [
            (name, form.score(its["insertion_auc"]), form.score(its["deletion_auc"]), its["n"])
            for name, its in methods.items()
        ],
        "parts": list(next(iter(classes.values()))["heat"]) if classes else [],
        "heat": [_row(label, its) for label, its in classes.items()],
        "red_cells": sentences.looks_at_red_cells(reds, len(classes)) if classes else "",
    }


def _curves(name: str, methods: dict[str, Any], fractions: list[float]) -> Any:
    return figures.curves(
        [figures.Curve(method, fractions, its[name]) for method, its in methods.items()],
        limits=((0.0, 1.0), (0.0, 1.0)),
        best=None,
        label=f"Mean probability of the explained class, {name}; the areas follow as a table",
        across=f"share of pixels, hottest first ({name})",
    )


def _row(label: str, its: dict[str, Any]) -> dict[str, Any]:
    parts = [(form.percent(its["heat"][p]), form.percent(its["area"][p])) for p in its["heat"]]
    return {"label": label, "n": its["n"], "parts": parts, "red": its["looks_at_red_cells"]}


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
    rows: list[dict[str, Any]] = [] if table is None else table.to_pylist()
    n, right = len(rows), sum(row["label"] == row["predicted"] for row in rows)
    counted = run.metrics.get("confusion")
    if rows and counted and (n, right) != (int(np.sum(counted)), int(np.trace(counted))):
        raise ArtifactError(
            f"{run.evaluation.path}: predictions.parquet has {right} right answers of {n}, "
            f"metrics.json {np.trace(counted)} of {np.sum(counted)}; evaluate the model again"
        )
    return rows


def _groups(artifact: Artifact | None) -> list[list[dict[str, Any]]]:
    """Return the explanations, those of one image together, in the artifact's order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in artifact.entries("explanations.json") if artifact else []:
        found.setdefault(str(entry["path"]), []).append(entry)
    return list(found.values())


def _examples(
    artifact: Artifact | None, groups: list[list[dict[str, Any]]], pictures: Pictures
) -> list[Example]:
    """Return the explained images whose pictures find room: the image, then its overlays."""
    if artifact is None:
        return []
    examples = []
    for group in groups:
        first = group[0]
        answer = f"{first['path']}, true class {first['label']}, predicted {first['predicted']}"
        files = [(str(first["image"]), answer, "image")] if first.get("image") else []
        for entry in group:
            alt = f"Heat map of {entry['method']}: {answer}"
            files.append((f"overlays/{entry['overlay']}", alt, str(entry["method"])))
        shown = [pictures.embed(artifact.path / f, alt, said, size=TILE) for f, alt, said in files]
        shown += [
            pictures.embed(artifact.path / near["image"], said, "neighbour", size=_SMALL)
            for near in first.get("neighbours", [])
            for said in [f"Training image like it: {near['path']}, class {near['label']}"]
        ]
        if kept := tuple(picture for picture in shown if picture is not None):
            examples.append(_example(first, kept))
    return examples


def _example(entry: dict[str, Any], shown: tuple[Picture, ...]) -> Example:
    confidence, inside, share = (
        entry.get(key) for key in ("confidence", "heat_inside", "cell_share")
    )
    heat = ""
    if inside is not None and share is not None:
        heat = f"{form.percent(inside)} of the heat on the cell, {form.percent(share)} of the image"
    near = [f"{n['label']} ({n['cosine']:.2f})" for n in entry.get("neighbours", [])]
    return Example(
        str(entry["path"]),
        str(entry["label"] or ""),
        str(entry["predicted"]),
        form.percent(confidence) if confidence is not None else "",
        heat,
        f"nearest training cells: {form.listed(near)}" if near else "",
        shown,
    )
