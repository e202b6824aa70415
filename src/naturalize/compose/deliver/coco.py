"""``coco``: images, and a mask and a box of every cell that is seen in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import AfterValidator

from naturalize.base.errors import unknown
from naturalize.base.shards import Pieces
from naturalize.cells.exchange.coco import CATEGORIES
from naturalize.cells.segmentation import KINDS
from naturalize.compose.deliver.imagefolder import BOXES, box_row, paint_image
from naturalize.compose.deliver.rendering import Painter, Rendering, Writer
from naturalize.compose.recipe.recipe import Recipe
from naturalize.imaging.runlength import box_to_rle

#: Columns of the pieces: a row an annotation; counts are COCO's compressed RLE. What is said of the
#: whole cell, seen or not, is null where all of it is seen.
_ROWS = pa.schema(
    [
        *BOXES,
        ("area", pa.int32()),
        ("counts", pa.string()),
        ("whole_area", pa.int32()),
        ("whole_box", pa.list_(pa.int32(), 4)),
        ("whole_counts", pa.string()),
    ]
)


def _categories_of(name: str) -> str:
    if name not in CATEGORIES:
        raise unknown("categories", name, list(CATEGORIES))
    return name


class Coco(Writer):
    """Images with COCO annotations of every cell that is seen.

    ``images/<class>/<recipe_id>.<suffix>`` and ``annotations.json``: of each cell, those of the
    scene included, what is seen of it as compressed RLE, and its box. Later cells cover earlier
    ones, so no two masks have a pixel in common. Besides COCO's own keys an annotation has
    ``cell_id`` and ``label``, and where others cover a part of the cell ``amodal_segmentation``,
    ``amodal_bbox`` and ``amodal_area``: all of it that lies on the image; an image has
    ``recipe_id`` and ``label``.
    """

    name: ClassVar[str] = "coco"

    #: COCO always has them.
    masks: Literal[True] = True
    #: ``"label"``: the classes, and kinds for cells without one; ``"kind"``: ``wbc``, ``rbc``,
    #: ``platelet``. The kind is a category's supercategory.
    categories: Annotated[str, AfterValidator(_categories_of)] = "label"

    def fill(self, job: Rendering) -> None:
        """Write the images and their annotations."""
        rows = job.tables(partial(_paint, job.painter, job.work), _ROWS)
        names = _categories(rows, job.bank.labels if self.categories == "label" else ())
        with (job.folder / "annotations.json").open("w", encoding="utf-8") as file:
            _write(file, job, rows, names)
        job.place()


def _paint(painter: Painter, work: Path, recipe: Recipe) -> pa.Table:
    paint_image(painter, work, recipe)
    found, name = painter.truth(recipe), painter.name(recipe)
    rows, shape = [], found.instances.shape
    for cell in found.cells:
        mask, ((x0, y0, x1, y1), whole) = found.mask(cell.instance), found.wholes[cell.instance - 1]
        area, whole_area = int(np.count_nonzero(mask)), int(np.count_nonzero(whole))
        counts = box_to_rle(mask, cell.box[:2], shape)["counts"]
        row = {**box_row(name, cell), "area": area, "counts": counts}
        if whole_area > area:
            row |= {"whole_area": whole_area, "whole_box": [x0, y0, x1 - x0, y1 - y0]}
            row["whole_counts"] = box_to_rle(whole, (x0, y0), shape)["counts"]
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=_ROWS)


def _categories(rows: Pieces, labels: tuple[str, ...]) -> dict[tuple[str, str], int]:
    """Return (name, kind) → number from 1: classes that occur, then the three kinds."""
    found: set[tuple[str | None, str]] = set()
    for table in rows:
        found.update(zip(table["label"].to_pylist(), table["kind"].to_pylist(), strict=True))
    named = [(label, kind) for label in labels for kind in KINDS if (label, kind) in found]
    plain = [(kind, kind) for kind in KINDS]
    return {pair: i for i, pair in enumerate(dict.fromkeys([*named, *plain]), start=1)}


def _write(file: IO[str], job: Rendering, rows: Pieces, names: dict[tuple[str, str], int]) -> None:
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


def _size(job: Rendering, recipe: Recipe) -> tuple[int, int]:
    return job.painter.writer.size or (recipe.width, recipe.height)


def _images(job: Rendering) -> Iterator[dict[str, Any]]:
    for i, recipe in enumerate(job.plan):
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
    job: Rendering, rows: Pieces, names: dict[tuple[str, str], int]
) -> Iterator[dict[str, Any]]:
    recipes = enumerate(job.plan)
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
            amodal = {}
            if row["whole_counts"] is not None:
                amodal = {
                    "amodal_segmentation": {"size": shape, "counts": row["whole_counts"]},
                    "amodal_bbox": row["whole_box"],
                    "amodal_area": row["whole_area"],
                }
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
                **amodal,
            }
