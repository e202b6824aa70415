"""What a user calls PLAN: a plan artifact, composites written with theirs, or a study folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from naturalize.base.artifacts import is_artifact, read_manifest
from naturalize.base.errors import ArtifactError, InputError

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan


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

    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such folder; name a plan, composites or a study folder")
    found = next((p for p in (path / "plan", path) if is_artifact(p, "plan")), None)
    if found is None:
        what = f"a {read_manifest(path).kind}" if is_artifact(path) else "no artifact"
        raise ArtifactError(
            f"{path}: is {what}, not a plan; write one with: naturalize compose SOURCE -o {path}"
        )
    if bank is None:
        places = [found / "bank", found.parent / "bank", found.parent.parent / "bank"]
        bank = next((p for p in places if is_artifact(p, "bank")), None)
    if bank is None:
        raise InputError(
            f"{found}: no bank beside this plan; name the one it was drawn from: --bank"
        )
    return Plan.load(found), CellBank.load(bank, root=root)
