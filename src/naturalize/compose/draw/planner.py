"""The planner: which recipes reach the target counts. All that is random is drawn here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from naturalize.base.errors import InputError, SettingsError
from naturalize.base.rng import rng
from naturalize.compose.draw.materials import Materials
from naturalize.compose.draw.modes import Mode
from naturalize.compose.draw.modes import mode as mode_of
from naturalize.compose.recipe.columns import Columns
from naturalize.compose.recipe.plan import Plan
from naturalize.compose.recipe.targets import (
    check_supply,
    chosen_classes,
    deal,
    one_target,
    real_counts,
    target_counts,
)

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank

#: Recipes that share a generator: they are always drawn together, so a part of a plan is the part.
_BLOCK = 512

#: How often a recipe that is equal to an earlier one is drawn anew.
_REDRAWS = 40

#: So often with the same target cell.
_SAME_CELL = 8


def plan(
    bank: CellBank,
    *,
    mode: str = "paper",
    name: str | None = None,
    add: int | None = None,
    per_class: int | None = None,
    balance: bool = False,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    max_reuse: int | None = None,
    real: Mapping[str, int] | None = None,
    gate: bool = False,
    backend: str = "serial",
    workers: int | None = None,
    **mode_settings: Any,
) -> Plan:
    """Draw the recipes that reach the target counts.

    Every recipe is decided by the seed, the mode and its settings, the bank's cells, its class and
    its number in the class; not by the other classes, the counts, or the order of the bank. So the
    first 1,000 recipes of a class are the same in 1K-, 2K- and 3K-PBC.

    Parameters
    ----------
    bank
        The cells.
    mode
        ``"paper"``, …: see :data:`naturalize.compose.draw.modes.MODES`.
    name, add, per_class, balance
        One target: a data set of the paper (``"2K-PBC"`` adds 2,000 to each class), composites for
        each class, images of each class when real and composite are counted together, or as many
        for each as the largest class has.
    classes
        Which classes to compose; by default the mode's choice of those with real images: ``paper``
        takes the five weak ones (BNE, MMY, MY, PMY, SNE), or all where none of them is there.
    seed
        Another seed, other recipes.
    max_reuse
        How many composites may be made of one target cell; by default any number.
    real
        Class → number of real training images, for ``per_class`` and ``balance``; by default
        counted from the bank.
    gate
        Render and judge all composites, and draw those anew that fail; see
        :mod:`naturalize.compose.draw.gate`.
    backend, workers
        As for :func:`naturalize.base.engine.map`, for the gate; they do not change the plan.
    **mode_settings
        Settings of the mode.

    Raises
    ------
    SettingsError
        For unknown names, values out of range, or not exactly one target.
    InputError
        If a class has no cells, or too few for ``max_reuse``; if composites fail the gate however
        often they are drawn.
    ArtifactError
        If a mode needs whole images and some are gone, or have changed since they were segmented.
    """
    drawer = mode_of(mode, **mode_settings)
    target = one_target(name=name, add=add, per_class=per_class, balance=balance)
    if max_reuse is not None and (not isinstance(max_reuse, int) or max_reuse < 1):
        raise SettingsError(f"max_reuse: expected a whole number of at least 1, got {max_reuse!r}")
    materials = Materials.of(bank)
    counted = dict(real) if real is not None else real_counts(bank)
    present = [label for label in materials.labels if counted.get(label)]
    labels = chosen_classes(classes, materials.labels, drawer.default_classes(present))
    targets = target_counts(labels, counted, *target)
    parts, rejections, reuse = [], Counter[str](), {}
    for label, n in targets.items():
        pool = drawer.targets(materials, label)
        accepted = len(materials.targets(label))
        check_supply(label, n, len(pool), accepted=accepted, max_reuse=max_reuse, mode=mode)
        if n:
            columns, given_up = _class_recipes(
                drawer, materials, label, pool, n, seed, exchange=max_reuse is None
            )
            parts.append(columns)
            rejections.update(given_up)
            reuse[label] = {"cells": len(pool), "most": _most(columns, materials)}
    if not parts:
        raise InputError("no class to compose: the bank has no target cell of any class")
    made = Plan(
        columns=Columns.concat(parts),
        mode=mode,
        settings={**drawer.settings, "max_reuse": max_reuse, **({"gate": True} if gate else {})},
        seed=seed,
        targets=targets,
        rejections={reason: n for reason, n in sorted(rejections.items()) if n},
        reuse=reuse,
        bank=bank.fingerprint,
    )
    if not gate:
        return made
    from naturalize.compose.draw.gate import gated

    return gated(
        made,
        bank,
        drawer,
        materials,
        exchange=max_reuse is None,
        backend=backend,
        workers=workers,
    )


def _most(columns: Columns, materials: Materials) -> int:
    """Return how many recipes of a class the target cell that is used most is in."""
    targets = columns.cell[materials.target[columns.cell]]
    return int(np.bincount(targets).max(initial=0))


def _class_recipes(
    drawer: Mode,
    materials: Materials,
    label: str,
    pool: np.ndarray,
    n: int,
    seed: int,
    *,
    exchange: bool,
) -> tuple[Columns, Counter[str]]:
    """Draw ``n`` different recipes of a class, block by block.

    One that is equal to an earlier one is drawn anew: at first with the same cell, then, if
    ``exchange`` allows it, with another, since a cell may have few places to stand in.
    """
    blocks = -(-n // _BLOCK)
    targets = deal(pool, blocks * _BLOCK, seed, "cells", drawer.name, label)
    parts, given_up = [], Counter[str]()
    for block in range(blocks):
        first = block * _BLOCK
        part, reasons = drawer.draw(
            materials,
            label,
            targets[first : first + _BLOCK],
            rng(seed, "recipes", drawer.name, label, block),
        )
        keep = min(_BLOCK, n - first)
        parts.append(part if keep == _BLOCK else part.take(np.arange(keep)))
        given_up.update({reason: int(counts[:keep].sum()) for reason, counts in reasons.items()})
    columns = Columns.concat(parts)
    ids = np.array(columns.ids())
    for redraw in range(_REDRAWS):
        again = _repeated(ids)
        if not len(again):
            return columns, given_up
        given_up["equal to an earlier one"] += len(again)
        fresh = []
        for block in np.unique(again // _BLOCK).tolist():
            first = block * _BLOCK
            generator = rng(seed, "again", drawer.name, label, redraw, block)
            cells = targets[first : first + _BLOCK]
            if exchange and redraw >= _SAME_CELL:
                cells = pool[generator.integers(len(pool), size=_BLOCK)]
            part, _ = drawer.draw(materials, label, cells, generator)
            fresh.append(part.take(again[again // _BLOCK == block] - first))
        drawn = Columns.concat(fresh)
        ids[again] = drawn.ids()
        columns = columns.replaced(again, drawn)
    raise SettingsError(
        f"class {label}: mode {drawer.name} cannot draw {n:,} different composites from "
        f"{len(pool):,} cells; ask for fewer, or give it more to vary"
    )


def _repeated(ids: np.ndarray) -> np.ndarray:
    """Return the positions of ids that stood there before, int64."""
    first = np.unique(ids, return_index=True)[1]
    return np.setdiff1d(np.arange(len(ids)), first)
