"""Classifiers that distinguish composite from real; every score comes from outside its training.

Boosted trees on statistics, a linear classifier on features, a small network on patches. Images
that share pixels stay on one side of every fold.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from naturalize.base.console import track
from naturalize.base.errors import InputError, MissingExtraError
from naturalize.base.rng import rng, seed_of
from naturalize.base.statistics import MAD_TO_DEVIATION, connected
from naturalize.realism.settings import (
    BATCH,
    EPOCHS,
    GRID,
    LEAST_STEPS,
    PENALTIES,
    RATE,
    SHARES,
    SIDE,
)
from naturalize.realism.texture import Areas

if TYPE_CHECKING:
    import torch
    from torch import nn


def units_of(origins: Sequence[Collection[str]]) -> np.ndarray:
    """Return which images hang together because they share an origin, directly or over others.

    ``origins``: for each of N images the ids of all images that it has pixels of (a real image: its
    own). Int64 (N,), numbers 0 … U − 1 in the order of first appearance.

    Examples
    --------
    >>> units_of([{"a"}, {"b"}, {"a", "c"}, {"c"}, set()]).tolist()
    [0, 1, 0, 0, 2]
    """
    # an origin is an item of its own, numbered from N on, so that it is no image
    number = {name: i for i, name in enumerate(sorted(set().union(*origins)), len(origins))}
    pairs = [(i, i) for i in range(len(origins))]
    pairs += [(i, number[name]) for i, names in enumerate(origins) for name in names]
    units = np.zeros(len(origins), np.int64)
    for unit, members in enumerate(connected(pairs)):
        units[[i for i in members if i < len(origins)]] = unit
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
                    f"image{'' if found == 1 else 's'}, fewer than the {folds} folds (images that "
                    "share a parent count once); add images, leave the class out, or ask for fewer "
                    "folds"
                )
    strata = np.array([2 * names.index(label) for label in labels]) + composite
    splitter = StratifiedGroupKFold(
        folds, shuffle=True, random_state=seed_of(seed, "folds") % 2**31
    )
    fold = np.zeros(len(labels), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class smaller than the folds: see above
        for number, (_, test) in enumerate(splitter.split(strata, strata, units)):
            fold[test] = number
    return fold


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
    statistic, float (N, S) with NaN where it is absent, is taken as its deviation from the real
    training images of the class; ``seed`` draws the features that each split may look at.
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
    """Return cross-validated scores of a linear classifier on features (N, F), float64 (N,).

    Least squares with a ridge penalty on deviations from the class (Hoerl & Kennard 1970), which
    for two kinds is a regularised linear discriminant; the penalty is chosen inside the training
    folds.
    """
    from sklearn.linear_model import RidgeCV

    goal = np.where(composite, 1.0, -1.0)
    scores = np.zeros(len(values))
    for number in np.unique(fold):
        out = fold == number
        centred = deviations(values, labels, ~out)
        ridge = RidgeCV(alphas=PENALTIES).fit(centred[~out], goal[~out])
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nan_to_num(how(values, axis=0), nan=0.0)


def cut_patches(areas: Areas, *keys: str | int, seed: int = 0) -> np.ndarray:
    """Return patches of an image, RGB uint8 (8, 64, 64, 3), most of them over cells' borders.

    Corners lie on multiples of eight pixels. An image smaller than a patch is mirrored outwards;
    where there is no such border, places are drawn from the whole image.
    """
    image = areas.image
    low = [max(0, SIDE - side) for side in image.shape[:2]]
    if any(low):
        image = cv2.copyMakeBorder(image, 0, low[0], 0, low[1], cv2.BORDER_REFLECT)
    draw = rng(seed, "patches", *keys)
    width = areas.found.shape[1]
    every = np.arange(areas.kinds.size)
    cells = (areas.kinds > 0).astype(np.uint8)
    other = cv2.morphologyEx(cells, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    places = (np.abs(areas.beyond) <= 2, other & (areas.beyond > 6), None)
    out = []
    for area, n in zip(places, SHARES, strict=True):
        spots = np.flatnonzero(area) if area is not None and area.any() else every
        for spot in spots[draw.integers(len(spots), size=n)].tolist():
            y, x = divmod(spot, width)
            y, x = _corner(y, image.shape[0]), _corner(x, image.shape[1])
            out.append(image[y : y + SIDE, x : x + SIDE])
    return np.stack(out)


def _corner(middle: int, side: int) -> int:
    last = (side - SIDE) // GRID * GRID
    return int(min(max(round((middle - SIDE / 2) / GRID) * GRID, 0), last))


def patch_scores(
    patches: np.ndarray, composite: np.ndarray, fold: np.ndarray, *, seed: int = 0
) -> np.ndarray:
    """Train a small network for each fold and return scores of the images that it did not see.

    Four convolutions on colour and high-pass luminance, 42,000 weights; each of eight epochs (more
    where there are few images) sees half of an image's patches, uint8 (N, K, 64, 64, 3), flipped at
    random; an image's score, float64 (N,), is the mean logit of all. ``MissingExtraError`` without
    PyTorch.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("PyTorch", "train") from error
    scores = np.zeros(len(patches))
    pixels = torch.from_numpy(_with_high_pass(patches))
    with torch.random.fork_rng(devices=[]):
        for number in track(np.unique(fold).tolist(), "train on patches"):
            torch.manual_seed(seed_of(seed, "patches", number) % 2**63)
            out = fold == number
            network = _train(pixels[~out], composite[~out], seed=seed)
            scores[out] = _score(network, pixels[out])
    return scores


def _with_high_pass(patches: np.ndarray) -> np.ndarray:
    """Return uint8 (N, K, 64, 64, 4): colour, and luminance less its blur, ×8 about 128."""
    from scipy.ndimage import uniform_filter

    luma = cv2.cvtColor(patches.reshape(-1, SIDE, 3), cv2.COLOR_RGB2GRAY).astype(np.float32)
    luma = luma.reshape(patches.shape[:-1])
    fine = luma - uniform_filter(luma, (1, 1, 3, 3), mode="mirror")
    high = np.clip(np.rint(fine * 8 + 128), 0, 255).astype(np.uint8)
    return np.concatenate([patches, high[..., None]], axis=-1)


def _network() -> nn.Module:
    from torch import nn

    from naturalize.models.zoo import channels_last

    def layer(inputs: int, outputs: int, side: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, side, 2, side // 2, bias=False)
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

    layers = [*layer(4, 16, 5), *layer(16, 32, 3), *layer(32, 48, 3), *layer(48, 48, 3)]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 1))
    return channels_last(network)


def _train(pixels: torch.Tensor, composite: np.ndarray, *, seed: int) -> nn.Module:
    import torch

    n, each = pixels.shape[:2]
    flat = pixels.flatten(0, 1)
    goal = torch.from_numpy(np.repeat(composite, each).astype(np.float32))
    network = _network().train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    half = max(1, each // 2)
    per_epoch = -(-n * half // BATCH)
    epochs = max(EPOCHS, -(-LEAST_STEPS // per_epoch))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=epochs * per_epoch)
    for epoch in range(epochs):
        draw = rng(seed, "patches", "epoch", epoch)
        picked = draw.permuted(np.tile(np.arange(each), (n, 1)), axis=1)[:, :half]
        order = draw.permutation((picked + each * np.arange(n)[:, None]).ravel())
        for start in range(0, len(order), BATCH):
            rows = torch.from_numpy(order[start : start + BATCH])
            flips = [axis for axis in (2, 3) if draw.random() < 0.5]
            if len(rows) > 1:  # one patch alone has nothing to be normalised with
                logit = network(_input(flat[rows]).flip(flips)).squeeze(1)
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, goal[rows])
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
            schedule.step()
    return network.eval()


def _input(pixels: torch.Tensor) -> torch.Tensor:
    """Return float32 (n, 4, 64, 64), channels last in memory, from uint8 (n, 64, 64, 4)."""
    return pixels.permute(0, 3, 1, 2).float().sub_(128).mul_(1 / 32)


def _score(network: nn.Module, pixels: torch.Tensor) -> np.ndarray:
    import torch

    n, each = pixels.shape[:2]
    with torch.inference_mode():
        logits = [network(_input(part)).squeeze(1) for part in pixels.flatten(0, 1).split(256)]
    return torch.cat(logits).numpy().astype(np.float64).reshape(n, each).mean(axis=1)
