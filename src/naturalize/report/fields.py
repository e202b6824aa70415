"""Whole fields: what was read in them, from a `fields` artifact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from naturalize.base.plots import KIND_KEY
from naturalize.report import formatting as form
from naturalize.report import sentences
from naturalize.report.folder import Artifact, StudyFolder
from naturalize.report.section import SHEET, Pictures, Section

TITLE, ID = "Whole fields", "fields"

#: Overlays that are shown, and folders whose differential is.
_OVERLAYS, _FOLDERS = 4, 12

_COLUMNS = ["field", "outcome", "n_wbc", "n_rbc", "n_platelet"]


def view(study: StudyFolder, pictures: Pictures) -> Section:
    """Return the section on whole fields; see `naturalize.report.page` for where it stands."""
    artifact = study.artifacts["fields"]
    table = artifact.table("fields.parquet", _COLUMNS)
    rows: list[dict[str, Any]] = [] if table is None else table.to_pylist()
    differentials = artifact.entries("differential.json")
    what = "White cells of the fields by class"
    return Section(
        ID,
        TITLE,
        sentences.fields(rows, sum(entry["cells"] for entry in differentials)),
        "fields.html.j2",
        {
            "folders": [_folder(entry) for entry in differentials[:_FOLDERS]],
            "more": max(0, len(differentials) - _FOLDERS),
            "outcomes": Counter(row["outcome"] for row in rows).most_common(),
            "overlays": _overlays(artifact, pictures),
            "key": KIND_KEY.replace(" (nucleus bright green)", ""),
            "sheet": pictures.embed(artifact.path / "sheet.jpg", what, size=SHEET),
        },
    )


def _folder(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a folder's differential as rows of a table."""
    red = entry["erythroblasts_per_100"]
    return {
        "name": "all fields" if entry["folder"] == "." else entry["folder"],
        "cells": form.count(entry["cells"], "white cell"),
        "fields": form.count(entry["fields"], "field"),
        "left_out": form.listed(
            [f"{form.count(n, 'field')} ({why})" for why, n in entry["left_out"].items()]
            + ([f"{form.count(entry['cut'], 'cell')} cut by the edge"] if entry["cut"] else [])
        ),
        "classes": [_class(share) for share in entry["classes"]],
        "red": red and f"{red['value']:.1f} ({red['low']:.1f}–{red['high']:.1f})",
    }


def _class(share: dict[str, Any]) -> dict[str, Any]:
    known = share["share"] is not None
    return {
        "name": f"{share['label']} {share['name']}".rstrip(),
        "n": form.number(share["n"]),
        "unsure": form.number(share["unsure"]),
        "share": f"{100 * share['share']:.1f}" if known else form.ABSENT,
        "span": f"{100 * share['low']:.1f}–{100 * share['high']:.1f}" if known else form.ABSENT,
        "bar": [(share["share"] or 0.0, "plain")],
    }


def _overlays(artifact: Artifact, pictures: Pictures) -> list[Any]:
    """Embed some fields with their outlines, from all over the list."""
    files: Sequence[Path] = sorted((artifact.path / "overlays").rglob("*.jpg"))
    found = []
    for file in files[:: max(1, -(-len(files) // _OVERLAYS))]:
        name = file.relative_to(artifact.path / "overlays").with_suffix("").as_posix()
        shown = pictures.embed(file, f"Cells found in {name}", name, size=SHEET)
        found += [shown] if shown else []
    return found
