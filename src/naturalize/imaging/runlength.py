"""Masks as run lengths: row by row, starting with the number of zeros."""

from __future__ import annotations

import numpy as np

from naturalize.base.errors import ArtifactError


def encode(mask: np.ndarray) -> np.ndarray:
    """Return the run lengths of a bool (H, W) mask as uint32 (n,).

    Runs alternate zeros, ones, zeros, … along the rows; the first is the number of leading zeros
    and may be 0. They add up to H × W.

    Examples
    --------
    >>> encode(np.array([[False, True, True], [True, False, False]])).tolist()
    [1, 3, 2]
    """
    flat = np.asarray(mask, bool).ravel()
    if not flat.size:
        return np.zeros(0, np.uint32)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate(([0], changes, [flat.size]))
    runs = np.diff(starts).astype(np.uint32)
    return np.concatenate((np.zeros(1, np.uint32), runs)) if flat[0] else runs


def decode(runs: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the bool (H, W) mask of run lengths; the inverse of :func:`encode`.

    Raises
    ------
    ArtifactError
        If the runs do not add up to the shape.

    Examples
    --------
    >>> decode(np.array([1, 3, 2]), (2, 3)).astype(int).tolist()
    [[0, 1, 1], [1, 0, 0]]
    """
    runs = np.asarray(runs, np.int64)
    if int(runs.sum()) != shape[0] * shape[1]:
        raise ArtifactError(
            f"mask: run lengths add up to {int(runs.sum())}, "
            f"expected {shape[0]} × {shape[1]} = {shape[0] * shape[1]}"
        )
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape)
