"""The cells: what segmentation found, and which of them may be composed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base.display import rows_of
from naturalize.base.errors import ImageReadError
from naturalize.base.images import read_image
from naturalize.base.plots import KIND_KEY
from naturalize.base.rng import rng
from naturalize.report import formatting as form
from naturalize.report import sentences
from naturalize.report.folder import Artifact, StudyFolder
from naturalize.report.section import SHEET, TILE, Picture, Pictures, Section, in_turn

TITLE, ID = "Cells", "cells"

_KINDS = {
    "wbc": ("nucleated cell", "nucleated cells"),
    "rbc": ("red cell", "red cells"),
    "platelet": ("platelet", "platelets"),
}
_BANK_COLUMNS = ["kind", "label", "target", "accepted", "reason"]
_CELL_COLUMNS = ["image_id", "kind", "x0", "y0", "x1", "y1", "mask"]
_OVERLAYS = 8


def view(study: StudyFolder, pictures: Pictures) -> Section:
    """Return the section on segmentation and the bank."""
    cells, bank = study.artifacts.get("cells"), study.artifacts.get("bank")
    if cells is None and bank is None:
        return Section(ID, TITLE, "No cell was cut out: this study makes no composites.")
    outcomes = cells.table("outcomes.parquet") if cells else None
    table = bank.table("cells.parquet", _BANK_COLUMNS) if bank else None
    banked = [] if table is None else table.to_pylist()
    found = accepted = None
    if outcomes is not None:
        found = (outcomes["outcome"].to_pylist().count("ok"), outcomes.num_rows)
    targets = [row for row in banked if row["target"]]
    if table is not None:
        accepted = (sum(row["accepted"] for row in targets), len(targets))
    what = "Cut-out cells of the bank, by kind and class"
    sheet = bank and pictures.embed(bank.path / "sheet.jpg", what, size=SHEET)
    return Section(
        ID,
        TITLE,
        sentences.cells(found, accepted),
        "cells.html.j2",
        {
            "kinds": _kinds(outcomes),
            "outcomes": _outcomes(outcomes),
            "targets": _targets(targets, study.labels),
            "reasons": _reasons(banked),
            "part": study.json("bank", "bank.json").get("part"),
            "sheet": sheet,
            "overlays": _overlays(study, cells, pictures) if cells else [],
        },
    )


def _bars(counts: dict[str, int], *, style: str) -> list[dict[str, Any]]:
    """Return a row for each count: its name, number, and bar."""
    widest = max(counts.values(), default=0) or 1
    return [
        {"name": name, "n": form.number(n), "bar": [(n / widest, style)]}
        for name, n in counts.items()
    ]


def _kinds(outcomes: pa.Table | None) -> list[dict[str, Any]]:
    if outcomes is None:
        return []
    counts = {
        many: int(sum(outcomes[f"n_{kind}"].to_pylist())) for kind, (_, many) in _KINDS.items()
    }
    return _bars(counts, style="plain")


def _outcomes(outcomes: pa.Table | None) -> str:
    """Return what came of the images that gave no cell, as a phrase; ``""`` if all gave one."""
    if outcomes is None:
        return ""
    found = Counter(text for text in outcomes["outcome"].to_pylist() if text != "ok")
    return form.listed(
        [f"{text} ({form.number(n)})" for text, n in sorted(found.items(), key=_most_first)]
    )


def _targets(targets: list[dict[str, Any]], labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return accepted target cells a class, of how many."""
    every = Counter(str(row["label"]) for row in targets)
    kept = Counter(str(row["label"]) for row in targets if row["accepted"])
    widest = max(every.values(), default=0) or 1
    order = [label for label in [*labels, *sorted(set(every) - set(labels))] if every[label]]
    return [
        {
            "name": label,
            "n": f"{form.number(kept[label])} of {form.number(every[label])}",
            "bar": [
                (kept[label] / widest, "plain"),
                ((every[label] - kept[label]) / widest, "faint"),
            ],
        }
        for label in order
    ]


def _reasons(banked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return why cells were rejected, for each kind of cell."""
    singular = {kind: one for kind, (one, _) in _KINDS.items()}
    found = Counter(
        f"{singular.get(str(row['kind']), row['kind'])}: {row['reason'] or 'no reason given'}"
        for row in banked
        if not row["accepted"]
    )
    return _bars(dict(sorted(found.items(), key=_most_first)), style="faint")


def _most_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _overlays(study: StudyFolder, cells: Artifact, pictures: Pictures) -> list[Picture]:
    """Return outlines over a few images: those that segmentation kept, or drawn anew."""
    files = sorted((cells.path / "overlays").rglob("*.jpg"))
    step = max(1, len(files) // _OVERLAYS)
    drawn: list[tuple[str, Any]] = [(file.stem, file) for file in files[::step][:_OVERLAYS]]
    if not files:
        drawn = [*outlined(study, cells, _OVERLAYS)]
    alt = f"Outlines of the cells found in {{}}: {KIND_KEY}"
    found = [pictures.embed(source, alt.format(name), name, size=TILE) for name, source in drawn]
    return [picture for picture in found if picture is not None]


def outlined(study: StudyFolder, cells: Artifact, most: int) -> list[tuple[str, np.ndarray]]:
    """Return up to ``most`` images with the outlines of their cells: path and RGB uint8 (H, W, 3).

    The images are drawn at random, classes in turn, from those in which cells were found; none
    where the source images are no longer in place.
    """
    if study.root is None:
        return []
    outcomes = cells.table("outcomes.parquet", ["image_id", "path", "outcome"])
    listed = study.table("catalog", "catalog.parquet", ["path", "label"])
    if outcomes is None or listed is None:
        return []
    label_of = dict(rows_of(listed, "path", "label"))
    good = [row for row in outcomes.to_pylist() if row["outcome"] == "ok"]
    shuffled = [good[i] for i in rng(0, "report outlines").permutation(len(good))]
    images = []
    for row in in_turn(shuffled, lambda row: label_of.get(row["path"]), study.labels)[:most]:
        with suppress(ImageReadError):
            images.append((row, read_image(study.root / row["path"])))
    ids = [row["image_id"] for row, _ in images]
    table = cells.table("cells.parquet", _CELL_COLUMNS, where=[("image_id", "in", ids)])
    found = [] if table is None else table.to_pylist()
    return [
        (row["path"], _outline(image, [c for c in found if c["image_id"] == row["image_id"]]))
        for row, image in images
        if found
    ]


def _outline(image: np.ndarray, rows: Sequence[dict[str, Any]]) -> np.ndarray:
    from naturalize.cells.pictures import overlay
    from naturalize.cells.segmentation import Cell, Segmentation
    from naturalize.imaging.runlength import decode

    cells = []
    for row in rows:
        x0, y0, x1, y1 = (int(row[key]) for key in ("x0", "y0", "x1", "y1"))
        mask = decode(np.asarray(row["mask"], np.uint32), (y1 - y0, x1 - x0))
        cells.append(Cell(row["kind"], (x0, y0, x1, y1), mask))
    height, width = image.shape[:2]
    return overlay(image, Segmentation((height, width), tuple(cells), (255.0, 255.0, 255.0)))
