"""Stain and sharpness of a cell made those of its scene, as far as that can be done honestly."""

from __future__ import annotations

import numpy as np

from naturalize.compose.draw.images import Images

#: Most by which density is changed for the sake of the scene, as a share.
_MOST_DENSITY = 0.15

#: Logarithm of sharpness by which a cell is too sharp for its scene, and the sigma in pixels that
#: takes away so much of it (median of 120 PBC red cells, before and after a blur).
_SHARPER = np.array([0.45, 0.63, 0.75, 0.95, 1.1, 1.34])
_SIGMA = np.array([0.5, 0.55, 0.6, 0.7, 0.8, 1.0])


def density_for(
    images: Images,
    origins: np.ndarray,
    scenes: np.ndarray,
    share: float,
    red: np.ndarray | bool = False,
) -> np.ndarray:
    """Return the factors on optical density, (n, 3), that bring cells to the stain of a scene.

    ``(red cells of the scene / red cells of the cell's own image)^share``: within a class, the
    density of white cells follows that of the red ones beside them only in part, and their hue is
    their own. Red cells (``red``, bool (n,)) take on the scene's wholly, channel by channel.
    """
    ratio = np.log(np.maximum(images.red[scenes], 1e-3) / np.maximum(images.red[origins], 1e-3))
    ratio = np.nan_to_num(ratio)
    whole = np.broadcast_to(np.asarray(red), len(ratio))[:, None]
    ratio = np.where(whole, ratio, share * ratio.mean(axis=1, keepdims=True))
    return np.exp(np.clip(ratio, -_MOST_DENSITY, _MOST_DENSITY))


def blur_for(images: Images, origins: np.ndarray, scenes: np.ndarray) -> np.ndarray:
    """Return the sigma in pixels, (n,), that makes cells no sharper than their scenes.

    A cell that is less sharp stays as it is: sharpness that was never seen would be invented.
    """
    sharper = np.nan_to_num(images.focus[origins] - images.focus[scenes])
    return np.where(sharper < _SHARPER[0], 0.0, np.round(np.interp(sharper, _SHARPER, _SIGMA), 2))
