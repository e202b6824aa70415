"""The quality gate: composites that fail are drawn anew, and it is counted why.

A composite fails where its white cell is cut, where painting it changed pixels that are
none of its own, where its colour, the steepness of its edge or the fullness of its scene lie
outside the range of real images of the same bank, where its scene was restored poorly, or where the
mask of its white cell had left out a part of that cell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from naturalize.base.errors import InputError
from naturalize.base.rng import rng
from naturalize.compose.draw.gate.limits import Appearance, Limits, appearance, real_limits
from naturalize.compose.draw.gate.verdict import judge, judge_all, left_out
from naturalize.compose.draw.targets import DUPLICATES
from naturalize.compose.paint.scenes import Scenes
from naturalize.compose.recipe.columns import Columns

if TYPE_CHECKING:
    from naturalize.compose.draw.planner import Drawing
    from naturalize.compose.recipe.plan import Plan

__all__ = [
    "ROUNDS",
    "Appearance",
    "Limits",
    "appearance",
    "gated",
    "judge",
    "judge_all",
    "left_out",
    "real_limits",
]

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
