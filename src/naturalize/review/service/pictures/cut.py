"""Parts of images as they are shown: squares, outlines, and what stands where an image is not."""

from __future__ import annotations

import cv2
import numpy as np

from naturalize.base.images import encode_image

#: Side of a thumbnail in pixels: 96 of a page on a screen of double density.
SIDE = 192

#: Longest side of a square that is cut in pixels: what a table says of boxes may be anything.
LARGEST = 4_000

#: Quality of pictures as JPEG, by eye. WebP takes a third less room, and three times as long.
_QUALITY = 92

#: What cells of fields lie on where the field ends.
_PAPER = 255

#: Where an image is missing: grey, crossed.
_GREY, _DARK = 225, 170

#: Share of the shorter side of an image of one cell that a thumbnail spans, as on sheets.
OF_IMAGE = 0.8


def corner_of(box: tuple[int, int, int, int], side: int) -> tuple[int, int]:
    """Return the left upper corner of a square with the same middle as a box."""
    x0, y0, x1, y1 = box
    return (x0 + x1 - side) // 2, (y0 + y1 - side) // 2


def cut(image: np.ndarray, left: int, top: int, side: int) -> np.ndarray:
    """Return a square of an image; what lies beyond it is white."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = max(0, left), max(0, top), min(width, left + side), min(height, top + side)
    if (x1 - x0, y1 - y0) == (side, side):
        return image[y0:y1, x0:x1]
    made = np.full((side, side, 3), _PAPER, np.uint8)
    if x0 < x1 and y0 < y1:
        made[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return made


def middle(image: np.ndarray) -> np.ndarray:
    """Return what thumbnails show of an image of one cell from anywhere: its middle 80 %."""
    height, width = image.shape[:2]
    side = max(1, round(OF_IMAGE * min(height, width)))
    return cut(image, (width - side) // 2, (height - side) // 2, side)


def scaled(image: np.ndarray, scale: float) -> np.ndarray:
    """Return an image made smaller; the same array at scale 1."""
    if scale == 1:
        return image
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def shrunk(part: np.ndarray) -> np.ndarray:
    """Return a square as a thumbnail, of `SIDE` pixels."""
    how = cv2.INTER_AREA if len(part) > SIDE else cv2.INTER_CUBIC
    return cv2.resize(part, (SIDE, SIDE), interpolation=how)


def missing() -> np.ndarray:
    """Return what stands for an image that is not there: a crossed grey square."""
    made = np.full((SIDE, SIDE, 3), _GREY, np.uint8)
    for ends in (((0, 0), (SIDE, SIDE)), ((0, SIDE), (SIDE, 0))):
        cv2.line(made, *ends, (_DARK,) * 3, 2, cv2.LINE_AA)
    return made


def jpeg(image: np.ndarray, quality: int = _QUALITY) -> bytes:
    """Return an image as JPEG."""
    return encode_image(image, "jpeg", quality=quality)


def outline_of(mask: np.ndarray) -> np.ndarray:
    """Return the outline of a mask, bool (H, W), as int16 (N, 2): x, y from its corner."""
    found, _ = cv2.findContours(
        np.pad(mask, 1).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    longest = max(found, key=cv2.contourArea)
    return (cv2.approxPolyDP(longest, 0.7, True)[:, 0] - 1).astype(np.int16)
