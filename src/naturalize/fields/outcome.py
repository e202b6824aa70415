"""What a field is worth: in focus, stained, with red cells that give its scale; flags of cells."""

from __future__ import annotations

import numpy as np

from naturalize.cells.segmentation import OK, Segmentation
from naturalize.fields.differential import CUT
from naturalize.prediction.profile import whole_reds

#: Outcomes of fields that could be read, beside ``"ok"``. None of them has a differential.
NO_CELL, NO_WHITE = "no cell found", "no white cell"

#: Remarks on cells.
OVERLAPPING = "overlapping"

#: Whole red cells from which their median width is a scale: as for the segmenter.
_FEWEST_RED = 3

#: A cell is overlapping if more than this share of it is another's too (by eye).
_SHARED = 0.02


def outcome_of(image: np.ndarray, found: Segmentation) -> str:
    """Return ``"ok"``, or why no differential is to be trusted."""
    if not found.cells:
        return NO_CELL
    if not found.of("wbc"):
        return NO_WHITE
    return OK


def red_cell(found: Segmentation) -> float | None:
    """Return the median width in pixels of whole red cells; null if there are fewer than three."""
    widths = whole_reds(found)
    return float(np.median(widths)) if len(widths) >= _FEWEST_RED else None


def flags_of(image: np.ndarray, found: Segmentation) -> list[tuple[str, ...]]:
    """Return the remarks on each cell: what the edge cuts, what lies under or over others."""
    owners = np.zeros(found.shape, np.uint8)
    for cell in found.cells:
        x0, y0, x1, y1 = cell.box
        owners[y0:y1, x0:x1] += cell.mask
    flags = []
    for cell in found.cells:
        x0, y0, x1, y1 = cell.box
        shared = int(np.count_nonzero((owners[y0:y1, x0:x1] > 1) & cell.mask))
        said = ((CUT, cell.touches(found.shape)), (OVERLAPPING, shared > _SHARED * cell.area))
        flags.append(tuple(remark for remark, so in said if so))
    return flags
