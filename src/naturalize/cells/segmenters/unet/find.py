"""From an image to its cells: light, scale, a look, grouping."""

from __future__ import annotations

import cv2
import numpy as np

from naturalize.cells.segmentation import Segmentation
from naturalize.cells.segmenters.classical.view import slide
from naturalize.cells.segmenters.unet.group import Found, cells_of, group
from naturalize.cells.segmenters.unet.hidden import completed
from naturalize.cells.segmenters.unet.network import STEP, maps

#: Diameter of a red cell, in pixels of the network's input, in the middle of its training.
RED_CELL = 37.0

#: Grey level of the bare slide in training, and the most that light is changed to give it.
_SLIDE_GREY, _MOST_GAIN = 225.0, 2.2

#: Images are first looked at in half size, small ones (the longer side) at this size or their own.
_HALF, _USUAL_SIDE = 0.5, 182

#: Below this certainty a look is not trusted, and other scales are tried. Of PBC images 3 % are,
#: of images from elsewhere nearly all.
_SURE = 0.97

#: Those scales, as factors on the first, and what sizes of input they may lead to.
_OTHERS = (0.5, 0.7, 1.4, 2.0)
_LEAST_SIDE, _MOST_SIDE = 40, 360


def find(
    image: np.ndarray, *, cell_size: float | None = None, weights: str | None = None
) -> Segmentation:
    """Return the cells of RGB uint8 (H, W, 3)."""
    shape = (image.shape[0], image.shape[1])
    if cell_size:
        scale = RED_CELL / cell_size
        found = _look(image, scale, weights)
    else:
        found = _best_look(image, weights)
    red, green, blue = _slide(image, found)
    cells = completed(cells_of(found, shape), shape)
    return Segmentation(shape, tuple(cells), (float(red), float(green), float(blue)))


def _best_look(image: np.ndarray, weights: str | None) -> Found:
    """Return the look at the scale that the network is most certain at."""
    side = max(image.shape[:2])
    first = min(1.0, max(_USUAL_SIDE / side, _HALF))
    best = _look(image, first, weights)
    if best.certainty >= _SURE:
        return best
    looks = [best]
    for factor in _OTHERS:
        scale = first * factor
        if _LEAST_SIDE <= side * scale <= _MOST_SIDE:
            looks.append(_look(image, scale, weights))
    return max(looks, key=_trust)


def _trust(found: Found) -> float:
    """Return how much a look is trusted: certain, with a white cell, and not with one in pieces.

    Images are taken for their white cells, and at a wrong scale these are missed or fall apart.
    """
    whites = found.whites()
    return found.certainty + 0.1 * max(whites, default=0) - 0.004 * max(len(whites) - 1, 0)


def balanced(image: np.ndarray, scale: float) -> np.ndarray:
    """Return an image in the size that the network looks at it, its slide grey.

    Parameters
    ----------
    image
        RGB uint8 (H, W, 3).
    scale
        Pixels of the result to one of the image's.

    Returns
    -------
    numpy.ndarray
        RGB uint8 (h, w, 3), at least 16 × 16: every channel multiplied so that the bare slide
        becomes grey, as in training; a yellow or lilac slide is no property of the cells.
    """
    height, width = image.shape[:2]
    size = (max(STEP, round(width * scale)), max(STEP, round(height * scale)))
    how = cv2.INTER_AREA if size[0] * size[1] < width * height else cv2.INTER_LINEAR
    small = cv2.resize(image, size, interpolation=how)
    gain = np.clip(_SLIDE_GREY / np.maximum(slide(small)[0], 1), 1 / _MOST_GAIN, _MOST_GAIN)
    levels = np.clip(np.rint(np.arange(256)[:, None] * gain), 0, 255).astype(np.uint8)
    return cv2.LUT(small, levels[None])


def _look(image: np.ndarray, scale: float, weights: str | None) -> Found:
    return group(maps(balanced(image, scale), weights), scale)


def _slide(image: np.ndarray, found: Found) -> np.ndarray:
    """Return the colour of the bare slide: the median of what the network takes for slide."""
    height, width = found.slide.shape
    if np.count_nonzero(found.slide) < 0.02 * found.slide.size:
        return slide(image)[0]
    # half the rows and columns are plenty for a median
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.median(small[found.slide], axis=0)
