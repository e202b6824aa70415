"""Real images and composites in one folder of class folders, as the paper's protocol has it.

Splitting such a pool puts composites, and cells that also stand in training images, into the test
set. It exists to show how large that leak is; :func:`leak` counts it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from naturalize.base import engine
from naturalize.base.artifacts import link_file, write_bytes, writing
from naturalize.base.errors import InputError, os_errors_named
from naturalize.compose.deliver.files import image_bytes
from naturalize.compose.deliver.rendering import recipe_name
from naturalize.compose.paint.crops import CropStore

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan
    from naturalize.compose.recipe.recipe import Recipe
    from naturalize.dataset.catalog import Catalog
    from naturalize.dataset.split import Split

#: Name of a composite's file in a pool: this and its recipe id. Real files keep their image id.
PREFIX = "composite-"


def write_pool(
    catalog: Catalog,
    plan: Plan,
    bank: CellBank,
    out: str | Path,
    *,
    work: str | Path,
    backend: str = "serial",
    workers: int | None = None,
) -> Path:
    """Write an ``images`` artifact with all usable real images and all composites of a plan.

    Real files are linked where the disk allows (else copied), byte for byte, so that they keep
    their image ids; composites are PNG files, as in the paper's data sets. ``work`` holds the crops
    while rendering; the engine changes no byte.
    """
    inputs = {"catalog": catalog.fingerprint, "plan": plan.fingerprint}
    with os_errors_named(out), writing(out, "images", inputs=inputs) as folder:
        images = folder / "images"
        for row in catalog.usable().select(["image_id", "path", "label"]).to_pylist():
            suffix = PurePosixPath(row["path"]).suffix
            _link(catalog.root / row["path"], images / row["label"] / f"{row['image_id']}{suffix}")
        store = CropStore.build(plan, bank, Path(work) / "crops", backend=backend, workers=workers)
        for _ in engine.map(
            partial(_paint, store, images),
            plan,
            backend=backend,
            workers=workers,
            what="pool",
            total=len(plan),
            name=recipe_name,
        ):
            pass
    return Path(out)


def _link(source: Path, goal: Path) -> None:
    try:
        link_file(source.resolve(), goal)
    except FileNotFoundError as error:
        raise InputError(f"{source}: is not there any more; run the catalog again") from error


def _paint(store: CropStore, images: Path, recipe: Recipe) -> None:
    file = images / recipe.label / f"{PREFIX}{recipe.recipe_id}.png"
    write_bytes(file, image_bytes(recipe, store, format="png"))


def leak(plan: Plan, pooled: Catalog, split: Split) -> dict[str, Any]:
    """Count what a split of a pool lets through between its parts.

    Takes the plan whose composites are in the pool, and catalog and split of the pool. Gives
    ``n_test``; ``test_composites`` (composites among the test images); ``test_touched`` (test
    images that share a cell's parent image with a training image: composites with a parent in train
    or a sister there, and real images whose cell is in a training composite); ``statement``.
    """
    part_of = split.part_of()
    rows = pooled.usable().select(["image_id", "path"]).to_pylist()
    image_of = {PurePosixPath(row["path"]).stem: row["image_id"] for row in rows}
    parents: dict[str, set[str]] = {}
    for recipe in plan:
        image_id = image_of.get(f"{PREFIX}{recipe.recipe_id}")
        if image_id is not None:
            parents[image_id] = {p.image_id for p in recipe.placements}
    trained = {x for x, part in part_of.items() if part == "train"}
    in_training = set().union(trained, *(parents[x] for x in trained & parents.keys()))
    test = [x for x, part in part_of.items() if part == "test"]
    composites = [x for x in test if x in parents]
    touched = [x for x in test if ({x} | parents.get(x, set())) & in_training]
    return {
        "n_test": len(test),
        "test_composites": len(composites),
        "test_touched": len(touched),
        "statement": f"{len(composites):,} of {len(test):,} test images are composites; "
        f"{len(touched):,} of {len(test):,} share a parent image with a training image",
    }
