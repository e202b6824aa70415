"""What was painted on a scene goes through the scene's own codec, block by block, as the rest did.

A decoded JPEG shows in every 8 × 8 block that it was one: most fine coefficients are zero, the
others multiples of a step, and colour smears from a cell into the slide next to it. Pixels that
were blended or re-stained have lost that, which a network sees at once. So the blocks of a scene
that cells were painted on are quantised once more, on the scene's grid and with its steps. Blocks
that no cell touched, or only its glow, stay as they are.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import cv2
import numpy as np

from naturalize.compose.grid import turned_point
from naturalize.compose.patch import CellSource
from naturalize.compose.place import dihedral
from naturalize.compose.recipe import Background
from naturalize.compose.scenes import background_of, image_of
from naturalize.compose.sizes import Shrink

if TYPE_CHECKING:
    from naturalize.cells.background.codec import Codec

_SIDE = 8

#: Coefficients and pixels are held to these parts of a level before they are rounded: sums of
#: floats differ in their last digits between machines, and must not decide.
_PARTS = np.float32(256)

#: RGB to luma, blue and red chroma around 0 (ITU-R BT.601, as JFIF has it), and back.
_LUMA_CHROMA = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
_RGB = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], np.float32)

#: Least value of each plane.
_LOW = np.array([0, -128, -128], np.float32)[:, None]

#: Grey levels up to which a change is a cell's faint glow: smooth, so that fine coefficients stay
#: at zero. To quantise such a block again would only add a second error to its mean, and a step at
#: its border.
_FAINT = 4

_codecs: WeakKeyDictionary[object, dict[str, Codec | None]] = WeakKeyDictionary()


def codec_of(ground: Background, source: CellSource) -> Codec | None:
    """Return the JPEG codec that a restored scene came through, ``None`` for any other ground.

    It is told from the scene's pixels; what is known of a source is kept.
    """
    name = ground.background_id
    if name is None or image_of(name)[1] is None:
        return None
    known = _codecs.setdefault(source, {})
    if name not in known:
        from naturalize.cells.background.codec import estimate

        known[name] = estimate(background_of(source, name, Shrink.none((1, 1))))
    return known[name]


def recode(
    canvas: np.ndarray, before: np.ndarray, codec: Codec, ground: Background, scene: tuple[int, int]
) -> np.ndarray:
    """Return a canvas whose changed blocks went through a codec.

    Parameters
    ----------
    canvas, before
        RGB uint8 (H, W, 3), with cells and without.
    codec
        Of the scene.
    ground
        How the scene lies under the canvas: its turn and offset.
    scene
        Width and height of the scene as it is, not turned.

    Returns
    -------
    numpy.ndarray
        RGB uint8 (H, W, 3).
    """
    left, top = _corner(canvas.shape[:2], ground, scene)
    turn = ground.turn
    back = _inverse(turn)
    upright, old = _turned(canvas, back), _turned(before, back)
    padding = _padding(upright.shape[:2], (left, top), codec.unit)
    wide, was = (cv2.copyMakeBorder(a, *padding, cv2.BORDER_REPLICATE) for a in (upright, old))
    if codec.subsampling == "4:4:4":
        done = _quantised(wide, was, codec.quality)
    else:
        from naturalize.cells.background.codec import recoded

        done = recoded(wide, (wide != was).any(axis=2), codec)
    height, width = upright.shape[:2]
    done = done[padding[0] : padding[0] + height, padding[2] : padding[2] + width]
    return _turned(done, turn)


def _turned(image: np.ndarray, turn: int) -> np.ndarray:
    return dihedral(image, turn >= 4, turn % 4) if turn else image


def _inverse(turn: int) -> int:
    """Return the turn that undoes another: flips undo themselves."""
    return turn if turn >= 4 else -turn % 4


def _corner(shape: tuple[int, int], ground: Background, scene: tuple[int, int]) -> tuple[int, int]:
    """Return where the canvas begins in the scene as it is, left and top."""
    size = np.array(scene)
    turned = size[::-1] if ground.turn % 2 else size
    corners = np.array([[ground.x, ground.y], [ground.x + shape[1], ground.y + shape[0]]])
    found = turned_point(corners, np.array([turned, turned]), np.array([_inverse(ground.turn)] * 2))
    left, top = found.min(axis=0)
    return int(left), int(top)


def _padding(
    shape: tuple[int, int], corner: tuple[int, int], unit: int
) -> tuple[int, int, int, int]:
    """Return pixels above, below, left, right that make a part of a scene whole units."""
    left, top = corner[0] % unit, corner[1] % unit
    return top, -(shape[0] + top) % unit, left, -(shape[1] + left) % unit


def _quantised(image: np.ndarray, before: np.ndarray, quality: int) -> np.ndarray:
    """Return an image of whole blocks whose changed ones went through baseline JPEG at 4:4:4.

    ITU-T T.81, A.3.3 and A.3.4, with the steps of the Independent JPEG Group's scale.
    """
    rows, columns = image.shape[0] // _SIDE, image.shape[1] // _SIDE
    tiles = image.reshape(rows, _SIDE, columns, _SIDE, 3).transpose(0, 2, 1, 3, 4)
    differs = (cv2.absdiff(image, before) > _FAINT).reshape(rows, _SIDE, columns, _SIDE, 3)
    changed = np.asarray(differs.any(axis=(1, 3, 4)))
    if not changed.any():
        return image
    waves, steps = _waves(), _steps(quality)[:, None]
    pixels = np.ascontiguousarray(tiles[changed].reshape(-1, 3).T, np.float32)
    planes = np.rint(_held(_product(_LUMA_CHROMA, pixels)))
    planes[0] -= 128
    found = _held(_product(planes.reshape(-1, _SIDE * _SIDE), waves.T)).reshape(3, -1, _SIDE**2)
    kept = np.trunc(found / steps + np.copysign(np.float32(0.5), found)) * steps
    seen = np.rint(_held(_product(kept.reshape(-1, _SIDE * _SIDE), waves))).reshape(3, -1)
    seen[0] += 128
    shown = _held(_product(_RGB, np.clip(seen, _LOW, _LOW + 255)))
    out = tiles.copy()
    out[changed] = np.clip(np.rint(shown), 0, 255).astype(np.uint8).T.reshape(-1, _SIDE, _SIDE, 3)
    return out.transpose(0, 2, 1, 3, 4).reshape(image.shape)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # not by @: a library of linear algebra may start threads for it, which takes longer
    return cv2.gemm(a, np.ascontiguousarray(b), 1.0, None, 0.0)  # type: ignore[call-overload]


def _held(values: np.ndarray) -> np.ndarray:
    return np.rint(values * _PARTS) / _PARTS


@lru_cache(maxsize=1)
def _waves() -> np.ndarray:
    """Return the orthonormal cosines of a block, float32 (64 frequencies, 64 pixels)."""
    k, x = np.mgrid[:_SIDE, :_SIDE]
    cosine = np.cos(np.pi * (2 * x + 1) * k / (2 * _SIDE)) * (2 / _SIDE) ** 0.5
    cosine[0] /= 2**0.5
    return np.kron(cosine, cosine).astype(np.float32)


@lru_cache(maxsize=64)
def _steps(quality: int) -> np.ndarray:
    """Return the steps of luma, blue and red chroma at an IJG quality, float32 (3, 64)."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (_SIDE, _SIDE)).save(buffer, "jpeg", quality=quality)
    with Image.open(io.BytesIO(buffer.getvalue())) as opened:
        tables = opened.quantization  # type: ignore[attr-defined]
    return np.array([tables[0], tables[1], tables[1]], np.float32)
