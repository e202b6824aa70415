"""The columns of the tables of fields (``docs/formats.md``)."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from naturalize.cells.segmentation import KINDS

_BOX = [(name, pa.int32()) for name in ("x0", "y0", "x1", "y1")]

#: One row a field: what became of it, and its counts.
FIELDS = pa.schema(
    [
        ("field", pa.string()),
        ("folder", pa.string()),
        ("outcome", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        *((f"n_{kind}", pa.int32()) for kind in KINDS),
        ("red_cell", pa.float32()),
    ]
)

#: One row a field while reading is under way: its cells, not yet named.
FOUND = pa.schema(
    [
        ("error", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("background", pa.list_(pa.float32())),
        (
            "cells",
            pa.list_(
                pa.struct(
                    [
                        ("kind", pa.string()),
                        *_BOX,
                        ("score", pa.float32()),
                        ("mask", pa.list_(pa.uint32())),
                        ("nucleus", pa.list_(pa.uint32())),
                    ]
                )
            ),
        ),
    ]
)


def cells_schema(classes: Sequence[str]) -> pa.Schema:
    """Return the columns of ``cells.parquet`` for a model of these classes."""
    return pa.schema(
        [
            ("field", pa.string()),
            ("cell", pa.int32()),
            ("kind", pa.string()),
            ("label", pa.string()),
            ("confidence", pa.float32()),
            *((f"prob_{name}", pa.float32()) for name in classes),
            *_BOX,
            ("area", pa.int32()),
            ("score", pa.float32()),
            ("flag", pa.string()),
            ("mask", pa.list_(pa.uint32())),
        ]
    )


def named_schema(classes: Sequence[str]) -> pa.Schema:
    """Return the columns of a field whose cells are named: one row, its cells inside."""
    return pa.schema([*FIELDS, ("cells", pa.list_(pa.struct(list(cells_schema(classes)))))])
