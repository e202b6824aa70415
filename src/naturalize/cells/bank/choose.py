"""From a segmenter's cells to a bank: whose images may give any, and which cells are good."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base.artifacts import read_manifest, read_table
from naturalize.base.errors import InputError, unknown
from naturalize.cells.accept import judge
from naturalize.cells.tables import BACKGROUNDS, CELLS, OUTCOMES
from naturalize.dataset.assign import PARTS
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split


def choose(cells: Path, catalog: Catalog, split: Split | None, part: str | None) -> dict[str, Any]:
    """Return what a bank of a ``cells`` artifact is made of; see ``CellBank.build``."""
    manifest = read_manifest(cells, "cells")
    part = part if split is not None else None
    if part is not None and part not in PARTS:
        raise unknown("part", part, list(PARTS))
    labels = _labels(catalog, split, part)
    inputs = {"cells": manifest.fingerprint, "catalog": catalog.fingerprint}
    if split is not None:
        inputs["split"] = split.fingerprint
    outcomes, found = (
        _where_it_is(_of_images(read_table(cells / name, schema), labels), catalog)
        for name, schema in (("outcomes.parquet", OUTCOMES), ("cells.parquet", CELLS))
    )
    if not found.num_rows:
        where = f"part {part!r}" if part else "the catalog"
        raise InputError(
            f"{cells}: none of its cells is in an image of {where}; "
            "segment the images that the catalog lists"
        )
    return {
        "table": judge(found, catalog, labels),
        "backgrounds": backgrounds(outcomes),
        "root": catalog.root,
        "labels": catalog.labels,
        "part": part,
        "inputs": inputs,
    }


def backgrounds(outcomes: pa.Table) -> pa.Table:
    """Return the ``BACKGROUNDS`` table of ``OUTCOMES`` rows: the readable images, each once."""
    readable = outcomes.filter(pc.is_valid(outcomes["background_r"]))
    ids = readable["image_id"].to_pylist()
    first = sorted({image_id: i for i, image_id in reversed(list(enumerate(ids)))}.values())
    readable = readable.take(pa.array(first, pa.int64()))
    columns = [
        "image_id", "image_id", "path", "background_r", "background_g", "background_b",
        "background_share",
    ]  # fmt: skip
    arrays = [readable[name] for name in columns]
    return pa.Table.from_arrays(arrays, names=BACKGROUNDS.names).cast(BACKGROUNDS)


def _labels(catalog: Catalog, split: Split | None, part: str | None) -> dict[str, str]:
    """Return image id → label of the images that may give cells."""
    if split is None:
        usable = catalog.usable().select(["image_id", "label", "flags"]).to_pylist()
        return {
            row["image_id"]: row["label"] for row in usable if "label_conflict" not in row["flags"]
        }
    rows = split.table.select(["image_id", "label", "part"]).to_pylist()
    return {row["image_id"]: row["label"] for row in rows if part in (None, row["part"])}


def _of_images(table: pa.Table, labels: Mapping[str, str]) -> pa.Table:
    return table.filter(pc.is_in(table["image_id"], pa.array(list(labels), pa.string())))


def _where_it_is(table: pa.Table, catalog: Catalog) -> pa.Table:
    """Return the table with paths below the catalog's root.

    Cells may have been found in (or imported with) the same images under another folder.
    """
    columns = (catalog.table[name].to_pylist() for name in ("image_id", "path"))
    pairs = set(zip(*columns, strict=True))
    path_of = {image_id: path for image_id, path in sorted(pairs, reverse=True) if image_id}
    rows = zip(table["image_id"].to_pylist(), table["path"].to_pylist(), strict=True)
    paths = [path if (image_id, path) in pairs else path_of[image_id] for image_id, path in rows]
    return table.set_column(table.column_names.index("path"), "path", pa.array(paths, pa.string()))
