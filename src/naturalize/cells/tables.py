"""Columns of the cells, outcomes and bank tables, and a cell's row; see ``docs/formats.md``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from naturalize.base.artifacts import read_table
from naturalize.cells.segmentation import KINDS, Cell, Segmentation
from naturalize.imaging.runlength import encode
from naturalize.imaging.shape import contact, has_waist, solidity
from naturalize.imaging.stain import focus, mean_density

_CELL = [
    ("cell_id", pa.string()),
    ("image_id", pa.string()),
    ("path", pa.string()),
    ("kind", pa.string()),
    ("x0", pa.int32()),
    ("y0", pa.int32()),
    ("x1", pa.int32()),
    ("y1", pa.int32()),
    ("area", pa.int32()),
    ("mask", pa.list_(pa.uint32())),
    ("nucleus", pa.list_(pa.uint32())),
    ("touches_border", pa.bool_()),
    ("solidity", pa.float32()),
    ("waist", pa.bool_()),
    ("contact", pa.float32()),
    ("focus", pa.float32()),
    ("od_r", pa.float32()),
    ("od_g", pa.float32()),
    ("od_b", pa.float32()),
    ("nc_ratio", pa.float32()),
    ("score", pa.float32()),
]

#: Columns of ``cells.parquet`` of a ``cells`` artifact.
CELLS = pa.schema(_CELL)

#: Columns of ``outcomes.parquet``.
OUTCOMES = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("outcome", pa.string()),
        *((f"n_{kind}", pa.int32()) for kind in KINDS),
        ("background_r", pa.float32()),
        ("background_g", pa.float32()),
        ("background_b", pa.float32()),
        ("background_share", pa.float32()),
    ]
)

#: One row an image, its cells inside: what is kept while segmentation is under way.
IMAGES = pa.schema([*OUTCOMES, ("cells", pa.list_(pa.struct(_CELL)))])

#: Measures of shape by which the bank judges. Banks written by the first release lack them: null.
SHAPE = ("solidity", "waist", "contact")

#: Columns of ``cells.parquet`` of a ``bank`` artifact.
BANK = pa.schema(
    [
        *((name, kind) for name, kind in _CELL if name not in SHAPE),
        ("label", pa.string()),
        ("target", pa.bool_()),
        ("accepted", pa.bool_()),
        ("reason", pa.string()),
        *((name, kind) for name, kind in _CELL if name in SHAPE),
    ]
)

#: Columns of ``backgrounds.parquet``.
BACKGROUNDS = pa.schema(
    [
        ("background_id", pa.string()),
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("r", pa.float32()),
        ("g", pa.float32()),
        ("b", pa.float32()),
        ("quality", pa.float32()),
    ]
)


def read_bank_table(path: Path) -> pa.Table:
    """Read ``cells.parquet`` of a bank of any release: measures that it lacks are null."""
    try:
        names = pq.read_schema(path).names
    except (OSError, pa.ArrowInvalid):
        names = BANK.names  # what is wrong with the file is said below
    lacking = [name for name in SHAPE if name not in names]
    table = read_table(path, pa.schema([field for field in BANK if field.name not in lacking]))
    for name in lacking:
        kind = BANK.field(name).type
        table = table.append_column(name, pa.nulls(table.num_rows, kind))
    return table.select(BANK.names)


def image_row(
    image_id: str, path: str, image: np.ndarray, segmentation: Segmentation
) -> dict[str, Any]:
    """Return the ``IMAGES`` row of a segmented image, RGB uint8 (H, W, 3)."""
    covered = np.zeros(segmentation.shape, bool)
    for cell in segmentation.cells:
        x0, y0, x1, y1 = cell.box
        covered[y0:y1, x0:x1] |= cell.mask
    red, green, blue = segmentation.background
    return {
        "image_id": image_id,
        "path": path,
        "outcome": segmentation.outcome,
        **{f"n_{kind}": len(segmentation.of(kind)) for kind in KINDS},
        "background_r": red,
        "background_g": green,
        "background_b": blue,
        "background_share": float((~covered).mean()),
        "cells": [
            {
                **cell_row(
                    f"{image_id}-{number}", image_id, path, image, cell, segmentation.background
                ),
                "contact": contact(cell.mask, cell.box, covered),
            }
            for number, cell in enumerate(segmentation.cells)
        ],
    }


def failed_row(image_id: str, path: str, reason: str) -> dict[str, Any]:
    """Return the ``IMAGES`` row of an image that cannot be read."""
    counts = {f"n_{kind}": 0 for kind in KINDS}
    return {"image_id": image_id, "path": path, "outcome": reason, **counts, "cells": []}


def cell_row(
    cell_id: str,
    image_id: str,
    path: str,
    image: np.ndarray,
    cell: Cell,
    background: tuple[float, float, float],
) -> dict[str, Any]:
    """Return the ``CELLS`` row of a cell of RGB uint8 (H, W, 3), with the measures of its own.

    ``contact`` is 0: it depends on the other cells of the image.
    """
    x0, y0, x1, y1 = cell.box
    part = image[y0:y1, x0:x1]
    red, green, blue = mean_density(part, cell.mask, background)
    nucleus = cell.nucleus
    return {
        "cell_id": cell_id,
        "image_id": image_id,
        "path": path,
        "kind": cell.kind,
        "x0": x0,
        "y0": y0,
        "x1": x1,
        "y1": y1,
        "area": cell.area,
        "mask": encode(cell.mask),
        "nucleus": None if nucleus is None else encode(nucleus),
        "touches_border": cell.touches(image.shape[:2]),
        "solidity": solidity(cell.mask),
        "waist": has_waist(cell.mask),
        "contact": 0.0,
        "focus": focus(part, cell.mask),
        "od_r": red,
        "od_g": green,
        "od_b": blue,
        "nc_ratio": None if nucleus is None else np.count_nonzero(nucleus) / cell.area,
        "score": cell.score,
    }
