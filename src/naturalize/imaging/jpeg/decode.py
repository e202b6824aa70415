"""Pixels before coding: the likely picture that a JPEG file was made of.

The pieces of a composite have been through a codec before, and two quantisations leave larger steps
between blocks than one. So composites are painted with pixels before coding: the mean of the image
coded on shifted grids (Nosratinia, Enhancement of JPEG-compressed images by re-application of
JPEG, J. VLSI Signal Processing 27:69, 2001), each coefficient then held well within the interval
that was rounded to its value (projection on the narrow quantisation constraint set; Park & Lee,
IEEE Trans. CSVT 9:417, 1999). Coded again on its own grid it is the picture of the file.
"""

from __future__ import annotations

import cv2
import numpy as np

from naturalize.imaging.jpeg.codec import BLOCK, Codec, coefficients, pixels_of, quantised, steps

#: Rows and columns by which the grid is shifted; spread evenly over a block.
_SHIFTS = ((0, 0), (4, 4), (2, 6), (6, 2), (4, 0), (0, 4), (2, 2), (6, 6))

#: Part of a step on either side of a value in which it is looked for: within half a step it would
#: be rounded to it, but a little less contrast must not round it away.
_WITHIN = np.float32(0.3)

_SAMPLING = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}


def before_coding(
    image: np.ndarray, codec: Codec | None, corner: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """Return the likely picture before a codec.

    ``image``, RGB uint8 (H, W, 3), is an image or a part of one that begins at ``corner`` (column,
    row), as the codec left it; without a codec it comes back as it is. Units of the codec that it
    does not hold whole stay as they are.
    """
    if codec is None:
        return image
    left, top = (-at % codec.unit for at in corner)
    height = (image.shape[0] - top) // codec.unit * codec.unit
    width = (image.shape[1] - left) // codec.unit * codec.unit
    if height <= 0 or width <= 0:
        return image
    inner = np.s_[top : top + height, left : left + width]
    mean = _mean_of_shifted(image[inner], codec)
    if codec.subsampling == "4:4:4":
        mean = _held_to(mean, image[inner], codec.quality)
    out = image.copy()
    out[inner] = np.clip(np.rint(mean), 0, 255).astype(np.uint8)
    return out


def _mean_of_shifted(image: np.ndarray, codec: Codec) -> np.ndarray:
    """Return the mean of whole units coded on shifted grids, float32 (H, W, 3)."""
    height, width = image.shape[:2]
    unit = codec.unit
    wide = cv2.copyMakeBorder(image, unit, unit, unit, unit, cv2.BORDER_REFLECT_101)
    wide = cv2.cvtColor(wide, cv2.COLOR_RGB2BGR)
    how = [cv2.IMWRITE_JPEG_QUALITY, codec.quality]
    how += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _SAMPLING[codec.subsampling]]
    total = np.zeros(image.shape, np.uint16)
    far = unit // BLOCK
    for down, across in _SHIFTS:
        y, x = unit - down * far, unit - across * far
        part = np.ascontiguousarray(wide[y : y + height + unit, x : x + width + unit])
        decoded = np.asarray(cv2.imdecode(cv2.imencode(".jpg", part, how)[1], cv2.IMREAD_COLOR))
        total += decoded[down * far :, across * far :][:height, :width, ::-1].astype(np.uint16)
    return total.astype(np.float32) / len(_SHIFTS)


def _held_to(mean: np.ndarray, image: np.ndarray, quality: int) -> np.ndarray:
    """Return a picture whose coefficients lie where those of the coded one were rounded from."""
    step = steps(quality)[:, None]
    known = quantised(coefficients(image), step)
    near = np.clip(coefficients(mean), known - _WITHIN * step, known + _WITHIN * step)
    return pixels_of(near, image.shape[:2], whole=False)
