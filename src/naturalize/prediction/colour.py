"""Stain and sharpness of images from elsewhere, brought to a standard's."""

from __future__ import annotations

import math

import cv2
import numpy as np

from naturalize.imaging.stain import focus, optical_density
from naturalize.models.standard import Colour, Standard
from naturalize.prediction.look import Look

#: Blurred images are sharpened: σ of the mask in pixels of the standard, and its greatest weight.
_SHARPEN_SIGMA, _MOST_SHARPENING = 2.0, 1.0

#: The most that stains are made stronger or weaker, where only strength is changed.
_MOST_GAIN = 2.5

#: Two stains whose colours are nearer to each other than this (as a share of the nuclei's density)
#: cannot be told apart well enough to be moved one by one.
_LEAST_APART = 0.08


def wanted_sharpening(image: np.ndarray, mask: np.ndarray | None, standard: Standard) -> float:
    """Return the weight of an unsharp mask that makes a cell as sharp as the standard's, 0 to 1.

    Sharpness is a variance, so finest detail has to grow by the root of its ratio. What is sharper
    than the standard is left so: a blur takes away what the network may need.
    """
    if mask is None or not (mask > 0).any():
        return 0.0
    seen = max(focus(image, mask > 127) if (mask > 127).any() else 0.0, 1e-3)
    return float(np.clip(math.sqrt(standard.focus / seen) - 1, 0, _MOST_SHARPENING))


def sharpened(image: np.ndarray, amount: float) -> np.ndarray:
    """Return RGB uint8 with ``amount`` of what a blur takes away added to it (unsharp masking)."""
    if amount <= 0:
        return image
    blurred = cv2.GaussianBlur(image, (0, 0), _SHARPEN_SIGMA)
    return cv2.addWeighted(image, 1 + amount, blurred, -amount, 0)


def restained(image: np.ndarray, slide: Colour, look: Look, standard: Standard) -> np.ndarray:
    """Return an image with the standard's slide colour and stains.

    In optical density stains add up (Ruifrok & Johnston, Anal Quant Cytol Histol 23:291, 2001): a
    pixel is so much of the nuclei's dye and so much of the red cells'. A matrix takes the two
    colours of the one laboratory to those of the other, and what is left at right angles to both to
    the same there, as Macenko et al. (ISBI 2009) do with stains found by other means. Where red
    cells were not seen, or the colours are hardly two, only the strength is brought to the
    standard's.

    Parameters
    ----------
    image
        RGB uint8 (H, W, 3).
    slide
        Colour of its bare slide.
    look
        Stains of its set.
    standard
        What they are brought to.
    """
    density = optical_density(image, slide) @ stain_matrix(look, standard).T.astype(np.float32)
    light = np.asarray(standard.slide, np.float32) * np.float32(10) ** -density
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def stain_matrix(look: Look, standard: Standard) -> np.ndarray:
    """Return float64 (3, 3), which takes optical densities of a set to the standard's."""
    if look.nucleus_stain is None:
        return np.eye(3)
    nucleus, wanted = np.asarray(look.nucleus_stain), np.asarray(standard.nucleus_stain)
    strength = float(np.linalg.norm(wanted) / max(float(np.linalg.norm(nucleus)), 1e-3))
    plain = np.eye(3) * np.clip(strength, 1 / _MOST_GAIN, _MOST_GAIN)
    if look.red_stain is None:
        return plain
    here = _frame(nucleus, np.asarray(look.red_stain))
    there = _frame(wanted, np.asarray(standard.red_stain))
    if min(np.linalg.svd(here, compute_uv=False)) < _LEAST_APART * np.linalg.norm(nucleus):
        return plain
    return there @ np.linalg.inv(here)


def _frame(nucleus: np.ndarray, red: np.ndarray) -> np.ndarray:
    """Return the two stains and a third at right angles, as long as they are, as columns."""
    third = np.cross(nucleus, red)
    length = np.sqrt(np.linalg.norm(nucleus) * np.linalg.norm(red))
    third = third / max(float(np.linalg.norm(third)), 1e-9) * length
    return np.stack([nucleus, red, third], axis=1)
