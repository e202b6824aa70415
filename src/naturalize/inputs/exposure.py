"""Which images say nothing new of a model: trained on, duplicates, contradictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.console import track
from naturalize.base.display import rows_of
from naturalize.base.engine import prefetched
from naturalize.base.errors import ImageReadError
from naturalize.base.images import read_image
from naturalize.dataset.relations import relate, thumbnail
from naturalize.evaluation.laboratory import EXPOSED, Apart
from naturalize.evaluation.predictions import Item
from naturalize.inputs.labelled import LabelledData

#: Flags of `naturalize.dataset.relations.relate` that say one picture has two classes.
_CONTRADICTING = frozenset({"label_conflict", "near_label_conflict"})


@dataclass(frozen=True)
class Seen:
    """Ids of the files, and hashes of the pixels, that a model was trained on."""

    ids: frozenset[str] = frozenset()
    pixels: frozenset[str] = frozenset()

    def and_of(self, data: LabelledData) -> Seen:
        """Return this and the images of ``data``."""
        wanted = {item.image_id for item in data.items}
        rows = rows_of(data.catalog.table, "image_id", "pixel_hash")
        pixels = {pixels for name, pixels in rows if name in wanted and pixels is not None}
        return Seen(self.ids | wanted, self.pixels | pixels)


def stand_apart(
    data: Mapping[str, LabelledData],
    kinds: Mapping[str, Mapping[str, str]],
    seen: Seen,
    keep: bool,
) -> tuple[dict[str, list[Apart]], dict[str, list[Item]]]:
    """Return for each laboratory what stands apart, with the reason, and what is scored.

    Parameters
    ----------
    data
        Name of a laboratory → its images.
    kinds
        Name → class → what that is among the model's; classes that are not in it are unknown.
    seen
        What the model was trained on.
    keep
        Score what was seen before all the same.
    """
    rows: list[dict[str, Any]] = []
    items: list[tuple[str, Item]] = []
    apart: dict[str, list[Apart]] = {}
    for name, found in data.items():
        apart[name] = _copies(found)
        pixels = dict(rows_of(found.catalog.table, "path", "pixel_hash"))
        for item in found.items:
            if item.label not in kinds[name]:
                apart[name].append(Apart(item.path, "unknown class", item.label))
            elif pixels[item.path] is None:
                apart[name].append(Apart(item.path, "unreadable"))
            else:
                items.append((name, item))
                row = {"path": f"{name}/{item.path}", "label": kinds[name][item.label]}
                rows.append({**row, "pixel_hash": pixels[item.path], "flags": []})
    places = [data[name].root / item.path for name, item in items]
    relate(rows, list(track(prefetched(_small, places), "compare", len(places))))
    left: dict[str, list[Item]] = {name: [] for name in data}
    for (name, item), row in zip(items, rows, strict=True):
        reason, other = _reason(item, row, seen)
        scored = reason is None or (keep and reason in EXPOSED)
        if scored:
            left[name].append(item)
        if reason is not None:
            apart[name].append(Apart(item.path, reason, other, scored))
    return apart, left


def _copies(found: LabelledData) -> list[Apart]:
    """Return the files that show just what another one of the same class shows."""
    there = {item.path for item in found.items}
    columns = ("path", "label", "pixel_hash")
    of = {
        (label, pixels): path
        for path, label, pixels in rows_of(found.catalog.table, *columns)
        if path in there and pixels is not None
    }
    return [
        Apart(path, "duplicate", of[label, pixels])
        for path, label, pixels in rows_of(found.catalog.table, *columns)
        if path not in there and (label, pixels) in of
    ]


def _reason(item: Item, row: Mapping[str, Any], seen: Seen) -> tuple[str | None, str]:
    """Return why an image says nothing new of a model, and by which other one."""
    other = str(row.get("duplicate_of") or row.get("near_duplicate_of") or "")
    if _CONTRADICTING & set(row["flags"]):
        return "contradicting", other
    if item.image_id in seen.ids or row["pixel_hash"] in seen.pixels:
        return "trained on", ""
    if other:
        return "duplicate" if row.get("duplicate_of") else "near duplicate", other
    return None, ""


def _small(path: Path) -> np.ndarray | None:
    try:
        return thumbnail(read_image(path))
    except ImageReadError:
        return None
