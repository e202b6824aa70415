"""From an image to its cells: the steps in order."""

from __future__ import annotations

import cv2
import numpy as np

from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.cells.segmenters.classical import red, white
from naturalize.cells.segmenters.classical.contour import fill
from naturalize.cells.segmenters.classical.view import View, view

_NUCLEAR = 0.33


def find(image: np.ndarray, *, cell_size: float | None = None) -> Segmentation:
    """Return the cells of RGB uint8 (H, W, 3)."""
    seen = view(image)
    fore, _ = red.foreground(seen.depth, seen.noise)
    fore = red.filled(fore)
    default = min(fore.shape) / 12
    radius = (
        cell_size / 2 / seen.scale
        if cell_size
        else red.disc_radius(fore & (seen.nuclear < _NUCLEAR), default)
    )
    groups = white.seeds(seen, _NUCLEAR, radius)
    disc = np.pi * radius**2
    large = [g for g in groups if g.area > 0.3 * disc]
    small = [g for g in groups if g.area <= 0.3 * disc]
    whites, taken = _whites(seen, large, fore, radius)
    platelets = _platelets(seen, small, fore, taken, radius)
    for cell_mask in platelets:
        taken = taken | cell_mask
    reds = _reds(fore & ~taken, radius)
    cells = [
        *whites,
        *(_cell("rbc", mask, seen, 0.8) for mask in reds),
        *(_cell("platelet", mask, seen, 0.7) for mask in platelets),
    ]
    order = {"wbc": 0, "rbc": 1, "platelet": 2}
    cells.sort(key=lambda c: (order[c.kind], c.box[1], c.box[0]))
    return Segmentation(seen.shape, tuple(cells), seen.background)


def _whites(
    seen: View, groups: list[white.Seed], fore: np.ndarray, radius: float
) -> tuple[list[Cell], np.ndarray]:
    taken = np.zeros(fore.shape, bool)
    if not groups:
        return [], taken
    sure = np.zeros(fore.shape, bool)
    for group in groups:
        sure |= group.mask
    far = cv2.distanceTransform((~sure).astype(np.uint8), cv2.DIST_L2, 3)
    colour = white.red_direction(seen, fore, far < 1.2 * radius)
    proof = white.evidence(seen, colour, sure)
    cells = []
    for group in sorted(groups, key=lambda g: -g.area):
        points, _ = white.outline(seen, group, proof, 2.4 * radius)
        inside = fill(points, fore.shape)
        if not inside.any():
            continue
        taken |= inside
        full = fill(points, seen.shape, seen.scale)
        nucleus = _upsampled(group.mask, seen)
        cells.append(Cell.from_mask("wbc", full, score=0.9, nucleus=nucleus))
    return cells, taken


def _platelets(
    seen: View, groups: list[white.Seed], fore: np.ndarray, taken: np.ndarray, radius: float
) -> list[np.ndarray]:
    found = []
    for group in groups:
        if group.area < 0.02 * np.pi * radius**2 or taken[group.mask].mean() > 0.3:
            continue
        grown = cv2.dilate(group.mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        found.append(red.filled(grown) & ~taken)
    return [mask for mask in found if mask.any()]


def _reds(mask: np.ndarray, radius: float) -> list[np.ndarray]:
    open_ = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    labels = red.discs(open_, radius)
    found = []
    for k in range(1, int(labels.max()) + 1):
        one = labels == k
        if np.count_nonzero(one) > 0.08 * np.pi * radius**2:
            found.append(one)
    return found


def _upsampled(mask: np.ndarray, seen: View) -> np.ndarray:
    if seen.scale == 1:
        return mask
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.8)
    height, width = seen.shape
    return cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5


def _cell(kind: str, mask: np.ndarray, seen: View, score: float) -> Cell:
    full = _upsampled(mask, seen)
    if not full.any():
        full = (
            cv2.resize(mask.astype(np.uint8), seen.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
        )
    return Cell.from_mask(kind, full, score=score)
