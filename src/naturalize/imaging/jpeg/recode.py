"""Coding again what was painted on an image, by the image's own codec, block by block.

A decoded JPEG shows in every 8 × 8 block that it was one: most fine coefficients are zero, the
others multiples of a step, and colour smears from a cell into the slide next to it. Pixels that
were blended or re-stained have lost these traces, which a network detects at once. So changed
blocks are quantised on the image's grid with its steps, from pixels before coding (see ``decode``),
so that they are not quantised twice. Unchanged blocks stay as they are.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image

from naturalize.base.images import decode_image
from naturalize.imaging.jpeg.codec import (
    BLOCK,
    Codec,
    blocks_of,
    of_blocks,
    quantised,
    steps,
    tiles,
)
from naturalize.imaging.jpeg.grid import dihedral, turned_point


def code_changes(
    canvas: np.ndarray,
    before: np.ndarray,
    coded: np.ndarray,
    codec: Codec,
    place: tuple[int, int, int],
    scene: tuple[int, int],
) -> np.ndarray:
    """Return a canvas whose changed blocks went through a codec.

    ``canvas`` and ``before``: RGB uint8 (H, W, 3), with cells and without; ``coded``: the latter as
    the codec left it, shown where nothing changed. ``place``: the turn of the scene under the
    canvas (0–7, as in ``grid``), and where the canvas begins in the turned scene, ``x, y``;
    ``scene``: width and height of the scene, not turned.
    """
    turn = place[0]
    corner = _corner(canvas.shape[:2], place, scene)
    back = _inverse(turn)
    upright, old, shown = (_turned(image, back) for image in (canvas, before, coded))
    change = cv2.absdiff(upright, old)
    box = _changed_box(change, corner, codec.unit)
    if box is None:
        return coded.copy()  # it may be a store's own, which nobody may write to
    padding, part = box
    image, shown_part, change = (
        cv2.copyMakeBorder(one[part], *padding, cv2.BORDER_REPLICATE)
        for one in (upright, shown, change)
    )
    if codec.subsampling == "4:4:4":
        done = _quantised(image, shown_part, change, codec.quality)
    else:
        done = _through_file(image, shown_part, np.asarray(change.any(axis=2)), codec)
    out = shown.copy()
    height, width = out[part].shape[:2]
    out[part] = done[padding[0] : padding[0] + height, padding[2] : padding[2] + width]
    return _turned(out, turn)


def _turned(image: np.ndarray, turn: int) -> np.ndarray:
    return dihedral(image, turn >= 4, turn % 4) if turn else image


def _inverse(turn: int) -> int:
    """Return the turn that undoes another: flips undo themselves."""
    return turn if turn >= 4 else -turn % 4


def _corner(
    shape: tuple[int, int], place: tuple[int, int, int], scene: tuple[int, int]
) -> tuple[int, int]:
    """Return where the canvas begins in the scene as it is, left and top."""
    turn, x, y = place
    size = np.array(scene)
    turned = size[::-1] if turn % 2 else size
    corners = np.array([[x, y], [x + shape[1], y + shape[0]]])
    found = turned_point(corners, np.array([turned, turned]), np.array([_inverse(turn)] * 2))
    left, top = found.min(axis=0)
    return int(left), int(top)


#: Pixels above, below, left and right that make a part whole units; rows and columns of the part.
_Box = tuple[tuple[int, int, int, int], tuple[slice, slice]]


def _changed_box(change: np.ndarray, corner: tuple[int, int], unit: int) -> _Box | None:
    """Return the units around all that changed; ``None`` if nothing did."""
    height, width, channels = change.shape
    x, y, wide, high = cv2.boundingRect(change.reshape(height, width * channels))
    if not wide:
        return None
    spans = (
        (y, y + high - 1, height, corner[1]),
        (x // channels, (x + wide - 1) // channels, width, corner[0]),
    )
    padding, part = [], []
    for first, last, length, start in spans:
        # with subsampled chroma a decoder smooths a unit into the next
        more = 0 if unit == BLOCK else unit
        low = (first + start) // unit * unit - start - more
        end = -(-(last + 1 + start) // unit) * unit - start + more
        inside = slice(max(low, 0), min(end, length))
        padding += [_short(inside.start - low, unit), _short(end - inside.stop, unit)]
        part.append(inside)
    return (padding[0], padding[1], padding[2], padding[3]), (part[0], part[1])


def _short(missing: int, unit: int) -> int:
    """Return the pixels that a unit lacks beyond the canvas; whole units there are left out."""
    return missing % unit


def _quantised(
    image: np.ndarray, shown: np.ndarray, change: np.ndarray, quality: int
) -> np.ndarray:
    """Return an image of whole blocks: changed ones after baseline JPEG at 4:4:4, others shown.

    ITU-T T.81, A.3.3 and A.3.4, with the steps of the Independent JPEG Group's scale.
    """
    changed = _any_of_blocks(change)
    if not changed.any():
        return shown
    found = quantised(of_blocks(tiles(image)[changed]), steps(quality)[:, None])
    out = shown.copy()
    tiles(out)[changed] = np.clip(np.rint(blocks_of(found)), 0, 255).astype(np.uint8)
    return out


def _any_of_blocks(change: np.ndarray) -> np.ndarray:
    """Return which blocks of uint8 (H, W, 3) are not all 0, bool (rows, columns)."""
    # a row of a block is 24 bytes: three words
    words = change.reshape(change.shape[0], -1).view(np.uint64)
    blocks = words.reshape(change.shape[0] // BLOCK, BLOCK, -1, 3)
    found = np.bitwise_or.reduce(np.bitwise_or.reduce(blocks, axis=1), axis=2)
    return np.asarray(found != 0)


def _through_file(
    image: np.ndarray, shown: np.ndarray, changed: np.ndarray, codec: Codec
) -> np.ndarray:
    """Return an image whose changed units went through an encoder and back; others are shown."""
    mixed = np.where(units_of(changed, codec.unit)[..., None], image, shown)
    return code_region(mixed, changed, codec)


def code_region(image: np.ndarray, changed: np.ndarray, codec: Codec | None) -> np.ndarray:
    """Return an image whose changed blocks went through a codec, like the rest of it before.

    ``image``: RGB uint8 (H, W, 3), the pixels that are not ``changed``, bool (H, W), as the codec
    left them; without a codec it comes back as it is. Only coding units that hold a changed pixel
    differ, and with subsampled chroma the pixels next to these, into which a decoder smooths it.
    """
    if codec is None or not changed.any():
        return image
    buffer = io.BytesIO()
    Image.fromarray(image).save(
        buffer, format="jpeg", quality=codec.quality, subsampling=codec.subsampling
    )
    decoded = decode_image(buffer.getvalue(), name="restored image")[0]
    units = units_of(changed, codec.unit)
    if codec.unit > BLOCK:
        units = cv2.dilate(units.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.where(units[..., None], decoded, image)


def units_of(mask: np.ndarray, unit: int) -> np.ndarray:
    """Return bool (H, W): the whole coding units that hold a pixel of a bool (H, W) mask."""
    height, width = mask.shape
    rows, columns = -(-height // unit), -(-width // unit)
    padded = np.zeros((rows * unit, columns * unit), bool)
    padded[:height, :width] = mask
    any_of = padded.reshape(rows, unit, columns, unit).any(axis=(1, 3))
    return np.kron(any_of, np.ones((unit, unit), bool))[:height, :width]
