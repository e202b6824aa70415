"""The paper's way: a prompt at every point of a grid, and the masks sorted afterwards.

After the automatic mask generation of Segment Anything (Kirillov et al., ICCV 2023, appendix B):
of every point the three masks for whole, part and subpart; those kept that are sure of themselves
and stable; duplicates removed by their boxes.
"""

from __future__ import annotations

import numpy as np

from naturalize.cells.seams import without_repeats
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.cells.segmenters.sam import limits
from naturalize.cells.segmenters.sam.kinds import Mask, StainMaps, sort_out
from naturalize.cells.segmenters.sam.model import Encoded, Model

#: Prompts at a time.
_AT_ONCE = 32


def everything(
    image: np.ndarray, model: Model, *, grid: int, least_score: float, least_stability: float
) -> Segmentation:
    """Return the cells of RGB uint8 (H, W, 3), found by asking at ``grid`` × ``grid`` points."""
    masks = _masks(model.encode(image), grid, least_score, least_stability)
    stain = StainMaps.of(image)
    cells = [
        Cell.from_mask(kind, mask.mask, score=mask.score, nucleus=nucleus, offset=mask.box[:2])
        for kind, mask, nucleus in sort_out(masks, stain)
    ]
    shape = (image.shape[0], image.shape[1])
    return Segmentation(shape, tuple(without_repeats(cells)), stain.background)


def _masks(seen: Encoded, grid: int, least_score: float, least_stability: float) -> list[Mask]:
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
                    found.append(_tight(Mask(window, mask, float(np.clip(score, 0, 1)))))
        found = suppressed(found)
    return found


def stability(maps: np.ndarray) -> np.ndarray:
    """Return how little each map's mask changes with its threshold, float (n,), 0–1.

    Pixels above +1 as a share of those above −1: their intersection over union.
    """
    inner = np.count_nonzero(maps > limits.SHIFT, axis=(1, 2))
    outer = np.count_nonzero(maps > -limits.SHIFT, axis=(1, 2))
    return inner / np.maximum(outer, 1)


def suppressed(masks: list[Mask]) -> list[Mask]:
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


def _tight(mask: Mask) -> Mask:
    """Return the mask with the smallest box that holds it."""
    rows = np.flatnonzero(mask.mask.any(axis=1))
    columns = np.flatnonzero(mask.mask.any(axis=0))
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    left, top = mask.box[:2]
    box = (int(left + x0), int(top + y0), int(left + x1), int(top + y1))
    return Mask(box, np.ascontiguousarray(mask.mask[y0:y1, x0:x1]), mask.score)
