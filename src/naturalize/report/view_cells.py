"""The cells: what segmentation found, and which of them may be composed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
from markupsafe import Markup

from naturalize.base.plots import KIND_KEY
from naturalize.report import charts, words
from naturalize.report.folder import Artifact, StudyFolder
from naturalize.report.outlines import outlined
from naturalize.report.pictures import Picture, Pictures
from naturalize.report.section import Section

TITLE, ID = "Cells", "cells"

_KINDS = {
    "wbc": ("nucleated cell", "nucleated cells"),
    "rbc": ("red cell", "red cells"),
    "platelet": ("platelet", "platelets"),
}
_BANKED = ["kind", "label", "target", "accepted", "reason"]
_OVERLAYS = 8


@dataclass(frozen=True)
class Share:
    """One line of a table of counts with a bar."""

    name: str
    n: str
    bar: Markup
    note: str = ""


def view(study: StudyFolder, pictures: Pictures) -> Section:
    """Return the section on segmentation and the bank."""
    cells, bank = study.artifacts.get("cells"), study.artifacts.get("bank")
    if cells is None and bank is None:
        return Section(ID, TITLE, "No cell was cut out: this study makes no composites.")
    outcomes = cells.table("outcomes.parquet") if cells else None
    banked = bank.table("cells.parquet", _BANKED) if bank else None
    sheet = bank and pictures.sheet(
        bank.path / "sheet.jpg", "Cut-out cells of the bank, by kind and class"
    )
    return Section(
        ID,
        TITLE,
        _takeaway(outcomes, banked),
        "cells.html.j2",
        {
            "kinds": _kinds(outcomes),
            "outcomes": _outcomes(outcomes),
            "targets": _targets(banked, study.labels),
            "reasons": _reasons(banked),
            "part": bank.json("bank.json").get("part") if bank else None,
            "sheet": sheet,
            "overlays": _overlays(study, cells, pictures) if cells else [],
        },
    )


def _takeaway(outcomes: pa.Table | None, banked: pa.Table | None) -> str:
    sentences = []
    if outcomes is not None:
        ok = outcomes["outcome"].to_pylist().count("ok")
        n = outcomes.num_rows
        share = f"{words.number(ok)} of" if ok < n else "all"
        sentences.append(f"Cells were found in {share} {words.count(n, 'image')}")
    if banked is not None:
        targets = [row for row in _flags(banked) if row["target"]]
        kept = sum(1 for row in targets if row["accepted"])
        sentences.append(
            f"{words.number(kept)} of {words.count(len(targets), 'target cell')} may be composed"
        )
    return "; ".join(sentences) + "."


def _flags(banked: pa.Table) -> list[dict[str, object]]:
    return banked.to_pylist()


def _shares(counts: dict[str, int], *, style: str) -> list[Share]:
    widest = max(counts.values(), default=0) or 1
    return [
        Share(name, words.number(n), charts.bar([(n / widest, style, f"{name}: {n}")]))
        for name, n in counts.items()
    ]


def _kinds(outcomes: pa.Table | None) -> list[Share]:
    if outcomes is None:
        return []
    counts = {
        many: int(sum(outcomes[f"n_{kind}"].to_pylist())) for kind, (_, many) in _KINDS.items()
    }
    return _shares(counts, style="plain")


def _outcomes(outcomes: pa.Table | None) -> str:
    """Return what came of the images that gave no cell, as a phrase; ``""`` if all gave one."""
    if outcomes is None:
        return ""
    found = Counter(text for text in outcomes["outcome"].to_pylist() if text != "ok")
    return words.listed(
        [f"{text} ({words.number(n)})" for text, n in sorted(found.items(), key=_most_first)]
    )


def _targets(banked: pa.Table | None, labels: tuple[str, ...]) -> list[Share]:
    """Return accepted target cells a class, of how many."""
    if banked is None:
        return []
    rows = [row for row in _flags(banked) if row["target"]]
    every = Counter(str(row["label"]) for row in rows)
    kept = Counter(str(row["label"]) for row in rows if row["accepted"])
    widest = max(every.values(), default=0) or 1
    order = [label for label in [*labels, *sorted(set(every) - set(labels))] if every[label]]
    shares = []
    for label in order:
        left = every[label] - kept[label]
        parts = [
            (kept[label] / widest, "plain", f"{label}: {kept[label]} accepted"),
            (left / widest, "faint", f"{label}: {left} rejected"),
        ]
        n = f"{words.number(kept[label])} of {words.number(every[label])}"
        shares.append(Share(label, n, charts.bar(parts)))
    return shares


def _reasons(banked: pa.Table | None) -> list[Share]:
    """Return why cells were rejected, for each kind of cell."""
    if banked is None:
        return []
    singular = {kind: one for kind, (one, _) in _KINDS.items()}
    found = Counter(
        f"{singular.get(str(row['kind']), row['kind'])}: {row['reason'] or 'no reason given'}"
        for row in _flags(banked)
        if not row["accepted"]
    )
    return _shares(dict(sorted(found.items(), key=_most_first)), style="faint")


def _most_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _overlays(study: StudyFolder, cells: Artifact, pictures: Pictures) -> list[Picture]:
    """Return outlines over a few images: those that segmentation kept, or drawn anew."""
    files = sorted((cells.path / "overlays").rglob("*.jpg"))
    step = max(1, len(files) // _OVERLAYS)
    found = [pictures.tile(file, _alt(file.stem), file.stem) for file in files[::step][:_OVERLAYS]]
    if not files:
        drawn = outlined(study, cells, _OVERLAYS)
        found = [pictures.tile_of(image, _alt(path), path) for path, image in drawn]
    return [picture for picture in found if picture is not None]


def _alt(name: str) -> str:
    return f"Outlines of the cells found in {name}: {KIND_KEY}"
