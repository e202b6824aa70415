"""The sheet of an explanation: images beside their overlays, with what was found in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from naturalize.base.sheets import labelled_rows

#: Share of the heat on the cell below which an explanation is remarked on.
_ON_CELL = 0.5

_KINDS = {"slide": "slide", "rbc": "red cells", "platelet": "platelets"}

#: Images shown on the sheet, and from how many on they stand in two columns.
ON_SHEET, _IN_A_COLUMN = 24, 6


def explained_sheet(entries: list[dict[str, Any]], rows: dict[str, list[np.ndarray]]) -> np.ndarray:
    """One row an image: the image, then its overlays in the order of the methods; two columns."""
    methods = list(dict.fromkeys(entry["method"] for entry in entries))
    title = f"image · {' · '.join(methods)}   (lines: half of the heat, and its top fifth)"
    said = {entry["path"]: _caption(entry) for entry in entries}
    # two images may have the same words; a row needs its own
    named: dict[str, list[np.ndarray]] = {}
    for path, tiles in rows.items():
        caption = said[path]
        while caption in named:
            caption += " "
        named[caption] = tiles
    half = len(named) if len(named) <= _IN_A_COLUMN else -(-len(named) // 2)
    columns = [dict(list(named.items())[i : i + half]) for i in range(0, len(named), half)]
    sheets = [labelled_rows(part, tile=160, title=title) for part in columns]
    height = max(len(sheet) for sheet in sheets)
    return np.hstack(
        [np.pad(s, ((0, height - len(s)), (0, 0), (0, 0)), constant_values=255) for s in sheets]
    )


def _caption(entry: dict[str, Any]) -> str:
    known = entry["label"] is not None and entry["label"] != entry["predicted"]
    called = f"{entry['label']}, called {entry['predicted']}" if known else entry["predicted"]
    if entry["confidence"] is not None:
        called += f" {entry['confidence']:.2f}"
    remark = heat_remark(entry)
    return f"{called}: {remark}" if remark else called


def heat_remark(entry: Mapping[str, Any]) -> str | None:
    """Return a remark where most of the heat of an entry lies outside the cell, else null."""
    inside = entry.get("heat_inside")
    if inside is None or inside >= _ON_CELL or entry["heat_on"] is None:
        return None
    on = {_KINDS[kind]: share for kind, share in (entry["heat_on"] or {}).items() if kind != "wbc"}
    most = max(on, key=on.__getitem__, default="")
    return (
        f"{100 * (1 - inside):.0f} % of the heat outside the cell, {100 * on[most]:.0f} % on {most}"
    )
