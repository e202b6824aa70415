"""Where the pixels of composites come from: a query over the recipes, not a promise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from naturalize.compose.recipe.plan import Plan
    from naturalize.dataset.split import Split

#: Offenders that are named one by one.
_NAMED = 20


def check(plan: Plan, split: Split) -> dict[str, Any]:
    """Return how many composites have a parent that is not in the split's train part.

    Returns
    -------
    dict
        ``n_composites``, ``n_parents``, ``outside`` (composites with such a parent),
        ``outside_ids`` (the first 20 of them), ``outside_parents`` (``{"image_id", "part"}``, 20 at
        most; the part is null for an image that the split does not know), ``parents_by_part``,
        ``statement``, ``split`` (its hash).
    """
    return {**check_parts(plan, split.part_of()), "split": split.hash}


def check_parts(
    plan: Plan, part_of: Mapping[str, str], *, allowed: str = "train", where: str = "train"
) -> dict[str, Any]:
    """As :func:`check`, for any map from image id to part and any part whose pixels may be used."""
    columns = plan.columns
    part_of_cell = [part_of.get(image_id) for _, image_id, _ in columns.words.cells]
    part_of_ground = [
        allowed if image_id is None else part_of.get(image_id)
        for _, image_id in columns.words.backgrounds
    ]
    bad_cell = np.array([part != allowed for part in part_of_cell], bool)
    bad_ground = np.array([part != allowed for part in part_of_ground], bool)
    owner = np.repeat(np.arange(len(columns)), np.diff(columns.offsets))
    bad = bad_ground[columns.background]
    bad |= np.bincount(owner, bad_cell[columns.cell], minlength=len(columns)) > 0
    rows = np.flatnonzero(bad)
    parents = sorted(plan.parents())
    strangers = [image_id for image_id in parents if part_of.get(image_id) != allowed]
    n, outside = len(plan), len(rows)
    verb = "has" if outside == 1 else "have"
    kind = f"{allowed}ing composite" if allowed == "train" else "composite"
    return {
        "n_composites": n,
        "n_parents": len(parents),
        "outside": outside,
        "outside_ids": [plan.ids[row] for row in rows[:_NAMED].tolist()],
        "outside_parents": [
            {"image_id": image_id, "part": part_of.get(image_id)} for image_id in strangers[:_NAMED]
        ],
        "parents_by_part": dict(
            sorted(Counter(part_of.get(image_id, "unknown") for image_id in parents).items())
        ),
        "statement": f"{outside:,} of {n:,} {kind}{'' if n == 1 else 's'} {verb} a parent outside "
        f"{where}",
    }
