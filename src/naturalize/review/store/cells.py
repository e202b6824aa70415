"""One cell of a review, as it was found: what the table ``cell`` holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

#: Between candidates in their column: names of classes may have spaces.
_BETWEEN = "\t"


@dataclass(frozen=True, eq=False)
class CellRow:
    """A cell, before any person saw it.

    ``path`` is relative to the review's ``root``, or below its folder ``uploads/``; ``field`` and
    ``number`` name a cell of a field, ``box`` (``x0, y0, x1, y1``, half-open) is in pixels of the
    file, null where the cell is the whole image. ``model_label`` is null for one that no class was
    given; ``probabilities``: float32 (C,), or null; ``candidates``: what it may well be, the most
    probable first. ``doubt``: 0–1, 1 the most doubtful; ``cluster`` and ``rank``: of like cells,
    and the place in the order by similarity. ``area`` in pixels of the file: of its
    mask, or measured without one (`area_of_target`), null where nothing was found; ``taken`` in
    seconds since 1970; ``outline``: int16 (N, 2), x and y from the box's corner, or the image's.
    """

    path: str
    field: str | None = None
    number: int | None = None
    box: tuple[int, int, int, int] | None = None
    kind: str = "wbc"
    model_label: str | None = None
    confidence: float | None = None
    probabilities: np.ndarray | None = None
    candidates: tuple[str, ...] = ()
    flag: str = ""
    doubt: float = 1.0
    cluster: int = 0
    rank: int = 0
    area: float | None = None
    taken: float | None = None
    outline: np.ndarray | None = None


def values_of(cell: CellRow) -> dict[str, Any]:
    """Return a cell as a row of its table: column → value."""
    values = {name: value for name, value in vars(cell).items() if name != "box"}
    values |= dict(zip(("x0", "y0", "x1", "y1"), cell.box or (None,) * 4, strict=True))
    values["candidates"] = _BETWEEN.join(cell.candidates)
    for name, dtype in (("probabilities", np.float32), ("outline", np.int16)):
        array = values[name]
        values[name] = None if array is None else np.asarray(array, dtype).tobytes()
    return values


def cell_of(row: Any) -> CellRow:
    """Return a cell from a row of its table; blobs that were not asked for are null."""
    values = row._mapping
    probabilities, outline = values.get("probabilities"), values.get("outline")
    return CellRow(
        path=row.path, field=row.field, number=row.number,
        box=None if row.x0 is None else (row.x0, row.y0, row.x1, row.y1),
        kind=row.kind, model_label=row.model_label, confidence=row.confidence,
        probabilities=None if probabilities is None else np.frombuffer(probabilities, np.float32),
        candidates=tuple(filter(None, row.candidates.split(_BETWEEN))), flag=row.flag,
        doubt=row.doubt, cluster=row.cluster, rank=row.rank, area=row.area, taken=row.taken,
        outline=None if outline is None else np.frombuffer(outline, np.int16).reshape(-1, 2),
    )  # fmt: skip
