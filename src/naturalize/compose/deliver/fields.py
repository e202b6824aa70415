"""Whole fields with the truth about them, as a data set for any training loop, without PyTorch."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex

import numpy as np

from naturalize.base.rng import rng
from naturalize.compose.deliver.annotation import BankAnnotation
from naturalize.compose.deliver.truth import Truth, painted
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.crops import CropStore

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.draw.materials import Materials
    from naturalize.compose.recipe.plan import Plan


class ComposedField(NamedTuple):
    """A field and every cell in it."""

    image: np.ndarray  # RGB uint8 (height, width, 3)
    #: Uint16 (height, width): 0 where no cell is, else the number of the topmost cell there.
    instances: np.ndarray
    #: Of cell 1, 2, …: ``wbc``, ``rbc`` or ``platelet``; its class, ``None`` where it has none.
    kinds: tuple[str, ...]
    classes: tuple[str | None, ...]
    truth: Truth  # boxes, ids, and where each cell lies under others


class ComposedFields:
    """Composites with their truth: ``data[i]`` is a :class:`ComposedField`. It pickles.

    ``plan``, ``store``: the recipes, and a store of crops that was built for them; ``bank``: what
    says the cells' classes.
    """

    def __init__(self, plan: Plan, store: CropStore, bank: CellBank) -> None:
        self.plan, self.store, self.bank = plan, store, bank
        # in the order of the plan, classes follow each other
        self._order = rng(plan.seed, "fields", "order").permutation(len(plan))
        labels = BankAnnotation(bank)
        self._labels = {cell_id: labels.label(cell_id) for cell_id, _, _ in plan.cells()}

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, i: SupportsIndex) -> ComposedField:
        """Return field ``i``, the same in every process; ``IndexError`` beyond the last."""
        row = operator.index(i)
        if not -len(self) <= row < len(self):
            raise IndexError(f"field {row} of {len(self)}")
        recipe = self.plan.recipe(int(self._order[row]))
        image, found = painted(recipe, self.store, annotation=self)
        kinds = tuple(cell.kind for cell in found.cells)
        classes = tuple(cell.label for cell in found.cells)
        return ComposedField(image, found.instances, kinds, classes, found)

    def label(self, cell_id: str) -> str | None:
        """Return the class of a cell."""
        return self._labels[cell_id]

    def scene(self, background_id: str) -> tuple[()]:
        """Return the cells of a scene: fields have none."""
        return ()


def fields(
    bank: CellBank,
    n: int,
    *,
    folder: str | Path,
    seed: int = 0,
    backend: str = "serial",
    workers: int | None = None,
    materials: Materials | None = None,
    **settings: Any,
) -> ComposedFields:
    """Return at least ``n`` fields of a bank, as many for each class, in mixed order.

    ``folder``: where the crops are kept (cut once; found again by the same call); ``backend``,
    ``workers``: as for :func:`naturalize.base.engine.map`, for the crops; ``seed``, ``settings``:
    of mode ``field``; ``materials``: as for :func:`~naturalize.compose.draw.planner.plan`, whose
    errors are those here.
    """
    classes = settings.pop("classes", None)
    names = bank.labels if classes is None else classes
    each = -(-n // max(len(names), 1))
    made = plan(
        bank, mode="field", add=each, seed=seed, classes=classes, materials=materials, **settings
    )
    store = CropStore.build(made, bank, folder, backend=backend, workers=workers)
    return ComposedFields(made, store, bank)
