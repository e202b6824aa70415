"""The images: how many of each class, how they were split, and what was not used and why."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from naturalize.base.errors import ImageReadError
from naturalize.base.images import read_image
from naturalize.base.rng import rng
from naturalize.base.sheets import labelled_rows
from naturalize.dataset.schemes import CLASS_NAMES
from naturalize.report import formatting as form
from naturalize.report import sentences
from naturalize.report.folder import StudyFolder
from naturalize.report.section import SHEET, Picture, Pictures, Section

if TYPE_CHECKING:
    import numpy as np

TITLE, ID = "Images", "inputs"

_PARTS = ("train", "val", "test")
_EXAMPLES = 8


def view(study: StudyFolder, pictures: Pictures) -> Section:
    """Return the section on the images that the study was given."""
    if "catalog" not in study.artifacts:
        return Section(ID, TITLE, "The study has no catalog yet, so its images are not listed.")
    totals, composed = _totals(study), sum(study.composed.values())
    parts = [part for part in _PARTS if part in study.split_counts]
    dropped = {str(k): int(v) for k, v in dict(study.catalog.get("dropped") or {}).items()}
    return Section(
        ID,
        TITLE,
        sentences.inputs(totals, composed, pooled=study.pooled),
        "inputs.html.j2",
        {
            "rows": _rows(study, totals),
            "parts": parts,
            "sums": [sum(study.split_counts[part].values()) for part in parts],
            "total": sum(totals.values()),
            "composed": composed,
            "pooled": study.pooled,
            "asides": _asides(study),
            "dropped": [(name, form.count(n, "image")) for name, n in dropped.items()],
            "sheet": _examples(study, pictures),
        },
    )


def _totals(study: StudyFolder) -> dict[str, int]:
    """Return label → number of images that the split uses, or that the catalog lists."""
    if study.split_counts:
        parts = study.split_counts.values()
        return {label: sum(part.get(label, 0) for part in parts) for label in study.labels}
    table = study.table("catalog", "catalog.parquet", ["label", "problem"])
    if table is None:
        return dict.fromkeys(study.labels, 0)
    found = Counter(row["label"] for row in table.to_pylist() if row["problem"] is None)
    return {label: found[label] for label in study.labels}


def _rows(study: StudyFolder, totals: dict[str, int]) -> list[dict[str, Any]]:
    """Return a row for each class: its images in each part, its composites, and its bar."""
    counts = {part: study.split_counts[part] for part in _PARTS if part in study.split_counts}
    added = study.composed
    on_top = {} if study.pooled else added
    widest = max((totals[x] + on_top.get(x, 0) for x in study.labels), default=0) or 1
    rows = []
    for label in study.labels:
        parts = {part: of.get(label, 0) for part, of in counts.items()}
        bar = {f"part-{part}": n for part, n in (parts or {"train": totals[label]}).items()}
        bar["part-composite"] = on_top.get(label, 0)
        rows.append(
            {
                "label": label,
                "name": CLASS_NAMES.get(label, ""),
                "bar": [(n / widest, style) for style, n in bar.items() if n],
                "parts": list(parts.values()),
                "composites": form.number(added[label]) if label in added else form.ABSENT,
                "total": totals[label],
            }
        )
    return rows


def _asides(study: StudyFolder) -> list[dict[str, Any]]:
    """Return what was not used: files in the folder, by reason, and what the split left out."""
    found: dict[str, list[str]] = {}
    for entry in study.catalog.get("skipped") or []:
        found.setdefault(str(entry["reason"]), []).append(str(entry["path"]))
    for entry in study.json("split", "split.json").get("dropped") or []:
        line = f"{entry['path']}: {entry['reason']}"
        found.setdefault("left out of the split", []).append(line)
    return [
        {"reason": f"{form.count(len(paths), 'file')}: {reason}", **form.few(paths)}
        for reason, paths in sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def _examples(study: StudyFolder, pictures: Pictures) -> Picture | None:
    """Return a sheet of a few images a class; ``None`` where the images are no longer in place."""
    root = study.root
    columns = ["path", "label", "problem", "duplicate_of"]
    table = study.table("catalog", "catalog.parquet", columns)
    if table is None or root is None:
        return None
    by_label: dict[str, list[str]] = {label: [] for label in study.labels}
    for row in table.to_pylist():
        if row["problem"] is None and row["duplicate_of"] is None and row["label"] in by_label:
            by_label[row["label"]].append(row["path"])
    found = {label: _drawn(root, label, paths) for label, paths in by_label.items()}
    rows = {label: tiles for label, tiles in found.items() if tiles}
    if not rows:
        return None
    return pictures.embed(
        labelled_rows(rows, tile=116),
        f"Example images, a row for each class: {form.listed(list(rows))}",
        "Examples, drawn at random from each class",
        size=SHEET,
    )


def _drawn(root: Path, label: str, paths: list[str]) -> list[np.ndarray]:
    images = []
    for i in sorted(rng(0, "report examples", label).permutation(len(paths))[:_EXAMPLES]):
        with suppress(ImageReadError):
            images.append(read_image(root / paths[i]))
    return images
