"""``coco``: images, and a mask and a box of every cell that is seen in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from naturalize.base.errors import unknown
from naturalize.base.shards import Pieces
from naturalize.cells.exchange.coco_write import CATEGORIES
from naturalize.cells.exchange.rle import mask_to_rle
from naturalize.cells.segmentation import KINDS
from naturalize.compose.deliver.imagefolder import BOXES, paint_image, place_files
from naturalize.compose.deliver.job import Job, Painter, rendering
from naturalize.compose.paint.sizes import Size
from naturalize.compose.recipe.recipe import Recipe

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan

#: Columns of the pieces: a row an annotation; ``counts`` is COCO's compressed RLE.
_ROWS = pa.schema([*BOXES, ("area", pa.int32()), ("counts", pa.string())])


def write_coco(
    plan: Plan,
    bank: CellBank,
    out: str | Path,
    *,
    format: str = "jpeg",
    quality: int = 95,
    masks: bool = True,
    size: Size = None,
    categories: str = "label",
    lineage: Mapping[str, Any] | None = None,
    work: str | Path | None = None,
    backend: str = "serial",
    workers: int | None = None,
    also: Callable[[Path], None] | None = None,
) -> Path:
    """Render every recipe of a plan, with COCO annotations of every cell that is seen.

    ``out/images/<class>/<recipe_id>.<suffix>`` and ``out/annotations.json``: of each cell, those of
    the scene included, what is seen of it as compressed RLE, and its box. Later cells cover earlier
    ones, so no two masks share a pixel. Besides COCO's own keys an annotation has ``cell_id`` and
    ``label``, an image ``recipe_id`` and ``label``.

    Parameters
    ----------
    masks
        Without meaning here: COCO always has them.
    categories
        ``"label"``: the classes, and kinds for cells without one; ``"kind"``: ``wbc``, ``rbc``,
        ``platelet``. The kind is a category's supercategory.
    plan, bank, out, format, quality, size, lineage, work, backend, workers, also
        As for :func:`~naturalize.compose.deliver.write_imagefolder`; errors likewise.
    """
    if categories not in CATEGORIES:
        raise unknown("categories", categories, list(CATEGORIES))
    with rendering(
        "coco", plan, bank, out, format=format, quality=quality, size=size, truth=True,
        lineage=lineage, work=work, backend=backend, workers=workers, also=also,
        categories=categories,
    ) as job:  # fmt: skip
        rows = job.tables(partial(_paint, job.painter, job.work), _ROWS)
        names = _categories(rows, bank.labels if categories == "label" else ())
        with (job.folder / "annotations.json").open("w", encoding="utf-8") as file:
            _write(file, job, rows, names)
        place_files(plan, job.painter, job.work, job.folder)
    return Path(out)


def _paint(painter: Painter, work: Path, recipe: Recipe) -> pa.Table:
    paint_image(painter, work, recipe)
    found, name = painter.truth(recipe), painter.name(recipe)
    rows = []
    for cell in found.cells:
        mask = found.instances == cell.instance
        rows.append(
            {
                "path": name,
                **{key: getattr(cell, key) for key in ("instance", "kind", "label", "cell_id")},
                **dict(zip(("x0", "y0", "x1", "y1"), cell.box, strict=True)),
                "area": int(np.count_nonzero(mask)),
                "counts": mask_to_rle(mask)["counts"],
            }
        )
    return pa.Table.from_pylist(rows, schema=_ROWS)


def _categories(rows: Pieces, labels: tuple[str, ...]) -> dict[tuple[str, str], int]:
    """Return (name, kind) → number from 1: classes that occur, then the three kinds."""
    found: set[tuple[str | None, str]] = set()
    for table in rows:
        found.update(zip(table["label"].to_pylist(), table["kind"].to_pylist(), strict=True))
    named = [(label, kind) for label in labels for kind in KINDS if (label, kind) in found]
    plain = [(kind, kind) for kind in KINDS]
    return {pair: i for i, pair in enumerate(dict.fromkeys([*named, *plain]), start=1)}


def _write(file: IO[str], job: Job, rows: Pieces, names: dict[tuple[str, str], int]) -> None:
    """Write the JSON, an image or annotation at a time: a million of them need no memory."""
    head = {"info": {"description": "composites of naturalize", "version": "1.0"}, "licenses": []}
    categories = [
        {"id": number, "name": name, "supercategory": kind}
        for (name, kind), number in names.items()
    ]
    file.write("{\n")
    for key, value in {**head, "categories": categories}.items():
        file.write(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)},\n")
    _list(file, "images", _images(job), ",\n")
    _list(file, "annotations", _annotations(job, rows, names), "\n")
    file.write("}\n")


def _list(file: IO[str], key: str, values: Iterator[dict[str, Any]], end: str) -> None:
    file.write(f"{json.dumps(key)}: [")
    for i, value in enumerate(values):
        file.write((",\n" if i else "\n") + json.dumps(value, ensure_ascii=False))
    file.write(f"\n]{end}")


def _size(job: Job, recipe: Recipe) -> tuple[int, int]:
    return job.painter.size or (recipe.width, recipe.height)


def _images(job: Job) -> Iterator[dict[str, Any]]:
    for i in range(len(job.plan)):
        recipe = job.plan.recipe(i)
        width, height = _size(job, recipe)
        yield {
            "id": i + 1,
            "file_name": job.painter.name(recipe),
            "width": width,
            "height": height,
            "recipe_id": recipe.recipe_id,
            "label": recipe.label,
        }


def _annotations(
    job: Job, rows: Pieces, names: dict[tuple[str, str], int]
) -> Iterator[dict[str, Any]]:
    recipes = enumerate(job.plan.recipe(i) for i in range(len(job.plan)))
    image, name, shape = 0, "", [0, 0]
    number = 0
    for table in rows:
        for row in table.to_pylist():
            number += 1
            while name != row["path"]:  # rows come in the order of the plan
                i, recipe = next(recipes)
                image, name = i + 1, job.painter.name(recipe)
                shape = list(_size(job, recipe)[::-1])
            x0, y0, x1, y1 = (row[name] for name in ("x0", "y0", "x1", "y1"))
            named = (row["label"], row["kind"])
            yield {
                "id": number,
                "image_id": image,
                "category_id": names[named if named in names else (row["kind"], row["kind"])],
                "segmentation": {"size": shape, "counts": row["counts"]},
                "area": row["area"],
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "iscrowd": 0,
                "cell_id": row["cell_id"],
                "label": row["label"],
            }
