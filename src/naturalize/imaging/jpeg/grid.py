"""The eight turns of a square, and the grid of a codec: where a copied cell does not show it.

JPEG codes an image in blocks that begin at its corner, and leaves their grid in the pixels. A cell
that is copied as it is keeps its blocks; set down so that they go on in those of the scene, neither
the eye nor a network finds an edge between two grids. A place is moved for that by half a block at
most, which is four pixels.

A turn is a number from 0 to 7: quarter turns counter-clockwise, and 4 more where it is flipped
left–right before (as in a recipe's background). All functions work on arrays.
"""

from __future__ import annotations

import numpy as np


def after(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the turn that does ``first``, then ``second``, int.

    Examples
    --------
    >>> int(after(np.array(4), np.array(1)))  # a quarter turn, then a flip
    7
    """
    flipped, quarters = second // 4, second % 4
    own = np.where(flipped == 1, -(first % 4), first % 4)
    return 4 * ((first // 4) ^ flipped) + (own + quarters) % 4


def dihedral(plane: np.ndarray, flip: bool, quarters: int) -> np.ndarray:
    """Return an array (h, w, …) flipped left–right, then turned counter-clockwise."""
    return np.ascontiguousarray(np.rot90(plane[:, ::-1] if flip else plane, quarters % 4))


def turned_box(size: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return width and height (..., 2) after a turn (...)."""
    return np.where((turn % 2 == 1)[..., None], size[..., ::-1], size)


def turned_point(point: np.ndarray, size: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return where points x, y (..., 2) of images width, height (..., 2) lie after a turn (...).

    Examples
    --------
    >>> turned_point(np.array([1.0, 2.0]), np.array([10, 20]), np.array(1)).tolist()
    [2.0, 9.0]
    """
    x, y = point[..., 0], point[..., 1]
    width, height = size[..., 0], size[..., 1]
    x = np.where(turn >= 4, width - x, x)
    for quarter in range(1, 4):
        more = turn % 4 >= quarter
        x, y, width, height = (
            np.where(more, y, x),
            np.where(more, width - x, y),
            np.where(more, height, width),
            np.where(more, width, height),
        )
    return np.stack([x, y], axis=-1)


def phase_of(box: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return where in a turned box a block of its source begins: column, row, int (..., 2).

    ``box``, int (..., 4): ``x0, y0, x1, y1`` in the source, whose blocks begin at 0, 0; ``turn``,
    int (...).
    """
    return turned_point(-box[..., :2], box[..., 2:] - box[..., :2], turn)


def on_grid(
    goal: np.ndarray, phase: np.ndarray, unit: np.ndarray, origin: np.ndarray | int = 0
) -> np.ndarray:
    """Return the place next to ``goal`` at which the blocks of a cell go on in those of a scene.

    ``goal``, number (..., 2): left, top of the cell; ``phase``: as :func:`phase_of`; ``unit``, int
    (..., 2): width, height of the blocks, 1 rounds to whole pixels; ``origin``: column and row at
    which a block of the scene begins. Gives int32 (..., 2), no further from ``goal`` than half a
    block.

    Examples
    --------
    >>> on_grid(np.array([10.2, 3.0]), np.array([-5, 0]), np.array([8, 8])).tolist()
    [13, 0]
    """
    left = np.asarray(origin) - phase
    return (left + unit * np.rint((goal - left) / unit)).astype(np.int32)
