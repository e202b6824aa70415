"""What is wrong with a composite, or with its cell in the cell's own image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import cv2
import numpy as np

from naturalize.base import engine
from naturalize.compose.draw import constants as tuned
from naturalize.compose.draw.gate.limits import REASONS, Limits, appearance
from naturalize.compose.paint.place import lay
from naturalize.compose.paint.render import paste, stage_of
from naturalize.compose.paint.scenes import CellSource, Scenes, image_of, source_of
from naturalize.compose.paint.sizes import EDGE, Shrink
from naturalize.compose.recipe.recipe import Placement, Recipe

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank


def judge(recipe: Recipe, bank: CellSource | CellBank, limits: Limits) -> list[str]:
    """Return what is wrong with a composite, in words; nothing for a good one.

    ``recipe``: its target cell is the last one placed; ``bank``: where its cells and its scene come
    from; ``limits``: of :func:`real_limits`.
    """
    source, shrink = source_of(bank), Shrink.to((recipe.width, recipe.height), None)
    stage = stage_of(recipe, source, shrink)
    canvas = stage.canvas
    *others, target = recipe.placements
    for placement in others:
        paste(canvas, source, placement, shrink)
    before = canvas.copy()
    paste(canvas, source, target, shrink)
    after = stage.shown()
    mask, share = _laid_mask(source, target, canvas.shape[:2])
    if share < 1 - tuned.CUT:
        return ["white cell cut by the canvas"]
    wrong = []
    near = cv2.dilate(mask.astype(np.uint8), np.ones((2 * tuned.EDGE_REACH + 1,) * 2, np.uint8)) > 0
    changed = np.abs(canvas.astype(np.int16) - before).max(axis=2) > tuned.CHANGED
    if np.count_nonzero(changed & ~near) > tuned.LEAK * np.count_nonzero(mask):
        wrong.append("pixels beyond the cell changed")
    found = appearance(after, mask, recipe.background.colour)
    for measure, (low, high) in limits.get(recipe.label, {}).items():
        if not (low <= getattr(found, measure) <= high) and np.isfinite(getattr(found, measure)):
            wrong.append(REASONS[measure])
    return list(dict.fromkeys(wrong))


def _laid_mask(
    source: CellSource, placement: Placement, shape: tuple[int, int]
) -> tuple[np.ndarray, float]:
    """Return the cell's mask on the canvas, bool (H, W), and the share of it that lies there."""
    patch = source.patch(placement.cell_id)
    mask = np.zeros(shape, bool)
    laid = lay(patch, placement, shape)
    if laid is None:
        return mask, 0.0
    mask[laid.window] = laid.edge > EDGE
    whole = np.count_nonzero(patch.edge > EDGE) * placement.scale**2
    return mask, np.count_nonzero(mask) / max(whole, 1)


def _judge_scene(
    scenes: Scenes, limits: Limits, group: tuple[str | None, list[Recipe]]
) -> list[list[str]]:
    """Judge the composites of one scene, which is restored once."""
    from naturalize.restoration import USABLE

    name, recipes = group
    if name is not None and image_of(name)[1] and scenes.restored(name).quality < USABLE:
        return [["scene restored poorly"] for _ in recipes]
    return [judge(recipe, scenes, limits) for recipe in recipes]


def left_out(scenes: Scenes, cell_id: str) -> float:
    """Return what the segmenter left out of a cell in its own image, as a share of its area."""
    from naturalize.restoration.halo import share_left_out

    row = scenes.bank.row(cell_id)
    cells, box = scenes.cells(row["image_id"]), (row["x0"], row["y0"], row["x1"], row["y1"])
    mine = [i for i, cell in enumerate(cells) if (cell.kind, cell.box) == (row["kind"], box)]
    return share_left_out(scenes.bank.image(row["image_id"]), cells, mine)


def judge_all(
    recipes: Sequence[Recipe],
    scenes: Scenes,
    limits: Limits,
    *,
    missing: dict[str, float] | None = None,
    backend: str = "serial",
    workers: int | None = None,
) -> list[list[str]]:
    """Return what is wrong with each of ``recipes``; each scene is restored once.

    ``missing``: cell → :func:`left_out` of it, as far as it was measured; the others are added.
    """
    missing = {} if missing is None else missing
    targets = [recipe.placements[-1].cell_id for recipe in recipes]
    fresh = sorted(set(targets) - missing.keys())
    measured = engine.map(
        partial(left_out, scenes),
        fresh,
        backend=backend,
        workers=workers,
        what="measure target cells",
        name=_cell_name,
    )
    missing.update(zip(fresh, measured, strict=True))
    bad = ["mask leaves out a part of the white cell"]
    wrong = [bad if missing[cell_id] > tuned.LEFT_OUT else [] for cell_id in targets]
    order = sorted(
        (i for i, found in enumerate(wrong) if not found),
        key=lambda i: recipes[i].background.background_id or "",
    )
    groups = [
        (scene_id, [recipes[i] for i in rows], rows)
        for scene_id, rows in (
            (key, list(rows))
            for key, rows in groupby(order, key=lambda i: recipes[i].background.background_id)
        )
    ]
    judged = engine.map(
        partial(_judge_scene, scenes, limits),
        [(scene_id, group) for scene_id, group, _ in groups],
        backend=backend,
        workers=workers,
        what="judge composites",
        name=_scene_name,
    )
    for (_, _, rows), found in zip(groups, judged, strict=True):
        for i, reasons in zip(rows, found, strict=True):
            wrong[i] = reasons
    return wrong


def _cell_name(cell_id: str) -> str:
    return f"cell {cell_id}"


def _scene_name(group: tuple[str | None, list[Recipe]]) -> str:
    return f"scene {group[0]}" if group[0] else "flat background"
