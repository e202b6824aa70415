"""Boxes found against boxes drawn by hand: matching, counts by group, scores with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from naturalize.base.rng import rng
from naturalize.cells.segmentation import KINDS

#: Boxes this near to the image's edge (pixels) count as cut by it.
EDGE = 2

#: (hits, missed, extra) of each group of cells in one image.
Counts = dict[str, tuple[int, int, int]]


def iou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return intersection over union of boxes (n, 4) and (m, 4) as (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=2)
    area_a, area_b = (np.clip(x[:, 2:] - x[:, :2], 0, None).prod(axis=1) for x in (a, b))
    return both / np.maximum(area_a[:, None] + area_b[None] - both, 1e-9)


def matched(truth: np.ndarray, found: np.ndarray, at: float = 0.5) -> tuple[set[int], set[int]]:
    """Return the matched rows of each, one to one, as many as can be."""
    if not len(truth) or not len(found):
        return set(), set()
    iou = iou_matrix(truth, found)
    rows, columns = linear_sum_assignment(-np.where(iou >= at, 1 + iou, 0))
    pairs = [(r, c) for r, c in zip(rows, columns, strict=True) if iou[r, c] >= at]
    return {int(r) for r, _ in pairs}, {int(c) for _, c in pairs}


def at_edge(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return which boxes reach the edge of an image of (height, width)."""
    height, width = shape
    low = (boxes[:, :2] <= EDGE).any(axis=1)
    return low | (boxes[:, 2] >= width - EDGE) | (boxes[:, 3] >= height - EDGE)


def counts(
    truth: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    shape: tuple[int, int],
    at: float = 0.5,
) -> Counts:
    """Return hits, missed and extra boxes of one image, by kind and by being cut or whole.

    Boxes are matched within a kind. A hit counts in the group of the true box, an extra one in
    its own.

    Parameters
    ----------
    truth, found
        Kind → boxes (n, 4) in pixels.
    shape
        Height and width of the image.
    at
        Least intersection over union of a hit.
    """
    out: Counts = {}
    for kind in KINDS:
        true, got = (np.asarray(b.get(kind, []), float).reshape(-1, 4) for b in (truth, found))
        hit_true, hit_got = matched(true, got, at)
        cut_true, cut_got = at_edge(true, shape), at_edge(got, shape)
        groups = {
            kind: (np.ones(len(true), bool), np.ones(len(got), bool)),
            f"{kind} whole": (~cut_true, ~cut_got),
            f"{kind} cut": (cut_true, cut_got),
        }
        for group, (of_true, of_got) in groups.items():
            hits = sum(bool(of_true[i]) for i in hit_true)
            extra = sum(bool(of_got[j]) for j in range(len(got)) if j not in hit_got)
            out[group] = (hits, int(of_true.sum()) - hits, extra)
    return out


def summary(images: Sequence[Counts]) -> dict[str, dict[str, float | list[float]]]:
    """Return ``n``, precision, recall, F1 and its 95 % interval for each group of cells.

    The interval is the percentile bootstrap over images, 2,000 draws.
    """
    if not images:
        return {}
    draw = rng(0, "box intervals")
    weights = draw.multinomial(len(images), np.full(len(images), 1 / len(images)), size=2000)
    out = {}
    for group in images[0]:
        table = np.array([image[group] for image in images], float)
        hits, missed, extra = table.sum(axis=0)
        drawn = weights @ table
        drawn = drawn[drawn.sum(axis=1) > 0]  # without a box there is no score
        low, high = np.quantile(_f1(*drawn.T), [0.025, 0.975]) if len(drawn) else (0.0, 0.0)
        out[group] = {
            "n": int(hits + missed),
            "precision": float(hits / max(hits + extra, 1)),
            "recall": float(hits / max(hits + missed, 1)),
            "f1": float(_f1(hits, missed, extra)),
            "f1_interval": [float(low), float(high)],
        }
    return out


def _f1(hits: np.ndarray, missed: np.ndarray, extra: np.ndarray) -> np.ndarray:
    return 2 * hits / np.maximum(2 * hits + missed + extra, 1)


def overlap(mask: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return Dice and IoU of two bool (H, W) masks; 1 if both are empty."""
    both, sizes = np.count_nonzero(mask & truth), np.count_nonzero(mask) + np.count_nonzero(truth)
    return (2 * both / sizes, both / (sizes - both)) if sizes else (1.0, 1.0)
