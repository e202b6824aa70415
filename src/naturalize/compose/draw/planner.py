"""The planner: which recipes reach the target counts. All that is random is drawn here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from naturalize.base.console import warn
from naturalize.base.errors import InputError, SettingsError
from naturalize.compose.draw.drawing import Drawing
from naturalize.compose.draw.gate import gated
from naturalize.compose.draw.materials import Materials
from naturalize.compose.draw.modes import DEFAULT, Mode
from naturalize.compose.draw.modes import mode as mode_of
from naturalize.compose.draw.targets import (
    chosen_classes,
    one_target,
    real_counts,
    target_counts,
)
from naturalize.compose.recipe.columns import Columns
from naturalize.compose.recipe.plan import Plan

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank

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
        ``"scene"``, ``"layout"``, ``"varied"``, ``"field"``, ``"paper"`` (the published algorithm),
        or a mode of another package: see :mod:`naturalize.compose.draw.modes`.
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
    if not drawer.about_one and (gate or max_reuse is not None):
        raise SettingsError(
            f"mode {mode}: a {mode} holds many white cells, so gate and max_reuse, which are about "
            "one, mean nothing; leave them out"
        )
    drawing = Drawing(drawer, materials or Materials.of(bank), seed, max_reuse)
    targets, _ = _counts(bank, drawer, classes, real, target)
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
        made = gated(made, drawing, backend=backend, workers=workers)
    _warn_of_reuse(made)
    return made


def counts_of(
    bank: CellBank,
    *,
    mode: str = DEFAULT,
    classes: Sequence[str] | None = None,
    real: Mapping[str, int] | None = None,
    name: str | None = None,
    add: int | None = None,
    per_class: int | None = None,
    balance: bool = False,
    **_: Any,
) -> tuple[dict[str, int], dict[str, int]]:
    """Return class → composites that :func:`plan` draws, class → real images; arguments as there.

    ``SettingsError``, ``InputError`` as there.
    """
    target = one_target(name=name, add=add, per_class=per_class, balance=balance)
    return _counts(bank, mode_of(mode), classes, real, target)


def _counts(
    bank: CellBank,
    drawer: Mode,
    classes: Sequence[str] | None,
    real: Mapping[str, int] | None,
    target: tuple[str, int | None],
) -> tuple[dict[str, int], dict[str, int]]:
    counted = dict(real) if real is not None else real_counts(bank)
    present = [label for label in bank.labels if counted.get(label)]
    labels = chosen_classes(classes, bank.labels, drawer.default_classes(present))
    return target_counts(labels, counted, *target), counted


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
