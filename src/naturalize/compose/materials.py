"""What a mode may draw from: the accepted cells of a bank, as columns, in an order of their own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank


@dataclass(frozen=True, eq=False)
class Materials:
    """Cells of a bank, sorted by ``cell_id``, so that the bank's own order decides nothing.

    Attributes
    ----------
    cells
        ``(cell_id, image_id, kind)`` of each of N cells.
    labels
        The bank's classes, in order.
    label
        Int32 (N,): position in ``labels``, or −1.
    size
        Int32 (N, 2): width, height of the box.
    whole, target
        Bool (N,): not cut by the image's edge; the cell that its image's label speaks of.
    """

    cells: tuple[tuple[str, str, str], ...]
    labels: tuple[str, ...]
    label: np.ndarray
    size: np.ndarray
    whole: np.ndarray
    target: np.ndarray

    @classmethod
    def of(cls, bank: CellBank) -> Materials:
        """Return the accepted cells of ``bank``."""
        names = ["cell_id", "image_id", "kind", "label", "target", "touches_border"]
        table = bank.cells().select([*names, "x0", "y0", "x1", "y1"]).sort_by("cell_id")
        column = {name: table[name].to_pylist() for name in names}
        code = {label: i for i, label in enumerate(bank.labels)}
        x0, y0, x1, y1 = (table[name].to_numpy() for name in ("x0", "y0", "x1", "y1"))
        return cls(
            cells=tuple(zip(column["cell_id"], column["image_id"], column["kind"], strict=True)),
            labels=tuple(bank.labels),
            label=np.array([code.get(label, -1) for label in column["label"]], np.int32),
            size=np.column_stack([x1 - x0, y1 - y0]).astype(np.int32),
            whole=~np.array(column["touches_border"], bool),
            target=np.array(column["target"], bool),
        )

    @cached_property
    def kind(self) -> np.ndarray:
        """The kind of each cell, text (N,)."""
        return np.array([kind for _, _, kind in self.cells], dtype="U8")

    def targets(self, label: str) -> np.ndarray:
        """Return the target cells of a class, int32 positions."""
        wanted = self.target & (self.label == self.labels.index(label))
        return np.flatnonzero(wanted).astype(np.int32)

    def others(self, kind: str) -> np.ndarray:
        """Return the cells of a kind that are nobody's target, int32 positions."""
        return np.flatnonzero(~self.target & (self.kind == kind)).astype(np.int32)
