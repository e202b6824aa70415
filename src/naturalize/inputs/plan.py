"""What a user calls PLAN: a plan artifact, composites written with theirs, or a study folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from naturalize.base.artifacts import is_artifact
from naturalize.base.errors import InputError
from naturalize.inputs.kind import named

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan


_NEEDS = "a plan, composites or a study folder"


def open_plan(
    path: str | Path, *, bank: str | Path | None = None, root: str | Path | None = None
) -> tuple[Plan, CellBank]:
    """Open a plan and the bank that it was drawn from.

    Parameters
    ----------
    path
        A ``plan`` artifact, or a folder that holds one as ``plan/``: composites or a study.
    bank
        The bank artifact; by default ``bank/`` beside the plan or in the same study.
    root
        Where the bank's images are now, if they have moved.

    Raises
    ------
    InputError
        If there is nothing at ``path``, or no bank beside it.
    ArtifactError
        If it holds no plan.
    """
    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan

    source = named(path, _NEEDS)
    found = source.find("plan")
    if found is None:
        raise source.refused(f"{_NEEDS}; write one with: naturalize compose SOURCE -o {path}")
    if bank is None:
        places = [found / "bank", found.parent / "bank", found.parent.parent / "bank"]
        bank = next((p for p in places if is_artifact(p, "bank")), None)
    if bank is None:
        raise InputError(
            f"{found}: no bank beside this plan; name the one it was drawn from: --bank"
        )
    return Plan.load(found), CellBank.load(bank, root=root)
