"""``imagefolder``: one folder a class, as nearly every framework reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from naturalize.base.artifacts import write_bytes, write_tables
from naturalize.base.images import encode_image
from naturalize.compose.deliver.files import put
from naturalize.compose.deliver.job import Painter, rendering
from naturalize.compose.paint.sizes import Size
from naturalize.compose.recipe.recipe import Recipe

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan

#: Columns of ``boxes.parquet``; ``path`` is relative to ``images/``.
BOXES = pa.schema(
    [
        ("path", pa.string()),
        ("instance", pa.int32()),
        ("kind", pa.string()),
        ("label", pa.string()),
        ("cell_id", pa.string()),
        *((name, pa.int32()) for name in ("x0", "y0", "x1", "y1")),
    ]
)


def write_imagefolder(
    plan: Plan,
    bank: CellBank,
    out: str | Path,
    *,
    format: str = "jpeg",
    quality: int = 95,
    masks: bool = False,
    size: Size = None,
    lineage: Mapping[str, Any] | None = None,
    work: str | Path | None = None,
    backend: str = "serial",
    workers: int | None = None,
    also: Callable[[Path], None] | None = None,
) -> Path:
    """Render every recipe of a plan to ``out/images/<class>/<recipe_id>.<suffix>``.

    Beside the images, ``out/plan/`` holds the plan itself, with its lineage and a sheet. What a
    killed run finished is kept; memory stays flat.

    Parameters
    ----------
    plan, bank
        What to render, from which cells.
    out
        The ``images`` artifact.
    format
        ``"jpeg"`` or ``"png"``.
    quality
        Of JPEG files, where the recipe's own finish names none. A recipe that ends in a JPEG is
        encoded once: its file decodes to just what
        :func:`~naturalize.compose.paint.render.render` gives.
    masks
        Write the truth as well: ``out/masks/<class>/<recipe_id>.png`` (uint16: 0 background, one
        number a cell, what is seen of it) and ``out/boxes.parquet``, a row a cell.
    size
        Side of a square, or width and height: compose at that size, as for ``render``.
    lineage
        What :func:`naturalize.compose.recipe.lineage.check` found; written beside the plan.
    work
        Folder for what is under way; by default hidden beside ``out``. Removed at the end.
    backend, workers
        As for :func:`naturalize.base.engine.map`; they change no byte.
    also
        Writes more into the artifact before it is moved to its place.

    Raises
    ------
    SettingsError
        For an unknown format, a quality out of range, or a plan without recipes.
    InputError
        For a class that cannot be the name of a folder.
    """
    with rendering(
        "imagefolder", plan, bank, out, format=format, quality=quality, size=size, truth=masks,
        lineage=lineage, work=work, backend=backend, workers=workers, also=also, masks=masks,
    ) as job:  # fmt: skip
        if masks:
            paint = partial(_paint_with_truth, job.painter, job.work)
            rows = job.tables(paint, BOXES)
            write_tables(job.folder / "boxes.parquet", rows, BOXES)
        else:
            n = len(plan)
            for _ in job.each(
                partial(paint_image, job.painter, job.work), range(n), n=n, what="render"
            ):
                pass
        place_files(plan, job.painter, job.work, job.folder, masks=masks)
    return Path(out)


def paint_image(painter: Painter, work: Path, recipe: Recipe) -> None:
    """Write a composite to ``work/images``, unless it is there."""
    file = work / "images" / painter.name(recipe)
    if not file.is_file():
        write_bytes(file, painter.image(recipe))


def _paint_with_truth(painter: Painter, work: Path, recipe: Recipe) -> pa.Table:
    paint_image(painter, work, recipe)
    found = painter.truth(recipe)
    name = painter.name(recipe)
    mask = work / "masks" / Path(name).with_suffix(".png")
    write_bytes(mask, encode_image(found.instances, "png"))
    rows = [
        {
            "path": name,
            **{key: getattr(cell, key) for key in ("instance", "kind", "label", "cell_id")},
            **dict(zip(("x0", "y0", "x1", "y1"), cell.box, strict=True)),
        }
        for cell in found.cells
    ]
    return pa.Table.from_pylist(rows, schema=BOXES)


def place_files(
    plan: Plan, painter: Painter, work: Path, folder: Path, *, masks: bool = False
) -> None:
    """Bring just the files of the plan from ``work`` to their places in ``folder``."""
    for i in range(len(plan)):
        name = painter.name(plan.recipe(i))
        put(work / "images" / name, folder / "images" / name)
        if masks:
            mask = Path(name).with_suffix(".png")
            put(work / "masks" / mask, folder / "masks" / mask)
