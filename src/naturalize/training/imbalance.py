"""Order of samples and weights of classes: which rows an epoch draws, and how much each counts."""

from __future__ import annotations

import numpy as np

from naturalize.base.rng import rng


def epoch_rows(
    targets: np.ndarray, epoch: int, draws: int, *, seed: int, balanced: bool = False
) -> np.ndarray:
    """Return which rows epoch ``epoch`` draws, in order.

    Rows come from an endless run of shuffled passes over all rows, of which every epoch takes the
    next ``draws``: no row is drawn again before all have been, also where an epoch is longer or
    shorter than a pass. With ``balanced``, each class has such a run of its own and an epoch takes
    the same number from each (give or take one).

    Parameters
    ----------
    targets
        int64 (N,), the class of each row.
    epoch
        From 0; a pure function of it, so an epoch can be drawn without those before it.
    draws
        Number of rows to draw.

    Returns
    -------
    numpy.ndarray
        int64 (draws,).
    """
    if not balanced:
        return _stretch(np.arange(len(targets)), epoch * draws, draws, seed, "all")
    classes = np.unique(targets)
    base, rest = divmod(draws, len(classes))
    parts = []
    for i, label in enumerate(classes):
        before = epoch * base + _turns(epoch * rest, i, len(classes))
        after = (epoch + 1) * base + _turns((epoch + 1) * rest, i, len(classes))
        members = np.flatnonzero(targets == label)
        parts.append(_stretch(members, before, after - before, seed, f"class {label}"))
    rows = np.concatenate(parts)
    return rows[rng(seed, "epoch", epoch).permutation(len(rows))]


def _turns(dealt: int, player: int, players: int) -> int:
    """Return how many of ``dealt`` cards went to ``player``, dealt in turn."""
    return dealt // players + (player < dealt % players)


def _stretch(members: np.ndarray, start: int, length: int, seed: int, key: str) -> np.ndarray:
    """Return places ``start`` to ``start + length`` of the endless run of shuffled passes."""
    n = len(members)
    first, last = start // n, (start + length - 1) // n
    passes = [members[rng(seed, "order", key, p).permutation(n)] for p in range(first, last + 1)]
    run = np.concatenate(passes) if passes else members[:0]
    return run[start - first * n :][:length]


def class_weights(targets: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the weight of each class: N / (C · n_c), so that all classes weigh the same in sum.

    Parameters
    ----------
    targets
        int64 (N,), each class at least once.
    n_classes
        C.

    Returns
    -------
    numpy.ndarray
        float32 (C,), with a mean over the rows of 1 (King & Zeng 2001; scikit-learn's "balanced").
    """
    counts = np.bincount(targets, minlength=n_classes)
    return (len(targets) / (n_classes * counts)).astype(np.float32)
