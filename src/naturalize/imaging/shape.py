"""Shapes of masks: pieces, convexity, contact; which of several cells an image is about."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

#: Shares of the greatest depth at which a mask is looked at for pieces.
_DEPTHS = (0.4, 0.55, 0.7, 0.85)


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """Return the largest piece, connected over four neighbours, of a bool (h, w) mask.

    Of equally large pieces the first from the top; an empty mask comes back empty.
    """
    n, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    return mask if n < 3 else labels == 1 + int(stats[1:n, cv2.CC_STAT_AREA].argmax())


def touches_border(box: Sequence[int], shape: Sequence[int]) -> bool:
    """Return whether a box ``x0, y0, x1, y1`` reaches the edge of an image (height, width, …)."""
    x0, y0, x1, y1 = box
    return x0 <= 0 or y0 <= 0 or x1 >= shape[1] or y1 >= shape[0]


def off_target(boxes: np.ndarray, areas: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return how little each of N cells is what their image was taken of; the least is the target.

    The distance of its box from the middle, in half widths and heights of the image, less half of
    its share of the largest cell's area: an image is about a large cell near its middle. ``boxes``:
    int (N, 4), ``x0, y0, x1, y1``; ``areas``: pixels of each cell, (N,); ``shape``: height and
    width of the image.
    """
    boxes, areas = np.asarray(boxes), np.asarray(areas)
    dx = (boxes[:, 0] + boxes[:, 2]) / shape[1] - 1
    dy = (boxes[:, 1] + boxes[:, 3]) / shape[0] - 1
    return np.hypot(dx, dy) - 0.5 * areas / areas.max()


def solidity(mask: np.ndarray) -> float:
    """Return the share of its convex hull that a bool (h, w) mask fills, 0–1.

    Hulls go through the outermost pixels' middles; half a pixel all round is added to them
    (Pick's theorem), so that a filled rectangle gives 1.
    """
    points = cv2.findNonZero(mask.astype(np.uint8))
    hull = cv2.convexHull(points)
    area = float(cv2.contourArea(hull)) + float(cv2.arcLength(hull, True)) / 2 + 1
    return min(1.0, len(points) / area)


def has_waist(mask: np.ndarray) -> bool:
    """Return whether a bool (h, w) mask falls apart as more and more of its rim is taken off.

    Two cells in one outline leave two sizeable pieces; one cell, oval or with a thin appendage,
    leaves one.
    """
    inside = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)
    smooth = cv2.GaussianBlur(inside, (0, 0), 1)
    for depth in _DEPTHS:
        core = (smooth > depth * smooth.max()).astype(np.uint8)
        n, _, stats, _ = cv2.connectedComponentsWithStats(core)
        sizes = sorted(stats[1:n, cv2.CC_STAT_AREA].tolist())
        # the deeper one looks, the smaller what is left of a cell
        if n > 2 and sizes[-2] > 0.075 * (1 - depth) * int(np.count_nonzero(mask)):
            return True
    return False


def contact(mask: np.ndarray, box: tuple[int, int, int, int], others: np.ndarray) -> float:
    """Return the share of a cell's outline that lies against or under other cells, 0–1.

    ``mask``, bool (h, w), lies at ``box``, ``x0, y0, x1, y1``, in the image; ``others``, bool (H,
    W): which pixels of the image cells cover, this one too.
    """
    x0, y0, x1, y1 = box
    height, width = others.shape
    padded = np.pad(mask, 2)
    ring = (cv2.dilate(padded.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0) & ~padded
    left, top = max(x0 - 2, 0), max(y0 - 2, 0)
    right, bottom = min(x1 + 2, width), min(y1 + 2, height)
    ring = ring[top - y0 + 2 : bottom - y0 + 2, left - x0 + 2 : right - x0 + 2]
    covered = others[top:bottom, left:right] > 0
    n = int(np.count_nonzero(ring))
    return int(np.count_nonzero(ring & covered)) / max(1, n)
