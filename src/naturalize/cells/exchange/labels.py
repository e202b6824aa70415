"""Label images: a bank out, as Cellpose and others read them; and masks of other tools in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from naturalize.base import engine
from naturalize.base.artifacts import is_artifact, write_bytes
from naturalize.base.console import track, warn
from naturalize.base.errors import InputError, UnusableError
from naturalize.base.images import write_image
from naturalize.base.table import csv_text, read_rows
from naturalize.base.walk import walk_images
from naturalize.cells.bank.files import IMAGES, export_images
from naturalize.cells.exchange.annotated import (
    AnnotatedCell,
    AnnotatedImage,
    ImageFinder,
    Listing,
    check_size,
)
from naturalize.cells.exchange.kinds import AUTO, Kinds, given_kinds, resolve
from naturalize.cells.exchange.meaning import (
    Facts,
    Meaning,
    decide,
    each_number,
    each_piece,
    facts_of,
    read_mask,
)
from naturalize.cells.segmentation import KINDS, LEVELS, OVERLAP

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.cells.exchange import ImportSettings

#: What is written at the end of a mask's name, after the stem of its image.
ENDING = "_masks"

#: What may stand there; one that ends with another comes before it.
ENDINGS = ("_cp_masks", ENDING, "_mask", "_labels", "_label")

#: What Cellpose puts before that ending where the file is no mask (``cellpose/io.py``).
_NO_MASKS = ("_outlines", "_flows", "_dP", "_ncolor")

#: Name of the table that says which number is which kind of cell.
TABLE = "cells.csv"

_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp", ".npy", ".jpg", ".jpeg"})

#: Cells a 16-bit label image can hold.
_MOST = 65_535


class _Row(NamedTuple):
    """What the table says of a number."""

    kind: str
    label: str | None
    cell_id: str | None
    score: float


def write_labels(bank: CellBank, cells: pa.Table, folder: Path) -> dict[str, Any]:
    """Write ``masks/<path>_masks.png`` (uint16), ``images/<path>`` and ``cells.csv``.

    A pixel can belong to one cell only, so of masks that overlap the lower one loses pixels; a
    warning says how many cells did. A cell that is covered wholly is left out.
    """
    written = export_images(bank.pictures, cells, folder / IMAGES)
    of_path: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in cells.to_pylist():
        of_path[row["path"]].append(row)
    stems = Counter(PurePosixPath(file.path).with_suffix("") for file in written.values())
    lines, overlapped = [], 0
    for path in track(sorted(of_path), "export"):
        rows, file = of_path[path], written[path]
        if len(rows) > _MOST:
            raise InputError(f"{path}: {len(rows)} cells, a 16-bit label image holds {_MOST}")
        numbers = np.zeros(file.shape, np.uint16)
        order = sorted(enumerate(rows, start=1), key=lambda i: (OVERLAP.index(i[1]["kind"]), i[0]))
        for number, row in order:
            part = numbers[row["y0"] : row["y1"], row["x0"] : row["x1"]]
            part[bank.mask(row["cell_id"])] = number
        stem = PurePosixPath(file.path).with_suffix("")
        name = f"{stem if stems[stem] == 1 else file.path}{ENDING}.png"
        write_image(folder / "masks" / name, numbers)
        seen = np.bincount(numbers.ravel(), minlength=len(rows) + 1)
        for number, row in enumerate(rows, start=1):
            overlapped += int(seen[number]) < row["area"]
            if seen[number]:
                about = (row["kind"], row["label"] or "", row["cell_id"], repr(row["score"]))
                lines.append((name, number, *about))
    if overlapped:
        warn(f"{overlapped} of {cells.num_rows} cells lie partly under others: pixels are lost")
    head = ("file", "number", "kind", "label", "cell_id", "score")
    write_bytes(folder / TABLE, csv_text(head, lines).encode())
    return {"images": len(of_path), "cells": len(lines), "overlapped": overlapped}


def list_labels(source: Path, settings: ImportSettings, run: Mapping[str, Any]) -> Listing:
    """List masks: label images such as Cellpose writes, or masks of kinds, levels or cells.

    ``source``: folder of ``<stem>_masks.png`` (``_cp_masks``, ``.tif``, ``.npy``; sub-folders too),
    or one with ``masks/`` and ``images/`` in it. A table ``cells.csv`` in it with columns ``file``,
    ``number``, ``kind`` and optionally ``label``, ``cell_id`` and ``score`` says what each number
    is. ``run``: backend and workers.
    """
    asked = "kinds" if settings.format == "masks" else settings.meaning
    if asked == "kinds" and settings.kinds is not None:
        raise InputError(f"{source}: the numbers of such masks are the kinds; leave out --kind")
    folder, root = _folders(source, settings.images)
    if settings.format == "masks" and root == folder:
        raise InputError(f"{source}: say where the images of these masks are with --images")
    table = _table(source, settings.kinds)
    mask_of, unusable = _masks(folder, root)
    named = {path: table.pop(m.relative_to(folder).as_posix(), {}) for path, m in mask_of.items()}
    unusable += [UnusableError(f"{source / TABLE}: {name}", "row of no mask") for name in table]
    meaning = Meaning(asked or "numbers", settings.invert)
    if asked in (None, "levels"):
        files = {mask_of[path]: path for path in mask_of if not named[path]}
        found = engine.map(
            partial(facts_of, invert=settings.invert), files, what="read masks", name=str, **run
        )
        facts = []
        for file, one in zip(files, found, strict=True):
            if isinstance(one, Facts):
                facts.append(one)
            else:
                unusable.append(one)
                del mask_of[files[file]]
        if facts:
            meaning = decide(facts, asked, invert=settings.invert)
    rest = given_kinds(settings.kinds)[1] or AUTO
    images = [
        AnnotatedImage(path, (mask_of[path], named[path], rest, meaning))
        for path in sorted(mask_of)
    ]
    classes = sorted({row.label for rows in named.values() for row in rows.values() if row.label})
    return Listing(root, tuple(images), read_labels, tuple(classes), tuple(unusable))


def read_labels(
    annotated: AnnotatedImage, image: np.ndarray
) -> Iterator[AnnotatedCell | UnusableError]:
    """Yield the cells of a mask as its meaning says."""
    file, rows, rest, meaning = annotated.about
    mask = read_mask(file, invert=meaning.invert)
    numbers = mask.numbers
    check_size(file, numbers.shape, image.shape[:2])
    if meaning.name == "numbers" or rows:
        yield from _numbered(file, numbers, rows, rest)
    elif meaning.name == "kinds":
        if numbers.max(initial=0) > max(LEVELS.values()):
            what = f"holds {numbers.max()}; expected 0 slide, 1 white, 2 red cells, 3 platelets"
            raise UnusableError(file, f"{what} (else say --meaning numbers, levels or binary)")
        for kind, level in LEVELS.items():
            for offset, piece in each_piece(mask, numbers == level):
                yield AnnotatedCell(piece, kind, offset)
    else:
        for (x, y), piece in each_piece(mask, numbers > 0):
            here = np.s_[y : y + piece.shape[0], x : x + piece.shape[1]]
            nucleus = None
            if meaning.name == "levels" and (numbers[here][piece] == meaning.nucleus).any():
                nucleus = piece & (numbers[here] == meaning.nucleus)
            kind = KINDS[0] if nucleus is not None and rest == AUTO else rest
            yield AnnotatedCell(piece, kind, (x, y), nucleus=nucleus)


def _numbered(
    file: Path, numbers: np.ndarray, rows: Mapping[int, _Row], rest: str
) -> Iterator[AnnotatedCell | UnusableError]:
    unseen = set(rows)
    for number, offset, one in each_number(numbers):
        unseen.discard(number)
        kind, label, cell_id, score = rows.get(number, _Row(rest, None, None, 1.0))
        yield AnnotatedCell(one, kind, offset, label=label, score=score, cell_id=cell_id)
    for number in sorted(unseen):
        yield UnusableError(f"{file}: {number}", f"row of {TABLE} whose number no pixel has")


def _folders(source: Path, images: Path | None) -> tuple[Path, Path]:
    """Return the folder of masks and the folder of images."""
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; name the folder that holds the label images")
    folder = source / "masks" if (source / "masks").is_dir() else source
    if folder == source and is_artifact(source, "cells"):
        raise InputError(f"{source}: has no masks/; segment again with --masks")
    return folder, images or (source / "images" if (source / "images").is_dir() else folder)


def _masks(folder: Path, root: Path) -> tuple[dict[str, Path], list[UnusableError]]:
    """Return the mask of each image, and what is none; among images masks end like masks."""
    finder = ImageFinder(root, stems=True, without=ENDINGS if root == folder else ())
    masks_of = defaultdict[str, list[Path]](list)
    unusable: list[UnusableError] = []
    for name in walk_images(folder, suffixes=_SUFFIXES).images:
        file, stem = folder / name, PurePosixPath(name).with_suffix("").as_posix()
        if root == folder and not stem.endswith((*ENDINGS, "_seg")):
            continue
        try:
            masks_of[_image_of(stem, file, finder)].append(file)
        except UnusableError as error:
            unusable.append(error)
    if not masks_of and not unusable:
        raise InputError(f"{folder}: no label image in it (<stem>{ENDING}.png, .tif or .npy)")
    mask_of = {}
    for path, masks in masks_of.items():
        try:
            mask_of[path] = masks[0] if len(masks) == 1 else _the_same(masks)
        except UnusableError as error:
            unusable.append(error)
    return mask_of, unusable


def _the_same(masks: Sequence[Path]) -> Path:
    """Return the first of several masks of one image if they are equal, such as PNG and TIFF."""
    first, *others = (read_mask(mask).numbers for mask in masks)
    if all(first.shape == other.shape and (first == other).all() for other in others):
        return masks[0]
    names = ", ".join(mask.name for mask in masks[1:])
    raise UnusableError(f"{masks[0]}, {names}", "image with several masks that differ")


def _image_of(stem: str, file: Path, finder: ImageFinder) -> str:
    """Return the image of a mask; its own stem comes first, then that without its ending."""
    if stem.endswith("_seg") and file.suffix.lower() == ".npy":
        what = "Cellpose's _seg.npy, a pickle, which can run code and is not opened"
        raise UnusableError(file, f"{what}; of it alone, save the masks as PNG or TIFF there")
    ending = next((e for e in ENDINGS if stem.endswith(e)), "")
    key = stem.removesuffix(ending)
    try:
        return finder.find(stem, file)
    except UnusableError:
        if key.endswith(_NO_MASKS):
            raise UnusableError(file, "outlines or flows of Cellpose, no mask") from None
        return finder.find(key, file)


def _table(source: Path, kinds: Kinds) -> dict[str, dict[int, _Row]]:
    """Return mask → number → what the table beside the masks says."""
    file = source / TABLE
    rows: dict[str, dict[int, _Row]] = {}
    if not file.is_file():
        return rows
    for row in read_rows(file, ("file", "number", "kind"), ("label", "cell_id", "score")):
        try:
            number, score = int(row["number"]), float(row["score"] or 1.0)
        except ValueError as error:
            raise InputError(f"{row.where}: number or score is no number ({error})") from error
        of_file = rows.setdefault(PurePosixPath(row["file"]).as_posix(), {})
        if number in of_file:
            raise InputError(f"{row.where}: {row['file']} has the number {number} twice")
        kind, is_class = resolve(row["kind"], kinds, where=row.where)
        label = row["label"] or (row["kind"] if is_class else None)
        of_file[number] = _Row(kind, label, row["cell_id"] or None, score)
    return rows
