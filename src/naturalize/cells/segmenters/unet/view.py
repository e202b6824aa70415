"""The image as the network was taught to see it: its size, its light, and its stain."""

from __future__ import annotations

import cv2
import numpy as np

from naturalize.cells.segmenters.classical.view import slide
from naturalize.cells.segmenters.unet.group import Detections
from naturalize.cells.segmenters.unet.network import RED, STEP
from naturalize.imaging.stain import optical_density

#: Diameter of a red cell, in pixels of the network's input, in the middle of its training.
RED_CELL = 37.0

#: Grey level of the bare slide in training, and the most that light is changed to give it (chosen
#: while the mask sets were looked at; see the model card).
_SLIDE_GREY, _MOST_GAIN = 225.0, 2.2

#: Optical density in PBC images (medians over 200): of red cells, mean of the channels; of white
#: cells, the 90th percentile of green.
_RED_DENSITY, _WHITE_DENSITY = 0.100, 0.95

#: A stain is weak, and is strengthened, where both are this many times less; at most so far. Of 100
#: PBC images none is beyond 1.44, of the 30 development fields of fields/cbc all are beyond 1.53.
_WEAK, _MOST_STRENGTHENED = 1.5, 2.5

#: Probability from which a pixel's density is measured, and fewest such pixels.
_MEASURED, _FEWEST_RED, _FEWEST_WHITE = 0.8, 100, 60

#: Fewest red cells, not cut by the edge, whose median width is a scale, and the most it changes
#: the scale: what is farther from a red cell's size is none.
_FEWEST_CELLS, _MOST_SCALED = 3, 2.0


def balanced(image: np.ndarray, scale: float) -> np.ndarray:
    """Return an image at the scale of the network's input, its slide grey.

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


def strengthened(seen: np.ndarray, gain: float) -> np.ndarray:
    """Return a balanced image, RGB uint8 (h, w, 3), with ``gain`` times the optical density."""
    if gain == 1:
        return seen
    passed = np.maximum(np.arange(256, dtype=np.float32), 1) / _SLIDE_GREY
    return cv2.LUT(seen, np.clip(np.rint(_SLIDE_GREY * passed**gain), 0, 255).astype(np.uint8))


def missing_stain(seen: np.ndarray, found: Detections) -> float:
    """Return how many times a stain is to be strengthened; 1 where it is not weak.

    White cells without a nucleus are too pale for the network, whatever the red cells are. Where
    no white cell is seen, the stain is left as it is.
    """
    density = optical_density(seen, (_SLIDE_GREY,) * 3)
    red, white = found.probabilities[RED] > _MEASURED, found.white > _MEASURED
    if np.count_nonzero(white) <= _FEWEST_WHITE:
        return 1.0
    gain = _WHITE_DENSITY / max(float(np.quantile(density[..., 1][white], 0.9)), 1e-3)
    if np.count_nonzero(red) > _FEWEST_RED and not found.whites(nucleated=False):
        typical = float(np.median(density.mean(axis=2)[red]))
        gain = min(gain, _RED_DENSITY / max(typical, 1e-3))
    return min(gain, _MOST_STRENGTHENED) if gain > _WEAK else 1.0


def to_usual_width(found: Detections) -> float:
    """Return the factor on the scale that gives red cells the width they had in training."""
    widths = [cell.diameter for cell in found.cells if cell.kind == "rbc" and not cell.cut]
    if len(widths) < _FEWEST_CELLS:
        return 1.0
    return float(np.clip(RED_CELL / np.median(widths), 1 / _MOST_SCALED, _MOST_SCALED))
