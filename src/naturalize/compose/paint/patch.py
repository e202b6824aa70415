"""A cell made ready to be set anywhere: its colours carried past its edge, its edge as a distance.

A mask that is warped with the colours around it brings a fringe of old background. So the mask
becomes a signed distance to the cell's edge (in 16ths of a pixel), from which an edge of any
softness is cut after warping, to a fraction of a pixel; and what lies around the cell is replaced.
There are three styles of that. ``extended``: the cell's own colours go on outwards, and nothing
outside the mask decides anything. ``isolated``: the cell as it would lie alone on its own bare
slide, which is what light does at a cell's edge. ``surrounded``: the same, and as far as it is free
of other cells the slide around it as it is (see ``surround``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np

from naturalize.base.errors import InputError
from naturalize.compose.paint import constants as tuned
from naturalize.compose.paint.sizes import EDGE, LEVELS, OWN, PAD, WIDE, as_levels, depth_of
from naturalize.compose.paint.surround import isolated, surrounded

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank

#: What a patch may show around its cell, and the pixels around the box that it has.
STYLES = {"extended": PAD, "isolated": PAD, "surrounded": WIDE}

#: Pixels around a cell's box that are looked at for the slide's colour, by style.
_MARGINS = {"extended": 0, "isolated": 14, "surrounded": 26}


@dataclass(frozen=True, eq=False)
class Patch:
    """A cell with ``pad`` pixels around its box."""

    #: RGB uint8 (h + 2 pad, w + 2 pad, 3).
    colours: np.ndarray
    #: Uint8 (h + 2 pad, w + 2 pad): distance to the edge, 128 at it, 16 levels a pixel, more
    #: inside; of a ``surrounded`` patch below :data:`OWN` the share of its own slide.
    edge: np.ndarray
    #: RGB of the bare slide around it; white for ``extended`` patches.
    ground: tuple[float, float, float] = (255, 255, 255)
    #: One of :data:`STYLES`.
    style: str = "extended"

    @property
    def pad(self) -> int:
        """Pixels around the cell's box on each side."""
        return STYLES[self.style]

    @property
    def size(self) -> tuple[int, int]:
        """Width, height of the cell's box."""
        height, width = self.edge.shape
        return width - 2 * self.pad, height - 2 * self.pad

    @cached_property
    def reach(self) -> float:
        """Distance in pixels from the middle beyond which no blend sees anything of it."""
        return reach_of(self.edge, self.style)


def reach_of(edge: np.ndarray, style: str = "extended") -> float:
    """Return the reach of a patch of a style with this ``edge``."""
    least = 0 if style == "surrounded" else EDGE - LEVELS * (tuned.LOOKED_AT + 0.5)
    rows, columns = np.nonzero(edge > least)
    height, width = edge.shape
    x, y = columns + 0.5 - width / 2, rows + 0.5 - height / 2
    return math.sqrt(float((x * x + y * y).max(initial=0.0))) + 1.0


def make_patch(
    rgb: np.ndarray, mask: np.ndarray, *, style: str = "extended", corner: tuple[int, int] = (0, 0)
) -> Patch:
    """Return the patch of a cell.

    ``rgb``, uint8 (h, w, 3), is the cell's box, with some pixels around it for ``isolated`` and
    ``surrounded``; of an ``extended`` patch only pixels inside ``mask``, bool (h, w), decide
    anything. ``corner``: column and row of ``rgb`` in its image, whose codec's grid begins at the
    first pixel. ``InputError`` for an empty mask.
    """
    if not mask.any():
        raise InputError("a cell's mask is empty; build the bank again")
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    if style == "isolated":
        colours, edge, ground, _ = isolated(rgb, mask, (x, y, width, height))
        return Patch(colours, _rimmed(edge), ground, style)
    if style == "surrounded":
        colours, edge, light = surrounded(rgb, mask, (x, y, width, height), corner)
        return Patch(colours, _rimmed(edge), light, style)
    inside = cv2.copyMakeBorder(mask.view(np.uint8), PAD, PAD, PAD, PAD, cv2.BORDER_CONSTANT)
    away, nearest = cv2.distanceTransformWithLabels(
        1 - inside, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    known = inside.astype(bool)
    table = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    table[nearest[known]] = rgb[mask]
    distance = np.where(known, depth_of(inside) - 0.5, 0.5 - away)
    return Patch(table[nearest], _rimmed(as_levels(distance)))


def _rimmed(edge: np.ndarray) -> np.ndarray:
    # the rim is as far away as can be said: what warping brings from past it is never seen
    edge[[0, -1]] = 0
    edge[:, [0, -1]] = 0
    return edge


def reduced(patch: Patch, factor: float) -> Patch:
    """Return a patch at ``factor`` (less than 1) times its size, the middle of its box kept.

    Each pixel is the mean of the area that it covers, as in a picture that is shrunk whole.
    """
    height, width = patch.edge.shape
    rows = _area_weights(height, factor, patch.pad)
    columns = _area_weights(width, factor, patch.pad)
    planes = np.dstack([patch.colours, _nearer(patch, factor)]).astype(np.float64)
    shrunk = np.einsum("ij,jkc->ikc", rows, planes)
    shrunk = np.rint(np.einsum("lk,ikc->ilc", columns, shrunk)).astype(np.uint8)
    colours, edge = np.ascontiguousarray(shrunk[:, :, :3]), _rimmed(shrunk[:, :, 3].copy())
    return replace(patch, colours=colours, edge=edge)


def halved(patch: Patch) -> tuple[Patch, tuple[float, float]]:
    """Return a patch at about half its size, quickly, and by how much it is narrower and lower.

    The middle stays; the pad is halved as well.
    """
    height, width = patch.edge.shape
    size = (width + 1) // 2, (height + 1) // 2
    factors = size[0] / width, size[1] / height
    factor = math.sqrt(factors[0] * factors[1])
    edge = _nearer(patch, factor).astype(np.float32)
    edge = np.rint(cv2.resize(edge, size, interpolation=cv2.INTER_AREA)).astype(np.uint8)
    colours = cv2.resize(patch.colours, size, interpolation=cv2.INTER_AREA)
    made = replace(patch, colours=colours, edge=_rimmed(edge))
    made.__dict__["reach"] = factor * patch.reach + 1  # a cached property, known already
    return made, factors


def _nearer(patch: Patch, factor: float) -> np.ndarray:
    """Return the edge of a patch, (h, w), in levels of pixels that are ``1 / factor`` as wide."""
    distance = patch.edge.astype(np.float64)
    nearer = EDGE + (distance - EDGE) * factor
    return np.where(distance < OWN, distance, nearer) if patch.style == "surrounded" else nearer


def _area_weights(length: int, factor: float, pad: int) -> np.ndarray:
    """Return the share of each old pixel (column) in each new one (row); borders go on outwards."""
    n = math.ceil((length - 2 * pad) * factor) + 2 * pad
    starts = length / 2 + (np.arange(n) - n / 2) / factor
    low, high = np.arange(length, dtype=np.float64), np.arange(1.0, length + 1)
    low[0], high[-1] = -np.inf, np.inf
    ends = starts + 1 / factor
    overlap = np.minimum(ends[:, None], high) - np.maximum(starts[:, None], low)
    return np.clip(overlap, 0, None) * factor


def cut_patch(bank: CellBank, cell_id: str, style: str = "extended") -> Patch:
    """Make a cell's patch from its pixels."""
    cutout = bank.cutout(cell_id, margin=_MARGINS[style])
    return make_patch(cutout.rgb, cutout.mask, style=style, corner=cutout.corner)
