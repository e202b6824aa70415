"""Units: distances to a cell's edge as patches keep them, and sizes on a smaller canvas."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from naturalize.base.errors import SettingsError
from naturalize.compose.recipe.recipe import Placement

#: Pixels around a cell's box that a patch adds on each side; and one with its own surroundings.
PAD, WIDE = 4, 16

#: Levels of a pixel's distance, and the level of the edge itself.
LEVELS, EDGE = 16, 128

#: Level of an ``own`` patch below which it is no distance but a share of the cell's own slide, all
#: of it at this level: 2.75 pixels outside, where the soft edge ends.
OWN = EDGE - 44

#: Side of a square, or width and height, in pixels; ``None`` is the canvas as the recipe has it.
Size = int | tuple[int, int] | None


@dataclass(frozen=True)
class Shrink:
    """From the canvas of a recipe to the picture that is painted."""

    #: Of the picture that is painted, in pixels.
    width: int
    height: int
    #: Its width and height / those of the canvas.
    x: float
    y: float

    @classmethod
    def to(cls, canvas: tuple[int, int], size: Size) -> Shrink:
        """Return how a canvas (width, height) is painted at ``size``.

        What is asked for larger than the canvas is painted as large as the canvas.

        Raises
        ------
        SettingsError
            If ``size`` is no size.
        """
        width, height = canvas
        goal = asked_size(size) or canvas
        if goal[0] >= width or goal[1] >= height:
            return cls(width, height, 1.0, 1.0)
        return cls(*goal, goal[0] / width, goal[1] / height)

    @classmethod
    def none(cls, shape: tuple[int, int]) -> Shrink:
        """Return what leaves a picture of (height, width) as it is."""
        return cls(shape[1], shape[0], 1.0, 1.0)

    @property
    def factor(self) -> float:
        """Size of a cell / its size on the canvas: one number, since cells are turned."""
        return 1.0 if self.is_none else math.sqrt(self.x * self.y)

    @property
    def is_none(self) -> bool:
        """Whether the picture is as large as the canvas."""
        return self.x == self.y == 1

    def placement(self, placed: Placement) -> Placement:
        """Return a placement in pixels of the picture; ``scale`` counts from shrunk patches."""
        if self.is_none:
            return placed
        factor = self.factor
        return replace(
            placed,
            cx=placed.cx * self.x,
            cy=placed.cy * self.y,
            feather=placed.feather * factor,
            blur=placed.blur * factor,
            elastic=placed.elastic * factor,
        )

    def before(self, turn: int) -> tuple[float, float]:
        """Return ``x`` and ``y`` as they are for a scene before its turn."""
        return (self.y, self.x) if turn % 2 else (self.x, self.y)


def asked_size(size: Size) -> tuple[int, int] | None:
    """Return width and height; ``SettingsError`` for what is no size."""
    if size is None:
        return None
    both = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(both) != 2 or not all(type(n) is int and n > 0 for n in both):
        raise SettingsError(f"size: expected a side, or a width and a height, got {size!r}")
    return both[0], both[1]


def depth_of(inside: np.ndarray) -> np.ndarray:
    """Return the distance in pixels to what is 0 in uint8 (h, w), float32."""
    return cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def as_levels(distance: np.ndarray) -> np.ndarray:
    """Return signed distances in pixels as they are kept, uint8."""
    return np.clip(np.rint(EDGE + LEVELS * distance), 0, 255).astype(np.uint8)
