"""How a cell's edge meets what lies under it: a blend is one function here and one line below."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from naturalize.compose.halo import FADE, GLOW, MAX_SHIFT
from naturalize.compose.patch import EDGE, LEVELS
from naturalize.compose.place import Laid
from naturalize.compose.poisson import poisson

#: Feather in pixels that is as wide as the edges of real cells: from 0.9 to 0.1 of its density a
#: white cell of PBC takes 3.5 pixels, a red cell 3 (median of 120 each).
EDGE_WIDTH = 3.0

_NEIGHBOURS = np.ones((5, 5), np.uint8)

#: Grey levels by which bare slide may differ from what the recipe expects, and its least area.
_SLIDE, _FEW = 14, 24

#: Level of distance up to which a cell that is alone darkens the slide.
_FAINT = int(EDGE - LEVELS * (FADE + MAX_SHIFT))

#: Pixels around a cell that are looked at for the light of its scene.
_AROUND = 8

#: Steps of a pixel by which the distance to a cell is told.
_FINE = 16

#: Most that a scene's light is off from what the recipe expects.
_MOST_GAIN = 1.1


@dataclass(frozen=True)
class Blend:
    """A way to paint a cell.

    Attributes
    ----------
    paint
        ``paint(canvas, laid)``: paints into RGB uint8 (H, W, 3), in place.
    style
        What the cell's patch shall show around it: one of ``patch.STYLES``.
    """

    paint: Callable[[np.ndarray, Laid], None]
    style: str = "carried"


def hard(canvas: np.ndarray, laid: Laid) -> None:
    """Take the cell's pixels where their centre is inside, else leave what is there."""
    inside = cv2.threshold(laid.edge, EDGE, 1, cv2.THRESH_BINARY)[1]
    cv2.copyTo(laid.colours, inside, canvas[laid.window])


def feathered(canvas: np.ndarray, laid: Laid) -> None:
    """Fade over ``feather`` pixels across the edge, half of them outside, linear in distance."""
    window = canvas[laid.window]
    share = cv2.LUT(laid.edge, _ramp(laid.feather, laid.scale))
    shares = cv2.merge((share, share, share))
    cell = cv2.multiply(laid.colours, shares, scale=1 / 255)
    rest = cv2.multiply(window, cv2.bitwise_not(shares), scale=1 / 255)
    cv2.add(cell, rest, dst=window)


@lru_cache(maxsize=64)
def _ramp(feather: float, scale: float) -> np.ndarray:
    """Return the share of the cell, in 255ths, for each level of distance, uint8 (256,)."""
    distance = (np.arange(256) - EDGE) / LEVELS * scale
    share = np.clip(distance / max(feather, 1e-3) + 0.5, 0, 1)
    return np.rint(255 * share).astype(np.uint8)


def scene(canvas: np.ndarray, laid: Laid) -> None:
    """Exchange the slide behind the cell for the scene.

    The patch is the cell alone on bare slide, in the scene's light: at its edge every pixel ``p``
    is a mixture, ``a`` cell and ``1 − a`` slide ``g``. That share of slide is taken out and as much
    of the scene, ``s``, put in: ``p + (1 − a) · (s − g)`` (matting; Porter & Duff, SIGGRAPH 1984).
    Over bare slide the cell keeps the very edge that optics gave it, with the scene's grain and
    none of its old slide; other cells it covers. ``a`` falls over ``feather`` pixels across the
    line where the cell's density is half of what it is within: 3 is about what optics make of it.
    """
    gain = _scene_gain(canvas, laid)
    window, ground = canvas[laid.window], np.array(laid.ground, np.float32)
    ramp = _ramp(laid.feather, laid.scale)
    full = int(np.argmax(ramp == 255))
    core = cv2.threshold(laid.edge, full - 1, 1, cv2.THRESH_BINARY)[1]
    begin = int(np.argmax(ramp > 0))
    band = cv2.inRange(laid.edge, max(min(_FAINT, begin), 1), full - 1)
    rows, columns = np.nonzero(band)
    share = ramp[laid.edge[rows, columns]][:, None] * np.float32(1 / 255)
    old = window[rows, columns]
    mixed = laid.colours[rows, columns] * gain + (1 - share) * (old - ground * gain)
    # a cell with a harder edge than that has less slide in it: nothing is darker than both
    darkest = cv2.erode(laid.colours, _NEIGHBOURS)[rows, columns] * gain
    mixed = np.maximum(mixed, np.minimum(old, darkest))
    cell = laid.colours if (gain == 1).all() else cv2.LUT(laid.colours, _gain_table(gain))
    cv2.copyTo(cell, core, window)
    window[rows, columns] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    _add_glow(canvas, laid)


def _add_glow(canvas: np.ndarray, laid: Laid) -> None:
    """Darken and colour what lies around a cell, where its own soft edge fades to none."""
    if laid.glow is None or not laid.glow.any():
        return
    rows, columns = laid.window
    wide = math.ceil((GLOW + 1) * laid.scale)
    top, left = max(rows.start - wide, 0), max(columns.start - wide, 0)
    around = canvas[top : rows.stop + wide, left : columns.stop + wide]
    outside = np.ones(around.shape[:2], np.uint8)
    part = outside[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    part[:] = cv2.threshold(laid.edge, EDGE, 1, cv2.THRESH_BINARY_INV)[1]
    away = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_5)
    steps = cv2.convertScaleAbs(np.maximum(away - 0.5, 0), alpha=_FINE / laid.scale)
    left_over = cv2.LUT(cv2.merge((steps, steps, steps)), _glow_table(laid.glow))
    around[:] = cv2.multiply(around, left_over, dtype=cv2.CV_8U)


def _glow_table(glow: np.ndarray) -> np.ndarray:
    """Return the share of light that is left at each part of a pixel from the edge."""
    away = np.arange(256)[:, None] / _FINE
    steps, none = np.arange(GLOW + 2), np.zeros((1, 3))
    known = np.concatenate([none, glow, none])
    found = np.column_stack([np.interp(away[:, 0], steps, known[:, c]) for c in range(3)])
    return (10.0**-found).astype(np.float32)[None]


def _scene_gain(canvas: np.ndarray, laid: Laid) -> np.ndarray:
    """Return bare slide around the cell / what the recipe took it for, float32 (3,)."""
    rows, columns = laid.window
    top, left = max(rows.start - _AROUND, 0), max(columns.start - _AROUND, 0)
    around = canvas[top : rows.stop + _AROUND, left : columns.stop + _AROUND]
    ground = np.array(laid.ground, np.float64)
    bare = cv2.inRange(around, np.maximum(ground - _SLIDE, 0), ground + _SLIDE)
    inside = cv2.threshold(laid.edge, EDGE - 2 * LEVELS, 255, cv2.THRESH_BINARY_INV)[1]
    under = bare[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    cv2.bitwise_and(under, inside, dst=under)
    if cv2.countNonZero(bare) < _FEW:
        return np.ones(3, np.float32)
    gain = np.array(cv2.mean(around, bare)[:3]) / np.maximum(ground, 1)
    return np.clip(gain, 1 / _MOST_GAIN, _MOST_GAIN).astype(np.float32)


def _gain_table(gain: np.ndarray) -> np.ndarray:
    levels = np.arange(256, dtype=np.float32)[:, None] * gain
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)[None]


def density(canvas: np.ndarray, laid: Laid) -> None:
    """Lay the cell as a dye: what it lets through, of the light of whatever lies under it.

    Densities add up (Beer–Lambert), so that two red cells that overlap are darker there, and the
    cells of a stack are seen through each other. Over bare slide it is ``scene``.
    """
    window, ground = canvas[laid.window], np.array(laid.ground, np.float32)
    seen = laid.edge >= _FAINT
    through = laid.colours[seen] / ground
    window[seen] = np.clip(np.rint(through * window[seen]), 0, 255).astype(np.uint8)


def seamless(canvas: np.ndarray, laid: Laid) -> None:
    """Set the cell's gradients into the scene (Pérez, Gangnet & Blake, SIGGRAPH 2003)."""
    inside = laid.edge > EDGE - LEVELS * min(1.5 / laid.scale, FADE)
    poisson(canvas, laid.colours, inside, laid.left, laid.top)


#: Name → how a cell is painted.
BLENDS: dict[str, Blend] = {
    "hard": Blend(hard),
    "feather": Blend(feathered),
    "scene": Blend(scene, "lone"),
    "density": Blend(density, "lone"),
    "poisson": Blend(seamless, "lone"),
}
