"""One field and what was read in it: its cells, their classes, and what a person asks of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.cells.segmentation import KINDS, OK, OVERLAP
from naturalize.fields.cell import FieldCell
from naturalize.fields.differential import Share, counted, differential
from naturalize.fields.draw import drawn
from naturalize.fields.tables import cells_schema
from naturalize.imaging.runlength import encode


@dataclass(frozen=True, eq=False)
class Field:
    """What was read in one image.

    ``name`` of the file; ``image``: RGB uint8 (H, W, 3); ``classes`` of the model; ``cells``;
    ``outcome``: ``"ok"``, or why the differential of this field does not count
    (:mod:`naturalize.fields.outcome`); ``red_cell``: width of its red cells in pixels, null if none
    was measured.
    """

    name: str
    image: np.ndarray
    classes: tuple[str, ...]
    cells: tuple[FieldCell, ...]
    outcome: str
    red_cell: float | None = None

    def __repr__(self) -> str:
        said = ", ".join(f"{n} {kind}" for kind, n in self.counts.items())
        return f"<Field {self.name}: {said}; {self.outcome}>"

    @property
    def counts(self) -> dict[str, int]:
        """How many cells there are of each kind; those cut by the edge count."""
        found = Counter(cell.kind for cell in self.cells)
        return {kind: found[kind] for kind in KINDS}

    def of(self, kind: str) -> tuple[FieldCell, ...]:
        """Return the cells of one kind."""
        return tuple(cell for cell in self.cells if cell.kind == kind)

    def differential(self) -> list[Share]:
        """Return the white cells by class; empty where the field's outcome speaks against it."""
        rows = [(one.label, one.flag) for one in self.of("wbc")] if self.outcome == OK else []
        return differential(self.classes, *counted(rows))

    def label_image(self) -> np.ndarray:
        """Return int32 (H, W): 0 on the background, else the number of the cell to be seen there.

        Where masks overlap, a platelet lies over a white cell and a white cell over a red one.
        """
        return label_image(self.cells, self.image.shape[:2])

    def draw(self) -> np.ndarray:
        """Return RGB uint8 (H, W, 3): thin outlines by kind, the class beside each white cell.

        Where the outcome speaks against the classes, it is written and they are not.
        """
        return drawn(self.image, self.cells, self.outcome)

    def table(self) -> pa.Table:
        """Return one row a cell (``docs/formats.md``); ``.to_pandas()`` makes it a data frame."""
        return pa.Table.from_pylist(self.rows(), schema=cells_schema(self.classes))

    def rows(self) -> list[dict[str, Any]]:
        """Return what :meth:`table` holds, a dictionary a cell."""
        return [self._row(one) for one in self.cells]

    def _row(self, one: FieldCell) -> dict[str, Any]:
        row = {
            "field": self.name,
            "cell": one.number,
            "kind": one.kind,
            "label": one.label,
            "confidence": one.confidence,
            **dict(zip(("x0", "y0", "x1", "y1"), one.box, strict=True)),
            "area": one.cell.area,
            "score": one.cell.score,
            "flag": one.flag,
            "mask": encode(one.mask),
        }
        if one.probabilities is not None:
            shares = zip(self.classes, one.probabilities.tolist(), strict=True)
            row |= {f"prob_{name}": share for name, share in shares}
        return row


def label_image(cells: Sequence[FieldCell], shape: Sequence[int]) -> np.ndarray:
    """Return int32 (height, width) with the numbers of cells; see `Field.label_image`."""
    image = np.zeros(tuple(shape[:2]), np.int32)
    for one in sorted(cells, key=lambda cell: OVERLAP.index(cell.kind)):
        x0, y0, x1, y1 = one.box
        image[y0:y1, x0:x1][one.mask] = one.number
    return image
