"""A bank out as COCO: ``annotations.json`` and the images it speaks of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from naturalize.base.artifacts import write_json
from naturalize.base.console import track
from naturalize.base.errors import unknown
from naturalize.cells.bank.files import IMAGES, copy_images
from naturalize.cells.exchange.rle import mask_to_rle
from naturalize.cells.segmentation import KINDS
from naturalize.imaging.runlength import decode

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank

#: What a category may be.
CATEGORIES = ("kind", "label")


def write_coco(
    bank: CellBank, cells: pa.Table, folder: Path, *, categories: str = "kind"
) -> dict[str, Any]:
    """Write COCO annotations of ``cells`` into ``folder``.

    Masks are compressed RLE over the whole image, exact to the pixel. Besides COCO's own keys an
    annotation has ``cell_id``, ``label``, ``score`` and, where there is one, ``nucleus`` (RLE).

    Parameters
    ----------
    bank
        The bank.
    cells
        Rows of it.
    folder
        Gets ``annotations.json`` and ``images/``.
    categories
        ``"kind"``: ``wbc``, ``rbc``, ``platelet``; ``"label"``: the classes, and kinds for cells
        that have none. The kind is a category's supercategory.

    Returns
    -------
    dict
        What was written: ``images`` and ``cells``.
    """
    if categories not in CATEGORIES:
        raise unknown("categories", categories, list(CATEGORIES))
    copy_images(bank, [cells], folder / IMAGES)
    rows = cells.to_pylist()
    number_of = {path: i for i, path in enumerate(sorted({row["path"] for row in rows}), start=1)}
    by_class = categories == "label"
    names = _categories(rows, bank.labels if by_class else ())
    shapes: dict[str, tuple[int, int]] = {}
    annotations = []
    for number, row in enumerate(track(rows, "export"), start=1):
        path = row["path"]
        if path not in shapes:
            shapes[path] = bank.pictures.read(path, row["image_id"]).shape[:2]
        name = (row["label"] if by_class else None) or row["kind"]
        annotation = _annotation(row, shapes[path])
        ids = {"id": number, "image_id": number_of[path], "category_id": names[name, row["kind"]]}
        annotations.append({**ids, **annotation})
    images = [
        {"id": number, "file_name": path, "width": shapes[path][1], "height": shapes[path][0]}
        for path, number in number_of.items()
    ]
    about = {"description": "cells of a naturalize bank", "version": "1.0"}
    said = {
        "info": about,
        "licenses": [],
        "images": images,
        "categories": [
            {"id": number, "name": name, "supercategory": kind}
            for (name, kind), number in names.items()
        ],
        "annotations": annotations,
    }
    write_json(folder / "annotations.json", said)
    return {"images": len(images), "cells": len(annotations)}


def _categories(rows: list[dict[str, Any]], labels: tuple[str, ...]) -> dict[tuple[str, str], int]:
    """Return (name, kind) → number from 1: classes that occur, then the three kinds."""
    found = {(row["label"], row["kind"]) for row in rows}
    named = [(label, kind) for label in labels for kind in KINDS if (label, kind) in found]
    plain = [(kind, kind) for kind in KINDS]
    return {pair: i for i, pair in enumerate(dict.fromkeys([*named, *plain]), start=1)}


def _annotation(row: Mapping[str, Any], shape: tuple[int, int]) -> dict[str, Any]:
    x0, y0, x1, y1 = (row[name] for name in ("x0", "y0", "x1", "y1"))

    def whole(runs: list[int]) -> dict[str, Any]:
        mask = np.zeros(shape, bool)
        mask[y0:y1, x0:x1] = decode(np.array(runs), (y1 - y0, x1 - x0))
        return mask_to_rle(mask)

    more = {"nucleus": whole(row["nucleus"])} if row["nucleus"] is not None else {}
    return {
        "segmentation": whole(row["mask"]),
        "area": row["area"],
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
        "cell_id": row["cell_id"],
        "label": row["label"],
        "score": row["score"],
        **more,
    }
