"""COCO annotations in: polygons or RLE, categories as kinds or as classes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.console import warn
from naturalize.base.errors import InputError
from naturalize.base.images import read_bytes
from naturalize.cells.exchange.kinds import Kinds, resolve
from naturalize.cells.exchange.marked import Listing, Marking, Task, shape_error
from naturalize.cells.exchange.rle import polygons_to_mask, rle_to_mask
from naturalize.cells.exchange.where import image_below

#: Name of the annotations in a folder that this project or an annotation tool wrote.
NAMES = ("annotations.json", "instances_default.json", "_annotations.coco.json", "result.json")


def list_coco(source: Path, images: Path | None, kinds: Kinds) -> Listing:
    """List the images of a COCO file and their annotations.

    Parameters
    ----------
    source
        The JSON file, or a folder that holds one by a usual name.
    images
        Folder that ``file_name`` counts from; by default ``images/`` beside the file, or its own
        folder.
    kinds
        Which kind each category is; see :func:`naturalize.cells.exchange.kinds.resolve`.

    Raises
    ------
    InputError
        If the file is none, lacks something, or says two things of one id; the message names the
        file and the image, category or annotation.
    """
    file = _file(source)
    content = _read(file)
    root = images or next((p for p in (file.parent / "images",) if p.is_dir()), file.parent)
    pictures = _by_id(file, content, "images", "file_name")
    categories = _by_id(file, content, "categories", "name")
    meaning = {
        key: resolve(
            str(category["name"]),
            kinds,
            where=f"{file}: category {key}",
            parent=str(category.get("supercategory") or ""),
        )
        for key, category in categories.items()
    }
    of_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    crowds = 0
    for key, annotation in _by_id(file, content, "annotations", "image_id").items():
        where = f"{file}: annotation {key}"
        if annotation["image_id"] not in pictures:
            raise InputError(f"{where}: there is no image {annotation['image_id']!r}")
        if annotation.get("category_id") not in categories:
            raise InputError(f"{where}: there is no category {annotation.get('category_id')!r}")
        if annotation.get("iscrowd"):
            crowds += 1
            continue
        kind, is_class = meaning[annotation["category_id"]]
        name = str(categories[annotation["category_id"]]["name"])
        label = annotation.get("label", name if is_class else None)
        if label is not None and (not isinstance(label, str) or not label):
            raise InputError(f"{where}: label must be text, got {label!r}")
        said = {"kind": kind, "label": label, "where": where}
        of_image[annotation["image_id"]].append({**annotation, **said})
    if crowds:
        warn(f"{file}: {crowds} annotations of crowds (iscrowd) are no single cells: left out")
    tasks = _tasks(file, root, pictures, of_image)
    return Listing(root, tasks, read_annotations, _classes(categories, of_image))


def read_annotations(task: Task, image: np.ndarray) -> list[Marking]:
    """Return the markings of an image from its COCO entry and annotations."""
    where, entry, annotations = task.about
    shape = image.shape[:2]
    stated = (entry.get("height"), entry.get("width"))
    if None not in stated and stated != shape:
        raise shape_error(f"{where} ({task.path})", "its entry", stated, shape)
    return [_marking(annotation, shape) for annotation in annotations]


def _marking(annotation: Mapping[str, Any], shape: tuple[int, int]) -> Marking:
    where, segmentation = annotation["where"], annotation.get("segmentation")
    if not segmentation:
        raise InputError(f"{where}: no segmentation (a box alone is no mask); segment the cells")
    try:
        if isinstance(segmentation, dict):
            mask = rle_to_mask(segmentation)
        else:
            mask = polygons_to_mask(segmentation, shape)
        nucleus = rle_to_mask(annotation["nucleus"]) if annotation.get("nucleus") else None
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: {error}") from error
    for name, one in (("its mask", mask), ("its nucleus", nucleus)):
        if one is not None and one.shape != shape:
            raise shape_error(where, name, one.shape, shape)
    if not mask.any():
        raise InputError(f"{where}: its mask has no pixel inside the image; remove it or draw it")
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    inside = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Marking(
        mask=np.ascontiguousarray(mask[inside]),
        kind=annotation["kind"],
        offset=(int(columns[0]), int(rows[0])),
        label=annotation["label"],
        nucleus=None if nucleus is None else nucleus[inside],
        score=_score(annotation),
        cell_id=annotation.get("cell_id"),
    )


def _score(annotation: Mapping[str, Any]) -> float:
    score = annotation.get("score", 1.0)
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise InputError(f"{annotation['where']}: score must be 0–1, got {score!r}")
    return float(score)


def _file(source: Path) -> Path:
    if not source.is_dir():
        return source
    found = [source / name for name in NAMES if (source / name).is_file()]
    if not found:
        raise InputError(f"{source}: no {' or '.join(NAMES)} in it; name the COCO file itself")
    return found[0]


def _read(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(read_bytes(file))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not JSON ({error})") from error
    for name in ("images", "categories", "annotations"):
        if not isinstance(said, dict) or not isinstance(said.get(name), list):
            raise InputError(f"{file}: not COCO annotations: no list {name!r} in it")
    return said


def _by_id(file: Path, said: Mapping[str, Any], name: str, needed: str) -> dict[Any, Any]:
    """Return the entries of a list by their id; each must have ``needed``."""
    one, found = name.removesuffix("s").replace("categorie", "category"), {}
    for i, entry in enumerate(said[name]):
        if not isinstance(entry, dict) or "id" not in entry or needed not in entry:
            raise InputError(f"{file}: {one} number {i + 1} lacks id or {needed}")
        key = entry["id"]
        if isinstance(key, bool) or not isinstance(key, int | str):
            raise InputError(f"{file}: {one} number {i + 1}: its id is {key!r}, no number or text")
        if key in found:
            raise InputError(f"{file}: two entries of {name!r} have the id {key!r}")
        found[key] = entry
    return found


def _tasks(
    file: Path,
    root: Path,
    pictures: Mapping[Any, dict[str, Any]],
    of_image: Mapping[Any, list[dict[str, Any]]],
) -> tuple[Task, ...]:
    tasks: dict[str, Task] = {}
    for key, entry in pictures.items():
        where = f"{file}: image {key}"
        path = image_below(root, str(entry["file_name"]), where)
        if path in tasks:
            raise InputError(f"{where}: {path} is listed twice")
        tasks[path] = Task(path, (where, entry, of_image.get(key, [])))
    return tuple(tasks[path] for path in sorted(tasks))


def _classes(
    categories: Mapping[Any, dict[str, Any]], of_image: Mapping[Any, list[dict[str, Any]]]
) -> tuple[str, ...]:
    """Return the classes that occur, in the order of the categories, then of the alphabet."""
    found = {a["label"] for annotations in of_image.values() for a in annotations} - {None}
    named = [str(category["name"]) for category in categories.values()]
    return tuple(dict.fromkeys([n for n in named if n in found] + sorted(found)))
