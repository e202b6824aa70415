"""What is wrong with a composite, or with its cell in the cell's own image."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import cv2
import numpy as np

from naturalize.base import engine
from naturalize.compose.draw.gate.limits import EDGE_REACH, REASONS, Limits, look
from naturalize.compose.paint.levels import EDGE
from naturalize.compose.paint.patch import patch_of
from naturalize.compose.paint.place import lay
from naturalize.compose.paint.render import paste, stage_of
from naturalize.compose.paint.scenes import REMOVALS, cells_of, image_of
from naturalize.compose.paint.sizes import Shrink
from naturalize.compose.recipe.recipe import Placement, Recipe

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank, Cutout

#: Grey levels by which a pixel counts as changed.
_CHANGED = 6

#: Share of the cell: of it outside the canvas, and changed beyond its edge.
_CUT, _LEAK = 0.02, 0.02

#: Share of the cell that its mask may have left out: 0.06 in 19 of 20 accepted PBC cells.
_MISSING = 0.12

#: Restored scenes that are kept between rounds (0.4 MB each for PBC).
_KEPT = 32

#: Bank → scene → its pixels and quality.
_scenes: WeakKeyDictionary[CellBank, OrderedDict[str, tuple[np.ndarray, float]]]
_scenes = WeakKeyDictionary()

#: Bank → cell → what its mask left out.
_left_out: WeakKeyDictionary[CellBank, dict[str, float]] = WeakKeyDictionary()


class _OneScene:
    """A bank that has one scene ready, so that many composites restore it once."""

    def __init__(self, bank: CellBank, scene: np.ndarray) -> None:
        self.bank, self.scene = bank, scene

    def cutout(self, cell_id: str, *, margin: int = 0) -> Cutout:
        return self.bank.cutout(cell_id, margin=margin)

    def image(self, image_id: str) -> np.ndarray:
        return self.bank.image(image_id)

    def background(self, _: str, factors: tuple[float, float]) -> np.ndarray:
        assert factors == (1, 1)
        return self.scene


def judge(recipe: Recipe, bank: Any, limits: Limits) -> list[str]:
    """Return what is wrong with a composite, in words; nothing for a good one.

    Parameters
    ----------
    recipe
        Its target cell is the last one placed.
    bank
        Where its cells and its scene come from.
    limits
        Of :func:`real_limits`.
    """
    shrink = Shrink.to((recipe.width, recipe.height), None)
    stage = stage_of(recipe, bank, shrink)
    canvas = stage.canvas
    *others, target = recipe.placements
    for placement in others:
        paste(canvas, bank, placement, shrink)
    before = canvas.copy()
    paste(canvas, bank, target, shrink)
    after = stage.shown()
    mask, share = _laid_mask(bank, target, canvas.shape[:2])
    if share < 1 - _CUT:
        return ["white cell cut by the canvas"]
    wrong = []
    near = cv2.dilate(mask.astype(np.uint8), np.ones((2 * EDGE_REACH + 1,) * 2, np.uint8)) > 0
    changed = np.abs(canvas.astype(np.int16) - before).max(axis=2) > _CHANGED
    if np.count_nonzero(changed & ~near) > _LEAK * np.count_nonzero(mask):
        wrong.append("mask leak: pixels beyond the cell changed")
    found = look(after, mask, recipe.background.colour)
    for measure, (low, high) in limits.get(recipe.label, {}).items():
        if not (low <= getattr(found, measure) <= high) and np.isfinite(getattr(found, measure)):
            wrong.append(REASONS[measure])
    return list(dict.fromkeys(wrong))


def _laid_mask(bank: Any, placement: Placement, shape: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Return the cell's mask on the canvas, bool (H, W), and the share of it that lies there."""
    patch = patch_of(bank, placement.cell_id)
    mask = np.zeros(shape, bool)
    laid = lay(patch, placement, shape)
    if laid is None:
        return mask, 0.0
    mask[laid.window] = laid.edge > EDGE
    whole = np.count_nonzero(patch.edge > EDGE) * placement.scale**2
    return mask, np.count_nonzero(mask) / max(whole, 1)


def _judge_scene(
    bank: CellBank, limits: Limits, group: tuple[str | None, list[Recipe]]
) -> list[list[str]]:
    """Judge the composites of one scene, which is restored once."""
    from naturalize.restoration import USABLE

    background_id, recipes = group
    if background_id is None or image_of(background_id)[1] is None:
        return [_judge_cell(recipe, bank) or judge(recipe, bank, limits) for recipe in recipes]
    source, quality = _restored(bank, background_id)
    if quality < USABLE:
        return [["scene restored poorly"] for _ in recipes]
    return [_judge_cell(recipe, bank) or judge(recipe, source, limits) for recipe in recipes]


def _judge_cell(recipe: Recipe, bank: CellBank) -> list[str]:
    """Return what is wrong with the target cell in its own image."""
    target = recipe.placements[-1]
    known = _left_out.setdefault(bank, {})
    if target.cell_id not in known:
        known[target.cell_id] = left_out(bank, target.cell_id)
    return ["white cell not whole in its own image"] if known[target.cell_id] > _MISSING else []


def left_out(bank: CellBank, cell_id: str) -> float:
    """Return what the segmenter left out of a cell, as a share of its area.

    What hangs together with it in its own image and is stained as no red cell and no slide is, such
    as the pale half of a monocyte; 3 pixels beyond the outline and further.
    """
    from naturalize.restoration.halo import Work, reach_of, strays
    from naturalize.restoration.masks import away_from, covered
    from naturalize.restoration.slide import illumination

    row = bank.row(cell_id)
    image, cells = bank.image(row["image_id"]), cells_of(bank, row["image_id"])
    box = (row["x0"], row["y0"], row["x1"], row["y1"])
    mine = [i for i, cell in enumerate(cells) if (cell.kind, cell.box) == (row["kind"], box)]
    mask = covered(image.shape[:2], [cells[i] for i in mine])
    if not mask.any():
        return 0.0
    pixels, light = image.astype(np.float32), illumination(image, covered(mask.shape, cells))
    work, gone = Work(pixels, tuple(cells), light, pixels - light), frozenset(mine)
    found = strays(work, mask, gone, reach_of(work.rest, mask, work.without(gone)))
    return np.count_nonzero(found & (away_from(mask) > 3)) / np.count_nonzero(mask)


def _restored(bank: CellBank, background_id: str) -> tuple[_OneScene, float]:
    """Return a restored scene and its quality; the last few are kept for later rounds."""
    from naturalize.restoration import scene

    kept = _scenes.setdefault(bank, OrderedDict())
    if background_id not in kept:
        image_id, removal = image_of(background_id)
        found = scene(
            bank.image(image_id),
            cells_of(bank, image_id),
            remove=REMOVALS[removal or ""],
            key=image_id,
        )
        kept[background_id] = found.image, found.quality
        if len(kept) > _KEPT:
            kept.popitem(last=False)
    image, quality = kept[background_id]
    return _OneScene(bank, image), quality


def judge_all(
    recipes: Sequence[Recipe],
    bank: CellBank,
    limits: Limits,
    *,
    backend: str = "serial",
    workers: int | None = None,
) -> list[list[str]]:
    """Return what is wrong with each of ``recipes``; each scene is restored once."""
    order = sorted(range(len(recipes)), key=lambda i: recipes[i].background.background_id or "")
    groups = [
        (scene_id, [recipes[i] for i in rows], rows)
        for scene_id, rows in (
            (key, list(rows))
            for key, rows in groupby(order, key=lambda i: recipes[i].background.background_id)
        )
    ]
    judged = engine.map(
        partial(_judge_scene, bank, limits),
        [(scene_id, group) for scene_id, group, _ in groups],
        backend=backend,
        workers=workers,
        what="judge composites",
        name=_scene_name,
    )
    wrong: list[list[str]] = [[] for _ in recipes]
    for (_, _, rows), found in zip(groups, judged, strict=True):
        for i, reasons in zip(rows, found, strict=True):
            wrong[i] = reasons
    return wrong


def _scene_name(group: tuple[str | None, list[Recipe]]) -> str:
    return f"scene {group[0]}" if group[0] else "flat background"
