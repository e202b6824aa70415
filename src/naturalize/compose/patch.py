"""A cell made ready to be set anywhere: its colours carried past its edge, its edge as a distance.

A mask that is warped with the colours around it brings a fringe of old background. So the colours
of the cell are first extended outwards, and the mask becomes a signed distance to the cell's edge
(in 16ths of a pixel), from which an edge of any softness is cut after warping, to a fraction of
a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from naturalize.base.errors import InputError

if TYPE_CHECKING:
    from naturalize.cells.bank import Cutout

#: Pixels around a cell's box that a patch adds on each side.
PAD = 4

#: Levels of a pixel's distance, and the level of the edge itself.
LEVELS, EDGE = 16, 128


class CellSource(Protocol):
    """Where cells come from: a bank, or a store of crops."""

    def cutout(self, cell_id: str) -> Cutout:
        """Return a cell's pixels."""

    def image(self, image_id: str) -> np.ndarray:
        """Return a source image, RGB uint8 (H, W, 3)."""


@dataclass(frozen=True, eq=False)
class Patch:
    """A cell with ``PAD`` pixels around its box.

    Attributes
    ----------
    colours
        RGB uint8 (h + 2 PAD, w + 2 PAD, 3).
    edge
        Uint8 (h + 2 PAD, w + 2 PAD): distance to the edge, 128 at it, 16 levels a pixel, more
        inside.
    """

    colours: np.ndarray
    edge: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Width, height of the cell's box."""
        height, width = self.edge.shape
        return width - 2 * PAD, height - 2 * PAD


def make_patch(rgb: np.ndarray, mask: np.ndarray) -> Patch:
    """Return the patch of a cell.

    Only pixels inside the mask decide it.

    Parameters
    ----------
    rgb
        Uint8 (h, w, 3).
    mask
        Bool (h, w), at least one pixel.
    """
    if not mask.any():
        raise InputError("a cell's mask is empty; build the bank again")
    inside = cv2.copyMakeBorder(mask.view(np.uint8), PAD, PAD, PAD, PAD, cv2.BORDER_CONSTANT)
    outside = 1 - inside
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    away, nearest = cv2.distanceTransformWithLabels(
        outside, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    known = inside.astype(bool)
    table = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    table[nearest[known]] = rgb[mask]
    # a pixel's centre lies half a pixel from the border between it and the next
    distance = np.where(known, depth - 0.5, 0.5 - away)
    edge = np.clip(np.rint(EDGE + LEVELS * distance), 0, 255).astype(np.uint8)
    # the rim is as far away as can be said: what warping brings from past it is never seen
    edge[[0, -1]] = 0
    edge[:, [0, -1]] = 0
    return Patch(table[nearest], edge)


def cell_mask(patch: Patch) -> np.ndarray:
    """Return the mask that a patch was made of, bool (h, w)."""
    return patch.edge[PAD:-PAD, PAD:-PAD] > EDGE


def patch_of(source: CellSource, cell_id: str) -> Patch:
    """Return a cell's patch: ready-made where the source keeps patches, else made now."""
    ready = getattr(source, "patch", None)
    if ready is not None:
        return ready(cell_id)
    cutout = source.cutout(cell_id)
    return make_patch(cutout.rgb, cutout.mask)
