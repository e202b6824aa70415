"""Red cells: what is left of the foreground, its holes filled, overlapping discs taken apart."""

from __future__ import annotations

import cv2
import numpy as np


def foreground(depth: np.ndarray, noise: float) -> tuple[np.ndarray, float]:
    """Return what is not slide (bool (h, w)) and the density that parts them."""
    inside = depth[depth > 4 * noise]
    if inside.size < 50:
        return np.zeros(depth.shape, bool), 4 * noise
    typical = float(np.median(inside[inside < np.quantile(inside, 0.9)]))
    level = max(3.5 * noise, 0.45 * typical)
    return depth > level, level


def filled(mask: np.ndarray) -> np.ndarray:
    """Return the mask with its holes filled (pale centres of discs)."""
    height, width = mask.shape
    padded = np.zeros((height + 2, width + 2), np.uint8)
    padded[1:-1, 1:-1] = mask
    flood = padded.copy()
    cv2.floodFill(flood, None, (0, 0), 2)
    return flood[1:-1, 1:-1] != 2


def disc_radius(mask: np.ndarray, default: float) -> float:
    """Return the typical radius of the discs in a mask: high values of its distance transform."""
    padded = np.pad(mask, 1).astype(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    peaks = distance[(distance == cv2.dilate(distance, np.ones((9, 9)))) & (distance > 4)]
    if len(peaks) < 3:
        return default
    return float(np.quantile(peaks, 0.6))


def discs(mask: np.ndarray, radius: float) -> np.ndarray:
    """Return int32 (h, w) labels of the single cells of a mask, overlapping ones taken apart.

    Watershed on the distance transform, from maxima that rise at least a tenth of a cell's radius
    above their saddles.
    """
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    # the mask is continued beyond the edge, so that cut cells keep their middle
    border = int(radius)
    padded = np.pad(mask, border, mode="edge").astype(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[border:-border, border:-border]
    distance = cv2.GaussianBlur(distance, (0, 0), 1)
    peaks = h_maxima(np.minimum(distance, 1.2 * radius), 0.1 * radius) > 0
    markers = cv2.connectedComponents((peaks & mask).astype(np.uint8))[1]
    return watershed(-distance, markers, mask=mask)
