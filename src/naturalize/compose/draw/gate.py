"""The quality gate: composites that fail are drawn anew, and it is counted why.

A composite fails where its white cell is cut, where painting it changed pixels that are
none of its own, where its colour, the steepness of its edge or the fullness of its scene lie
outside the range of real images of the same bank, where its scene was restored poorly, or where the
mask of its white cell had left out a part of that cell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import cv2
import numpy as np

from naturalize.base import engine
from naturalize.base.errors import InputError
from naturalize.base.rng import rng
from naturalize.compose.draw import constants as tuned
from naturalize.compose.draw.limits import REASONS, Limits, appearance, cell_name, real_limits
from naturalize.compose.draw.targets import DUPLICATES
from naturalize.compose.paint.place import lay
from naturalize.compose.paint.render import paste, stage_of
from naturalize.compose.paint.scenes import CellSource, Scenes, image_of, source_of
from naturalize.compose.paint.sizes import EDGE, Shrink
from naturalize.compose.recipe.columns import Columns
from naturalize.compose.recipe.recipe import Placement, Recipe

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.draw.drawing import Drawing
    from naturalize.compose.recipe.plan import Plan

#: How often a recipe is drawn anew, and so often of these with the same cell.
ROUNDS, _SAME_CELL = 8, 2

#: Restored scenes that are kept between rounds (0.4 MB each for PBC).
_SCENES = 32

#: How often one that is equal to another recipe is drawn anew within a round.
_DUPLICATES = 8


def gated(
    plan: Plan,
    drawing: Drawing,
    *,
    rounds: int = ROUNDS,
    backend: str = "serial",
    workers: int | None = None,
) -> Plan:
    """Return a plan whose composites all pass: those that fail are drawn anew.

    At first with the same target cell, then (unless ``max_reuse`` limits it) with another one. Each
    draw is named by seed, class, round and number, so the result is always the same.

    ``plan``, ``drawing``: what to judge, and what drew it; ``rounds``: how often a recipe may be
    drawn anew; ``backend``, ``workers``: as for :func:`naturalize.base.engine.map`; they do not
    change the result.

    ``InputError`` if a class has composites that fail however often they are drawn.
    """
    bank = drawing.materials.bank
    limits = real_limits(bank, backend=backend, workers=workers)
    scenes, missing = Scenes(bank, keep=_SCENES), dict[str, float]()
    columns, rejections = plan.columns, Counter(plan.rejections)
    ids, rows = list(plan.ids), list(range(len(plan)))
    first = {label: int(plan.rows_of(label)[0]) for label, n in plan.targets.items() if n}
    for number in range(rounds + 1):
        recipes = [columns.recipe(row) for row in rows]
        wrong = judge_all(
            recipes, scenes, limits, missing=missing, backend=backend, workers=workers
        )
        failed = [(row, why) for row, why in zip(rows, wrong, strict=True) if why]
        rejections.update(f"rejected by the gate: {reason}" for _, why in failed for reason in why)
        if not failed:
            counted = {reason: n for reason, n in sorted(rejections.items()) if n}
            return replace(plan, columns=columns, rejections=counted, reuse=drawing.reuse(columns))
        if number == rounds:
            raise _hopeless(columns, failed, plan.targets, rounds)
        rows = [row for row, _ in failed]
        parts = [_redrawn(drawing, columns, row, first, number, ids, rejections) for row in rows]
        columns = columns.replaced(np.array(rows), Columns.concat(parts))
    raise AssertionError("the last round returns or raises")


def _redrawn(
    drawing: Drawing,
    columns: Columns,
    row: int,
    first: Mapping[str, int],
    number: int,
    ids: list[str],
    rejections: Counter[str],
) -> Columns:
    """Return another recipe for ``row``, its id in ``ids``; where it can, equal to no other."""
    label = columns.words.labels[columns.label[row]]
    keys = (drawing.seed, "gate", drawing.mode.name, label, number, row - first[label])
    cells = columns.cell[columns.offsets[row] : columns.offsets[row + 1]]
    own = cells[drawing.materials.target[cells]][-1:]
    others = {*ids[:row], *ids[row + 1 :]}
    for attempt in range(_DUPLICATES):
        generator = rng(*keys, *((attempt,) if attempt else ()))
        target = own
        if drawing.max_reuse is None and number >= _SAME_CELL:
            pool = drawing.pool(label)
            target = pool[generator.integers(len(pool), size=1)]
        drawn, _ = drawing.mode.draw(drawing.materials, label, target, generator)
        (ids[row],) = drawn.ids()
        if ids[row] not in others:
            break
        rejections[DUPLICATES] += 1
    return drawn


def _hopeless(
    columns: Columns,
    failed: Iterable[tuple[int, list[str]]],
    targets: Mapping[str, int],
    rounds: int,
) -> InputError:
    failed = list(failed)
    labels = Counter(columns.words.labels[columns.label[row]] for row, _ in failed)
    reasons = Counter(reason for _, why in failed for reason in why)
    counts = ", ".join(f"class {label}: {n:,} of {targets[label]:,}" for label, n in labels.items())
    return InputError(
        f"composites fail the gate however often they are drawn ({rounds} times; {counts}), mostly "
        f"for: {reasons.most_common(1)[0][0]}; leave the gate out, or give the mode more to choose "
        "from"
    )


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
    limits_of = dict(limits.get(recipe.label, {}))
    alone = not others and recipe.background.background_id is None
    if alone and recipe.mode in tuned.SET_ALONE:
        limits_of.pop("fullness", None)
    for measure, (low, high) in limits_of.items():
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
        name=cell_name,
    )
    missing.update(zip(fresh, measured, strict=True))
    bad = ["mask leaves out a part of the white cell"]
    wrong = [bad if missing[cell_id] > tuned.LEFT_OUT else [] for cell_id in targets]
    order = sorted(
        (i for i, found in enumerate(wrong) if not found),
        key=lambda i: recipes[i].background.background_id or "",
    )
    scene_of = [recipe.background.background_id for recipe in recipes]
    groups = [(scene, list(rows)) for scene, rows in groupby(order, key=scene_of.__getitem__)]
    judged = engine.map(
        partial(_judge_scene, scenes, limits),
        [(scene, [recipes[i] for i in rows]) for scene, rows in groups],
        backend=backend,
        workers=workers,
        what="judge composites",
        name=_scene_name,
    )
    for (_, rows), found in zip(groups, judged, strict=True):
        for i, reasons in zip(rows, found, strict=True):
            wrong[i] = reasons
    return wrong


def _scene_name(group: tuple[str | None, list[Recipe]]) -> str:
    return f"scene {group[0]}" if group[0] else "flat background"
