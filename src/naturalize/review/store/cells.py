"""One cell of a review, as it was found: what the table ``cell`` holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class CellRow:
    """A cell, before any person saw it.

    ``path`` is relative to the review's ``root``, or below its folder ``uploads/``; ``field`` and
    ``number`` name a cell of a field, ``box`` (``x0, y0, x1, y1``, half-open) is in pixels of the
    file, null where the cell is the whole image. ``model_label`` is null for one that no class was
    given; ``probabilities``: float32 (C,), or null; ``candidates``: what it may well be, the most
    probable first. ``doubt``: 0–1, 1 the most doubtful; ``cluster`` and ``rank``: of like cells,
    and the place in the order by similarity. ``area`` in pixels of the mask; ``taken`` in seconds
    since 1970; ``outline``: int16 (N, 2), x and y from the box's corner, or the image's.
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
