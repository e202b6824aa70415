"""The columns of ``plan.parquet``, and how tables of older releases are read.

Version 1 of a plan knew neither turned scenes nor variation of cells. What it lacks has the value
that changes nothing, and recipes that change nothing have the ids that version 1 gave them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base.artifacts import read_table
from naturalize.base.errors import ArtifactError

_TRIPLE = pa.list_(pa.float32(), 3)

_PLACEMENT = pa.struct(
    [
        ("cell_id", pa.string()),
        ("image_id", pa.string()),
        ("kind", pa.string()),
        ("cx", pa.float32()),
        ("cy", pa.float32()),
        ("angle", pa.float32()),
        ("flip", pa.bool_()),
        ("scale", pa.float32()),
        ("stain", _TRIPLE),
        ("blend", pa.string()),
        ("feather", pa.float32()),
        ("aspect", pa.float32()),
        ("elastic", pa.float32()),
        ("elastic_seed", pa.int32()),
        ("kernel", pa.string()),
        ("blur", pa.float32()),
        ("grain", pa.float32()),
        ("stain_scale", _TRIPLE),
    ]
)

#: Columns of ``plan.parquet``, as in ``docs/formats.md``.
SCHEMA = pa.schema(
    [
        ("recipe_id", pa.string()),
        ("label", pa.string()),
        ("mode", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("background_id", pa.string()),
        ("background_image_id", pa.string()),
        ("background_turn", pa.int32()),
        ("background_x", pa.int32()),
        ("background_y", pa.int32()),
        ("background_r", pa.float32()),
        ("background_g", pa.float32()),
        ("background_b", pa.float32()),
        ("placements", pa.list_(_PLACEMENT)),
        ("finish", pa.struct([("codec", pa.string()), ("quality", pa.int32())])),
    ]
)

#: What a placement has that came after version 1, and the value that changes nothing.
PLAIN: dict[str, Any] = {
    "aspect": 1.0,
    "elastic": 0.0,
    "elastic_seed": 0,
    "kernel": "linear",
    "blur": 0.0,
    "grain": 0.0,
    "stain_scale": (1.0, 1.0, 1.0),
}

_PLAIN_GROUND = ("background_turn", "background_x", "background_y")


def read_plan_table(path: Path) -> pa.Table:
    """Read ``plan.parquet`` of this or an older release as :data:`SCHEMA`.

    Raises
    ------
    ArtifactError
        If the file is missing, damaged, or lacks a column that version 1 had.
    """
    table = read_table(path)
    missing = [name for name in SCHEMA.names if name not in (*table.column_names, *_PLAIN_GROUND)]
    if missing:
        raise ArtifactError(f"{path}: lacks the column(s) {', '.join(missing)}")
    try:
        return upgraded(table)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError) as error:
        raise ArtifactError(f"{path}: a column has another type ({error})") from error


def upgraded(table: pa.Table) -> pa.Table:
    """Return a table of version 1 as one of :data:`SCHEMA`; one of today as it is."""
    if table.schema.equals(SCHEMA):
        return table
    table = table.combine_chunks()
    for name in _PLAIN_GROUND:
        if name not in table.column_names:
            table = table.append_column(name, pa.array(np.zeros(len(table), np.int32)))
    at = table.column_names.index("placements")
    lists = table["placements"]
    whole = lists.chunk(0) if lists.num_chunks else pa.array([], lists.type)
    table = table.set_column(at, "placements", _with_plain(whole))
    return table.select(SCHEMA.names).cast(SCHEMA)


def _with_plain(lists: pa.ListArray) -> pa.ListArray:
    """Return lists of placements with the fields that came after version 1."""
    placed = lists.values
    known = {field.name for field in placed.type}
    children = [
        placed.field(field.name)
        if field.name in known
        else _repeated(PLAIN[field.name], field.type, len(placed))
        for field in _PLACEMENT
    ]
    structs = pa.StructArray.from_arrays(children, names=[field.name for field in _PLACEMENT])
    return pa.ListArray.from_arrays(lists.offsets, structs)


def _repeated(value: Any, kind: pa.DataType, n: int) -> pa.Array:
    if kind == _TRIPLE:
        return pa.FixedSizeListArray.from_arrays(pa.array(np.full(3 * n, value[0], np.float32)), 3)
    return pa.repeat(pa.scalar(value, kind), n)
