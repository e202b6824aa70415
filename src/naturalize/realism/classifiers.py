"""Classifiers that try to tell composite from real; every score comes from outside its training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from naturalize.base.rng import seed_of
from naturalize.base.statistics import MAD_TO_DEVIATION

#: Strengths of the ridge penalty that are tried, by leave-one-out inside the training folds.
_PENALTIES = np.logspace(1, 6, 11)


def boosted_scores(
    values: np.ndarray,
    composite: np.ndarray,
    labels: Sequence[str],
    fold: np.ndarray,
    *,
    seed: int = 0,
) -> np.ndarray:
    """Return cross-validated scores of boosted trees on statistics, float64 (N,).

    Gradient boosting over histograms (Ke et al., LightGBM, NeurIPS 2017, as in scikit-learn). Each
    statistic is taken as its deviation from the real training images of the class.

    Parameters
    ----------
    values
        Float (N, S); NaN where a statistic is absent.
    composite, labels, fold
        As for :func:`~naturalize.realism.auc.auc_with_interval`.
    seed
        Of the features that each split may look at.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    scores = np.zeros(len(values))
    for number in np.unique(fold):
        out = fold == number
        centred = deviations(values, labels, ~out & ~composite)
        trees = HistGradientBoostingClassifier(
            learning_rate=0.08,
            max_iter=150,
            max_leaf_nodes=8,
            min_samples_leaf=10,
            l2_regularization=1.0,
            max_features=0.3,
            early_stopping=False,
            random_state=seed_of(seed, "boosting", int(number)) % 2**31,
        )
        trees.fit(centred[~out], composite[~out])
        scores[out] = trees.decision_function(centred[out])
    return scores


def linear_scores(
    values: np.ndarray, composite: np.ndarray, labels: Sequence[str], fold: np.ndarray
) -> np.ndarray:
    """Return cross-validated scores of a linear classifier on features, float64 (N,).

    Least squares with a ridge penalty on deviations from the class (Hoerl & Kennard 1970), which
    for two kinds is a regularised linear discriminant; the penalty is chosen inside the training
    folds.

    Parameters
    ----------
    values
        Float (N, F), finite.
    composite, labels, fold
        As for :func:`boosted_scores`.
    """
    from sklearn.linear_model import RidgeCV

    goal = np.where(composite, 1.0, -1.0)
    scores = np.zeros(len(values))
    for number in np.unique(fold):
        out = fold == number
        centred = deviations(values, labels, ~out)
        ridge = RidgeCV(alphas=_PENALTIES).fit(centred[~out], goal[~out])
        scores[out] = ridge.predict(centred[out])
    return scores


def deviations(values: np.ndarray, labels: Sequence[str], known: np.ndarray) -> np.ndarray:
    """Return values less the class's median, over the spread of all classes, float32 (N, S).

    Median and spread (1.4826 × median absolute deviation) are of the ``known`` images only, bool
    (N,); values without a spread are divided by their standard deviation, or left as they are.
    """
    names = np.array(labels)
    out = np.array(values, np.float64)
    for name in np.unique(names):
        of_class = names == name
        pool = values[of_class & known] if (of_class & known).any() else values[known]
        out[of_class] -= _without_nan(np.nanmedian, pool)
    spread = MAD_TO_DEVIATION * _without_nan(np.nanmedian, np.abs(out[known]))
    plain = _without_nan(np.nanstd, out[known])
    spread = np.where(spread > 1e-9, spread, np.where(plain > 1e-9, plain, 1.0))
    return np.clip(out / spread, -30, 30).astype(np.float32)


def _without_nan(how, values: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Return ``how`` over axis 0, and 0 for a column that is absent everywhere."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nan_to_num(how(values, axis=0), nan=0.0)
