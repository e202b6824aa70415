"""What is compared: composites of a plan, and real images that no composite was made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from naturalize.base import engine
from naturalize.base.display import rows_of
from naturalize.base.errors import ArtifactError, ImageReadError, InputError, unknown
from naturalize.base.images import decode_image, read_bytes
from naturalize.base.rng import rng
from naturalize.base.statistics import connected
from naturalize.compose.recipe.recipe import Recipe
from naturalize.dataset.relations import near_duplicates, thumbnail
from naturalize.realism.classifiers import largest_share, units_of
from naturalize.realism.settings import LEAST, RealismSettings

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan


@dataclass(frozen=True, eq=False)
class Sample:
    """Images to compare, by id: R real ones, S further real ones, C recipes."""

    #: The composites, class by class.
    recipes: tuple[Recipe, ...]
    #: ``(image_id, label)``: what they are compared with, and others for the null.
    real: tuple[tuple[str, str], ...]
    spare: tuple[tuple[str, str], ...]
    #: Image id → name of its set of near duplicates (its own id, mostly).
    same: dict[str, str]
    targets: frozenset[str]
    #: ``real`` and ``parents``: encoder → number of files.
    encoders: dict[str, dict[str, int]] = field(default_factory=dict)
    #: What a reader should know: too few images, parents among the real ones.
    notes: tuple[str, ...] = ()

    def real_origins(self, images: Sequence[tuple[str, str]]) -> list[set[str]]:
        """Return what each real image comes from: itself and its near duplicates."""
        return [{self.same[image_id]} for image_id, _ in images]

    def recipe_origins(self, recipes: Sequence[Recipe]) -> tuple[list[set[str]], str]:
        """Return what each composite comes from, and in words how far that reaches.

        All parents, unless red cells from everywhere tie the composites into one heap that no fold
        could hold; then the parents of its scene and of its target cell. Sharing a red cell makes
        composites easier to distinguish, not harder.
        """
        every = [{self._set(parent) for parent in recipe.parents()} for recipe in recipes]
        if largest_share(units_of(every)) <= 0.1:
            return every, "all parents"
        main = [{self._set(p) for p in main_parents(r, self.targets)} for r in recipes]
        return main, "parents of scene and target cell"

    def _set(self, image_id: str) -> str:
        return self.same.get(image_id, image_id)


def main_parents(recipe: Recipe, targets: frozenset[str]) -> set[str]:
    """Return the images that a recipe takes its background and its target cells from."""
    found = {p.image_id for p in recipe.placements if p.cell_id in targets}
    return found | ({recipe.background.image_id} if recipe.background.image_id else set())


def choose(
    plan: Plan,
    bank: CellBank,
    asked: RealismSettings,
    *,
    spare: bool = True,
    **run: Any,
) -> Sample:
    """Draw composites of a plan and as many real images of the same classes.

    Composites of different target cells come first. Real images that a chosen composite
    was made from, and near duplicates of those, come last and are noted. ``spare``: whether further
    real images are drawn, for the null; ``run``: the engine's backend and workers.

    Raises
    ------
    InputError
        If plan and bank do not belong together, or a class has fewer than 10 images on a side.
    ArtifactError
        If an image that is needed is gone.
    """
    check_fit(plan, bank)
    per_class, seed = asked.per_class, asked.seed
    labels = _classes(plan, asked.classes)
    targets = frozenset(bank.cells(target=True, accepted=None)["cell_id"].to_pylist())
    recipes = [
        recipe for label in labels for recipe in _recipes(plan, label, per_class, targets, seed)
    ]
    parents = set().union(*(recipe.parents() for recipe in recipes))
    main = set().union(*(main_parents(recipe, targets) for recipe in recipes))
    pool = _pool(bank, labels, parents, asked.accepted, seed)
    wanted = {label: ids[: (2 if spare else 1) * per_class] for label, ids in pool.items()}
    looked = sorted({*main, *(image_id for ids in wanted.values() for image_id in ids)})
    small, encoders = _look(bank, looked, run)
    same = _sets(looked, small)
    of_parent = {same.get(image_id, image_id) for image_id in parents}
    real, further, notes = [], [], []
    for label, drawn in wanted.items():
        # a near duplicate of a parent is as good as a parent
        ids = sorted(drawn, key=lambda one: same[one] in of_parent)
        scarce = spare and len(ids) < 2 * per_class
        n = max(len(ids) // 2, LEAST) if scarce else per_class
        real += [(image_id, label) for image_id in ids[:n]]
        further += [(image_id, label) for image_id in ids[n : n + per_class]]
        used = sum(same[image_id] in of_parent for image_id in ids[:n])
        if used:
            notes.append(
                f"class {label}: {used} of {len(ids[:n])} real images are parents of composites "
                "that are shown (too few others), which can hide a difference"
            )
    return Sample(
        tuple(recipes),
        tuple(real),
        tuple(further) if spare else (),
        same,
        targets,
        {
            "real": _count(encoders, [image_id for image_id, _ in real]),
            "parents": _count(encoders, sorted(main)),
        },
        tuple(notes),
    )


def check_fit(plan: Plan, bank: CellBank) -> None:
    """Raise ``InputError`` if the plan was drawn from another bank."""
    if plan.bank and plan.bank != bank.fingerprint:
        raise InputError(
            f"this plan was drawn from bank {plan.bank}, not from {bank.fingerprint} "
            f"({bank.root}); name its own bank with --bank, or compose again"
        )
    ids = set(bank.backgrounds["image_id"].to_pylist())
    missing = sorted(plan.parents() - ids)
    if missing:
        raise InputError(
            f"{len(missing)} parent images of the plan are not in the bank, the first is "
            f"{missing[0]}; name the plan's own bank with --bank"
        )


def _classes(plan: Plan, classes: Sequence[str] | None) -> list[str]:
    there = [label for label, n in plan.targets.items() if n]
    for label in classes or ():
        if label not in there:
            raise unknown("class", label, there)
    return [label for label in there if classes is None or label in classes]


def _recipes(plan: Plan, label: str, n: int, targets: frozenset[str], seed: int) -> list[Recipe]:
    rows = rng(seed, "realism", "composites", label).permutation(plan.rows_of(label))
    if len(rows) < LEAST:
        raise InputError(
            f"class {label}: the plan has {len(rows)} composites, a probe needs {LEAST} or more; "
            "compose more, or leave the class out"
        )
    first: list[Recipe] = []
    again: list[Recipe] = []
    seen: set[frozenset[str]] = set()
    for row in rows.tolist():
        recipe = plan.recipe(row)
        own = frozenset(p.cell_id for p in recipe.placements if p.cell_id in targets)
        (again if own in seen else first).append(recipe)
        seen.add(own)
        if len(first) == n:
            break
    return [*first, *again][:n]


def _pool(
    bank: CellBank, labels: Sequence[str], parents: set[str], accepted: bool, seed: int
) -> dict[str, list[str]]:
    """Return the real images of each class in random order, parents last."""
    rows = bank.cells(target=True, accepted=True if accepted else None)
    out = {}
    for label in labels:
        ids = rows.filter(pc.equal(rows["label"], label))["image_id"].unique().to_pylist()
        if len(ids) < LEAST:
            raise InputError(
                f"class {label}: the bank has {len(ids)} real images, a probe needs {LEAST} or "
                "more; build it from more images, or leave the class out"
            )
        mixed = rng(seed, "realism", "real", label).permutation(sorted(ids)).tolist()
        out[label] = sorted(mixed, key=lambda one: one in parents)
    return out


def _look(
    bank: CellBank, ids: Sequence[str], run: dict[str, Any]
) -> tuple[np.ndarray, dict[str, str]]:
    """Return small grey pictures (for near duplicates) and encoders of images."""
    paths = dict(rows_of(bank.backgrounds, "image_id", "path"))
    files = [str(bank.root / paths[image_id]) for image_id in ids]
    found = engine.map(_small, files, chunk=32, what="look for duplicates", **run)
    smalls, encoders = zip(*found, strict=True)
    return np.stack(smalls), dict(zip(ids, encoders, strict=True))


def _small(path: str) -> tuple[np.ndarray, str]:
    try:
        image, facts = decode_image(read_bytes(path), name=path)
    except ImageReadError as error:
        raise ArtifactError(
            f"{error}; the bank points into it: bring the file back, or say where the images are "
            "now with --root"
        ) from error
    return thumbnail(image), facts.encoder


def _sets(ids: Sequence[str], smalls: np.ndarray) -> dict[str, str]:
    """Return image id → the first id of its set of near duplicates."""
    alone = [(one, one) for one in ids]
    pairs = [(ids[i], ids[j]) for i, j in near_duplicates(smalls)]
    return {one: members[0] for members in connected([*alone, *pairs]) for one in members}


def _count(encoders: dict[str, str], ids: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(encoders[image_id] for image_id in ids).items()))
