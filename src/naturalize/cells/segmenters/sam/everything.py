"""The paper's way: a prompt at every point of a grid, and the masks sorted afterwards.

After the automatic mask generation of Segment Anything (Kirillov et al., ICCV 2023, appendix B):
of every point the three masks for whole, part and subpart; those kept that are sure of themselves
and stable; duplicates removed by their boxes.

They are masks of cells, nuclei, clumps, holes and slide alike. What each is follows from three
measures: its area against a red cell's, the share of it that is stained at all, and how much
nuclear stain (azure) it holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from naturalize.cells.seams import common, without_repeats
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.cells.segmenters.classical.view import view
from naturalize.cells.segmenters.classical.white import Seed, threshold
from naturalize.cells.segmenters.sam import limits
from naturalize.cells.segmenters.sam.model import Encoded, Model
from naturalize.imaging.shape import solidity, touches_border

#: Prompts at a time.
_AT_ONCE = 32


def everything(
    image: np.ndarray, model: Model, *, grid: int, least_score: float, least_stability: float
) -> Segmentation:
    """Return the cells of RGB uint8 (H, W, 3), found by asking at ``grid`` × ``grid`` points."""
    masks = _masks(model.encode(image), grid, least_score, least_stability)
    stain = StainMaps.of(image)
    cells = without_repeats(sort_out(masks, stain))
    return Segmentation((image.shape[0], image.shape[1]), cells, stain.background)


def _masks(seen: Encoded, grid: int, least_score: float, least_stability: float) -> list[Cell]:
    """Return the masks of anything, as cells of a kind that is still to be found out."""
    height, width = seen.frame.shape
    at = (np.arange(grid) + 0.5) / grid
    points = np.stack([np.tile(at * width, grid), np.repeat(at * height, grid)], axis=1)
    found = []
    for start in range(0, len(points), _AT_ONCE):
        maps, scores = seen.masks(points=points[start : start + _AT_ONCE])
        # the last three are whole, part and subpart; a first of four is for unambiguous prompts
        maps, scores = maps[:, -3:].reshape(-1, *maps.shape[2:]), scores[:, -3:].ravel()
        sure = scores > least_score
        maps, scores = maps[sure], scores[sure]
        steady = stability(maps) >= least_stability
        for low, score in zip(maps[steady], scores[steady], strict=True):
            window = seen.frame.window(low)
            if window is not None:
                mask = seen.frame.logits(low, window) > 0
                if mask.any():
                    sure_of = float(np.clip(score, 0, 1))
                    found.append(Cell.from_mask("wbc", mask, score=sure_of, offset=window[:2]))
        found = suppressed(found)
    return found


def stability(maps: np.ndarray) -> np.ndarray:
    """Return how little each map's mask changes with its threshold, float (n,), 0–1.

    Pixels above +1 as a share of those above −1: their intersection over union.
    """
    inner = np.count_nonzero(maps > limits.SHIFT, axis=(1, 2))
    outer = np.count_nonzero(maps > -limits.SHIFT, axis=(1, 2))
    return inner / np.maximum(outer, 1)


def suppressed(masks: list[Cell]) -> list[Cell]:
    """Return the masks without those whose box is nearly that of a surer one, surest first."""
    order = sorted(masks, key=lambda m: (-m.score, m.box))
    if not order:
        return []
    boxes = np.array([mask.box for mask in order], np.float64)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = np.ones(len(order), bool)
    for k in range(len(order)):
        if alive[k]:
            low = np.maximum(boxes[k, :2], boxes[k + 1 :, :2])
            high = np.minimum(boxes[k, 2:], boxes[k + 1 :, 2:])
            both = np.clip(high - low, 0, None).prod(axis=1)
            alive[k + 1 :] &= both <= limits.SAME_BOX * (area[k] + area[k + 1 :] - both)
    return [mask for mask, stays in zip(order, alive, strict=True) if stays]


@dataclass(frozen=True, eq=False)
class StainMaps:
    """The stain of an image, at its own size.

    ``azure``: float32 (H, W): density of nuclear stain. ``nuclear``, ``stained``: bool (H, W): as
    much azure as nuclei have; more than bare slide. ``background``: RGB of the slide.
    """

    azure: np.ndarray
    nuclear: np.ndarray
    stained: np.ndarray
    background: tuple[float, float, float]

    @classmethod
    def of(cls, image: np.ndarray) -> StainMaps:
        """Return the maps of RGB uint8 (H, W, 3)."""
        seen = view(image)

        def full(values: np.ndarray) -> np.ndarray:
            return cv2.resize(values, seen.shape[::-1], interpolation=cv2.INTER_LINEAR)

        azure = full(seen.azure)
        return cls(
            azure,
            azure > threshold(seen.azure),
            full(seen.depth) > 0.02 + 2 * seen.noise,
            seen.background,
        )


@dataclass(frozen=True, eq=False)
class _Measured:
    mask: Cell
    area: int
    stained: float
    azure: float
    nucleus: Seed
    convex: float


def sort_out(masks: Sequence[Cell], stain: StainMaps) -> Iterator[Cell]:
    """Yield the masks that are cells, with their kinds and the nuclei of white ones."""
    largest = limits.LARGEST * stain.stained.size
    measured = [_measured(m, stain) for m in masks]
    measured = [
        m
        for m in measured
        if m.area < largest and m.stained > limits.STAINED_SHARE and m.convex > limits.CONVEX
    ]
    disc = _disc(measured, stain)
    whites = [m for m in measured if _is_white(m, disc)]
    for white in _outermost(whites):
        yield replace(white.mask, nucleus=white.nucleus.mask)
    reds = [m for m in measured if _is_red(m, disc)]
    # where two discs overlap there are masks of both, of each, and of what they share
    for red in _outermost([m for m in reds if not _is_clump(m, reds, disc)]):
        yield replace(red.mask, kind="rbc")
    for platelet in _outermost([m for m in measured if _is_platelet(m, disc)]):
        yield replace(platelet.mask, kind="platelet")


def _measured(mask: Cell, stain: StainMaps) -> _Measured:
    x0, y0, x1, y1 = mask.box
    here = np.s_[y0:y1, x0:x1]
    azure = stain.azure[here]
    return _Measured(
        mask=mask,
        area=mask.area,
        stained=float(stain.stained[here][mask.mask].mean()),
        azure=float((azure[mask.mask] > limits.AZURE).mean()),
        nucleus=Seed.of(stain.nuclear[here] & mask.mask, azure),
        convex=solidity(mask.mask),
    )


def _disc(measured: Sequence[_Measured], stain: StainMaps) -> float:
    """Return the usual area of a red cell: the median of whole round masks without nuclear stain.

    Weighted by area, because pieces of cells are many and small. Without any, a share of the image
    that fits the magnification of the usual single-cell images.
    """
    height, width = stain.stained.shape
    usual = np.pi * (min(height, width) * limits.PLAIN_RADIUS) ** 2
    low, high = (factor * usual for factor in limits.PLAIN_AREA)
    areas = np.sort(
        [
            m.area
            for m in measured
            if m.azure < limits.PLAIN_AZURE and m.convex > limits.PLAIN_CONVEX
            and low < m.area < high and not touches_border(m.mask.box, (height, width))
        ]
    )  # fmt: skip
    if len(areas) < 2:
        return usual
    weights = np.cumsum(areas)
    return float(areas[np.searchsorted(weights, 0.5 * weights[-1])])


def _is_white(m: _Measured, disc: float) -> bool:
    of_its_size = limits.WHITE[0] * disc < m.area < limits.WHITE[1] * disc
    return of_its_size and m.nucleus.area > 0 and m.nucleus.is_white(disc, m.area)


def _is_red(m: _Measured, disc: float) -> bool:
    return (
        m.azure < limits.AZURE_SHARE
        and not _is_white(m, disc)
        and limits.RED[0] * disc < m.area < limits.RED[1] * disc
    )


def _is_platelet(m: _Measured, disc: float) -> bool:
    small = limits.PLATELET[0] * disc < m.area < limits.PLATELET[1] * disc
    return small and m.azure > limits.AZURE_SHARE and not _is_white(m, disc)


def _outermost(masks: Sequence[_Measured]) -> list[_Measured]:
    """Return the masks that lie in no other: a nucleus lies in its cell."""
    return [m for m in masks if not any(_lies_in(m, o) for o in masks if o.area > m.area)]


def _is_clump(mask: _Measured, others: Sequence[_Measured], disc: float) -> bool:
    """Return whether a mask holds a cell and more, or others side by side make up most of it.

    A pale centre in a paler centre is no second cell: they share too much.
    """
    low, high = (share * mask.area for share in limits.CLUMP_PART)
    inside = [o for o in others if low < o.area < high and _lies_in(o, mask)]
    holds_a_cell = any(one.area > limits.CLUMP_CELL * disc for one in inside)
    if mask.area > limits.CLUMP * disc and holds_a_cell:
        return True
    apart: list[_Measured] = []
    for one in sorted(inside, key=lambda o: -o.area):
        if all(common(one.mask, other.mask) < limits.CLUMP_SHARED * one.area for other in apart):
            apart.append(one)
    return len(apart) > 1 and sum(one.area for one in apart) > limits.CLUMP_COVERED * mask.area


def _lies_in(small: _Measured, large: _Measured) -> bool:
    return common(small.mask, large.mask) > limits.INSIDE * small.area
