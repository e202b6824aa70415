"""A reading as COCO annotations: for CVAT, Label Studio, FiftyOne and whatever reads them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.cells.segmentation import KINDS
from naturalize.imaging.runlength import box_to_rle, decode


def write_coco(file: Path, named: Iterable[pa.Table], classes: Sequence[str]) -> None:
    """Write the cells of fields as one COCO file; images stay where they are.

    Categories are the classes, for white cells that have one, and the kinds; a category's
    supercategory is the kind. Masks are compressed RLE, exact to the pixel. Beside COCO's keys an
    annotation has ``cell``, ``score`` and ``flag``. Memory holds one field.

    ``named``: as for `summary.write_summary`.
    """
    names = [*((name, "wbc") for name in classes), *((kind, kind) for kind in KINDS)]
    numbers = {name: number for number, (name, _) in enumerate(names, start=1)}
    head = {
        "info": {"description": "cells of fields, read by naturalize", "version": "1.0"},
        "licenses": [],
        "categories": [
            {"id": numbers[name], "name": name, "supercategory": kind} for name, kind in names
        ],
        "images": list(_images(named)),
    }
    with file.open("w", encoding="utf-8") as out:
        out.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "annotations": [')
        number = 0
        for image, parts in enumerate(_by_field(named), start=1):
            cells = ((row, cell) for row in parts for cell in row["cells"])
            for place, (row, cell) in enumerate(cells, start=1):
                number += 1
                category = numbers[cell["label"] or cell["kind"]]
                ids = {"id": number, "image_id": image, "category_id": category, "cell": place}
                one = ids | _annotation(cell, (row["height"], row["width"]))
                text = json.dumps(one, ensure_ascii=False)
                out.write(("," if number > 1 else "") + "\n" + text)
        out.write("\n]}\n")


def _by_field(named: Iterable[pa.Table]) -> Iterator[Iterator[dict[str, Any]]]:
    """Yield the rows of each field, one at a time: one, or those of the parts of a scan."""
    rows = (table.to_pylist()[0] for table in named)
    for _, parts in itertools.groupby(rows, key=lambda row: row["field"]):
        yield parts


def _images(named: Iterable[pa.Table]) -> Iterator[dict[str, Any]]:
    rows = (table.select(["field", "width", "height"]).to_pylist()[0] for table in named)
    for number, (_, parts) in enumerate(
        itertools.groupby(rows, key=lambda row: row["field"]), start=1
    ):
        row = next(parts)
        size = {"width": row["width"] or 0, "height": row["height"] or 0}
        yield {"id": number, "file_name": row["field"], **size}


def _annotation(cell: dict[str, Any], shape: tuple[int, int]) -> dict[str, Any]:
    x0, y0, x1, y1 = [cell[name] for name in ("x0", "y0", "x1", "y1")]
    mask = decode(np.array(cell["mask"]), (y1 - y0, x1 - x0))
    return {
        "segmentation": box_to_rle(mask, (x0, y0), shape),
        "area": cell["area"],
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
        "score": cell["score"],
        "flag": cell["flag"],
    }
