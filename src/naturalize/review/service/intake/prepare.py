"""What a user names, made into a review: images are named first, tables are taken as they are.

A person's work is never lost: a review of the same source is opened again, and one that holds
changes is replaced only by who says so twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.artifacts import file_hash, is_artifact, may_replace, read_manifest, writing
from naturalize.base.console import remark
from naturalize.base.errors import (
    ArtifactError,
    ImageReadError,
    InputError,
    NaturalizeError,
    SettingsError,
)
from naturalize.base.images import file_facts, read_bytes
from naturalize.base.shards import locked
from naturalize.base.walk import find_images
from naturalize.inputs.kind import named
from naturalize.models.folder import read_config
from naturalize.models.identity import stored_hash
from naturalize.models.shipped import find
from naturalize.review.service.intake.naming import BROKEN, digest_of, name_cells
from naturalize.review.service.intake.order import in_order
from naturalize.review.service.intake.rows import Found, located, of_fields, of_table, places_of
from naturalize.review.service.intake.size import sized
from naturalize.review.service.pictures import references
from naturalize.review.service.pictures.cut import LARGEST, OF_IMAGE
from naturalize.review.service.review import Review
from naturalize.review.store.cells import CellRow
from naturalize.review.store.database import NAME

_NEEDS = (
    "images, fields, a reading of fields, a table of predictions, an evaluation, or a review that "
    "was begun"
)

#: How images from elsewhere were taken, so that those that are put in later are treated alike.
PROFILE = "profile.json"

#: Folder of what is put in later; its lock is that of the review.
UPLOADS = "uploads"

#: Endings of tables that `inputs.kind.named` takes for other files.
_TABLES = (".xlsx", ".parquet", ".json")

#: How many times the longer side of a cell of a field a thumbnail spans, as on sheets.
_OF_BOX = 1.8

#: Images of one cell whose size is asked for, and what is taken where none can be read.
_SIZED, _USUAL = 24, 360


def make(
    inputs: Sequence[Path],
    out: Path | None = None,
    *,
    model: str = "pbc11",
    reference: str | None = None,
    target: int = 100,
    root: Path | None = None,
    discard: bool = False,
) -> Path:
    """Return the folder of a review of ``inputs``: a new one, or the one that was begun.

    Parameters
    ----------
    inputs
        Images and folders of them; or one table of predictions, reading of fields, evaluation, or
        review.
    out
        Folder of the review; by default ``review-<name of the input>`` in the working directory.
    model
        What names the cells of images, and what a table's cells were named by.
    reference
        A catalog, a bank, or labelled images: cells to compare with.
    target
        Cells that a differential is of.
    root
        Where the images of a table, a reading or an evaluation are.
    discard
        Whether a review with changes is replaced too, where ``--overwrite`` is given.

    Raises
    ------
    InputError
        For what is no such input, or images that are not there.
    ArtifactError
        If ``out`` holds something else, or a review that is not to be replaced.
    SettingsError
        If a review that is to be replaced is served.
    """
    source = _opened([Path(path) for path in inputs])
    if source.kind == "review":
        read_manifest(source.path, "review")
        return source.path
    folder = source.folder if out is None else Path(out)
    digest = source.digest()
    if is_artifact(folder, "review") and not _replaced(folder, digest, discard=discard):
        remark(f"{folder}: the review that was begun is opened again")
        return folder
    drawn = None if reference is None else references.drawn(Path(reference))
    path, work = find(model), folder.with_name(f".{folder.name}.work")
    config = read_config(path)
    if source.kind == "images":
        found = name_cells(source.files, path, work)
        places = [Path.cwd()]
    else:
        found = source.found(config.classes)
        places = places_of(source.path, root)
    if all(cell.flag.startswith(BROKEN) for cell in found.cells):
        shutil.rmtree(work, ignore_errors=True)
        raise _nothing(source.path, found)
    at, cells = located(found.cells, places, source.path)
    same = found.classes == config.classes
    settings = {
        "name": folder.name.removeprefix("review-"),
        "model": str(path.absolute()) if Path(model).is_dir() else str(model),
        "weights_hash": stored_hash(path) if same else "",
        "set_share": config.doubt.share if same and config.doubt is not None else None,
        "heat": same and find_spec("torch") is not None,
        "root": str(at),
        "target": target,
        "input": {"images": "folder", "fields": "fields"}.get(source.kind, "predictions"),
        "source": [str(each) for each in inputs],
        "platelets": found.platelets,
        "left_out": dict(found.left_out),
        "reference": reference,
    }

    def also(into: Path) -> None:
        if drawn is not None:
            references.write(into, drawn, path, found.classes)
        if found.profile is not None and config.standard is not None:
            found.profile.save(into / PROFILE, config.standard)

    write(folder, settings, found.classes, sized(cells, at), source=digest, also=also)
    shutil.rmtree(work, ignore_errors=True)
    for reason, n in found.left_out.items():
        remark(f"{n:,} cells left out: {reason}")
    return folder


@dataclass(frozen=True)
class _Source:
    """What was named: ``kind`` is ``images``, ``table``, ``fields``, ``evaluation``, ``review``."""

    path: Path
    kind: str
    files: Sequence[Path] = ()

    @property
    def folder(self) -> Path:
        """The folder that a review of it is in by default."""
        own = self.path.absolute()
        return Path(f"review-{own.name if own.is_dir() else own.stem}")

    def digest(self) -> str:
        """Return what names its content."""
        if self.kind == "images":
            return digest_of(self.files)
        return file_hash(self.path) if self.path.is_file() else read_manifest(self.path).fingerprint

    def found(self, classes: Sequence[str]) -> Found:
        """Return its cells; ``classes`` are those of the model."""
        if self.kind == "fields":
            return of_fields(self.path)
        table = self.path / "predictions.parquet" if self.kind == "evaluation" else self.path
        return of_table(table, classes)


def _nothing(source: Path, found: Found) -> InputError:
    """Return what is wrong with a source that has no cell, or none that can be read."""
    bad = [f"{cell.path}: {cell.flag.removeprefix(BROKEN)}" for cell in found.cells[:1]]
    bad += [f"{n:,} {reason}" for reason, n in found.left_out.items()]
    return InputError("; ".join([f"{source}: no cell to review", *bad]))


def _opened(inputs: Sequence[Path]) -> _Source:
    if not inputs:
        raise InputError(f"nothing to review; name {_NEEDS}")
    kinds = []
    for path in inputs:
        there = named(path, _NEEDS)
        table = there.kind == "table" or path.suffix.lower() in _TABLES
        kinds.append("table" if table and path.is_file() else there.kind)
    whole = {"table", "fields", "evaluation", "review"}
    if len(inputs) == 1 and kinds[0] in whole:
        return _Source(inputs[0], kinds[0])
    if mixed := [path for path, kind in zip(inputs, kinds, strict=True) if kind in whole]:
        raise InputError(f"{mixed[0]}: is reviewed without others; name it by itself, or images")
    return _Source(inputs[0], "images", find_images(inputs))


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other servers away from a review; ``SettingsError`` if one serves it.

    A second one would take uploads that wait in the first for what a killed server left.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / UPLOADS))
        except NaturalizeError as error:
            raise SettingsError(
                f"{folder}: is served already, or not to be written to ({error})"
            ) from error
        yield


def _replaced(folder: Path, digest: str, *, discard: bool) -> bool:
    """Return whether the review that is there gives way; else it is the same source's.

    ``ArtifactError`` if it holds what people did, or is another source's, and nobody said so.
    """
    if not may_replace():
        if read_manifest(folder, "review").inputs != {"source": digest}:
            raise ArtifactError(
                f"{folder}: is the review of another source; name it to go on with it, another "
                "folder with -o, or replace it with --overwrite"
            )
        return False
    with held(folder):
        review = Review.open(folder)
        n = review.changes()
        review.close()
    if n and not discard:
        raise ArtifactError(
            f"{folder}: holds {n:,} changes that people made; export them first (naturalize review "
            f"{folder}), then give --overwrite --discard to throw them away"
        )
    return True


def write(
    folder: Path,
    settings: Mapping[str, Any],
    classes: Sequence[str],
    cells: Sequence[CellRow],
    *,
    source: str,
    also: Callable[[Path], None] | None = None,
) -> Path:
    """Write a review of cells, in order, whole or not at all; return its folder.

    ``settings`` as `ReviewSettings`, but for those that follow from ``classes`` and cells; their
    ``root`` must be right. ``source`` names what the cells are from. ``also`` writes more into the
    folder before it is moved to its place.
    """
    made = dict(settings) | {"classes": list(classes)}
    made.setdefault("shown", shown_of(cells, Path(made["root"])))
    kept = {"model": made.get("weights_hash", ""), "classes": list(classes), "cells": len(cells)}
    inputs = {"source": source}
    with writing(
        folder,
        "review",
        settings=kept,
        inputs=inputs,
        same_source=lambda _: True,  # whether it may be replaced is decided before
        changing=(NAME,),
    ) as new:
        Review.create(new, made, in_order(cells, classes))
        for name in ("uploads", "cache"):
            (new / name).mkdir()
        if also is not None:
            also(new)
    return folder


def shown_of(cells: Sequence[CellRow], root: Path) -> int:
    """Return how many pixels of the files a thumbnail spans, the same for all cells.

    Nine in ten cells of fields are shown whole, and of images of one cell the middle 80 %.
    """
    boxes = np.array([cell.box for cell in cells if cell.box is not None]).reshape(-1, 4)
    sides = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    names = sorted({cell.path for cell in cells if cell.box is None})
    shorter = []
    for name in names[:: max(1, len(names) // _SIZED)]:
        try:
            facts = file_facts(read_bytes(root / name), name=name)
        except ImageReadError:
            continue
        shorter.append(min(facts.width, facts.height))
    found = [OF_IMAGE * float(np.median(shorter))] if shorter else []
    found += [_OF_BOX * float(np.quantile(sides, 0.9))] if len(sides) else []
    return min(max(1, round(max(found, default=_USUAL))), LARGEST)
