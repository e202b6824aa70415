"""What went in: images a class, how they were parted, and what was left aside and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from naturalize.base.errors import ImageReadError
from naturalize.base.images import read_image
from naturalize.base.rng import rng
from naturalize.base.sheets import labelled_rows
from naturalize.report import charts, words
from naturalize.report.folder import StudyFolder
from naturalize.report.pictures import Picture, Pictures
from naturalize.report.section import Section
from naturalize.report.view_head import split_counts

if TYPE_CHECKING:
    import numpy as np

TITLE, ID = "What went in", "inputs"

#: The classes that the field abbreviates, by their prefix in PBC.
CLASS_NAMES = {
    "BA": "basophil",
    "BNE": "band neutrophil",
    "EO": "eosinophil",
    "ERB": "erythroblast",
    "IG": "immature granulocyte",
    "LY": "lymphocyte",
    "MMY": "metamyelocyte",
    "MO": "monocyte",
    "MY": "myelocyte",
    "NEU": "neutrophil",
    "PLT": "platelet",
    "PMY": "promyelocyte",
    "SNE": "segmented neutrophil",
}

_PARTS = ("train", "val", "test")
_SHOWN = 40
_EXAMPLES = 8


@dataclass(frozen=True)
class ClassRow:
    """One class: how many images in each part, how many composites, and its bar."""

    label: str
    name: str
    bar: Markup
    parts: tuple[str, ...]
    composites: str
    total: str


@dataclass(frozen=True)
class Aside:
    """Files that were not used, for one reason."""

    reason: str
    n: str
    paths: tuple[str, ...]
    more: str


def view(study: StudyFolder, pictures: Pictures) -> Section:
    """Return the section on the images that the study was given."""
    if "catalog" not in study.artifacts:
        return Section(ID, TITLE, "The study has no catalog yet, so its images are not listed.")
    counts = split_counts(study)
    totals = _totals(study, counts)
    added = _composites(study)
    dropped = {str(k): int(v) for k, v in dict(study.catalog.get("dropped") or {}).items()}
    return Section(
        ID,
        TITLE,
        _takeaway(study, totals, added),
        "inputs.html.j2",
        {
            "rows": _rows(study, counts, totals, added),
            "parts": [part for part in _PARTS if part in counts],
            "sums": _sums(counts, totals, added),
            "composed": bool(added),
            "asides": _asides(study),
            "dropped": [(name, words.count(n, "image")) for name, n in dropped.items()],
            "sheet": _examples(study, pictures),
        },
    )


def _totals(study: StudyFolder, counts: dict[str, dict[str, int]]) -> dict[str, int]:
    """Return label → number of images that the split uses, or that the catalog lists."""
    if counts:
        return {
            label: sum(part.get(label, 0) for part in counts.values()) for label in study.labels
        }
    table = study.artifacts["catalog"].table("catalog.parquet", ["label", "problem"])
    if table is None:
        return dict.fromkeys(study.labels, 0)
    found = Counter(row["label"] for row in table.to_pylist() if row["problem"] is None)
    return {label: found[label] for label in study.labels}


def _composites(study: StudyFolder) -> dict[str, int]:
    plan = study.artifacts.get("plan")
    table = plan.table("plan.parquet", ["label"]) if plan else None
    return dict(sorted(Counter(table["label"].to_pylist()).items())) if table is not None else {}


def _takeaway(study: StudyFolder, totals: dict[str, int], added: dict[str, int]) -> str:
    having = {label: n for label, n in totals.items() if n}
    if not having:
        return "The catalog holds no usable image."
    big = max(having, key=lambda label: (having[label], label))
    small = min(having, key=lambda label: (having[label], label))
    text = (
        f"{words.count(sum(totals.values()), 'image')} in "
        f"{words.count(len(having), 'class', 'classes')}"
    )
    if having[big] == having[small]:
        text += f", {words.number(having[big])} of each"
    else:
        text += (
            f": the largest, {big}, has {having[big] / having[small]:.1f} times as many images as "
            f"the smallest, {small} ({words.number(having[big])} to {words.number(having[small])})"
        )
    if added:
        text += f"; {words.count(sum(added.values()), 'composite')} were planned on top"
    return text + "."


def _rows(
    study: StudyFolder,
    counts: dict[str, dict[str, int]],
    totals: dict[str, int],
    added: dict[str, int],
) -> list[ClassRow]:
    widest = max((totals[x] + added.get(x, 0) for x in study.labels), default=0) or 1
    rows = []
    for label in study.labels:
        parts = {part: counts[part].get(label, 0) for part in _PARTS if part in counts}
        pieces = [
            (n / widest, f"part-{part}", f"{label}: {n} {part}") for part, n in parts.items()
        ] or [(totals[label] / widest, "part-train", f"{label}: {totals[label]}")]
        n = added.get(label, 0)
        pieces.append((n / widest, "part-composite", f"{label}: {n} composites"))
        rows.append(
            ClassRow(
                label,
                CLASS_NAMES.get(label, ""),
                charts.bar([piece for piece in pieces if piece[0] > 0]),
                tuple(words.number(n) for n in parts.values()),
                words.number(added[label]) if label in added else words.ABSENT,
                words.number(totals[label]),
            )
        )
    return rows


def _sums(
    counts: dict[str, dict[str, int]], totals: dict[str, int], added: dict[str, int]
) -> dict[str, Any]:
    return {
        "parts": [words.number(sum(counts[p].values())) for p in _PARTS if p in counts],
        "composites": words.number(sum(added.values())),
        "total": words.number(sum(totals.values())),
    }


def _asides(study: StudyFolder) -> list[Aside]:
    """Return what was passed over: files in the folder, by reason, and what the split left out."""
    found: dict[str, list[str]] = {}
    for entry in study.catalog.get("skipped") or []:
        found.setdefault(str(entry["reason"]), []).append(str(entry["path"]))
    split = study.artifacts.get("split")
    left_out = list(split.json("split.json").get("dropped") or []) if split else []
    if left_out:
        lines = [f"{entry['path']}: {entry['reason']}" for entry in left_out]
        found["left out of the split"] = lines
    return [
        Aside(reason, words.count(len(paths), "file"), tuple(paths[:_SHOWN]), more(paths, _SHOWN))
        for reason, paths in sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def more(things: Sequence[object], shown: int) -> str:
    """Return ``"and 12 more"`` for what a shortened list leaves out, or ``""``."""
    left = len(things) - shown
    return f"and {words.number(left)} more" if left > 0 else ""


def _examples(study: StudyFolder, pictures: Pictures) -> Picture | None:
    """Return a sheet of a few images a class; ``None`` where the images are no longer in place."""
    root = study.root
    columns = ["path", "label", "problem", "duplicate_of"]
    table = study.artifacts["catalog"].table("catalog.parquet", columns)
    if table is None or root is None:
        return None
    by_label: dict[str, list[str]] = {label: [] for label in study.labels}
    for row in table.to_pylist():
        if row["problem"] is None and row["duplicate_of"] is None and row["label"] in by_label:
            by_label[row["label"]].append(row["path"])
    rows = {
        label: [tile for path in _few(label, paths) if (tile := _read(root / path)) is not None]
        for label, paths in by_label.items()
    }
    rows = {label: tiles for label, tiles in rows.items() if tiles}
    if not rows:
        return None
    return pictures.array(
        labelled_rows(rows, tile=116),
        f"Example images, a row for each class: {words.listed(list(rows))}",
        "Examples, drawn at random from each class",
    )


def _few(label: str, paths: list[str]) -> list[str]:
    order = rng(0, "report examples", label).permutation(len(paths))[:_EXAMPLES]
    return [paths[i] for i in sorted(order)]


def _read(file: Path) -> np.ndarray | None:
    try:
        return read_image(file)
    except ImageReadError:
        return None
