"""What a field is worth: does it show a stained smear, in focus? And what to check of each cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from naturalize.cells.segmentation import OK, Cell, Segmentation
from naturalize.imaging.stain import mean_density
from naturalize.prediction.domain import DARK, MOST_RED
from naturalize.prediction.profile import whole_reds

#: Outcomes of fields that could be read, beside ``"ok"``. None of them has a differential.
NO_CELL, NO_WHITE = "no cell found", "no white cell"
NO_SMEAR, DARK_PICTURE = "not a blood smear", "dark picture"
FEW_RED = "no red cell gives the scale"
COLOURS, BLURRED = "not the colours of a stained smear", "out of focus"

#: Those that speak against the classes of the field's white cells.
BAD = (NO_SMEAR, DARK_PICTURE, FEW_RED, COLOURS, BLURRED)

#: Remarks on a cell that the edge of its image cuts, and on one that shares pixels with others.
CUT, OVERLAPPING = "cut by the edge", "overlapping"

#: Whole red cells from which their median width is a scale: as for the segmenter.
_FEWEST_RED = 3

#: A cell is overlapping if more than this share of it is another's too (by eye).
_SHARED = 0.02

#: Of so many red cells that the edge does not cut, at least this share are whole discs: 0.36 or
#: more in the 157 images of fields/cbc and PBC that have as many, 0.25 or less in seven pictures of
#: other things (scikit-image's) in which the segmenter finds as many. Chosen on these.
_MANY, _ROUND = 5, 0.3

#: An image is of one cell if its only white cell is this much of its shorter side (PBC: 0.39).
_LARGE = 0.25

#: Cells of a field that are measured at most.
_MEASURED = 60

#: Width of the rim of cells, in widths of a red cell, beyond which a field is out of focus: 0.05 to
#: 0.114 in 158 images of fields/cbc and PBC, 0.14 in one blurred by σ = 4 pixels.
_BLURRED = 0.12


def outcome_of(image: np.ndarray, found: Segmentation) -> str:
    """Return ``"ok"``, or why the classes of a field are not to be trusted.

    ``image``: RGB uint8 (H, W, 3) and ``found``, all cells of it.
    """
    checks: tuple[tuple[str, Callable[[], bool]], ...] = (
        (NO_CELL, lambda: not found.cells),
        (DARK_PICTURE, lambda: sum(found.background) / 3 < DARK),
        (NO_SMEAR, lambda: not _round_enough(found)),
        (FEW_RED, lambda: not whole_reds(found) and not _of_one_cell(found)),
        (COLOURS, lambda: not _stained(image, found)),
        (BLURRED, lambda: rim_width(image, found) > _BLURRED),
        (NO_WHITE, lambda: not found.of("wbc")),
    )
    return next((why for why, is_so in checks if is_so()), OK)


def red_cell(found: Segmentation) -> float | None:
    """Return the median width in pixels of whole red cells; null if there are fewer than three."""
    widths = whole_reds(found)
    return float(np.median(widths)) if len(widths) >= _FEWEST_RED else None


def _round_enough(found: Segmentation) -> bool:
    """Return whether enough of the red cells that the edge does not cut are whole discs."""
    uncut = [cell for cell in found.of("rbc") if not cell.touches(found.shape)]
    return len(uncut) < _MANY or len(whole_reds(found)) >= _ROUND * len(uncut)


def _of_one_cell(found: Segmentation) -> bool:
    """Return whether an image was taken of one white cell, which is then its own scale."""
    whites = found.of("wbc")
    if len(whites) != 1:
        return False
    x0, y0, x1, y1 = whites[0].box
    return min(x1 - x0, y1 - y0) >= _LARGE * min(found.shape)


def _stained(image: np.ndarray, found: Segmentation) -> bool:
    """Return whether cells have the colours of a Romanowsky stain; see `prediction.domain`.

    They absorb green light most. A grey picture has the same density in all channels, one of
    swapped channels nuclei that absorb blue more than red.
    """
    reds, nuclei = _density(image, found, "rbc"), _density(image, found, "wbc")
    for density in (reds, nuclei):
        if density is not None and density[0] > MOST_RED * density[1]:
            return False
    return nuclei is None or bool(nuclei[2] < nuclei[0])


def _density(image: np.ndarray, found: Segmentation, kind: str) -> np.ndarray | None:
    """Return the median optical density of cells of a kind, of white ones of their nuclei."""
    rows = []
    for cell in _some(found.of(kind)):
        x0, y0, x1, y1 = cell.box
        mask = cell.mask if cell.nucleus is None else cell.nucleus
        rows.append(mean_density(image[y0:y1, x0:x1], mask, found.background))
    return np.median(rows, axis=0) if rows else None


def _some(cells: Sequence[Cell]) -> Sequence[Cell]:
    """Return at most so many cells, evenly spaced over the list."""
    return cells[:: max(1, -(-len(cells) // _MEASURED))]


def rim_width(image: np.ndarray, found: Segmentation) -> float:
    """Return how wide the rims of cells are, in widths of a red cell; 0 where none is measured.

    The depth of a cell's colour over the steepest slope at its rim, in green light: for an edge
    blurred by a normal distribution of standard deviation σ, 2.5 σ. The median over whole cells.
    """
    widths = whole_reds(found)
    width = float(np.median(widths)) if widths else 0.0
    whole = [cell for cell in found.cells if not cell.touches(found.shape)]
    found_ = [_rim(image, cell, found.background[1], width) for cell in _some(whole) if width]
    rims = [one for one in found_ if one is not None]
    return float(np.median(rims)) / width if rims else 0.0


def _rim(image: np.ndarray, cell: Cell, slide: float, width: float) -> float | None:
    """Return the width in pixels of a cell's rim; null for one that is too small or pale."""
    near = max(2, round(0.08 * width))
    x0, y0 = max(0, cell.box[0] - near), max(0, cell.box[1] - near)
    part = image[y0 : cell.box[3] + near, x0 : cell.box[2] + near, 1].astype(np.float32)
    mask = np.zeros(part.shape, np.uint8)
    top, left = cell.box[1] - y0, cell.box[0] - x0
    mask[top : top + cell.mask.shape[0], left : left + cell.mask.shape[1]] = cell.mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * near + 1,) * 2)
    inside = cv2.erode(mask, kernel)
    depth = float(np.percentile(slide - part[mask > 0], 75))
    if np.count_nonzero(inside) < 10 or depth < 5:
        return None
    slope = cv2.magnitude(*(cv2.Sobel(part, cv2.CV_32F, x, 1 - x, scale=1 / 8) for x in (1, 0)))
    rim = cv2.dilate(mask, kernel) > inside
    return depth / max(1e-3, float(np.percentile(slope[rim], 90)))


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
