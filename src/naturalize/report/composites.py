"""The composites: real beside composed, what decided them, and where their cells come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.report import formatting as form
from naturalize.report import sentences
from naturalize.report.folder import Artifact, StudyFolder
from naturalize.report.section import SHEET, Pictures, Section

TITLE, ID = "Composites", "composites"

_COLUMNS = ["label", "background_id", "placements"]

#: What varies of cells: its name here, its field, its unit.
_MEASURES = (
    ("size in the composite / in the cell's own image", "scale", ""),
    ("factor on optical density", "stain_scale", ""),
    ("blur", "blur", " pixels (σ)"),
)


@dataclass(frozen=True)
class Lineage:
    """How many composites have a parent outside train, in a sentence, and counted again here.

    ``recounted`` is the report's own count from the plan and the split (placed cells only; ``None``
    where one of the two is absent); ``agrees`` is false when the stated figure is below it.
    """

    statement: str
    clean: bool
    recounted: int | None
    agrees: bool
    parents: str


def view(study: StudyFolder, pictures: Pictures) -> Section:
    """Return the section on the composites."""
    plan = study.artifacts.get("plan")
    table = plan.table("plan.parquet", _COLUMNS) if plan else None
    if plan is None or table is None:
        return Section(ID, TITLE, "No composites: the models of this study saw no composed image.")
    recorded = plan.json("plan.json")
    what = "Real images beside composite images, class by class"
    sheet = pictures.embed(plan.path / "sheet.jpg", what, size=SHEET)
    kinds = [p["kind"] for row in table["placements"].to_pylist() for p in row]
    return Section(
        ID,
        TITLE,
        sentences.composites(table["label"].to_pylist(), kinds.count("rbc")),
        "composites.html.j2",
        {
            "sheet": sheet,
            "facts": _facts(recorded, table),
            "lineage": lineage(study, plan, table),
        },
    )


def _facts(recorded: dict[str, Any], table: pa.Table) -> list[tuple[str, str]]:
    """Return what decided the composites, and what came of it, as pairs of name and value."""
    facts = {
        "mode": recorded.get("mode"),
        **dict(recorded.get("settings") or {}),
        "seed": recorded.get("seed"),
    }
    blends = {str(p["blend"]) for row in table["placements"].to_pylist() for p in row}
    facts["blend"] = ", ".join(sorted(blends))
    facts |= _varied(table)
    used = [int(entry["most"]) for entry in dict(recorded.get("reuse") or {}).values()]
    if used:
        facts["most used target cell"] = form.count(max(used), "time")
    for name, n in dict(recorded.get("rejections") or {}).items():
        facts[str(name)] = form.count(int(n), "time")
    return [(k.replace("_", " "), _plain(v)) for k, v in facts.items() if v not in (None, "", [])]


def _varied(table: pa.Table) -> dict[str, str]:
    """Return how much the cells of all composites vary, and how many stand alone, if any."""
    rows = table.select(["background_id", "placements"]).to_pylist()
    placed = [p for row in rows for p in row["placements"]]
    facts = {}
    for name, column, unit in _MEASURES:
        values = np.ravel([p[column] for p in placed])
        if len(values) and values.min() < values.max():
            facts[name] = f"{values.min():.2f} to {values.max():.2f}{unit}"
    alone = sum(row["background_id"] is None and len(row["placements"]) == 1 for row in rows)
    if alone:
        facts["white cells set alone"] = form.count(alone, "composite")
    return facts


def _plain(value: object) -> str:
    """Return a setting as a person writes it: ``[253.0, 229.0]`` → ``"253, 229"``."""
    if isinstance(value, list):
        return ", ".join(_plain(v) for v in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def lineage(study: StudyFolder, plan: Artifact, table: pa.Table) -> Lineage | None:
    """Return what ``lineage.json`` states, held against the plan and the split themselves."""
    recorded = plan.json("lineage.json")
    if "outside" not in recorded:
        return None
    outside, n = int(recorded["outside"]), int(recorded["n_composites"])
    recounted = _recount(study, table)
    return Lineage(
        statement=sentences.lineage(outside, n),
        clean=outside == 0,
        recounted=recounted,
        agrees=recounted is None or (recounted <= outside and n == table.num_rows),
        parents=form.count(int(recorded.get("n_parents", 0)), "parent image"),
    )


def _recount(study: StudyFolder, table: pa.Table) -> int | None:
    parts = study.table("split", "split.parquet", ["image_id", "part"])
    if parts is None:
        return None
    train = {row["image_id"] for row in parts.to_pylist() if row["part"] == "train"}
    return sum(
        any(p["image_id"] not in train for p in row) for row in table["placements"].to_pylist()
    )
