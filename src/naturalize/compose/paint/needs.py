"""What a plan needs of a bank: which patches and scenes, in which styles, at which sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from naturalize.compose.paint.blend import BLENDS
from naturalize.compose.paint.scenes import image_of
from naturalize.compose.paint.sizes import Shrink, Size

if TYPE_CHECKING:
    from naturalize.compose.recipe.plan import Plan

#: An image, ``(cell_id, style, factor)`` of its cells, ``(background_id, x, y)`` of its scenes.
Need = tuple[str, list[tuple[str, str, float]], list[tuple[str, float, float]]]


def needs(plan: Plan, size: Size = None) -> list[Need]:
    """Return what is needed to render ``plan`` at ``size``, image by image, sorted."""
    columns, words = plan.columns, plan.columns.words
    canvases, which = np.unique(columns.size, axis=0, return_inverse=True)
    which = which.ravel()
    shrinks = [Shrink.to((int(width), int(height)), size) for width, height in canvases]
    of_image: dict[str, tuple[set[tuple[str, str, float]], set[tuple[str, float, float]]]] = {}

    styles = [BLENDS[name].style if name in BLENDS else "carried" for name in words.blends]
    factor = np.repeat(which, np.diff(columns.offsets))
    for cell, blend, k in _distinct(columns.cell, columns.blend, factor):
        cell_id, image_id, _ = words.cells[cell]
        cells, _ = of_image.setdefault(image_id, (set(), set()))
        cells.add((cell_id, styles[blend], shrinks[k].factor))

    odd = columns.ground[:, 0] % 2
    for ground, k, turn in _distinct(columns.background, which, odd):
        background_id = words.backgrounds[ground][0]
        if background_id is not None:
            _, scenes = of_image.setdefault(image_of(background_id)[0], (set(), set()))
            scenes.add((background_id, *shrinks[k].before(turn)))
    return [
        (image_id, sorted(cells), sorted(scenes))
        for image_id, (cells, scenes) in sorted(of_image.items())
    ]


def _distinct(*columns: np.ndarray) -> list[list[int]]:
    """Return the different rows of integer columns."""
    return np.unique(np.column_stack(columns), axis=0).tolist()
