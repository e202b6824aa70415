"""A cell alone on a bare slide: what a network must know it by, wherever it was stained and cut."""

from __future__ import annotations

import cv2
import numpy as np

#: How far around a cell its image is kept, and over how much it fades, in shares of the side.
_RIM, _FADE = 0.02, 0.01


def alone(image: np.ndarray, mask: np.ndarray, slide: tuple[float, float, float]) -> np.ndarray:
    """Return an image in which a cell lies alone on a bare slide.

    Parameters
    ----------
    image
        RGB uint8 (S, S, 3).
    mask
        uint8 (S, S), 255 in the cell.
    slide
        Colour of the slide, RGB 0–255.

    Returns
    -------
    numpy.ndarray
        RGB uint8 (S, S, 3).
    """
    side = len(image)
    rim = 2 * round(_RIM * side) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (rim, rim))
    wide = cv2.dilate(mask, kernel).astype(np.float32) / 255
    share = cv2.GaussianBlur(wide, (0, 0), max(0.5, _FADE * side))[..., None]
    ground = np.asarray(slide, np.float32)
    return np.rint(ground + share * (image - ground)).astype(np.uint8)
