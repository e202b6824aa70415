"""Who must stay on one side of a fold: images that share pixels, and whole folds made of them."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence

import numpy as np

from naturalize.base.errors import InputError
from naturalize.base.rng import seed_of
from naturalize.base.statistics import connected


def units_of(origins: Sequence[Collection[str]]) -> np.ndarray:
    """Return which images hang together because they share an origin, directly or over others.

    Parameters
    ----------
    origins
        For each of N images the ids of all images that it has pixels of (a real image: its own).

    Returns
    -------
    numpy.ndarray
        Int64 (N,), numbers 0 … U − 1 in the order of first appearance.

    Examples
    --------
    >>> units_of([{"a"}, {"b"}, {"a", "c"}, {"c"}, set()]).tolist()
    [0, 1, 0, 0, 2]
    """
    pairs: list[tuple[tuple[int, str], tuple[int, str]]] = []
    for i, names in enumerate(origins):
        # an origin is an item of its own, numbered −1, so that it is no image
        pairs += [((i, ""), (i, "")), *(((i, ""), (-1, name)) for name in names)]
    units = np.full(len(origins), -1, np.int64)
    number: dict[int, int] = {}
    sets = {i: at for at, members in enumerate(connected(pairs)) for i, _ in members if i >= 0}
    for i in range(len(origins)):
        units[i] = number.setdefault(sets[i], len(number))
    return units


def largest_share(units: np.ndarray) -> float:
    """Return the share of all images that the largest unit holds."""
    return float(np.bincount(units).max() / len(units))


def grouped_folds(
    labels: Sequence[str], composite: np.ndarray, units: np.ndarray, *, folds: int, seed: int = 0
) -> np.ndarray:
    """Return the fold in which each image is left out, int64 (N,).

    Units stay whole; each fold gets, as far as they let it, the same share of every class, real and
    composite (``StratifiedGroupKFold`` of scikit-learn).

    Raises
    ------
    InputError
        If a class has fewer units on a side than there are folds: too little to learn and to test.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    names = sorted(set(labels))
    for name in names:
        of_class = np.array([label == name for label in labels])
        for side, kind in ((~composite, "real"), (composite, "composite")):
            found = len(np.unique(units[of_class & side]))
            if found < folds:
                raise InputError(
                    f"class {name}: {found} independent {kind} "
                    f"image{'' if found == 1 else 's'}, fewer than the {folds} folds; add images, "
                    "leave the class out, or ask for fewer folds"
                )
    strata = np.array([2 * names.index(label) for label in labels]) + composite
    splitter = StratifiedGroupKFold(
        folds, shuffle=True, random_state=seed_of(seed, "folds") % 2**31
    )
    fold = np.zeros(len(labels), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class smaller than the folds: told above
        for number, (_, test) in enumerate(splitter.split(strata, strata, units)):
            fold[test] = number
    return fold
