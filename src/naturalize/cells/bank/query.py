"""Asking a table of cells: by kind, class, flags, and ranges of what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base.errors import SettingsError, unknown

#: Column → (least, largest), ends included, ``None`` for no bound; or an Arrow expression.
Where: TypeAlias = "Mapping[str, tuple[float | None, float | None]] | pc.Expression"


def matching(
    table: pa.Table, equal: Mapping[str, str | bool | None], where: Where | None = None
) -> pa.Table:
    """Return the rows of ``table`` that fit.

    Parameters
    ----------
    table
        Any columns.
    equal
        Column → the value that it must have; ``None`` asks nothing.
    where
        Ranges of numeric columns, or an Arrow expression. A row without a value fits no range.

    Raises
    ------
    SettingsError
        For a column that is not there or not numeric, or a range that is none.
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
        raise SettingsError(f"where: {where} cannot be asked of these cells ({text})") from error


def sharp(table: pa.Table) -> np.ndarray:
    """Return which cells are at least half as sharp as their kind's median, bool (N,)."""
    kinds, focus = np.array(table["kind"].to_pylist()), table["focus"].to_numpy()
    out = np.zeros(len(kinds), bool)
    for kind in set(kinds.tolist()):
        of_kind = kinds == kind
        out[of_kind] = focus[of_kind] >= 0.5 * np.median(focus[of_kind])
    return out
