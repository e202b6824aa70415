"""Red cells: what is left of the foreground, its holes filled, overlapping discs taken apart."""

from __future__ import annotations

import cv2
import numpy as np

from naturalize.cells.segmenters.classical import limits


def foreground(depth: np.ndarray, noise: float) -> np.ndarray:
    """Return what is not slide, bool (h, w)."""
    inside = depth[depth > limits.STAINED * noise]
    if inside.size < 50:
        return np.zeros(depth.shape, bool)
    typical = float(np.median(inside[inside <= np.quantile(inside, 0.9)]))
    return depth > max(limits.ABOVE_NOISE * noise, limits.OF_TYPICAL * typical)


def filled(mask: np.ndarray) -> np.ndarray:
    """Return the mask with its holes filled (pale centres of discs)."""
    height, width = mask.shape
    padded = np.zeros((height + 2, width + 2), np.uint8)
    padded[1:-1, 1:-1] = mask
    cv2.floodFill(padded, None, (0, 0), 2)
    return padded[1:-1, 1:-1] != 2


def disc_radius(fore: np.ndarray, nuclear: np.ndarray, default: float) -> float:
    """Return the typical radius of the red cells of an image, in pixels.

    The median, by area, over discs that stand alone (from their area) and peaks of the distance
    transform in clumps; where a white cell fills the image, from that.

    ``fore``: bool (h, w): all cells, holes filled. ``nuclear``: bool (h, w): nuclei and platelets.
    ``default``: what is likely, from the size of the image; the result is 0.55 to 2.2 times as
    much.
    """
    low, high = (times * default for times in limits.RADIUS_RANGE)
    n, labels, stats, _ = cv2.connectedComponentsWithStats(fore.astype(np.uint8), connectivity=4)
    azure = np.bincount(labels[nuclear], minlength=n) > 5
    alone = [_if_round(stats[k], fore.shape) for k in range(1, n) if not azure[k]]
    distance = _depth_inside(fore, int(default))
    side = 2 * int(low) + 1
    peak = (distance >= cv2.dilate(distance, np.ones((side, side)))) & (distance > low)
    clumped = distance[peak & ~azure[labels]]
    radii = np.sort([r for r in (*alone, *alone, *clumped) if low < r])
    if len(radii) < 2:
        # a white cell is about 1.4 times as wide as a red one
        largest = float(distance.max(initial=0)) / limits.WHITE_TO_RED
        return float(np.clip(largest or default, low, high))
    weights = np.cumsum(radii**2)
    # half the way up is too low: the peaks of cut and pale cells are too small, none too large
    place = np.searchsorted(weights, limits.RADIUS_QUANTILE * weights[-1])
    return float(np.clip(limits.RADIUS_FACTOR * radii[place], low, high))


def _depth_inside(mask: np.ndarray, border: int) -> np.ndarray:
    """Return how far inside a mask each pixel is; the mask goes on beyond the image's edge."""
    border = max(1, border)
    padded = np.pad(mask, border, mode="edge").astype(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)
    return distance[border:-border, border:-border]


def _if_round(stats: np.ndarray, shape: tuple[int, ...]) -> float:
    """Return the radius of a round component that the image's edge does not cut, else 0."""
    x, y, w, h, area = (int(value) for value in stats)
    cut = x == 0 or y == 0 or x + w == shape[1] or y + h == shape[0]
    # a disc fills π/4 of its box
    (narrow, wide), (least, most) = limits.ROUND, limits.FILLED
    is_round = narrow < w / h < wide and least < area / (w * h) < most
    return float((area / np.pi) ** 0.5) if is_round and not cut else 0.0


def discs(mask: np.ndarray, radius: float) -> np.ndarray:
    """Return int32 (h, w) labels of the single cells of a mask, overlapping ones taken apart.

    Watershed on the distance transform, from the maxima that stand out.

    ``mask``: bool (h, w): red cells, holes filled; ``radius``: of a red cell, in pixels.
    """
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    distance = cv2.GaussianBlur(_depth_inside(mask, int(radius)), (0, 0), 1.5)
    # maxima of so smooth a map are found as well on every other pixel, in a quarter of the time
    peaks = (h_maxima(distance[::2, ::2], limits.SEPARATED * radius) > 0) & mask[::2, ::2]
    markers = np.zeros(mask.shape, np.int32)
    markers[::2, ::2] = cv2.connectedComponents(peaks.astype(np.uint8))[1]
    return watershed(-distance, markers, mask=mask)
