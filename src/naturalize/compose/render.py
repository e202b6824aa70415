"""From a recipe to pixels: a pure function, the same bytes on any worker, in any order."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from naturalize.base.errors import InputError, unknown
from naturalize.base.images import decode_image, encode_image
from naturalize.compose.blend import BLENDS
from naturalize.compose.patch import CellSource, Patch, patch_of
from naturalize.compose.recipe import Background, Finish, Placement, Recipe

#: Windows further than this from a whole pixel are resampled.
_EXACT = 1e-3


def render(recipe: Recipe, bank: CellSource) -> np.ndarray:
    """Paint a composite.

    Parameters
    ----------
    recipe
        What to paint.
    bank
        A :class:`~naturalize.cells.bank.CellBank` or a
        :class:`~naturalize.compose.crops.CropStore` (much quicker); both give the same bytes.

    Returns
    -------
    numpy.ndarray
        RGB uint8 (height, width, 3).

    Raises
    ------
    InputError
        If the source has no such cell, or the background is smaller than the canvas.
    """
    return finished(render_unfinished(recipe, bank), recipe.finish)


def render_unfinished(recipe: Recipe, bank: CellSource) -> np.ndarray:
    """Paint a composite without its finish, RGB uint8 (height, width, 3)."""
    canvas = _canvas(recipe.background, recipe.width, recipe.height, bank)
    for placement in recipe.placements:
        paste(canvas, patch_of(bank, placement.cell_id), placement)
    return canvas


def finished(image: np.ndarray, finish: Finish) -> np.ndarray:
    """Send an image through the finish's codec and back."""
    if finish.codec != "jpeg":
        return image
    data = encode_image(image, "jpeg", quality=finish.quality or 95)
    return decode_image(data, name="composite")[0]


def _canvas(ground: Background, width: int, height: int, bank: CellSource) -> np.ndarray:
    if ground.image_id is None:
        return _flat(width, height, ground.colour).copy()
    image = bank.image(ground.image_id)
    if image.shape[0] < height or image.shape[1] < width:
        raise InputError(
            f"background {ground.background_id}: {image.shape[1]} × {image.shape[0]} pixels, "
            f"smaller than the canvas of {width} × {height}"
        )
    return image[:height, :width].copy()


@lru_cache(maxsize=16)
def _flat(width: int, height: int, colour: tuple[float, float, float]) -> np.ndarray:
    return np.full((height, width, 3), np.rint(colour), np.uint8)


def paste(canvas: np.ndarray, patch: Patch, placement: Placement) -> None:
    """Paint one cell into ``canvas``, RGB uint8 (H, W, 3), in place; parts outside are cut off.

    A cell that is not scaled, turned by a multiple of 90 degrees and set on whole pixels is copied
    as it is; any other is resampled once (bilinear), colour and edge together.
    """
    if placement.blend not in BLENDS:
        raise unknown("blend", placement.blend, sorted(BLENDS))
    if any(placement.stain):
        patch = Patch(cv2.LUT(patch.colours, _stain_table(placement.stain)), patch.edge)
    placed = _upright(patch, placement) or _warped(patch, placement, canvas.shape)
    if placed is None:
        return
    left, top, patch = placed
    height, width = patch.edge.shape
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width, canvas.shape[1]), min(top + height, canvas.shape[0])
    if x0 < x1 and y0 < y1:
        seen = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        part = Patch(patch.colours[seen], patch.edge[seen])
        blend = BLENDS[placement.blend]
        blend(canvas[y0:y1, x0:x1], part, placement.feather, placement.scale)


def _upright(patch: Patch, placement: Placement) -> tuple[int, int, Patch] | None:
    """Return left, top and the cell where nothing needs resampling; else ``None``."""
    quarters = placement.angle / 90
    if placement.scale != 1 or quarters != round(quarters):
        return None
    height, width = patch.edge.shape
    if round(quarters) % 2:
        height, width = width, height
    left, top = placement.cx - width / 2, placement.cy - height / 2
    if abs(left - round(left)) > _EXACT or abs(top - round(top)) > _EXACT:
        return None
    if placement.flip or quarters % 4:
        patch = Patch(
            *(_turned(plane, placement.flip, round(quarters) % 4) for plane in _planes(patch))
        )
    return round(left), round(top), patch


def _planes(patch: Patch) -> tuple[np.ndarray, np.ndarray]:
    return patch.colours, patch.edge


def _turned(plane: np.ndarray, flip: bool, quarters: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(plane[:, ::-1] if flip else plane, quarters))


def _warped(
    patch: Patch, placement: Placement, canvas: tuple[int, ...]
) -> tuple[int, int, Patch] | None:
    """Return left, top and the cell after flip, scale, turn and shift, cut to the canvas."""
    angle, scale = math.radians(placement.angle), placement.scale
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    height, width = patch.edge.shape
    half_x = (abs(cos) * width + abs(sin) * height) / 2
    half_y = (abs(sin) * width + abs(cos) * height) / 2
    left = max(math.floor(placement.cx - half_x), 0)
    top = max(math.floor(placement.cy - half_y), 0)
    right = min(math.ceil(placement.cx + half_x), canvas[1])
    bottom = min(math.ceil(placement.cy + half_y), canvas[0])
    if left >= right or top >= bottom:
        return None
    # y points down, so counter-clockwise to the eye is this one; pixel i has its centre at i + 1/2
    turn = np.array([[cos, sin], [-sin, cos]])
    if placement.flip:
        turn[:, 0] = -turn[:, 0]
    middle = np.array([width - 1, height - 1]) / 2
    goal = np.array([placement.cx - left - 0.5, placement.cy - top - 0.5])
    matrix = np.column_stack([turn, goal - turn @ middle])
    size = (right - left, bottom - top)
    return left, top, Patch(*(_resampled(plane, matrix, size) for plane in _planes(patch)))


def _resampled(plane: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    # past the rim comes 0; the rim itself is already as far outside, so no colour is mixed with it
    return cv2.warpAffine(
        plane, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )


@lru_cache(maxsize=1024)
def _stain_table(stain: tuple[float, float, float]) -> np.ndarray:
    """Return the table, uint8 (1, 256, 3), that adds ``stain`` to the optical density.

    ``I' = I · 10^(−s)``: more density, less light, whatever the background was (Beer–Lambert).
    """
    levels = np.arange(256, dtype=np.float64)[:, None] * 10.0 ** -np.array(stain)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)[None]
