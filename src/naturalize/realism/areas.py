"""The parts of an image that are measured apart: bare slide, red cells, target cell, its border.

Real and composite images are divided by the same segmenter, from their pixels alone; what a recipe
knows is not used, so that neither side is measured more exactly than the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from naturalize.cells.segmentation import LEVELS, Cell, Segmentation
from naturalize.imaging.shape import off_target

#: Pixels next to a cell's outline that belong to neither side.
_MARGIN = 3


@dataclass(frozen=True, eq=False)
class Areas:
    """An image, RGB uint8 (H, W, 3), with its cells."""

    image: np.ndarray
    found: Segmentation

    @cached_property
    def luma(self) -> np.ndarray:
        """Luminance as JPEG has it, float32 (H, W), 0–255."""
        return self._ycc[0]

    @cached_property
    def chroma(self) -> tuple[np.ndarray, np.ndarray]:
        """Red and blue chroma as JPEG has them, float32 (H, W)."""
        return self._ycc[1], self._ycc[2]

    @cached_property
    def _ycc(self) -> tuple[np.ndarray, ...]:
        return tuple(cv2.split(cv2.cvtColor(self.image.astype(np.float32), cv2.COLOR_RGB2YCrCb)))

    @cached_property
    def kinds(self) -> np.ndarray:
        """Uint8 (H, W): 0 bare slide, 1 white cells, 2 red cells, 3 platelets."""
        return self.found.label_image()

    @cached_property
    def target(self) -> Cell | None:
        """The cell that the image was taken of: a white cell, else a platelet, as in the bank."""
        for kind in ("wbc", "platelet"):
            cells = self.found.of(kind)
            if cells:
                boxes, areas = np.array([c.box for c in cells]), np.array([c.area for c in cells])
                return cells[int(off_target(boxes, areas, self.found.shape).argmin())]
        return None

    @cached_property
    def beyond(self) -> np.ndarray:
        """Distance to the target's outline, float32 (H, W): negative inside; ∞ without a target."""
        if self.target is None:
            return np.full(self.found.shape, np.inf, np.float32)
        inside = np.zeros(self.found.shape, np.uint8)
        x0, y0, x1, y1 = self.target.box
        inside[y0:y1, x0:x1] = self.target.mask
        depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5)
        away = cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_5)
        return np.where(inside > 0, 0.5 - depth, away - 0.5).astype(np.float32)

    @cached_property
    def slide(self) -> np.ndarray:
        """Bare slide, a margin away from any cell, bool (H, W)."""
        return _shrunk(self.kinds == 0)

    @cached_property
    def red(self) -> np.ndarray:
        """Insides of red cells, bool (H, W)."""
        return _shrunk(self.kinds == LEVELS["rbc"])

    @cached_property
    def inside(self) -> np.ndarray:
        """Inside of the target, bool (H, W)."""
        return self.beyond < -_MARGIN

    @cached_property
    def around(self) -> np.ndarray:
        """Bare slide 2–14 pixels outside the target: where an old cell's traces would be."""
        return (self.kinds == 0) & (self.beyond > 2) & (self.beyond <= 14)

    @cached_property
    def red_rims(self) -> np.ndarray:
        """A band of two pixels on both sides of red cells' outlines, bool (H, W)."""
        red = (self.kinds == LEVELS["rbc"]).astype(np.uint8)
        band = cv2.morphologyEx(red, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
        return band & (self.beyond > 4)


def _shrunk(mask: np.ndarray) -> np.ndarray:
    size = 2 * _MARGIN + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return cv2.erode(mask.astype(np.uint8), kernel) > 0


def mean_in(values: np.ndarray, area: np.ndarray, *, least: int = 30) -> float:
    """Return the mean of ``values`` in ``area``; NaN where it has fewer than ``least`` pixels."""
    picked = values[area]
    return float(picked.mean(dtype=np.float64)) if len(picked) >= least else float("nan")
