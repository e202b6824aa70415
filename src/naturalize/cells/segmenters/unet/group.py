"""From the network's maps to cells: centres, arrows that meet in them, masks at full size."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.special import softmax

from naturalize.cells.segmentation import Cell, in_order
from naturalize.cells.segmenters.unet.network import (
    CENTRE,
    CYTOPLASM,
    NUCLEUS,
    PLATELET,
    RED,
    SLIDE,
    UNIT,
)
from naturalize.imaging.shape import largest_piece, touches_border

#: Kinds of a pixel, 0 for none; cytoplasm and nucleus are one kind.
_KIND = {1: "wbc", 2: "rbc", 3: "platelet"}
_WHITE = 1

#: A centre is a maximum of the centre map of at least this height (a probability; set by
#: hand, how is not recorded).
_PEAK = 0.20

#: Least share of a white cell that its nucleus fills; a smaller cell with less is a smear of stain
#: or a burst cell. Of 500 PBC images, those are up to 873 pixels; a red cell has 1,075.
_NUCLEATED, _LARGE = 0.06, 1600

#: Factor on the score of a larger white cell that shows no nucleus.
_DOUBTED = 0.5

#: Least pixels of a cell at the network's input, and its least score, by kind (set by hand; how is
#: not recorded).
_LEAST = {1: 90, 2: 40, 3: 12}
_SURE = {1: 0.5, 2: 0.72, 3: 0.75}

#: What the last pass must reach to be given as a cell: its score, and for whole red cells the share
#: of the typical one's area; chosen on 120 PBC images, of which 5 are among the 500 that are
#: measured (F1 of red cells 0.923 before, 0.930 after; of 94 platelets 5 go, none with a box).
#: Earlier passes, of a stain that is still weak, are measured by what is less sure.
_GIVEN = {"wbc": 0.0, "rbc": 0.85, "platelet": 0.80}
_LEAST_RED, _FEWEST_RED = 0.25, 3

#: Probability from which a pixel is bare slide, whose colour is measured.
_SURELY_SLIDE = 0.9

#: Pixels around a cell that are enlarged with it.
_MARGIN = 3

#: A pixel at full size is a cell's from this probability of its kind. Of platelets the pale rim is
#: taught as well, in which they fade out.
_LEVEL = {"wbc": 0.5, "rbc": 0.5, "platelet": 0.6}


@dataclass(frozen=True, eq=False)
class DetectedCell:
    """A cell at the network's size.

    ``number``: of its pixels in ``Detections.numbers``; ``kind``: ``"wbc"``, ``"rbc"`` or
    ``"platelet"``; ``diameter``: of a disc of its area, in input pixels; ``score``: mean
    probability of its kind over its pixels; ``cut``: whether it reaches the edge of the input;
    ``nucleated``: whether a nucleus is seen in it, if it is a white cell.
    """

    number: int
    kind: str
    diameter: float
    score: float
    cut: bool
    nucleated: bool


@dataclass(frozen=True, eq=False)
class Detections:
    """What one pass of the network gave.

    ``cells``: the cells; ``numbers``: int32 (h, w): which cell a pixel belongs to, 0 for none;
    ``probabilities``: float32 (5, h, w): probability of each class; ``slide``: bool (h, w): bare
    slide for certain; ``scale``: input pixels to one of the image's; ``certainty``: mean
    probability of the kind that each pixel is taken for.
    """

    cells: tuple[DetectedCell, ...]
    numbers: np.ndarray
    probabilities: np.ndarray
    slide: np.ndarray
    scale: float
    certainty: float

    @property
    def white(self) -> np.ndarray:
        """Float32 (h, w): probability of a white cell."""
        return self.probabilities[CYTOPLASM] + self.probabilities[NUCLEUS]

    def whites(self, *, nucleated: bool = True) -> list[DetectedCell]:
        """Return the white cells that show a nucleus, or those that show none."""
        return [c for c in self.cells if c.kind == "wbc" and c.nucleated == nucleated]


def group(maps: np.ndarray, scale: float) -> Detections:
    """Return the cells in the network's outputs, float32 (8, h, w).

    White cells without a nucleus are among them only where no white cell shows one: beside such,
    they are burst cells and smears (of 500 PBC images, in 2).
    """
    probabilities = softmax(maps[:CENTRE], axis=0)
    of_kind = np.stack(
        [
            probabilities[SLIDE],
            probabilities[CYTOPLASM] + probabilities[NUCLEUS],
            *probabilities[RED:],
        ]
    )
    kinds = of_kind.argmax(0).astype(np.uint8)
    nuclei = probabilities[NUCLEUS] > probabilities[CYTOPLASM]
    peaks = _peaks(maps[CENTRE])
    numbers = _assigned(maps[CENTRE + 1 :], kinds, peaks)
    cells = []
    clean = np.zeros(numbers.shape, np.int32)
    for number, window in enumerate(ndimage.find_objects(numbers, len(peaks)), start=1):
        if window is None:
            continue
        mine = numbers[window] == number
        mask, kind = _one_kind(mine, kinds[window])
        area = np.count_nonzero(mask)
        score = float(of_kind[kind][window][mask].mean()) if area else 0.0
        nucleated = bool(np.count_nonzero(nuclei[window] & mask) >= _NUCLEATED * area)
        if area < _LEAST[kind] or score < _SURE[kind]:
            continue
        if kind == _WHITE and not nucleated and area < _LARGE:
            continue
        clean[window][mask] = number
        diameter = float(np.sqrt(4 / np.pi * area))
        rows, columns = window
        box = (columns.start, rows.start, columns.stop, rows.stop)
        cut = touches_border(box, kinds.shape)
        if kind == _WHITE and not nucleated:
            score *= _DOUBTED
        cells.append(DetectedCell(number, _KIND[kind], diameter, score, cut, nucleated))
    if any(cell.kind == "wbc" and cell.nucleated for cell in cells):
        doubted = {cell.number for cell in cells if cell.kind == "wbc" and not cell.nucleated}
        cells = [cell for cell in cells if cell.number not in doubted]
        clean[np.isin(clean, list(doubted))] = 0
    certainty = float(of_kind.max(0).mean())
    slide = probabilities[SLIDE] > _SURELY_SLIDE
    return Detections(tuple(cells), clean, probabilities, slide, scale, certainty)


def _peaks(logit: np.ndarray) -> np.ndarray:
    """Return row, column of the centres, int (n, 2): the highest within 3 pixels."""
    smooth = cv2.GaussianBlur(1 / (1 + np.exp(-logit)), (0, 0), 0.8)
    highest = cv2.dilate(smooth, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    return np.argwhere((smooth >= highest) & (smooth > _PEAK))


def _assigned(offsets: np.ndarray, kinds: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Return for each pixel on a cell the number of the centre its arrow points at, else 0.

    ``offsets``: float32 (2, h, w): arrows (y, x) in units of 16 pixels; ``kinds``: uint8 (h, w):
    kind of each pixel; ``peaks``: int (n, 2): row, column.
    """
    numbers = np.zeros(kinds.shape, np.int32)
    if len(peaks):
        y, x = np.nonzero(kinds)
        goals = np.stack([y + UNIT * offsets[0, y, x], x + UNIT * offsets[1, y, x]], axis=1)
        numbers[y, x] = 1 + cKDTree(peaks).query(goals)[1]
    return numbers


def _one_kind(mine: np.ndarray, kinds: np.ndarray) -> tuple[np.ndarray, int]:
    """Return what is a cell of the pixels that point at one centre, and its kind.

    It is of the kind that most of them are of, in one piece.
    """
    kind = int(np.bincount(kinds[mine], minlength=4)[1:].argmax()) + 1
    return largest_piece(mine & (kinds == kind)), kind


def cells_of(found: Detections, shape: tuple[int, int]) -> list[Cell]:
    """Return the cells at the size of the image (height, width), in the order of kinds.

    The border of a cell is where its kind's enlarged probability and that of all others are
    equal: smooth, to a fraction of an input pixel. Between cells that touch it is as the arrows
    say.
    """
    windows = ndimage.find_objects(found.numbers)
    cells = (_full(found, cell, windows[cell.number - 1], shape) for cell in _given(found))
    return list(in_order(cell for cell in cells if cell is not None))


def _given(found: Detections) -> list[DetectedCell]:
    """Return the cells that are sure enough, without red ones too small to be any."""
    sure = [cell for cell in found.cells if cell.score >= _GIVEN[cell.kind]]
    widths = [cell.diameter for cell in sure if cell.kind == "rbc" and not cell.cut]
    if len(widths) < _FEWEST_RED:
        return sure
    least = float(np.sqrt(_LEAST_RED)) * float(np.median(widths))
    return [c for c in sure if c.kind != "rbc" or c.cut or c.diameter >= least]


def _full(
    found: Detections, cell: DetectedCell, window: tuple[slice, slice], shape: tuple[int, int]
) -> Cell | None:
    """Return one cell at full size; ``window`` is the box of its pixels in ``found.numbers``."""
    h, w = found.numbers.shape
    rows, columns = window
    top, bottom = max(rows.start - _MARGIN, 0), min(rows.stop + _MARGIN, h)
    left, right = max(columns.start - _MARGIN, 0), min(columns.stop + _MARGIN, w)
    here = np.s_[top:bottom, left:right]
    numbers, probabilities = found.numbers[here], found.probabilities[:, *here]
    of_kind = {
        "wbc": probabilities[CYTOPLASM] + probabilities[NUCLEUS],
        "rbc": probabilities[RED],
        "platelet": probabilities[PLATELET],
    }[cell.kind]
    mine = (numbers == cell.number).astype(np.uint8)
    # near its own pixels, not on another cell's
    near = cv2.dilate(mine, np.ones((3, 3), np.uint8)) & ((numbers == 0) | (mine > 0))
    level = _LEVEL[cell.kind]
    own = np.where(near > 0, of_kind, 0).astype(np.float32)
    if level == 0.5:
        own = np.where(mine > 0, np.maximum(own, 0.5), own)
    k_x, k_y = shape[1] / w, shape[0] / h
    x0, y0 = round(left * k_x), round(top * k_y)
    x1, y1 = min(round(right * k_x), shape[1]), min(round(bottom * k_y), shape[0])
    if x1 <= x0 or y1 <= y0:
        return None
    place = (x0, y0, x1, y1), (left, top), (k_x, k_y)
    mask = _one_piece(_enlarged(own, *place) > level)
    if not mask.any():
        return None
    nucleus = None
    if cell.kind == "wbc":
        nucleus = _enlarged(probabilities[NUCLEUS] / np.maximum(of_kind, 1e-6), *place) > 0.5
        nucleus = nucleus & mask if (nucleus & mask).any() else None
    return Cell.from_mask(cell.kind, mask, score=cell.score, nucleus=nucleus, offset=(x0, y0))


def _enlarged(
    plane: np.ndarray,
    box: tuple[int, int, int, int],
    corner: tuple[int, int],
    factor: tuple[float, float],
) -> np.ndarray:
    """Return a part of a map, which begins at ``corner``, at the image's size over ``box``."""
    x0, y0, x1, y1 = box
    k_x, k_y = factor
    # pixel i of the image has its middle at (i + 1/2) / k in the map
    x, y = (x0 + 0.5) / k_x - corner[0] - 0.5, (y0 + 0.5) / k_y - corner[1] - 0.5
    matrix = np.array([[1 / k_x, 0, x], [0, 1 / k_y, y]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (x1 - x0, y1 - y0)
    return cv2.warpAffine(plane, matrix, size, flags=how, borderMode=cv2.BORDER_REPLICATE)


def _one_piece(mask: np.ndarray) -> np.ndarray:
    """Return the largest piece of a bool mask, its holes filled."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    if found:
        largest = max(found, key=lambda line: (cv2.contourArea(line), len(line)))
        cv2.drawContours(filled, [largest], -1, 1, cv2.FILLED)
    return filled.astype(bool)
