"""How a cell's edge meets what lies under it: a blend is one function here and one line below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from naturalize.compose.paint import constants as tuned
from naturalize.compose.paint.place import Laid
from naturalize.compose.paint.sizes import EDGE, LEVELS, OWN
from naturalize.imaging.poisson import poisson
from naturalize.imaging.stain import dithered, gain_table, rounded

_NEIGHBOURS = np.ones((5, 5), np.uint8)


#: Level of distance up to which a cell that is alone darkens the slide.
_FAINT = int(EDGE - LEVELS * (tuned.FADE + tuned.MAX_SHIFT))

#: Level of distance from which on a pixel belongs to the cell's soft edge.
_NEAR = int(EDGE - 3 * LEVELS)

#: All levels, for each channel.
_EVERY = np.repeat(np.arange(256, dtype=np.float32)[:, None], 3, axis=1)

#: Share of its own slide at each level of a patch; and by how much less a mixture of two grains
#: with this share of one spreads than either.
_KEPT = np.clip(np.arange(256) / OWN, 0, 1).astype(np.float32)
_ROUGH = 1 / np.hypot(_KEPT, 1 - _KEPT)


@dataclass(frozen=True)
class Blend:
    """A way to paint a cell."""

    #: ``paint(canvas, laid)``: paints into RGB uint8 (H, W, 3), in place.
    paint: Callable[[np.ndarray, Laid], None]
    #: What the cell's patch shall show around it: one of ``patch.STYLES``.
    style: str = "extended"


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

    The patch is the cell on its own slide, in the scene's light: at its edge every pixel ``p`` is a
    mixture, ``a`` cell and ``1 − a`` slide ``g``. That share of slide is taken out and as much of
    the scene, ``s``, put in: ``p + (1 − a) · (s − g)`` (matting; Porter & Duff, SIGGRAPH 1984).
    ``a`` falls over ``feather`` pixels across the line where the cell's density is half of what it
    is within: 3 is about what optics make of it. Around the cell, as far as the scene is bare slide
    too, ``a`` stays 1: the cell brings its own slide, with all that optics and codec did to it, and
    what differs from bare slide fades away with ``w``: ``s + w · (p − g) + a · (g − s)``. Other
    cells it covers.
    """
    room, gain = _room_and_gain(canvas, laid)
    window = canvas[laid.window]
    ground = (*(np.array(laid.ground, np.float32) * gain).tolist(), 0)
    cell = laid.colours
    if (gain != 1).any():
        light = gain_table(gain)
        cell = dithered(cell, light) if laid.shrunk else cv2.LUT(cell, rounded(light))
    ramp = _ramp(laid.feather, laid.scale)
    kept = cv2.LUT(laid.edge, _KEPT)
    share = cv2.max(cv2.multiply(kept, room), cv2.LUT(laid.edge, ramp) * np.float32(1 / 255))
    # what is a mixture of two grains would have less than either
    rough = 1 + cv2.multiply(room, cv2.LUT(laid.edge, _ROUGH) - 1)
    of_scene, of_cell = cv2.multiply(rough, 1 - share), cv2.multiply(rough, kept)
    mixed = cv2.add(
        cv2.multiply(_less(window, ground), cv2.merge((of_scene, of_scene, of_scene))),
        cv2.multiply(_less(cell, ground), cv2.merge((of_cell, of_cell, of_cell))),
    )
    painted = cv2.add(mixed, ground, dtype=cv2.CV_8U)  # type: ignore[call-overload]
    # a cell with a harder edge than that has less slide in it: nothing is darker than both
    near = cv2.threshold(laid.edge, _NEAR, 1, cv2.THRESH_BINARY)[1]
    darkest = cv2.min(window, cv2.erode(cell, _NEIGHBOURS))
    cv2.copyTo(cv2.max(painted, darkest), near, painted)
    core = cv2.threshold(laid.edge, int(np.argmax(ramp == 255)) - 1, 1, cv2.THRESH_BINARY)[1]
    cv2.copyTo(cell, core, painted)
    cv2.copyTo(painted, cv2.threshold(laid.edge, 0, 1, cv2.THRESH_BINARY)[1], window)


def _less(image: np.ndarray, colour: tuple[float, ...]) -> np.ndarray:
    """Return an image, RGB uint8 (h, w, 3), less a colour, float32."""
    return cv2.subtract(image, colour, dtype=cv2.CV_32F)  # type: ignore[call-overload]


def _room_and_gain(canvas: np.ndarray, laid: Laid) -> tuple[np.ndarray, np.ndarray]:
    """Return where the scene under a cell is bare slide, and its light.

    Returns
    -------
    room
        Float32 (h, w), 0–1: 1 where nothing but slide is near.
    gain
        Bare slide around the cell / what the recipe took it for, float32 (3,).
    """
    rows, columns = laid.window
    top, left = max(rows.start - tuned.LIGHT_MARGIN, 0), max(columns.start - tuned.LIGHT_MARGIN, 0)
    around = canvas[top : rows.stop + tuned.LIGHT_MARGIN, left : columns.stop + tuned.LIGHT_MARGIN]
    here = np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    ground = np.array(laid.ground, np.float64)
    bare = cv2.inRange(
        cv2.blur(around, (3, 3)),
        np.maximum(ground - tuned.SLIDE_RANGE, 0),
        ground + tuned.SLIDE_RANGE,
    )
    away = cv2.distanceTransform(bare, cv2.DIST_L2, cv2.DIST_MASK_5)
    low, high = tuned.BLURRED
    room = np.clip((away[here] - low) * np.float32(1 / (high - low)), 0, 1)
    light = cv2.threshold(away, (low + high) / 2, 255, cv2.THRESH_BINARY)[1].astype(np.uint8)
    outside = cv2.threshold(laid.edge, EDGE - 2 * LEVELS, 255, cv2.THRESH_BINARY_INV)[1]
    cv2.bitwise_and(light[here], outside, dst=light[here])
    if cv2.countNonZero(light) < tuned.FEW:
        return room, np.ones(3, np.float32)
    gain = np.array(cv2.mean(around, light)[:3]) / np.maximum(ground, 1)
    return room, np.clip(gain, 1 / tuned.MOST_GAIN, tuned.MOST_GAIN).astype(np.float32)


def density(canvas: np.ndarray, laid: Laid) -> None:
    """Lay the cell as a dye: what it lets through, of the light of whatever lies under it.

    Densities add up (Beer–Lambert), so that two red cells that overlap are darker there, and the
    cells of a stack are seen through each other. Over bare slide it is ``scene``.
    """
    window, ground = canvas[laid.window], np.array(laid.ground, np.float32)
    seen = cv2.threshold(laid.edge, _FAINT - 1, 1, cv2.THRESH_BINARY)[1]
    through = cv2.LUT(laid.colours, (_EVERY / ground)[None])
    cv2.copyTo(cv2.multiply(through, window, dtype=cv2.CV_8U), seen, window)


def seamless(canvas: np.ndarray, laid: Laid) -> None:
    """Set the cell's gradients into the scene (Pérez, Gangnet & Blake, SIGGRAPH 2003)."""
    inside = laid.edge > EDGE - LEVELS * min(1.5 / laid.scale, tuned.FADE)
    poisson(canvas, laid.colours, inside, laid.left, laid.top)


#: Name → how a cell is painted.
BLENDS: dict[str, Blend] = {
    "hard": Blend(hard),
    "feather": Blend(feathered),
    "scene": Blend(scene, "surrounded"),
    "density": Blend(density, "isolated"),
    "poisson": Blend(seamless, "isolated"),
}
