"""Label images in: one number a cell (Cellpose and others), or one number a kind (our own)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from naturalize.base.artifacts import is_artifact
from naturalize.base.console import warn
from naturalize.base.errors import InputError
from naturalize.base.walk import walk_images
from naturalize.cells.exchange.kinds import AUTO, Kinds, given_kinds, resolve
from naturalize.cells.exchange.marked import Listing, Marking, Task, shape_error
from naturalize.cells.exchange.where import ByStem
from naturalize.cells.segmentation import LEVELS

#: What is written at the end of a mask's name, after the stem of its image.
ENDING = "_masks"

#: What may stand there; one that ends with another comes before it.
ENDINGS = ("_cp_masks", ENDING, "_mask", "_labels", "_label")

#: Name of the table that says which number is which kind of cell.
TABLE = "cells.csv"

_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".npy")


def list_labels(source: Path, images: Path | None, kinds: Kinds) -> Listing:
    """List label images with one number a cell, 0 for background, such as Cellpose writes.

    Parameters
    ----------
    source
        Folder of ``<stem>_masks.png`` (``_cp_masks``, ``.tif``, ``.npy``; sub-folders too), or one
        with ``masks/`` and ``images/`` in it. A table ``cells.csv`` in it with columns ``file``,
        ``number``, ``kind`` and optionally ``label``, ``cell_id`` and ``score`` says what each
        number is.
    images
        Folder of the images; by default ``images/`` of the source, or where the masks are.
    kinds
        The kind of cells that no table speaks of: one of the three, or ``"auto"`` (the default),
        by size and stain.
    """
    folder, root = _folders(source, images)
    found = ByStem(root, without=ENDINGS if root == folder else ())
    table = _table(source, kinds)
    rest = given_kinds(kinds)[1] or AUTO
    tasks: dict[str, Task] = {}
    for mask in _masks(folder, images_too=root == folder):
        relative = mask.relative_to(folder)
        key = relative.with_suffix("").as_posix()
        ending = next((e for e in ENDINGS if key.endswith(e)), "")
        path = found.find(key.removesuffix(ending), mask)
        if path in tasks:
            raise InputError(f"{mask}: {tasks[path].about[0]} is a mask of the same image {path}")
        tasks[path] = Task(path, (mask, table.pop(relative.as_posix(), {}), rest))
    if table:
        raise InputError(f"{source / TABLE}: there is no mask {next(iter(table))} in {folder}")
    classes = sorted({row[1] for task in tasks.values() for row in task.about[1].values()} - {None})
    return Listing(root, tuple(tasks[p] for p in sorted(tasks)), read_numbers, tuple(classes))


def list_masks(source: Path, images: Path | None, kinds: Kinds) -> Listing:
    """List label images of kinds, as ``naturalize segment --masks`` writes them.

    0 is background, 1 white cells, 2 red cells, 3 platelets; each connected piece is a cell, so
    cells of one kind that touch are one.

    Parameters
    ----------
    source
        Folder of ``<stem>.png``, or a ``cells`` artifact with ``masks/``.
    images
        Folder of the images; it must be given unless the source has ``images/``.
    kinds
        Nothing: the numbers say it.
    """
    if kinds is not None:
        raise InputError(f"{source}: the numbers of such masks say the kind; leave out --kind")
    folder, root = _folders(source, images)
    if root == folder:
        raise InputError(f"{source}: say where the images of these masks are with --images")
    found = ByStem(root)
    tasks: dict[str, Task] = {}
    for mask in _masks(folder, images_too=False):
        path = found.find(mask.relative_to(folder).with_suffix("").as_posix(), mask)
        if path in tasks:
            raise InputError(f"{mask}: {tasks[path].about} is a mask of the same image {path}")
        tasks[path] = Task(path, mask)
    return Listing(root, tuple(tasks[path] for path in sorted(tasks)), read_kinds)


def read_numbers(task: Task, image: np.ndarray) -> list[Marking]:
    """Return a marking for each number of a label image."""
    file, rows, rest = task.about
    numbers = label_image(file)
    if numbers.shape != image.shape[:2]:
        raise shape_error(str(file), "the mask", numbers.shape, image.shape)
    markings, pieces, unseen = [], 0, set(rows)
    for number, offset, mask in _each(numbers):
        unseen.discard(number)
        kind, label, cell_id, score = rows.get(number, (rest, None, None, 1.0))
        pieces += cv2.connectedComponents(mask.astype(np.uint8))[0] > 2
        markings.append(
            Marking(mask, kind, offset=offset, label=label, cell_id=cell_id, score=score)
        )
    if unseen:
        raise InputError(f"{file}: no pixel has the number {min(unseen)} that {TABLE} speaks of")
    if pieces:
        warn(f"{file}: {pieces} of {len(markings)} cells lie in several pieces")
    return markings


def read_kinds(task: Task, image: np.ndarray) -> list[Marking]:
    """Return a marking for each connected piece of each kind."""
    levels = label_image(task.about)
    if levels.shape != image.shape[:2]:
        raise shape_error(str(task.about), "the mask", levels.shape, image.shape)
    if levels.max(initial=0) > max(LEVELS.values()):
        raise InputError(
            f"{task.about}: holds {levels.max()}; expected 0 background, 1 white cells, 2 red "
            "cells, 3 platelets (for one number a cell use the format 'labels')"
        )
    markings = []
    for kind, level in LEVELS.items():
        _, pieces = cv2.connectedComponents((levels == level).astype(np.uint8), connectivity=4)
        markings += [Marking(mask, kind, offset=offset) for _, offset, mask in _each(pieces)]
    return markings


def label_image(file: Path) -> np.ndarray:
    """Return the whole numbers of a label image, int32 (H, W).

    Raises
    ------
    InputError
        If the file cannot be read, is a colour image, holds fractions, or is a pickle.
    """
    numbers = _array(file)
    if numbers.ndim != 2:
        raise InputError(
            f"{file}: expected one number a pixel, got an array of {numbers.ndim} axes "
            f"{numbers.shape}; save labels as a 16-bit grey PNG or TIFF, not as a colour image"
        )
    if numbers.dtype.kind == "f":
        if not (np.isfinite(numbers).all() and (numbers == np.rint(numbers)).all()):
            raise InputError(f"{file}: holds fractions; a label image has whole numbers")
    elif numbers.dtype.kind not in "uib":
        raise InputError(f"{file}: holds {numbers.dtype}; a label image has whole numbers")
    if numbers.size and (numbers.min() < 0 or numbers.max() >= 2**31):
        raise InputError(f"{file}: numbers must be 0 (background) to {2**31 - 1}")
    return numbers.astype(np.int32)


def _array(file: Path) -> np.ndarray:
    if file.suffix.lower() == ".npy":
        try:
            return np.load(file, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise InputError(
                f"{file}: not a plain array (Cellpose's _seg.npy is a pickle, which can run code "
                "and is not opened); save the masks as PNG or TIFF there, and import these"
            ) from error
    try:
        with Image.open(file) as opened:
            if opened.mode == "P":  # the numbers, not the colours that they are shown in
                return np.asarray(opened)
            if opened.mode == "1":
                return np.asarray(opened).astype(np.uint8)
            return np.asarray(opened)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{file}: not a label image that can be read ({error})") from error


def _each(numbers: np.ndarray) -> Iterator[tuple[int, tuple[int, int], np.ndarray]]:
    """Yield each number above 0, column and row of its box, and its mask there."""
    from scipy.ndimage import find_objects

    values = np.unique(numbers)
    # sparse numbers (65535, or hashes) would cost a slot each: number them anew first
    dense = np.searchsorted(values, numbers)
    boxes = find_objects(dense + 1)
    for i, value in enumerate(values.tolist()):
        if value > 0:
            rows, columns = boxes[i]
            yield value, (columns.start, rows.start), dense[rows, columns] == i


def _folders(source: Path, images: Path | None) -> tuple[Path, Path]:
    """Return the folder of masks and the folder of images."""
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; name the folder that holds the label images")
    folder = source / "masks" if (source / "masks").is_dir() else source
    if folder == source and is_artifact(source, "cells"):
        raise InputError(f"{source}: has no masks/; segment again with --masks")
    root = images or (source / "images" if (source / "images").is_dir() else folder)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder of images")
    return folder, root


def _masks(folder: Path, *, images_too: bool) -> list[Path]:
    """Return the label images of a folder; among images only those that end like masks."""
    found = []
    for file in (folder / name for name in walk_images(folder, suffixes=_SUFFIXES).images):
        if file.stem.endswith("_seg") and file.suffix.lower() == ".npy":
            label_image(file)  # says why it is not opened
        if not images_too or file.stem.endswith(ENDINGS):
            found.append(file)
    if not found:
        raise InputError(f"{folder}: no label image in it (<stem>{ENDING}.png, .tif or .npy)")
    return found


def _table(
    source: Path, kinds: Kinds
) -> dict[str, dict[int, tuple[str, str | None, str | None, float]]]:
    """Return mask → number → kind, label, cell id, score, as the table beside the masks says."""
    file = source / TABLE
    rows: dict[str, dict[int, tuple[str, str | None, str | None, float]]] = {}
    if not file.is_file():
        return rows
    with file.open(newline="", encoding="utf-8-sig") as opened:
        reader = csv.DictReader(opened)
        missing = {"file", "number", "kind"} - set(reader.fieldnames or ())
        if missing:
            raise InputError(f"{file}: lacks the column(s) {', '.join(sorted(missing))}")
        for line, row in enumerate(reader, start=2):
            where = f"{file}: line {line}"
            try:
                number, score = int(row["number"]), float(row.get("score") or 1.0)
            except ValueError as error:
                raise InputError(f"{where}: number or score is no number ({error})") from error
            of_file = rows.setdefault(PurePosixPath(row["file"]).as_posix(), {})
            if number in of_file:
                raise InputError(f"{where}: {row['file']} has the number {number} twice")
            kind, is_class = resolve(row["kind"], kinds, where=where)
            label = row.get("label") or (row["kind"] if is_class else None)
            of_file[number] = (kind, label, row.get("cell_id") or None, score)
    return rows
