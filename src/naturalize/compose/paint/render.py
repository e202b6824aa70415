"""From a recipe to pixels: a pure function, the same bytes on any worker, in any order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from naturalize.base.errors import unknown
from naturalize.base.images import decode_image, encode_image
from naturalize.compose.paint.blend import BLENDS
from naturalize.compose.paint.place import Laid, lay
from naturalize.compose.paint.scenes import CellSource, canvas_of, laid_under, source_of
from naturalize.compose.paint.sizes import Shrink, Size, asked_size
from naturalize.compose.recipe.recipe import Finish, Placement, Recipe
from naturalize.imaging.camera import show
from naturalize.imaging.jpeg.recode import code_changes

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank


def render(recipe: Recipe, bank: CellSource | CellBank, *, size: Size = None) -> np.ndarray:
    """Paint a composite.

    Parameters
    ----------
    recipe
        What to paint.
    bank
        A :class:`~naturalize.cells.bank.CellBank`, a
        :class:`~naturalize.compose.paint.scenes.Scenes` of it, which restores no scene twice while
        it is kept, or a :class:`~naturalize.compose.paint.crops.CropStore` (much quicker); all give
        the same bytes.
    size
        Side of a square, or width and height, in pixels; by default the recipe's canvas. Cells and
        scene are composed at that size, not composed large and shrunk; a camera's lengths shrink
        with them, and the finish is left out: it belongs to a picture of the canvas' size, and
        shrinking takes most of it away. What is larger than the canvas is painted as large as the
        canvas and enlarged.

    Returns
    -------
    numpy.ndarray
        RGB uint8 (height, width, 3).

    Raises
    ------
    InputError
        If the source has no such cell, or the background is smaller than the canvas.
    SettingsError
        If there is no such blend, or ``size`` is no size.
    """
    goal = asked_size(size)
    if goal is None or goal == (recipe.width, recipe.height):
        return finished(render_unfinished(recipe, bank), recipe.finish)
    painted = render_unfinished(recipe, bank, size=size)
    if painted.shape[1::-1] == goal:
        return painted
    return cv2.resize(painted, goal, interpolation=cv2.INTER_CUBIC)


def render_unfinished(
    recipe: Recipe, bank: CellSource | CellBank, *, size: Size = None
) -> np.ndarray:
    """Paint a composite without its finish, RGB uint8, no larger than its canvas."""
    source = source_of(bank)
    shrink = Shrink.to((recipe.width, recipe.height), size)
    stage = stage_of(recipe, source, shrink)
    for placement in recipe.placements:
        paste(stage.canvas, source, placement, shrink)
    return shown(recipe, stage.shown(), shrink)


def shown(recipe: Recipe, painted: np.ndarray, shrink: Shrink) -> np.ndarray:
    """Return a painted canvas, RGB uint8, as the recipe's camera shows it."""
    if recipe.camera is None:
        return painted
    return show(painted, recipe.background.colour, recipe.camera, shrink.factor)


@dataclass(frozen=True, eq=False)
class Stage:
    """A canvas to paint on, and how it looks after the codec of its scene."""

    #: RGB uint8 (H, W, 3), to be painted on; a restored scene as it was before it was coded.
    canvas: np.ndarray
    #: Returns the canvas as it is then, RGB uint8 (H, W, 3).
    shown: Callable[[], np.ndarray]


def stage_of(recipe: Recipe, source: CellSource, shrink: Shrink) -> Stage:
    """Return what a recipe is painted on."""
    ground = recipe.background
    name = ground.background_id
    uncoded = source.before_coding(name) if name and shrink.is_none else None
    if uncoded is None or name is None:
        canvas = canvas_of(ground, shrink, source)
        return Stage(canvas, lambda: canvas)
    scene = source.background(name)
    coded = laid_under(scene, ground, shrink)
    before = laid_under(uncoded.over(scene), ground, shrink)
    canvas = before.copy()
    place, size = (ground.turn, ground.x, ground.y), scene.shape[1::-1]
    return Stage(canvas, lambda: code_changes(canvas, before, coded, uncoded.codec, place, size))


def paste(canvas: np.ndarray, source: CellSource, placement: Placement, shrink: Shrink) -> None:
    """Paint one cell into ``canvas``, RGB uint8 (H, W, 3), in place; parts outside are cut off.

    A cell that is neither scaled nor bent, turned by a multiple of 90 degrees and set on whole
    pixels is copied as it is; any other is resampled once, colour and edge together.
    """
    laid = laid_on(canvas.shape[:2], source, placement, shrink)
    if laid is not None:
        BLENDS[placement.blend].paint(canvas, laid)


def laid_on(
    canvas: tuple[int, int], source: CellSource, placement: Placement, shrink: Shrink
) -> Laid | None:
    """Return a cell as it lies on a canvas (height, width); ``None`` where it lies off it."""
    if placement.blend not in BLENDS:
        raise unknown("blend", placement.blend, sorted(BLENDS))
    patch = source.patch(placement.cell_id, BLENDS[placement.blend].style, shrink.factor)
    return lay(patch, shrink.placement(placement), canvas, shrunk=not shrink.is_none)


def finished(image: np.ndarray, finish: Finish) -> np.ndarray:
    """Send an image through the finish's codec and back."""
    if finish.codec != "jpeg":
        return image
    data = encode_image(image, "jpeg", quality=finish.quality or 95)
    return decode_image(data, name="composite")[0]
