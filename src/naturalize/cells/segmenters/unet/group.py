"""From the network's maps to cells: centres, arrows that meet in them, masks at full size."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from naturalize.cells.segmentation import Cell
from naturalize.cells.segmenters.unet.network import (
    CENTRE,
    CYTOPLASM,
    NUCLEUS,
    PLATELET,
    RED,
    SLIDE,
    UNIT,
)
from naturalize.imaging.shape import largest_piece

#: Group of each class: nothing, white cell, white cell, red cell, platelet.
_GROUP = np.array([0, 1, 1, 2, 3], np.uint8)
_KIND = {1: "wbc", 2: "rbc", 3: "platelet"}

#: A centre is a maximum of the centre map of at least this height (a probability).
_PEAK = 0.20

#: Least share of a white cell that its nucleus fills; less is a smear of stain or a burst cell.
_NUCLEATED = 0.06

#: Least pixels of a cell at the network's input, and its least score, by group.
_LEAST = {1: 90, 2: 40, 3: 12}
_SURE = {1: 0.5, 2: 0.72, 3: 0.75}

#: A pixel at full size is a cell's from this probability of its kind. Of platelets the pale rim is
#: taught as well, in which they fade out.
_LEVEL = {"wbc": 0.5, "rbc": 0.5, "platelet": 0.6}


@dataclass(frozen=True, eq=False)
class Part:
    """A cell at the network's size: its number in ``Found.numbers``, kind, size and certainty."""

    number: int
    kind: str
    diameter: float
    score: float
    cut: bool


@dataclass(frozen=True, eq=False)
class Found:
    """What one look gave.

    Attributes
    ----------
    cells
        The cells.
    numbers
        Int32 (h, w): which cell a pixel belongs to, 0 for none.
    shares
        Float32 (5, h, w): probability of each class.
    slide
        Bool (h, w): bare slide for certain.
    scale
        Input pixels to one of the image's.
    certainty
        Mean probability of the kind that each pixel is taken for.
    """

    cells: tuple[Part, ...]
    numbers: np.ndarray
    shares: np.ndarray
    slide: np.ndarray
    scale: float
    certainty: float

    def whites(self) -> list[float]:
        """Return the scores of the white cells."""
        return [cell.score for cell in self.cells if cell.kind == "wbc"]


def group(maps: np.ndarray, scale: float) -> Found:
    """Return the cells in the network's outputs, float32 (8, h, w)."""
    shares = _softmax(maps[:CENTRE])
    of_group = np.stack([shares[SLIDE], shares[CYTOPLASM] + shares[NUCLEUS], *shares[RED:]])
    kinds = of_group.argmax(0).astype(np.uint8)
    nuclei = shares[NUCLEUS] > shares[CYTOPLASM]
    peaks = _peaks(maps[CENTRE])
    numbers = _joined(maps[CENTRE + 1 :], kinds, peaks)
    cells = []
    clean = np.zeros(numbers.shape, np.int32)
    for number in range(1, len(peaks) + 1):
        part = _part(number, numbers, kinds, of_group, nuclei, clean)
        if part is not None:
            cells.append(part)
    certainty = float(of_group.max(0).mean())
    return Found(tuple(cells), clean, shares, shares[SLIDE] > 0.9, scale, certainty)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(0))
    return powers / powers.sum(0)


def _peaks(logit: np.ndarray) -> np.ndarray:
    """Return row, column of the centres, int (n, 2): the highest within 3 pixels."""
    smooth = cv2.GaussianBlur(1 / (1 + np.exp(-logit)), (0, 0), 0.8)
    highest = cv2.dilate(smooth, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    return np.argwhere((smooth >= highest) & (smooth > _PEAK))


def _joined(offsets: np.ndarray, kinds: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Return for each pixel on a cell the number of the centre its arrow points at, else 0.

    Parameters
    ----------
    offsets
        Float32 (2, h, w): arrows (y, x) in units of 16 pixels.
    kinds
        Uint8 (h, w): group of each pixel.
    peaks
        Int (n, 2): row, column.
    """
    numbers = np.zeros(kinds.shape, np.int32)
    if not len(peaks):
        return numbers
    y, x = np.nonzero(kinds)
    goal_y, goal_x = y + UNIT * offsets[0, y, x], x + UNIT * offsets[1, y, x]
    away = (goal_y[:, None] - peaks[:, 0]) ** 2 + (goal_x[:, None] - peaks[:, 1]) ** 2
    numbers[y, x] = 1 + away.argmin(1)
    return numbers


def _part(
    number: int,
    numbers: np.ndarray,
    kinds: np.ndarray,
    of_group: np.ndarray,
    nuclei: np.ndarray,
    clean: np.ndarray,
) -> Part | None:
    """Return a cell of one kind in one piece, and write its pixels into ``clean``."""
    rows, columns = np.nonzero(numbers == number)
    if not len(rows):
        return None
    here = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    mine = numbers[here] == number
    kind = int(np.bincount(kinds[here][mine], minlength=4)[1:].argmax()) + 1
    mask = largest_piece(mine & (kinds[here] == kind))
    area = int(np.count_nonzero(mask))
    if area < max(_LEAST[kind], 1):
        return None
    if kind == 1 and (nuclei[here] & mask).sum() < _NUCLEATED * area:
        return None
    score = float(of_group[kind][here][mask].mean())
    if score < _SURE[kind]:
        return None
    clean[here][mask] = number
    height, width = numbers.shape
    cut = rows.min() == 0 or columns.min() == 0
    cut = bool(cut or rows.max() == height - 1 or columns.max() == width - 1)
    return Part(number, _KIND[kind], float(np.sqrt(4 / np.pi * area)), score, cut)


def cells_of(found: Found, shape: tuple[int, int]) -> list[Cell]:
    """Return the cells at the size of the image (height, width), in the order of kinds.

    The border of a cell is where its kind's enlarged probability and that of all others are
    equal: smooth, to a fraction of an input pixel. Between cells that touch it is as the arrows
    say.
    """
    height, width = shape
    cells = []
    for part in found.cells:
        made = _full(found, part, (height, width))
        if made is not None:
            cells.append(made)
    order = {"wbc": 0, "rbc": 1, "platelet": 2}
    return sorted(cells, key=lambda cell: (order[cell.kind], cell.box[1], cell.box[0]))


def _full(found: Found, part: Part, shape: tuple[int, int]) -> Cell | None:
    """Return one cell at full size."""
    rows, columns = np.nonzero(found.numbers == part.number)
    h, w = found.numbers.shape
    margin = 3
    top, bottom = max(rows.min() - margin, 0), min(rows.max() + 1 + margin, h)
    left, right = max(columns.min() - margin, 0), min(columns.max() + 1 + margin, w)
    here = np.s_[top:bottom, left:right]
    numbers, shares = found.numbers[here], found.shares[(slice(None), *here)]
    of_kind = {
        "wbc": shares[CYTOPLASM] + shares[NUCLEUS],
        "rbc": shares[RED],
        "platelet": shares[PLATELET],
    }[part.kind]
    mine = (numbers == part.number).astype(np.uint8)
    # near its own pixels, not on another cell's
    near = cv2.dilate(mine, np.ones((3, 3), np.uint8)) & ((numbers == 0) | (mine > 0))
    soft = np.where(near > 0, of_kind, 0).astype(np.float32)
    level = _LEVEL[part.kind]
    if level == 0.5:
        soft = np.where(mine > 0, np.maximum(soft, 0.5), soft)
    k_x, k_y = shape[1] / w, shape[0] / h
    x0, y0 = round(left * k_x), round(top * k_y)
    x1, y1 = min(round(right * k_x), shape[1]), min(round(bottom * k_y), shape[0])
    if x1 <= x0 or y1 <= y0:
        return None
    mask = _enlarged(soft, (x0, y0, x1, y1), (left, top), (k_x, k_y)) > level
    mask = _one_piece(mask)
    if not mask.any():
        return None
    nucleus = None
    if part.kind == "wbc":
        share = shares[NUCLEUS] / np.maximum(of_kind, 1e-6)
        nucleus = _enlarged(share, (x0, y0, x1, y1), (left, top), (k_x, k_y)) > 0.5
        nucleus &= mask
        nucleus = nucleus if nucleus.any() else None
    return Cell.from_mask(part.kind, mask, score=part.score, nucleus=nucleus, offset=(x0, y0))


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
    matrix = np.array(
        [
            [1 / k_x, 0, (x0 + 0.5) / k_x - corner[0] - 0.5],
            [0, 1 / k_y, (y0 + 0.5) / k_y - corner[1] - 0.5],
        ]
    )
    return cv2.warpAffine(
        plane,
        matrix,
        (x1 - x0, y1 - y0),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _one_piece(mask: np.ndarray) -> np.ndarray:
    """Return the largest piece of a bool mask, its holes filled."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not found:
        return np.zeros_like(mask)
    largest = max(found, key=lambda line: (cv2.contourArea(line), len(line)))
    filled = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(filled, [largest], -1, 1, cv2.FILLED)
    return filled.astype(bool)
