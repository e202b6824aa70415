"""Gradient-domain blending, exactly where it is asked for.

``cv2.seamlessClone`` moves a mask that is not symmetric by several pixels; here nothing moves.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solveh_banded


def poisson(canvas: np.ndarray, cell: np.ndarray, inside: np.ndarray, left: int, top: int) -> None:
    """Paint ``cell`` into ``canvas`` with its gradients kept and its edge made to meet the canvas.

    Over the pixels inside, ``f`` with the Laplacian of the cell is sought that is equal to the
    canvas just outside (Pérez, Gangnet & Blake, Poisson image editing, SIGGRAPH 2003, eq. 7). The
    difference ``f − cell`` is harmonic, and that is what is solved for. At the border of the canvas
    there is no neighbour to meet. ``canvas``, RGB uint8 (H, W, 3), is painted in place; ``cell``,
    RGB uint8 (h, w, 3), lies on it with its first pixel at ``left``, ``top``, all of it;
    ``inside``: bool (h, w).
    """
    rows, columns = np.nonzero(inside)
    if not len(rows):
        return
    height, width = inside.shape
    # one pixel around, as far as the canvas goes: what the edge has to meet
    up, over = min(top, 1), min(left, 1)
    sides = (
        (up, min(canvas.shape[0] - top - height, 1)),
        (over, min(canvas.shape[1] - left - width, 1)),
    )
    source = np.pad(cell.astype(np.float64), (*sides, (0, 0)), mode="edge")
    around = canvas[top - up :, left - over :][: source.shape[0], : source.shape[1]]
    change = membrane(around - source, np.pad(inside, sides))
    if change is None:
        canvas[top + rows, left + columns] = cell[rows, columns]
        return
    met = cell[rows, columns] + change
    canvas[top + rows, left + columns] = np.clip(np.rint(met), 0, 255).astype(np.uint8)


def membrane(values: np.ndarray, inside: np.ndarray) -> np.ndarray | None:
    """Return the harmonic function inside that equals ``values`` at the pixels next to it.

    The discrete Laplace equation on four neighbours with Dirichlet values where the region ends,
    and none where the array ends. Its matrix is banded, as wide as the region's shorter side, and
    solved by Cholesky factorisation. ``values``: float64 (h, w, channels). Gives float64 (n,
    channels) for the n pixels inside, bool (h, w), in the order of ``np.nonzero``; ``None`` where
    all are inside, so that there is no value to meet.
    """
    if inside.all():
        return None
    upright = inside.shape[1] <= inside.shape[0]
    if not upright:
        inside, values = inside.T, values.transpose(1, 0, 2)
    rows, columns = np.nonzero(inside)
    n = len(rows)
    # numbers of the neighbours: −1 outside the region, −2 outside the array
    number = np.full((inside.shape[0] + 2, inside.shape[1] + 2), -2, np.int64)
    number[1:-1, 1:-1] = -1
    number[rows + 1, columns + 1] = np.arange(n)
    degree, right = np.zeros(n), np.zeros((n, values.shape[2]))
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        other = number[rows + 1 + dy, columns + 1 + dx]
        degree += other > -2
        known = np.flatnonzero(other == -1)
        right[known] += values[rows[known] + dy, columns[known] + dx]
    below, beside = number[rows + 2, columns + 1], number[rows + 1, columns + 2]
    linked = np.flatnonzero(below >= 0)
    apart = below[linked] - linked
    matrix = np.zeros((int(apart.max(initial=1)) + 1, n))
    matrix[0] = degree
    matrix[1, np.flatnonzero(beside >= 0)] = -1.0
    matrix[apart, linked] = -1.0
    matrix = matrix[:n]  # LAPACK wants no more diagonals than there are
    solved = solveh_banded(matrix, right, lower=True, overwrite_ab=True, check_finite=False)
    return solved if upright else solved[number[1:-1, 1:-1].T[inside.T]]
