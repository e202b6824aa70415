"""One cell of a field: where it lies, its class, and what to check."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from naturalize.cells.segmentation import Cell


@dataclass(frozen=True, eq=False)
class FieldCell:
    """A cell of a field.

    ``number`` counts from 1 in the order white cells, red cells, platelets, each from the top;
    ``cell`` has its kind, box (``x0, y0, x1, y1``, half-open pixels), mask and score; ``label``,
    ``confidence`` and ``probabilities`` (float32 (C,), in the order of the model's classes) are a
    white cell's class, null for other kinds; ``flags`` say what to check.
    """

    number: int
    cell: Cell
    label: str | None = None
    confidence: float | None = None
    probabilities: np.ndarray | None = None
    flags: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """``"wbc"``, ``"rbc"`` or ``"platelet"``; erythroblasts are nucleated, so ``"wbc"``."""
        return self.cell.kind

    @property
    def box(self) -> tuple[int, int, int, int]:
        """``x0, y0, x1, y1``, half-open, in pixels of the file."""
        return self.cell.box

    @property
    def mask(self) -> np.ndarray:
        """Bool (y1 − y0, x1 − x0): the cell inside its box."""
        return self.cell.mask

    @property
    def flag(self) -> str:
        """The remarks as one text."""
        return "; ".join(self.flags)
