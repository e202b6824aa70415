"""The colour of the bare slide."""

from __future__ import annotations

import numpy as np

#: The slide is what is brighter than this share of the pixels, but for the brightest few: glints.
_SLIDE_FROM, _SLIDE_TO = 0.85, 0.97


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
