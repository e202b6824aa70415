"""Where cells may go: boxes that stay on the canvas and do not overlap; discs that may.

All functions work on many scenes at once. Boxes are ``x0, y0, x1, y1``, half-open, in pixels.
"""

from __future__ import annotations

import numpy as np

from naturalize.compose.draw import constants as tuned


def turned_size(size: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return the size of the upright box around a turned one, int32 (..., 2), rounded up.

    ``size``: (..., 2), width and height in pixels; ``angle``: (...), degrees.
    """
    radians = np.deg2rad(angle)
    cos, sin = np.abs(np.cos(radians)), np.abs(np.sin(radians))
    width, height = size[..., 0], size[..., 1]
    turned = np.stack([width * cos + height * sin, width * sin + height * cos], axis=-1)
    # a hair less, so that the cosine of 90 degrees (6e-17) adds no pixel
    return np.ceil(turned - 1e-6).astype(np.int32)


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return, bool (...), whether boxes (..., 4) have a pixel in common."""
    return (np.maximum(a[..., :2], b[..., :2]) < np.minimum(a[..., 2:], b[..., 2:])).all(axis=-1)


def place_in_turn(
    sizes: np.ndarray, chances: np.ndarray, canvas: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Set boxes one after the other at random places, each where the earlier ones leave room.

    A box takes the first of its tries that overlaps no earlier box; if all fail it is dropped. So
    the work is bounded by the number of tries, however crowded the scene.

    ``sizes``, int (N, K, 2), are width and height of K boxes in each of N scenes; ``chances``,
    float (N, K, T, 2) in [0, 1), are T tries for each: 0 is the left (top) edge of the canvas
    (width, height), 1 the last place at which the box still lies inside.

    Returns
    -------
    boxes
        Int32 (N, K, 4); zeros where a box was dropped.
    placed
        Bool (N, K).

    Examples
    --------
    >>> sizes = np.full((1, 2, 2), 6)
    >>> tries = np.array([[[[0.0, 0.0], [0.9, 0.9]], [[0.1, 0.1], [0.9, 0.9]]]])
    >>> place_in_turn(sizes, tries, (12, 12))[0].tolist()
    [[[0, 0, 6, 6], [6, 6, 12, 12]]]
    """
    n, k, tries = chances.shape[:3]
    boxes, placed = np.zeros((n, k, 4), np.int32), np.zeros((n, k), bool)
    for turn in range(k):
        size = sizes[:, turn].astype(np.int32)
        room = np.asarray(canvas, np.int32) - size + 1
        open_rows = np.flatnonzero((room > 0).all(axis=1))
        for attempt in range(tries):
            if not len(open_rows):
                break
            corner = (chances[open_rows, turn, attempt] * room[open_rows]).astype(np.int32)
            box = np.concatenate([corner, corner + size[open_rows]], axis=1)
            bad = overlap(boxes[open_rows, :turn], box[:, None])
            free = ~(bad & placed[open_rows, :turn]).any(axis=1)
            boxes[open_rows[free], turn] = box[free]
            placed[open_rows[free], turn] = True
            open_rows = open_rows[~free]
    return boxes, placed


def place_discs(
    centres: np.ndarray,
    radius: np.ndarray,
    nearest: np.ndarray,
    beside_first: np.ndarray,
    canvas: np.ndarray,
) -> np.ndarray:
    """Set discs one after the other, each at the first of its tries that is free.

    Two discs may come as near as ``nearest`` times the sum of their radii, by the later one's
    number: 1 touches, less overlaps. A disc for which no try is free is dropped, so the work is
    bounded by the number of tries, however crowded the scene. The first one is always set, at its
    first try.

    ``centres``, (N, K, T, 2), are T places in pixels for each of K discs in each of N scenes;
    ``nearest`` and ``beside_first``, (N, K) like ``radius``, hold between a disc and the others,
    and between it and the first; ``canvas`` (N, 2) is width and height.

    Returns
    -------
    numpy.ndarray
        Int64 (N, K): the try that was taken, −1 where a disc was dropped.

    Examples
    --------
    >>> places = np.array([[[[5, 5]], [[8, 5]], [[15, 5]]]])
    >>> radii, near = np.full((1, 3), 4.0), np.full((1, 3), 0.9)
    >>> place_discs(places, radii, near, near, np.array([[20, 10]])).tolist()
    [[0, -1, 0]]
    """
    n, k, tries = centres.shape[:3]
    taken = np.full((n, k), -1, np.int64)
    taken[:, :1] = 0
    centres = centres.astype(np.float32)
    at = np.zeros((n, k, 2), np.float32)
    at[:, :1] = centres[:, :1, 0]
    for turn in range(1, k):
        bound = np.where(np.arange(turn) == 0, beside_first[:, turn, None], nearest[:, turn, None])
        apart = (bound * (radius[:, :turn] + radius[:, turn, None])) ** 2
        reach = (1 - 2 * tuned.INSIDE) * radius[:, turn, None]
        apart[taken[:, :turn] < 0] = -1
        open_rows = np.flatnonzero(radius[:, turn] > 0)
        done = 0
        while done < tries and len(open_rows):
            # a few tries at a time: most discs need one or two, few rows need many
            some = slice(done, min(max(2 * done, 1), tries))
            place = centres[open_rows, turn, some]
            beyond = reach[open_rows, None]
            free = ((place >= -beyond) & (place <= canvas[open_rows, None] + beyond)).all(axis=2)
            off = at[open_rows, None, :turn] - place[:, :, None]
            squares = off[..., 0] ** 2 + off[..., 1] ** 2
            free &= (squares >= apart[open_rows, None]).all(axis=2)
            found, first = free.any(axis=1), free.argmax(axis=1)
            rows = open_rows[found]
            taken[rows, turn] = done + first[found]
            at[rows, turn] = place[found, first[found]]
            open_rows, done = open_rows[~found], some.stop
    return taken
