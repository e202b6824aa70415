"""Different recipes of a class, drawn in blocks: each the same whatever else is asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from naturalize.base.errors import InputError, SettingsError
from naturalize.base.rng import rng
from naturalize.compose.draw.materials import Materials
from naturalize.compose.draw.modes import Mode
from naturalize.compose.draw.targets import DUPLICATES, deal
from naturalize.compose.recipe.columns import Columns

#: How often a recipe that is equal to an earlier one is drawn anew.
_REDRAWS = 40

#: So often with the same target cell.
_SAME_CELL = 8


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
        draw, pool, size = self.mode.draw, self.pool(label), self.mode.block
        blocks = -(-n // size)
        targets = deal(pool, blocks * size, self.seed, "cells", self.mode.name, label)
        parts, left_out = [], Counter[str]()
        for block in range(blocks):
            first = block * size
            generator = rng(self.seed, "recipes", self.mode.name, label, block)
            part, reasons = draw(self.materials, label, targets[first : first + size], generator)
            keep = min(size, n - first)
            parts.append(part if keep == size else part.take(np.arange(keep)))
            left_out.update({reason: int(count[:keep].sum()) for reason, count in reasons.items()})
        columns = Columns.concat(parts)
        ids = np.array(columns.ids())
        for attempt in range(_REDRAWS):
            equal = np.setdiff1d(np.arange(n), np.unique(ids, return_index=True)[1])
            if not len(equal):
                return columns, left_out
            left_out[DUPLICATES] += len(equal)
            fresh = []
            for block in np.unique(equal // size).tolist():
                first = block * size
                generator = rng(self.seed, "again", self.mode.name, label, attempt, block)
                cells = targets[first : first + size]
                if self.max_reuse is None and attempt >= _SAME_CELL:
                    cells = pool[generator.integers(len(pool), size=size)]
                part, _ = draw(self.materials, label, cells, generator)
                fresh.append(part.take(equal[equal // size == block] - first))
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
        cells = columns.cell[columns.cell < len(self.materials.cells)]  # specks stand behind them
        cells = cells[self.materials.target[cells]]
        owner, found = self.materials.label[cells], {}
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
