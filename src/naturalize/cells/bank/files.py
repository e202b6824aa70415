"""A bank on disk: its tables, its sheets, and, where it shall travel, the pictures it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from naturalize.base.artifacts import (
    read_json,
    read_manifest,
    read_table,
    write_bytes,
    write_json,
    write_table,
    writing,
)
from naturalize.base.console import track
from naturalize.base.errors import ArtifactError, InputError, unknown
from naturalize.base.images import write_image
from naturalize.cells.tables import BACKGROUNDS, read_bank_table

if TYPE_CHECKING:
    from naturalize.cells.bank.core import CellBank

#: What a self-contained bank may hold.
HOLDS = ("images", "crops")

#: Folder of a self-contained bank's pictures.
IMAGES = "images"

#: Pixels around a cell's box that its crop has, so that an edge can be blended with what was there.
MARGIN = 8


def save_bank(bank: CellBank, path: Path, holds: str | None) -> None:
    """Write the bank artifact to ``path``; see ``CellBank.save``."""
    if holds is not None and holds not in HOLDS:
        raise unknown("content of a self-contained bank", holds, list(HOLDS))
    if bank.holds == "crops":
        if holds == "images":
            raise InputError(f"{bank.root}: this bank holds crops; it has no source images to copy")
        holds = "crops"
    with writing(path, "bank", settings=bank.settings, inputs=bank.inputs) as folder:
        if holds == "images":
            copy_images(bank, [bank.backgrounds, bank.table], folder / IMAGES)
        written = _crops(bank, folder / IMAGES) if holds == "crops" else bank
        write_tables(written, folder, holds)


def write_tables(bank: CellBank, folder: Path, holds: str | None) -> None:
    """Write all of a bank but its pictures into the folder of an unfinished artifact."""
    from naturalize.cells.sheet import bank_sheet, rejected_sheet

    write_table(folder / "cells.parquet", bank.table)
    write_table(folder / "backgrounds.parquet", bank.backgrounds)
    about = {
        "root": IMAGES if holds else str(bank.root.resolve()),
        "holds": holds,
        "part": bank.part,
        "labels": list(bank.labels),
        "counts": bank.counts(),
    }
    write_json(folder / "bank.json", about)
    write_image(folder / "sheet.jpg", bank_sheet(bank), quality=90)
    if bank.cells(accepted=False).num_rows:
        write_image(folder / "rejected.jpg", rejected_sheet(bank), quality=90)


def load_bank(path: Path) -> dict[str, Any]:
    """Return what the bank at ``path`` is made of; see ``CellBank.load``."""
    manifest = read_manifest(path, "bank")
    about = read_json(path / "bank.json")
    try:
        saved, labels, part = Path(about["root"]), tuple(about["labels"]), about["part"]
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path / 'bank.json'}: lacks {error}") from error
    holds = about.get("holds")  # banks written before there were such do not say
    crops = holds == "crops"
    return {
        "table": read_bank_table(path / "cells.parquet"),
        "backgrounds": read_table(path / "backgrounds.parquet", BACKGROUNDS),
        "root": path.resolve() / saved,
        "labels": labels,
        "part": part,
        "inputs": manifest.inputs,
        "holds": holds,
        "hashes": {
            name.removeprefix(f"{IMAGES}/"): digest
            for name, digest in manifest.files.items()
            if crops and name.startswith(f"{IMAGES}/")
        },
    }


def copy_images(bank: CellBank, tables: Sequence[pa.Table], folder: Path) -> None:
    """Copy the source images that ``tables`` name (``path``, ``image_id``), byte for byte.

    Raises
    ------
    ArtifactError
        If an image is gone, has changed since it was segmented, or lies outside the bank's root.
    """
    files = {
        path: image_id
        for table in tables
        for path, image_id in zip(
            *(table[c].to_pylist() for c in ("path", "image_id")), strict=True
        )
    }
    for path in track(sorted(files), "copy images"):
        data = bank.pictures.data(safe(path), files[path], check=True)
        write_bytes(folder / path, data)


def safe(path: str) -> str:
    """Return ``path`` if it stays below the folder it is relative to; else ``ArtifactError``."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or ":" in path:
        raise ArtifactError(f"{path}: leads out of the folder of images; such a file is not copied")
    return path


def crop_path(cell_id: str) -> str:
    """Return the place of a cell's crop; many thousand files in one folder are slow to list."""
    return safe(f"{cell_id[:2]}/{cell_id}.png")


def _crops(bank: CellBank, folder: Path) -> CellBank:
    """Write a picture of each accepted cell; return the bank of these."""
    rows = []
    for row in track(bank.cells().to_pylist(), "crop cells"):
        cut = bank.cutout(row["cell_id"], margin=MARGIN)
        path = crop_path(row["cell_id"])
        write_image(folder / path, cut.rgb)
        rows.append(moved_into_crop(row, path))
    table = pa.Table.from_pylist(rows, schema=bank.table.schema)
    return crop_bank(table, folder, bank.labels, part=bank.part, inputs=bank.inputs)


def crop_bank(
    table: pa.Table,
    folder: Path,
    labels: Sequence[str],
    *,
    part: str | None,
    inputs: Mapping[str, str],
) -> CellBank:
    """Return the bank whose pictures are crops of its cells, in ``folder``; no backgrounds."""
    from naturalize.cells.bank.core import CellBank

    return CellBank(
        table,
        BACKGROUNDS.empty_table(),
        root=folder,
        labels=tuple(labels),
        part=part,
        inputs=inputs,
        holds="crops",
    )


def moved_into_crop(row: dict[str, Any], path: str) -> dict[str, Any]:
    """Return a cell's row with its path and box in its own crop, ``MARGIN`` pixels around."""
    left, top = min(row["x0"], MARGIN), min(row["y0"], MARGIN)
    width, height = row["x1"] - row["x0"], row["y1"] - row["y0"]
    box = {"x0": left, "y0": top, "x1": left + width, "y1": top + height}
    return {**row, **box, "path": path}
