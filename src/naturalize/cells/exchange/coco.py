"""COCO annotations: a bank out, with its images; and annotations of other tools in."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import pyarrow as pa

from naturalize.base.artifacts import write_json
from naturalize.base.console import track
from naturalize.base.errors import InputError, UnusableError
from naturalize.base.images import read_bytes
from naturalize.cells.bank.files import IMAGES, export_images
from naturalize.cells.exchange.annotated import (
    AnnotatedCell,
    AnnotatedImage,
    ImageFinder,
    Listing,
    check_size,
)
from naturalize.cells.exchange.kinds import resolve
from naturalize.cells.segmentation import KINDS
from naturalize.imaging.runlength import box_to_rle, decode, polygons_to_mask, rle_to_mask

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.cells.exchange import ImportSettings

#: Names of the annotations in a folder that this project or an annotation tool wrote.
NAMES = ("annotations.json", "instances_default.json", "_annotations.coco.json", "result.json")

#: What a category may be.
CATEGORIES = ("kind", "label")

_Images = Mapping[Any, Mapping[str, Any]]


def write_coco(
    bank: CellBank,
    cells: pa.Table,
    folder: Path,
    *,
    categories: Literal["kind", "label"] = "kind",
) -> dict[str, Any]:
    """Write COCO annotations of ``cells``: ``annotations.json`` and ``images/``.

    Masks are compressed RLE over the whole image, exact to the pixel. Besides COCO's own keys an
    annotation has ``cell_id``, ``label``, ``score`` and, where there is one, ``nucleus`` (RLE).
    ``categories``: the kinds ``wbc``, ``rbc`` and ``platelet``, or the classes, and kinds for
    cells that have none; a category's supercategory is the kind.
    """
    written = export_images(bank.pictures, cells, folder / IMAGES)
    rows = cells.to_pylist()
    number_of = {path: i for i, path in enumerate(sorted(written), start=1)}
    names = _categories(rows, bank.labels if categories == "label" else ())
    annotations = []
    for number, row in enumerate(track(rows, "export"), start=1):
        name = (row["label"] if categories == "label" else None) or row["kind"]
        image_id = number_of[row["path"]]
        ids = {"id": number, "image_id": image_id, "category_id": names[name, row["kind"]]}
        annotations.append({**ids, **_annotation(row, written[row["path"]].shape)})
    images = [
        {"id": number, "file_name": file.path, "width": file.shape[1], "height": file.shape[0]}
        for file, number in ((written[path], number) for path, number in number_of.items())
    ]
    content = {
        "info": {"description": "cells of a naturalize bank", "version": "1.0"},
        "licenses": [],
        "images": images,
        "categories": [
            {"id": number, "name": name, "supercategory": kind}
            for (name, kind), number in names.items()
        ],
        "annotations": annotations,
    }
    write_json(folder / "annotations.json", content)
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
        return box_to_rle(decode(np.array(runs), (y1 - y0, x1 - x0)), (x0, y0), shape)

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


def list_coco(source: Path, settings: ImportSettings, run: Mapping[str, Any]) -> Listing:
    """List the images of a COCO file, or of a folder that holds one by a usual name.

    ``file_name`` counts from ``settings.images``; by default from ``images/`` beside the file, or
    from its folder. Annotations and images that cannot be used are left out, by reason. Of ``run``
    nothing is needed: one file is read.

    Raises ``InputError`` if the file is none, or two of its images or categories contradict each
    other.
    """
    file = _file(source)
    content = _read(file)
    root = settings.images or next((p for p in (file.parent / "images",) if p.is_dir()), None)
    finder = ImageFinder(root or file.parent)
    categories = _by_id(file, content, "categories", "name")
    entries = _by_id(file, content, "images", "file_name")
    unusable: list[UnusableError] = []
    paths: dict[Any, str] = {}
    taken: set[str] = set()
    for key, entry in entries.items():
        where = f"{file}: image {key}"
        try:
            path = finder.find(str(entry["file_name"]), where)
            if path in taken:
                raise UnusableError(f"{where}: {path}", "image that is listed twice")
        except UnusableError as error:
            unusable.append(error)
        else:
            paths[key] = path
            taken.add(path)
    cells: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for number, annotation in enumerate(content["annotations"], start=1):
        where = f"{file}: annotation {_name_of(annotation, number)}"
        try:
            found = _checked(annotation, where, (entries, paths), categories, settings)
        except UnusableError as error:
            unusable.append(error)
        else:
            cells[paths[annotation["image_id"]]].append(found)
    images = {path: (f"{file}: image {key}", entries[key]) for key, path in paths.items()}
    return Listing(
        finder.root,
        tuple(AnnotatedImage(path, (*images[path], cells[path])) for path in sorted(images)),
        read_annotations,
        _classes(categories, [one["label"] for here in cells.values() for one in here]),
        tuple(unusable),
    )


def read_annotations(
    annotated: AnnotatedImage, image: np.ndarray
) -> Iterator[AnnotatedCell | UnusableError]:
    """Yield the cells of an image from its COCO entry and annotations."""
    where, entry, annotations = annotated.about
    shape = image.shape[:2]
    check_size(f"{where} ({annotated.path})", (entry.get("height"), entry.get("width")), shape)
    for annotation in annotations:
        try:
            yield _cell(annotation, shape)
        except UnusableError as error:
            yield error


def _checked(
    annotation: Any,
    where: str,
    images: tuple[_Images, Mapping[Any, str]],
    categories: _Images,
    settings: ImportSettings,
) -> dict[str, Any]:
    """Return an annotation with its kind and class, or raise ``UnusableError``."""
    if not isinstance(annotation, dict):
        raise UnusableError(where, "annotation that is no object")
    image, category = annotation.get("image_id"), annotation.get("category_id")
    entries, paths = images
    if not isinstance(image, int | str) or image not in entries:
        raise UnusableError(
            f"{where}: image {image!r}", "annotation of an image that is not listed"
        )
    if image not in paths:
        raise UnusableError(where, "annotation of an image that was left out")
    if not isinstance(category, int | str) or category not in categories:
        raise UnusableError(f"{where}: {category!r}", "annotation of a category that is not listed")
    if annotation.get("iscrowd") and not settings.brush:
        raise UnusableError(
            where, "mask marked iscrowd; if each is one cell (brush masks), say --brush"
        )
    if not annotation.get("segmentation"):
        what = "keypoints" if annotation.get("keypoints") else "box"
        raise UnusableError(where, f"{what} without a mask; segment the cells")
    name, parent = (str(categories[category].get(k) or "") for k in ("name", "supercategory"))
    kind, is_class = resolve(name, settings.kinds, where=f"{where}: category", parent=parent)
    label = annotation.get("label", name if is_class else None)
    if label is not None and (not isinstance(label, str) or not label):
        raise UnusableError(f"{where}: {label!r}", "label that is no text")
    score = annotation.get("score", 1.0)
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise UnusableError(f"{where}: {score!r}", "score that is not 0–1")
    return {**annotation, "kind": kind, "label": label, "score": float(score), "where": where}


def _cell(annotation: Mapping[str, Any], shape: tuple[int, int]) -> AnnotatedCell:
    where, segmentation = annotation["where"], annotation["segmentation"]
    try:
        if isinstance(segmentation, dict):
            mask = rle_to_mask(segmentation)
        else:
            mask = polygons_to_mask(segmentation, shape)
        nucleus = rle_to_mask(annotation["nucleus"]) if annotation.get("nucleus") else None
    except (ValueError, TypeError) as error:
        raise UnusableError(where, str(error)) from error
    for one in (mask, nucleus):
        if one is not None:
            check_size(where, one.shape, shape)
    if not mask.any():
        raise UnusableError(where, "mask without a pixel in the image")
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    inside = np.s_[y : y + height, x : x + width]
    return AnnotatedCell(
        mask=np.ascontiguousarray(mask[inside]),
        kind=annotation["kind"],
        offset=(x, y),
        label=annotation["label"],
        nucleus=None if nucleus is None else nucleus[inside],
        score=annotation["score"],
        cell_id=annotation.get("cell_id"),
    )


def _file(source: Path) -> Path:
    if not source.is_dir():
        return source
    found = [source / name for name in NAMES if (source / name).is_file()]
    if not found:
        raise InputError(f"{source}: no {' or '.join(NAMES)} in it; name the COCO file itself")
    return found[0]


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_bytes(file).decode("utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not JSON ({error})") from error
    for name in ("images", "categories", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            raise InputError(f"{file}: not COCO annotations: no list {name!r} in it")
    return content


def _by_id(file: Path, content: Mapping[str, Any], name: str, needed: str) -> dict[Any, Any]:
    """Return the images or categories by their id; each must have ``needed``."""
    found: dict[Any, Any] = {}
    for number, entry in enumerate(content[name], start=1):
        where = f"{file}: {name}: number {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int | str):
            raise InputError(f"{where}: lacks an id")
        if needed not in entry:
            raise InputError(f"{where}: lacks {needed}")
        if found.setdefault(entry["id"], entry)[needed] != entry[needed]:
            raise InputError(f"{where}: another entry of {name!r} has the id {entry['id']!r}")
    return found


def _name_of(annotation: Any, number: int) -> str:
    key = annotation.get("id") if isinstance(annotation, dict) else None
    return str(key) if isinstance(key, int | str) else f"number {number}"


def _classes(categories: _Images, labels: Sequence[str | None]) -> tuple[str, ...]:
    """Return the classes that occur, in the order of the categories, then of the alphabet."""
    found = set(labels) - {None}
    named = [str(category["name"]) for category in categories.values()]
    return tuple(dict.fromkeys([n for n in named if n in found] + sorted(map(str, found))))
