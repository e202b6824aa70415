"""A blind trial of restoration: slide that nobody covered is restored, and compared with itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from naturalize.cells.segmentation import Cell
from naturalize.restoration.masks import away_from, covered
from naturalize.restoration.restore import without

#: What is compared; see :func:`slide_statistics`.
STATISTICS = ("deviation", "laplacian", "lag_1", "lag_2", "lag_8", "red", "blue")

#: Least and largest radius of the disc that is restored, and its distance from cells; pixels.
_SMALLEST, _LARGEST, _CLEAR = 16, 40, 8

#: Smallest standard deviation that is told from none, in grey levels.
_LEAST = 0.1


@dataclass(frozen=True)
class Trial:
    """Statistics of one disc of slide before and after it was restored, and of slide beside it."""

    before: dict[str, float]
    after: dict[str, float]
    beside: dict[str, float]


def slide_statistics(image: np.ndarray, where: np.ndarray) -> dict[str, float]:
    """Return what a network can see of bare slide.

    Parameters
    ----------
    image
        RGB uint8 (H, W, 3).
    where
        Bool (H, W): the slide.

    Returns
    -------
    dict
        ``deviation``, ``laplacian``, ``red`` and ``blue``: logarithms of standard deviations of
        luminance, of its Laplacian, and of red and blue less luminance; ``lag_1``, ``lag_2`` and
        ``lag_8``: autocorrelations of luminance over so many pixels (8: the grid of JPEG).
    """
    grey = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    centred = grey - grey[where].mean()
    variance = max(float((centred[where] ** 2).mean()), _LEAST**2)
    edges = cv2.Laplacian(grey, cv2.CV_32F, borderType=cv2.BORDER_REFLECT)
    inner = cv2.erode(where.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    found = {
        "deviation": np.log(variance) / 2,
        "laplacian": np.log(max(float(edges[inner].std()), _LEAST)),
    }
    for lag in (1, 2, 8):
        pairs = [(where[:, lag:] & where[:, :-lag], centred[:, lag:] * centred[:, :-lag]),
                 (where[lag:] & where[:-lag], centred[lag:] * centred[:-lag])]  # fmt: skip
        found[f"lag_{lag}"] = np.mean([product[both].mean() for both, product in pairs]) / variance
    for name, channel in (("red", 0), ("blue", 2)):
        colour = (image[..., channel] - grey)[where]
        found[name] = np.log(max(float(colour.std()), _LEAST))
    return {name: float(value) for name, value in found.items()}


def blind_trial(image: np.ndarray, cells: Sequence[Cell], *, key: str) -> Trial | None:
    """Restore a disc of slide that no cell covers, as if a cell had been there.

    What was there is known, at the same place and under the same light, so that nothing but the
    restoration can differ. The slide beside it tells how far two pieces of real slide differ.

    Parameters
    ----------
    image
        RGB uint8 (H, W, 3).
    cells
        All its cells.
    key
        Names the draw of the grain.

    Returns
    -------
    Trial or None
        ``None`` where there is no room for two discs.
    """
    free = away_from(covered(image.shape[:2], cells)) - _CLEAR
    first, r = _roomiest(free)
    if r < _SMALLEST:
        return None
    second, other = _roomiest(np.minimum(free, away_from(first) - _CLEAR))
    if other < _SMALLEST:
        return None
    fake = Cell.from_mask("wbc", first)
    after = without(image, [*cells, fake], [len(cells)], key=key).image
    return Trial(
        slide_statistics(image, first),
        slide_statistics(after, first),
        slide_statistics(image, second),
    )


def _roomiest(free: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the disc, bool (H, W), in the middle of the widest free place, and its radius."""
    height, width = free.shape
    rows, columns = np.mgrid[0:height, 0:width]
    edge = np.minimum.reduce([rows, columns, height - 1 - rows, width - 1 - columns])
    room = np.minimum(free, edge)
    y, x = np.unravel_index(int(room.argmax()), room.shape)
    radius = min(float(room[y, x]), _LARGEST)
    return np.hypot(rows - y, columns - x) <= max(radius, 0), radius
