"""The tables of cells: their columns (``docs/formats.md``), their rows, and asking for some."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base.display import rows_of
from naturalize.base.errors import SettingsError, unknown
from naturalize.cells.segmentation import KINDS, Cell, Segmentation
from naturalize.imaging.runlength import decode, encode
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

#: Measures of shape, which stand last in a bank.
_SHAPE = ("solidity", "waist", "contact")

#: Columns of ``cells.parquet`` of a ``bank`` artifact.
BANK = pa.schema(
    [
        *((name, kind) for name, kind in _CELL if name not in _SHAPE),
        ("label", pa.string()),
        ("target", pa.bool_()),
        ("accepted", pa.bool_()),
        ("reason", pa.string()),
        *((name, kind) for name, kind in _CELL if name in _SHAPE),
    ]
)

#: Column → (least, largest), ends included, ``None`` for no bound; or an Arrow expression.
Where: TypeAlias = "Mapping[str, tuple[float | None, float | None]] | pc.Expression"

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


def image_row(
    image_id: str, path: str, image: np.ndarray, segmentation: Segmentation
) -> dict[str, Any]:
    """Return the ``IMAGES`` row of a segmented image, RGB uint8 (H, W, 3)."""
    covered = np.zeros(segmentation.shape, bool)
    for cell in segmentation.cells:
        x0, y0, x1, y1 = cell.box
        covered[y0:y1, x0:x1] |= cell.mask
    slide = ("background_r", "background_g", "background_b")
    return {
        "image_id": image_id,
        "path": path,
        "outcome": segmentation.outcome,
        **{f"n_{kind}": len(segmentation.of(kind)) for kind in KINDS},
        **dict(zip(slide, segmentation.background, strict=True)),
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
    density = mean_density(part, cell.mask, background)
    nucleus = cell.nucleus
    return {
        "cell_id": cell_id,
        "image_id": image_id,
        "path": path,
        "kind": cell.kind,
        **dict(zip(("x0", "y0", "x1", "y1"), cell.box, strict=True)),
        "area": cell.area,
        "mask": encode(cell.mask),
        "nucleus": None if nucleus is None else encode(nucleus),
        "touches_border": cell.touches(image.shape[:2]),
        "solidity": solidity(cell.mask),
        "waist": has_waist(cell.mask),
        "contact": 0.0,
        "focus": focus(part, cell.mask),
        **dict(zip(("od_r", "od_g", "od_b"), density, strict=True)),
        "nc_ratio": None if nucleus is None else np.count_nonzero(nucleus) / cell.area,
        "score": cell.score,
    }


def cell_of(row: Mapping[str, Any]) -> Cell:
    """Return the cell that a row of a table of cells is about, as a segmenter gave it."""
    box = x0, y0, x1, y1 = row["x0"], row["y0"], row["x1"], row["y1"]
    mask, nucleus = (
        None if runs is None else decode(np.array(runs, np.uint32), (y1 - y0, x1 - x0))
        for runs in (row["mask"], row["nucleus"])
    )
    assert mask is not None
    return Cell(row["kind"], box, mask, row["score"], nucleus)


class CellMasks:
    """The masks of a table of cells, decoded one at a time; ``boxes``: int (N, 4)."""

    def __init__(self, cells: pa.Table) -> None:
        column = cells["mask"].combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
        self._offsets, self._runs = column.offsets.to_numpy(), column.values.to_numpy()
        self.boxes = np.stack([cells[name].to_numpy() for name in ("x0", "y0", "x1", "y1")], axis=1)

    def __getitem__(self, i: int | np.signedinteger) -> np.ndarray:
        """Return the mask of cell ``i`` over its box, bool (h, w)."""
        x0, y0, x1, y1 = (int(value) for value in self.boxes[i])
        return decode(self._runs[self._offsets[i] : self._offsets[i + 1]], (y1 - y0, x1 - x0))


def matching(
    table: pa.Table, equal: Mapping[str, str | bool | None], where: Where | None = None
) -> pa.Table:
    """Return the rows of ``table`` that fit.

    ``table``: any columns. ``equal``: column → the value that it must have; ``None`` allows any.
    ``where``: ranges of numeric columns, or an Arrow expression. A row without a value fits no
    range.

    Raises ``SettingsError`` for a column that is not there or not numeric, or a range that is none.
    """
    keep = pa.array(np.ones(table.num_rows, bool))
    for name, wanted in equal.items():
        if wanted is not None:
            keep = pc.and_(keep, pc.fill_null(pc.equal(table[name], wanted), False))
    if isinstance(where, Mapping):
        for name, bounds in where.items():
            keep = pc.and_(keep, _within(table, name, bounds))
        where = None
    kept = table.filter(keep)
    return kept if where is None else _by_expression(kept, where)


def _within(table: pa.Table, name: str, bounds: object) -> pa.Array:
    numeric = [
        field.name
        for field in table.schema
        if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
    ]
    if name not in numeric:
        raise unknown("column of numbers", name, numeric)
    low, high = _range(name, bounds)
    keep = pc.is_valid(table[name])
    if low is not None:
        keep = pc.and_(keep, pc.greater_equal(table[name], low))
    if high is not None:
        keep = pc.and_(keep, pc.less_equal(table[name], high))
    return pc.fill_null(keep, False)


def _range(name: str, bounds: object) -> tuple[float | None, float | None]:
    wrong = SettingsError(
        f"{name}: expected (least, largest), each a number or None and in order, got {bounds!r}"
    )
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise wrong
    for bound in bounds:
        if bound is not None and (
            isinstance(bound, bool) or not isinstance(bound, int | float) or math.isnan(bound)
        ):
            raise wrong
    low, high = bounds
    if low is not None and high is not None and low > high:
        raise wrong
    return low, high


def _by_expression(table: pa.Table, where: pc.Expression) -> pa.Table:
    try:
        return table.filter(where)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError) as error:
        text = str(error).splitlines()[0]
        raise SettingsError(
            f"where: {where} cannot be evaluated on these cells ({text})"
        ) from error


def are_sharp(table: pa.Table) -> np.ndarray:
    """Return which cells are at least half as sharp as their kind's median, bool (N,)."""
    kinds, focus = np.array(table["kind"].to_pylist()), table["focus"].to_numpy()
    out = np.zeros(len(kinds), bool)
    for kind in set(kinds.tolist()):
        of_kind = kinds == kind
        out[of_kind] = focus[of_kind] >= 0.5 * np.median(focus[of_kind])
    return out


def counted(bank: pa.Table, labels: Sequence[str]) -> dict[str, Any]:
    """Return accepted cells by kind, accepted targets by label, and rejections by reason."""
    kinds, targets, reasons = Counter[str](), Counter[str](), Counter[str]()
    for kind, label, accepted, reason in rows_of(bank, "kind", "label", "accepted", "reason"):
        if accepted:
            kinds[kind] += 1
            targets[label or ""] += label is not None
        else:
            reasons[f"{kind}: {reason}"] += 1
    return {
        "accepted": dict(sorted(kinds.items())),
        "targets": {label: targets[label] for label in labels},
        "rejected": dict(sorted(reasons.items())),
    }


def overview(bank: pa.Table) -> pa.Table:
    """Return accepted and rejected cells by kind and class, a row each."""
    rows = rows_of(bank, "kind", "label", "accepted")
    n = Counter((kind, label or "", accepted) for kind, label, accepted in rows)
    groups = sorted({key[:2] for key in n})
    columns = {
        "kind": [kind for kind, _ in groups],
        "class": [label for _, label in groups],
        "accepted": [n[(*group, True)] for group in groups],
        "rejected": [n[(*group, False)] for group in groups],
    }
    return pa.table(columns)
