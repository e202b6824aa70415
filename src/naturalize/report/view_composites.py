"""The composites: real beside composed, what decided them, and where their cells come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from naturalize.report import words
from naturalize.report.folder import Artifact, StudyFolder
from naturalize.report.pictures import Pictures
from naturalize.report.section import Section

TITLE, ID = "Real beside composite", "composites"

_COLUMNS = ["label", "placements"]


@dataclass(frozen=True)
class Lineage:
    """How many composites have a parent outside train, said in a sentence, and counted again here.

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
    told = plan.json("plan.json")
    sheet = pictures.sheet(
        plan.path / "sheet.jpg", "Real images beside composite images, class by class"
    )
    return Section(
        ID,
        TITLE,
        _takeaway(table),
        "composites.html.j2",
        {
            "sheet": sheet,
            "facts": _facts(told, table),
            "lineage": lineage(study, plan, table),
        },
    )


def _takeaway(table: pa.Table) -> str:
    labels = sorted(set(table["label"].to_pylist()))
    n = table.num_rows
    kinds = [[p["kind"] for p in row] for row in table["placements"].to_pylist()]
    red = sum(kind.count("rbc") for kind in kinds)
    mean = f", each with {red / n:.1f} red cells on average" if n else ""
    return (
        f"{words.count(n, 'composite')} for {words.count(len(labels), 'class', 'classes')} "
        f"({words.listed(labels)}){mean}."
    )


def _facts(told: dict[str, Any], table: pa.Table) -> list[tuple[str, str]]:
    """Return what decided the composites, and what came of it, as pairs of name and value."""
    facts = {"mode": told.get("mode"), **dict(told.get("settings") or {}), "seed": told.get("seed")}
    blends = {str(p["blend"]) for row in table["placements"].to_pylist() for p in row}
    facts["blend"] = ", ".join(sorted(blends))
    used = [int(entry["most"]) for entry in dict(told.get("reuse") or {}).values()]
    if used:
        facts["most used target cell"] = words.count(max(used), "time")
    for name, n in dict(told.get("rejections") or {}).items():
        facts[str(name)] = words.count(int(n), "time")
    return [(k.replace("_", " "), _plain(v)) for k, v in facts.items() if v not in (None, "", [])]


def _plain(value: object) -> str:
    """Return a setting as a person writes it: ``[253.0, 229.0]`` → ``"253, 229"``."""
    if isinstance(value, list):
        return ", ".join(_plain(v) for v in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def lineage(study: StudyFolder, plan: Artifact, table: pa.Table) -> Lineage | None:
    """Return what ``lineage.json`` states, held against the plan and the split themselves."""
    told = plan.json("lineage.json")
    if "outside" not in told:
        return None
    outside, n = int(told["outside"]), int(told["n_composites"])
    recounted = _recount(study, table)
    statement = (
        f"{words.number(outside)} of {words.count(n, 'training composite')} "
        f"{words.verb(outside, 'has', 'have')} a parent outside train"
    )
    return Lineage(
        statement=statement,
        clean=outside == 0,
        recounted=recounted,
        agrees=recounted is None or (recounted <= outside and n == table.num_rows),
        parents=words.count(int(told.get("n_parents", 0)), "parent image"),
    )


def _recount(study: StudyFolder, table: pa.Table) -> int | None:
    split = study.artifacts.get("split")
    parts = split.table("split.parquet", ["image_id", "part"]) if split else None
    if parts is None:
        return None
    ids, part = parts["image_id"].to_pylist(), parts["part"].to_pylist()
    train = {i for i, p in zip(ids, part, strict=True) if p == "train"}
    return sum(
        any(p["image_id"] not in train for p in row) for row in table["placements"].to_pylist()
    )
