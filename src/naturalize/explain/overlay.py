"""Heat over the cell, and where it lies: the cell stays visible, lines say how hot it is."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from naturalize.base.errors import InputError
from naturalize.cells.segmentation import LEVELS, Segmentation

#: From yellow-green to teal, in order of lightness: hues that a stained smear does not have.
_COLOURS = "viridis"
_COLD, _HOT = 0.95, 0.50

#: Heat below which nothing is tinted, and heat that lines enclose: half, and the hottest.
_CLEAR, _LINES = 0.4, (0.5, 0.8)

#: How far lightness and hue go towards the tint at the hottest place: so little that chromatin and
#: granules keep their own colours (by eye, on PBC images).
_LIGHTNESS, _HUE = 0.03, 0.2


def overlay(image: np.ndarray, heat: np.ndarray, *, contour: bool = True) -> np.ndarray:
    """Paint a heat map over an image.

    Lines enclose what is hotter than half, and what is hotter than 0.8. The image is hardly tinted:
    in CIELAB space its hue moves towards the heat's colour, from nothing below 0.4 to 20 % at 1, so
    that chromatin and granules stay as they are.

    Takes and gives RGB uint8 (H, W, 3); ``heat`` is float (h, w) in 0–1, covers the whole image and
    is enlarged to it (else ``InputError``). Without ``contour`` there are no lines.
    """
    heat = fitted(heat, image.shape[:2])
    place = np.clip((heat - _CLEAR) / (1 - _CLEAR), 0, 1).astype(np.float32)
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    paint = _table()[np.rint(255 * place).astype(np.uint8)]
    share = place[:, :, None] * np.array([_LIGHTNESS, _HUE, _HUE], np.float32)
    tinted = 255 * cv2.cvtColor(lab + share * (paint - lab), cv2.COLOR_LAB2RGB)
    bare = place[:, :, None] == 0  # exactly the image, free of the rounding of colour spaces
    mixed = np.where(bare, image, np.clip(np.rint(tinted), 0, 255).astype(np.uint8))
    if contour:
        _draw_lines(mixed, heat)
    return mixed


def fitted(heat: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return ``heat`` (h, w) enlarged to ``shape`` (H, W): float32 in 0–1."""
    heat = np.asarray(heat, np.float32)
    if heat.ndim != 2 or not heat.size or not (heat.min() >= 0 and heat.max() <= 1):
        raise InputError(f"heat: expected a matrix within 0–1, got shape {heat.shape}")
    height, width = shape
    return np.clip(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)


def heat_inside(heat: np.ndarray, mask: np.ndarray) -> float | None:
    """Return the share of the heat, float (h, w), that lies on a cell, bool (H, W).

    Compare it with the share of the image that the cell covers. None where there is no heat at all.

    Examples
    --------
    >>> mask = np.zeros((4, 4), bool)
    >>> mask[:, :2] = True
    >>> heat_inside(np.ones((4, 4)), mask)
    0.5
    """
    heat = fitted(heat, (mask.shape[0], mask.shape[1])).astype(np.float64)
    total = heat.sum()
    return float(heat[mask].sum() / total) if total else None


def heat_by_kind(heat: np.ndarray, found: Segmentation) -> dict[str, float] | None:
    """Return the share of the heat, float (h, w), on each kind of cell and on the slide.

    Where two cells overlap, it is the white cell's, or the platelet's. Null without heat.
    """
    large = fitted(heat, found.shape).astype(np.float64)
    total = large.sum()
    if not total:
        return None
    there = np.bincount(found.label_image().ravel(), large.ravel(), minlength=4) / total
    names = {"slide": 0, **LEVELS}
    return {name: round(float(there[level]), 4) for name, level in names.items()}


@lru_cache(maxsize=1)
def _table() -> np.ndarray:
    """Colours of heat, coldest first: CIELAB float32 (256, 3)."""
    from matplotlib import colormaps

    colours = colormaps[_COLOURS](np.linspace(_COLD, _HOT, 256))[None, :, :3]
    return cv2.cvtColor(colours.astype(np.float32), cv2.COLOR_RGB2LAB)[0]


def _draw_lines(image: np.ndarray, heat: np.ndarray) -> None:
    thickness = max(1, round(min(image.shape[:2]) / 250))
    for level, colour in zip(_LINES, ((31, 36, 48), (230, 90, 20)), strict=True):
        inside = (heat >= level).astype(np.uint8)
        lines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, lines, -1, (255, 255, 255), thickness + 2, cv2.LINE_AA)
        cv2.drawContours(image, lines, -1, colour, thickness, cv2.LINE_AA)
