"""The classical segmenter: thresholds, outlines and watersheds in optical density; no weights."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np

from naturalize.cells.segmentation import Cell, ScaledSegmenter, Segmentation, in_order
from naturalize.cells.segmenters.classical import limits, red, white
from naturalize.cells.segmenters.classical.view import View, view


class Classical(ScaledSegmenter):
    """Cells by stain and shape.

    White cells are found by their nucleus and outlined by what is neither slide nor red cell; red
    cells by threshold, hole filling and a distance watershed; platelets by size and stain.
    """

    name: ClassVar[str] = "classical"

    def segment(self, image: np.ndarray) -> Segmentation:
        """Return the cells of RGB uint8 (H, W, 3)."""
        seen = view(image)
        fore = red.filled(red.foreground(seen.depth, seen.noise))
        if self.cell_size:
            radius = self.cell_size / 2 / seen.scale
        else:
            default = min(fore.shape) / limits.SIDES_TO_RADIUS
            radius = red.disc_radius(fore, seen.azure > limits.PLATELET, default)
        level = white.threshold(seen.azure)
        groups = white.seeds(seen.azure, level, limits.LOBES_APART * radius)
        large = [g for g in groups if g.area > limits.LEAST_NUCLEUS * (np.pi * radius**2)]
        whites, taken = _whites(seen, large, fore, radius)
        platelets = _platelets(seen, taken, radius)
        reds = _reds(fore & ~np.logical_or.reduce([taken, *platelets]), radius)
        cells = [
            *whites,
            *(_cell("rbc", mask, seen) for mask in reds),
            *(_cell("platelet", mask, seen) for mask in platelets),
        ]
        return Segmentation(seen.shape, in_order(cells), seen.background)


def _whites(
    seen: View, groups: list[white.Seed], fore: np.ndarray, radius: float
) -> tuple[list[Cell], np.ndarray]:
    taken = np.zeros(fore.shape, bool)
    disc = np.pi * radius**2
    if not groups:
        return [], taken
    sure = np.logical_or.reduce([group.mask for group in groups])
    proof = white.evidence(seen, sure, radius)
    cells = []
    for group, points in white.outlines(groups, proof, radius):
        inside = white.fill(points, fore.shape)
        if not group.is_white(disc, int(np.count_nonzero(inside))):
            continue
        inside = white.refined(inside, np.where(_tinted(seen), proof, -1), radius)
        taken |= inside
        full = _upsampled(inside, seen, 1.2)
        nucleus = _upsampled(white.nucleus(seen.azure, inside), seen)
        cells.append(Cell.from_mask("wbc", full, score=limits.SCORES["wbc"], nucleus=nucleus))
    return cells, taken


def _platelets(seen: View, taken: np.ndarray, radius: float) -> list[np.ndarray]:
    least, most = (area * np.pi * radius**2 for area in limits.PLATELET_AREA)
    found = []
    for group in white.seeds(np.where(taken, 0, seen.azure), limits.PLATELET, 1):
        if least < group.area < most:
            mask = _grown(group.mask, seen) & ~taken
            if mask.any() and not _is_sliver(mask, taken):
                found.append(mask)
    return found


def _grown(core: np.ndarray, seen: View) -> np.ndarray:
    """Return a platelet with its pale rim: a little wider where the stain fades out."""
    wide = cv2.dilate(core.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    rim = (seen.azure > limits.RIM) & _tinted(seen) & (wide > 0)
    return red.filled(cv2.dilate(core.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) | rim


def _tinted(seen: View) -> np.ndarray:
    """Return where there is something, not slide nor the bright halo of an edge."""
    return seen.depth > limits.TINTED + seen.noise


def _is_sliver(mask: np.ndarray, taken: np.ndarray) -> bool:
    """Return whether a mask is a narrow strip along a white cell: its rim, no platelet."""
    (_, sides, _) = cv2.minAreaRect(cv2.findNonZero(mask.astype(np.uint8)))
    edge = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return min(sides) < 0.5 * max(sides) and bool((edge & taken).any())


def _reds(mask: np.ndarray, radius: float) -> list[np.ndarray]:
    open_ = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    labels = red.discs(open_, radius)
    found = (labels == k for k in range(1, int(labels.max()) + 1))
    return [one for one in found if np.count_nonzero(one) > limits.LEAST_RED * np.pi * radius**2]


def _upsampled(mask: np.ndarray, seen: View, smooth: float = 0.8) -> np.ndarray:
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), smooth)
    height, width = seen.shape
    return cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5


def _cell(kind: str, mask: np.ndarray, seen: View) -> Cell:
    full = _upsampled(mask, seen)
    if not full.any():
        size = (seen.shape[1], seen.shape[0])
        full = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return Cell.from_mask(kind, full, score=limits.SCORES[kind])
