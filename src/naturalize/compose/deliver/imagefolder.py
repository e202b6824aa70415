"""``imagefolder``: one folder a class, as nearly every framework reads it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from naturalize.base.artifacts import write_bytes, write_tables
from naturalize.base.images import encode_image
from naturalize.compose.deliver.rendering import Painter, Rendering, Writer
from naturalize.compose.deliver.truth import TrueCell
from naturalize.compose.recipe.recipe import Recipe

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


class ImageFolder(Writer):
    """Images as ``images/<class>/<recipe_id>.<suffix>``.

    ``masks`` writes the truth as well: ``masks/<class>/<recipe_id>.png`` (uint16: 0 background, one
    number a cell, what is seen of it) and ``boxes.parquet``, a row a cell.
    """

    name: ClassVar[str] = "imagefolder"

    def fill(self, job: Rendering) -> None:
        """Write the images, and the masks where they are asked for."""
        if self.masks:
            rows = job.tables(partial(_paint_with_truth, job.painter, job.work), BOXES)
            write_tables(job.folder / "boxes.parquet", rows, BOXES)
        else:
            n, paint = len(job.plan), partial(paint_image, job.painter, job.work)
            for _ in job.each(paint, range(n), n=n, what="render"):
                pass
        job.place(masks=self.masks)


def paint_image(painter: Painter, work: Path, recipe: Recipe) -> None:
    """Write a composite to ``work/images``, unless it is there."""
    file = work / "images" / painter.name(recipe)
    if not file.is_file():
        write_bytes(file, painter.image(recipe))


def _paint_with_truth(painter: Painter, work: Path, recipe: Recipe) -> pa.Table:
    paint_image(painter, work, recipe)
    found, name = painter.truth(recipe), painter.name(recipe)
    mask = work / "masks" / Path(name).with_suffix(".png")
    write_bytes(mask, encode_image(found.instances, "png"))
    return pa.Table.from_pylist([box_row(name, cell) for cell in found.cells], schema=BOXES)


def box_row(name: str, cell: TrueCell) -> dict[str, Any]:
    """Return the row of :data:`BOXES` of a cell in the image ``name``."""
    box = zip(("x0", "y0", "x1", "y1"), cell.box, strict=True)
    return {
        "path": name,
        **{key: v for key, v in cell._asdict().items() if key != "box"},
        **dict(box),
    }
