"""The planner: which recipes reach the target counts. All that is random is drawn here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from naturalize.base.console import warn
from naturalize.base.errors import InputError, SettingsError
from naturalize.base.rng import rng
from naturalize.compose.draw.materials import Materials
from naturalize.compose.draw.modes import DEFAULT, Mode
from naturalize.compose.draw.modes import mode as mode_of
from naturalize.compose.draw.targets import (
    DUPLICATES,
    chosen_classes,
    deal,
    one_target,
    real_counts,
    target_counts,
)
from naturalize.compose.recipe.columns import Columns
from naturalize.compose.recipe.plan import Plan

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank

#: Recipes that share a generator: they are always drawn together, so a part of a plan is the part.
_BLOCK = 512

#: How often a recipe that is equal to an earlier one is drawn anew.
_REDRAWS = 40

#: So often with the same target cell.
_SAME_CELL = 8

#: Composites of one cell from which the user is warned: a network may learn the cell by heart. The
#: paper's 3K-PBC has 3 on average, its smallest class about 5.
_MANY = 30


def plan(
    bank: CellBank,
    *,
    mode: str = DEFAULT,
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
    materials: Materials | None = None,
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
        ``"scene"``, ``"layout"``, ``"paper"`` (the published algorithm), or a mode of another
        package: see :mod:`naturalize.compose.draw.modes`.
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
    materials
        What was found out about the bank by :meth:`Materials.of`, to draw from it more than once.
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
    drawing = Drawing(drawer, materials or Materials.of(bank), seed, max_reuse)
    counted = dict(real) if real is not None else real_counts(bank)
    present = [label for label in bank.labels if counted.get(label)]
    labels = chosen_classes(classes, bank.labels, drawer.default_classes(present))
    targets = target_counts(labels, counted, *target)
    parts, left_out = [], Counter[str]()
    for label, n in targets.items():
        drawing.check(label, n)
        if n:
            columns, reasons = drawing.recipes(label, n)
            parts.append(columns)
            left_out.update(reasons)
    if not parts:
        raise InputError("no class to compose: the bank has no target cell of any class")
    columns = Columns.concat(parts)
    made = Plan(
        columns=columns,
        mode=mode,
        settings={**drawer.settings, "max_reuse": max_reuse, **({"gate": True} if gate else {})},
        seed=seed,
        targets=targets,
        rejections={reason: n for reason, n in sorted(left_out.items()) if n},
        reuse=drawing.reuse(columns),
        bank=bank.fingerprint,
    )
    if gate:
        from naturalize.compose.draw.gate import gated

        made = gated(made, drawing, backend=backend, workers=workers)
    _warn_of_reuse(made)
    return made


@dataclass(frozen=True, eq=False)
class Drawing:
    """A mode that draws from the cells of a bank."""

    #: What draws, from what, and by which seed.
    mode: Mode
    materials: Materials
    seed: int
    max_reuse: int | None = None  # most recipes with the same target cell, if there is a limit

    def pool(self, label: str) -> np.ndarray:
        """Return the target cells of a class that the mode can use, int32."""
        return self.mode.targets(self.materials, label)

    def check(self, label: str, n: int) -> None:
        """Raise ``InputError`` if a class has too few cells for ``n`` composites."""
        n_cells, accepted = len(self.pool(label)), len(self.materials.targets(label))
        if n and not n_cells:
            raise InputError(
                f"class {label}: {n:,} composites asked, but the bank has no cell of it that mode "
                f"{self.mode.name} can use ({accepted:,} accepted); add images of {label}, or "
                "leave it out"
            )
        if self.max_reuse is not None and n > n_cells * self.max_reuse:
            raise InputError(
                f"class {label}: {n:,} composites asked, but {n_cells:,} cells with max_reuse "
                f"{self.max_reuse} make {n_cells * self.max_reuse:,}; raise max_reuse or ask for "
                "fewer"
            )

    def recipes(self, label: str, n: int) -> tuple[Columns, Counter[str]]:
        """Draw ``n`` different recipes of a class, block by block; also what was left out, and why.

        One that is equal to an earlier one is drawn anew: at first with the same cell, then, if
        there is no ``max_reuse``, with another, since a cell may have few places to stand in.
        """
        draw, pool = self.mode.draw, self.pool(label)
        blocks = -(-n // _BLOCK)
        targets = deal(pool, blocks * _BLOCK, self.seed, "cells", self.mode.name, label)
        parts, left_out = [], Counter[str]()
        for block in range(blocks):
            first = block * _BLOCK
            generator = rng(self.seed, "recipes", self.mode.name, label, block)
            part, reasons = draw(self.materials, label, targets[first : first + _BLOCK], generator)
            keep = min(_BLOCK, n - first)
            parts.append(part if keep == _BLOCK else part.take(np.arange(keep)))
            left_out.update({reason: int(count[:keep].sum()) for reason, count in reasons.items()})
        columns = Columns.concat(parts)
        ids = np.array(columns.ids())
        for attempt in range(_REDRAWS):
            equal = np.setdiff1d(np.arange(n), np.unique(ids, return_index=True)[1])
            if not len(equal):
                return columns, left_out
            left_out[DUPLICATES] += len(equal)
            fresh = []
            for block in np.unique(equal // _BLOCK).tolist():
                first = block * _BLOCK
                generator = rng(self.seed, "again", self.mode.name, label, attempt, block)
                cells = targets[first : first + _BLOCK]
                if self.max_reuse is None and attempt >= _SAME_CELL:
                    cells = pool[generator.integers(len(pool), size=_BLOCK)]
                part, _ = draw(self.materials, label, cells, generator)
                fresh.append(part.take(equal[equal // _BLOCK == block] - first))
            drawn = Columns.concat(fresh)
            ids[equal] = drawn.ids()
            columns = columns.replaced(equal, drawn)
        raise SettingsError(
            f"class {label}: mode {self.mode.name} cannot draw {n:,} different composites from "
            f"{len(pool):,} cells; ask for fewer, or give it more to vary"
        )

    def reuse(self, columns: Columns) -> dict[str, dict[str, Any]]:
        """Return class → how often its target cells are used.

        ``cells`` that the mode can use, ``used`` ones, composites with the ``most`` used one, and
        its id: ``most_used``.
        """
        target = self.materials.target[columns.cell]
        owner = np.repeat(columns.label, np.diff(columns.offsets))[target]
        cells, found = columns.cell[target], {}
        for code in np.unique(columns.label).tolist():
            label = columns.words.labels[code]
            times = np.bincount(cells[owner == code])
            most = int(times.argmax())
            found[label] = {
                "cells": len(self.pool(label)),
                "used": int(np.count_nonzero(times)),
                "most": int(times[most]),
                "most_used": columns.words.cells[most][0],
            }
        return found


def _warn_of_reuse(made: Plan) -> None:
    """Say which classes are made from few cells."""
    often = {label: about for label, about in made.reuse.items() if about["most"] >= _MANY}
    if often:
        few = "; ".join(
            f"class {label}: {made.targets[label]:,} composites from {about['used']:,} "
            f"cell{'s' if about['used'] > 1 else ''}, up to {about['most']:,} of one"
            for label, about in often.items()
        )
        warn(
            f"few cells are used often ({few}); a network may learn these cells by heart: add "
            "images of these classes, ask for fewer, or set max_reuse"
        )
