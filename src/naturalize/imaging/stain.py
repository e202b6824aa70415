"""Stain in optical density, where light absorbed by dyes adds up (Beer–Lambert)."""

from __future__ import annotations

import numpy as np

#: Below this a camera's value is taken for this, so that densities stay finite.
_DARKEST = 1.0


def optical_density(image: np.ndarray, background: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """Return the optical density of each channel against the bare slide.

    ``OD = log10(I0 / I)`` (Ruifrok & Johnston, Anal Quant Cytol Histol 23:291, 2001, eq. 1), with
    ``I0`` the background, so that equal amounts of dye give equal densities on a peach and on a
    lilac slide. Both intensities are held at 1 or more.

    Parameters
    ----------
    image
        RGB (..., 3), 0–255.
    background
        RGB of the bare slide: (3,), or like ``image`` where the light is uneven.

    Returns
    -------
    numpy.ndarray
        Float32 like ``image``. 0 is bare slide; brighter than that is negative.

    Examples
    --------
    >>> optical_density(np.array([[25.0, 250.0, 250.0]]), (250, 250, 250)).round(2).tolist()
    [[1.0, 0.0, 0.0]]
    """
    light = np.maximum(np.asarray(background, np.float32), _DARKEST)
    if image.dtype == np.uint8 and light.ndim == 1:
        levels = np.maximum(np.arange(256, dtype=np.float32), _DARKEST)[:, None]
        table = np.log10(light[None, :] / levels).astype(np.float32)
        return np.stack([table[:, c][image[..., c]] for c in range(3)], axis=-1)
    seen = np.maximum(np.asarray(image, np.float32), _DARKEST)
    return np.log10(light / seen).astype(np.float32)


def transmitted(density: np.ndarray, background: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """Return RGB float32 (..., 3), 0–255, of an optical density: the inverse of the above."""
    light = np.maximum(np.asarray(background, np.float32), _DARKEST)
    return np.clip(light * np.float32(10) ** -np.asarray(density, np.float32), 0, 255)


def mean_density(
    image: np.ndarray, mask: np.ndarray, background: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Return the mean optical density (red, green, blue) of RGB uint8 (h, w, 3) inside ``mask``."""
    density = optical_density(image[mask], background)
    red, green, blue = density.mean(axis=0, dtype=np.float64)
    return float(red), float(green), float(blue)


def focus(image: np.ndarray, mask: np.ndarray) -> float:
    """Return the sharpness of a cell: variance of the Laplacian of its luminance inside the mask.

    After Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy (ICPR 2000). The
    outermost pixels count too: the rim of a cell is what blurs first.

    Parameters
    ----------
    image
        RGB uint8 (h, w, 3) around the cell.
    mask
        Bool (h, w), at least one pixel.
    """
    import cv2

    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    edges = cv2.Laplacian(grey, cv2.CV_32F, borderType=cv2.BORDER_REPLICATE)
    return float(edges[mask].var(dtype=np.float64))
