"""Real images beside composites, class by class: what a person should look at first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from naturalize.base.sheets import labelled_rows

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan

_PER_CLASS = 4


def real_beside_composite(
    real: Mapping[str, Sequence[np.ndarray]],
    composite: Mapping[str, Sequence[np.ndarray]],
    *,
    tile: int = 150,
) -> np.ndarray:
    """Lay real images on the left and composites on the right, one row a class.

    Parameters
    ----------
    real, composite
        Class → RGB uint8 (H, W, 3) images; the rows are the classes of ``composite``, in order.
    tile
        Side of a picture in pixels.

    Returns
    -------
    numpy.ndarray
        RGB uint8.
    """
    shown = {label: list(real.get(label, ())) for label in composite}
    left = labelled_rows(shown, tile=tile, title="real images")
    right = labelled_rows(composite, tile=tile, title="composites of the same cells")
    gap = np.full((len(left), 24, 3), 255, np.uint8)
    gap[:, 12] = (200, 203, 210)
    return np.concatenate([left, gap, right], axis=1)


def plan_sheet(plan: Plan, bank: CellBank, *, per_class: int = _PER_CLASS) -> np.ndarray:
    """Return the sheet of a plan: parents of each class beside its first composites."""
    from naturalize.compose.paint.render import render
    from naturalize.compose.paint.scenes import Scenes

    source, real, composite = Scenes(bank), {}, {}
    for label, n in plan.targets.items():
        if not n:
            continue
        recipes = [plan.recipe(int(row)) for row in plan.rows_of(label)[:per_class]]
        composite[label] = [render(recipe, source) for recipe in recipes]
        # the image that lends the target cell, so that the eye compares like with like
        parents = dict.fromkeys(r.placements[0].image_id for r in recipes if r.placements)
        real[label] = [bank.image(image_id) for image_id in parents]
    return real_beside_composite(real, composite)
