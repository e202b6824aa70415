"""The colour of the bare slide, and a cell isolated on it."""

from __future__ import annotations

import math

import cv2
import numpy as np

#: The slide is what is brighter than this share of the pixels, but for the brightest few: glints.
_SLIDE_FROM, _SLIDE_TO = 0.85, 0.97

#: Around one cell: pixels from its mask, the quantile of green (where cells absorb most) that is
#: slide for certain, and the grey levels below it that still are; chosen on PBC.
_FAR, _BRIGHT, _STILL = 3.0, 0.95, 12.0

#: Light that falls off: the image in so many parts a side, of so many samples each; in each, the
#: quantile that is slide if any is seen; how far below the surface (natural logarithm) a part is
#: cells only; and the least factor between the brightest and the darkest place.
_PARTS, _SAMPLES, _SEEN, _COVERED, _FALLS = 16, 8, 0.9, 0.06, 1.1

#: How far around an isolated cell its image is kept, and over how much it fades, as a share of the
#: image's side; chosen by eye.
_RIM, _FADE = 0.02, 0.01


def slide_colour(image: np.ndarray) -> tuple[float, float, float]:
    """Return the colour of the bare slide, RGB 0–255: the median of bright but not brightest.

    Every stain takes light away, so the slide is what is bright; red cells' pale middles are nearly
    as bright, and count too where they are all there is.
    """
    red, green, blue = (np.ascontiguousarray(image[::3, ::3, c]).ravel() for c in range(3))
    light = red.astype(np.int16) + green + blue
    low, high = _quantile(light, _SLIDE_FROM), _quantile(light, _SLIDE_TO)
    slide = (light >= low) & (light <= high)
    if not slide.any():  # a handful of pixels, of which none lies between the two
        slide = light == light.max()
    return _quantile(red[slide], 0.5), _quantile(green[slide], 0.5), _quantile(blue[slide], 0.5)


def evenly_lit(image: np.ndarray) -> np.ndarray:
    """Return RGB uint8 (H, W, 3) whose slide is as bright everywhere as where it is brightest.

    A quadratic surface is fitted to the logarithm of what is bright in each part of the image;
    parts that cells cover are darker, and are left out. An image without a fall-off is returned as
    it is.
    """
    height, width = image.shape[:2]
    side = _PARTS * _SAMPLES
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    parts = small.reshape(_PARTS, _SAMPLES, _PARTS, _SAMPLES, 3)
    light = np.log(np.maximum(np.quantile(parts, _SEEN, axis=(1, 3)), 1)).reshape(-1, 3)
    y, x = (grid.ravel() for grid in np.mgrid[-1 : 1 : _PARTS * 1j, -1 : 1 : _PARTS * 1j])
    basis = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=1)
    bare = np.ones(len(basis), bool)
    for _ in range(8):
        surface = basis @ np.linalg.lstsq(basis[bare], light[bare], rcond=None)[0]
        above = (light - surface).mean(axis=1)
        kept = above > -_COVERED
        if np.count_nonzero(kept) < 2 * basis.shape[1] or np.array_equal(kept, bare):
            break
        bare = kept
    gain = np.exp(surface.max(axis=0) - surface).astype(np.float32)
    if gain.mean(axis=1).max() < _FALLS:
        return image
    factor = cv2.resize(
        gain.reshape(_PARTS, _PARTS, 3), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(np.rint(image * factor), 0, 255).astype(np.uint8)


def slide_around(image: np.ndarray, mask: np.ndarray) -> tuple[int, int, int]:
    """Return the colour of the bare slide around one cell, whole numbers of at least 1.

    The median of what is nearly as bright in green as the brightest twentieth outside the cell:
    also right where the cell covers most of the picture, which :func:`slide_colour` is not.
    ``image``: RGB uint8 (h, w, 3) around the cell; ``mask``: bool (h, w).
    """
    away = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    around = image[away > _FAR]
    if len(around) < 16:
        around = image[~mask] if not mask.all() else image.reshape(-1, 3)
    green = around[:, 1].astype(np.float64)
    slide = around[green >= np.quantile(green, _BRIGHT) - _STILL]
    red, green, blue = np.maximum(np.rint(np.median(slide, axis=0)), 1)
    return int(red), int(green), int(blue)


def isolated(image: np.ndarray, mask: np.ndarray, slide: tuple[float, float, float]) -> np.ndarray:
    """Return an image, RGB uint8 (S, S, 3), in which a cell lies isolated on a bare slide.

    ``mask``: uint8 (S, S), 255 in the cell; ``slide``: RGB 0–255.
    """
    side, fade = len(image), max(0.5, _FADE * len(image))
    rim = 2 * round(_RIM * side) + 1
    ground = np.asarray(slide, np.float32)
    made = np.empty_like(image)
    made[:] = np.rint(ground)
    x, y, wide, high = cv2.boundingRect(mask)
    reach = rim // 2 + math.ceil(4 * fade) + 2  # what lies farther is all slide
    here = np.s_[max(0, y - reach) : y + high + reach, max(0, x - reach) : x + wide + reach]
    if wide:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (rim, rim))
        rimmed = cv2.dilate(mask[here], kernel).astype(np.float32) / 255
        share = cv2.GaussianBlur(rimmed, (0, 0), fade)[..., None]
        made[here] = np.rint(ground + share * (image[here] - ground))
    return made


def _quantile(values: np.ndarray, share: float) -> float:
    """Return what ``np.quantile`` does for small whole numbers: by counting, three times as fast.

    Examples
    --------
    >>> _quantile(np.array([7, 1, 2, 4]), 0.5)
    3.0
    """
    place = share * (len(values) - 1)
    begin = int(place)
    up_to = np.bincount(values).cumsum()
    low, high = np.searchsorted(up_to, (begin, min(begin + 1, len(values) - 1)), side="right")
    return float(low + (high - low) * (place - begin))
