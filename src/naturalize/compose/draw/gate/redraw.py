"""Drawing failed composites again until all pass, and counting why they failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from naturalize.base.errors import InputError
from naturalize.base.rng import rng
from naturalize.compose.draw.gate.limits import real_limits
from naturalize.compose.draw.gate.verdict import judge_all
from naturalize.compose.paint.scenes import Scenes
from naturalize.compose.recipe.columns import Columns

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.draw.materials import Materials
    from naturalize.compose.draw.modes import Mode
    from naturalize.compose.recipe.plan import Plan

#: How often a recipe is drawn again, and so often of these with the same cell.
ROUNDS, _SAME_CELL = 8, 2

#: Restored scenes that are kept between rounds (0.4 MB each for PBC).
_SCENES = 32


def gated(
    plan: Plan,
    bank: CellBank,
    drawer: Mode,
    materials: Materials,
    *,
    exchange: bool = True,
    rounds: int = ROUNDS,
    backend: str = "serial",
    workers: int | None = None,
) -> Plan:
    """Return a plan whose composites all pass: those that fail are drawn again.

    At first with the same target cell, then (where ``exchange`` allows it) with another one. Each
    draw is named by seed, class, round and number, so the result is always the same.

    Parameters
    ----------
    plan, bank
        What to judge, and where its cells are.
    drawer, materials
        What drew it, from what.
    exchange
        Whether a recipe may get another target cell.
    rounds
        How often a recipe may be drawn again.
    backend, workers
        As for :func:`naturalize.base.engine.map`; they do not change the result.

    Raises
    ------
    InputError
        If a class has composites that fail however often they are drawn.
    """
    limits = real_limits(bank, backend=backend, workers=workers)
    scenes, missing = Scenes(bank, keep=_SCENES), dict[str, float]()
    columns, rejections = plan.columns, Counter(plan.rejections)
    ids, rows = list(plan.ids), list(range(len(plan)))
    first = {label: int(plan.rows_of(label)[0]) for label, n in plan.targets.items() if n}
    for turn in range(rounds + 1):
        recipes = [columns.recipe(row) for row in rows]
        wrong = judge_all(
            recipes, scenes, limits, missing=missing, backend=backend, workers=workers
        )
        failed = [(row, why) for row, why in zip(rows, wrong, strict=True) if why]
        rejections.update(f"gate: {reason}" for _, why in failed for reason in why)
        if not failed:
            return _passed(plan, columns, rejections, materials)
        if turn == rounds:
            raise _hopeless(columns, failed, plan.targets, rounds)
        rows = [row for row, _ in failed]
        drawn = _drawn_again(
            plan, columns, rows, first, drawer, materials, turn, exchange and turn >= _SAME_CELL
        )
        columns = columns.replaced(np.array(rows), drawn)
        ids = _told_apart(ids, rows, drawn, rejections)
    raise AssertionError("the last round returns or raises")


def _drawn_again(
    plan: Plan,
    columns: Columns,
    rows: Sequence[int],
    first: Mapping[str, int],
    drawer: Mode,
    materials: Materials,
    turn: int,
    another: bool,
) -> Columns:
    parts = []
    for row in rows:
        label = columns.words.labels[columns.label[row]]
        generator = rng(plan.seed, "gate", drawer.name, label, turn, row - first[label])
        cells = columns.cell[columns.offsets[row] : columns.offsets[row + 1]]
        target = cells[materials.target[cells]][-1:]
        if another:
            pool = drawer.targets(materials, label)
            target = pool[generator.integers(len(pool), size=1)]
        parts.append(drawer.draw(materials, label, target, generator)[0])
    return Columns.concat(parts)


def _told_apart(
    ids: list[str], rows: Sequence[int], drawn: Columns, rejections: Counter[str]
) -> list[str]:
    """Put in the new ids; equal ones are left to stand, and counted."""
    known = set(ids)
    for row, fresh in zip(rows, drawn.ids(), strict=True):
        rejections["gate: equal to another one"] += fresh in known
        ids[row] = fresh
        known.add(fresh)
    return ids


def _passed(plan: Plan, columns: Columns, rejections: Counter[str], materials: Materials) -> Plan:
    used = Counter[str]()
    targets = columns.cell[materials.target[columns.cell]]
    labels = materials.label[targets]
    for code in np.unique(labels).tolist():
        used[materials.labels[code]] = int(np.bincount(targets[labels == code]).max())
    reuse = {label: {**about, "most": used[label]} for label, about in plan.reuse.items()}
    kept = {reason: n for reason, n in sorted(rejections.items()) if n}
    return replace(plan, columns=columns, rejections=kept, reuse=reuse)


def _hopeless(
    columns: Columns,
    failed: Iterable[tuple[int, list[str]]],
    targets: Mapping[str, int],
    rounds: int,
) -> InputError:
    failed = list(failed)
    labels = Counter(columns.words.labels[columns.label[row]] for row, _ in failed)
    reasons = Counter(reason for _, why in failed for reason in why)
    told = ", ".join(f"class {label}: {n:,} of {targets[label]:,}" for label, n in labels.items())
    return InputError(
        f"composites fail the gate however often they are drawn ({rounds} times; {told}), mostly "
        f"for: {reasons.most_common(1)[0][0]}; leave the gate out, or give the mode more to choose "
        "from"
    )
