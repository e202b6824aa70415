"""Reading many fields into an artifact: found in pieces that survive a kill, then named."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base import engine
from naturalize.base.artifacts import check_place, link_file, read_table, same_images, writing
from naturalize.base.console import track
from naturalize.base.engine import prefetched
from naturalize.base.errors import ImageReadError, NaturalizeError
from naturalize.base.images import write_image
from naturalize.base.shards import Pieces, claim, resumable_pieces
from naturalize.cells.segment import FAILED, picture_names
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.cells.tables import cell_of
from naturalize.cells.tiling import Tiled
from naturalize.fields.coco import write_coco
from naturalize.fields.field import Field
from naturalize.fields.parts import Part, in_core, neighbours, owned, parts_of
from naturalize.fields.pixels import whole
from naturalize.fields.read import finder, named
from naturalize.fields.sheet import sheet_of
from naturalize.fields.summary import write_summary
from naturalize.fields.tables import FOUND, named_schema
from naturalize.imaging.runlength import encode
from naturalize.models.onnx_predictor import OnnxPredictor
from naturalize.models.predictor import NetworkPredictor
from naturalize.prediction.files import UNSURE
from naturalize.prediction.profile import Seen, sample
from naturalize.prediction.scene import main_cell
from naturalize.prediction.standardise import Standardiser

#: Fields on which scale and stain are measured at most.
_SAMPLE = 48

#: Fields of more pixels, or more cells than 16 bits number, get no label image: the table has all
#: masks. So do scans.
_LARGEST_MASKS, _MOST_CELLS = 40_000_000, 65_535


@dataclass(frozen=True)
class Output:
    """What is written beside the tables.

    ``masks``: ``masks/<name>.png``, uint16, the numbers of cells; ``overlays``:
    ``overlays/<name>.jpg``; ``sheet``: ``sheet.jpg``, white cells by class; ``coco``:
    ``annotations.json``, all cells as COCO annotations.
    """

    masks: bool = True
    overlays: bool = True
    sheet: bool = False
    coco: bool = False


def read_fields(
    paths: Sequence[Path],
    predictor: NetworkPredictor,
    out: str | Path,
    *,
    standardiser: Standardiser,
    root: str | Path | None = None,
    unsure: float = UNSURE,
    output: Output = Output(),
    **run: Any,
) -> Path:
    """Find and name the cells of fields, and write the ``fields`` artifact; return its folder.

    It holds ``cells.parquet`` and ``cells.csv`` (a row a cell), ``fields.parquet`` and
    ``counts.csv`` (a row a field), ``differential.csv`` and ``differential.json`` (a differential a
    folder of fields), and ``masks/`` and ``overlays/``. A field that cannot be read has the reason
    as outcome. A run that was killed goes on from the last finished field.

    Parameters
    ----------
    paths
        Image files.
    predictor
        What names white cells.
    standardiser
        What brings them to the model's standard; without a profile, one is measured on the fields.
    root
        The folder that the names of fields count from; by default the one that all lie in.
    unsure
        Confidence below which a class is flagged.
    output
        What is written beside the tables.
    run
        ``backend`` and ``workers`` of :func:`naturalize.base.engine.map`, for finding cells; they
        do not change the result.
    """
    out = Path(out)
    top = common_folder([path.parent for path in paths]) if root is None else Path(root).absolute()
    fields = [path.absolute().relative_to(top).as_posix() for path in paths]
    same_source = same_images("fields.parquet", fields, column="field")
    check_place(out, "fields", {}, same_source)
    work = out.with_name(f".{out.name}.work")
    find = finder()
    settings = {
        "segmenter": find.segmenter.name,
        **find.settings,
        "fields": _digest(paths, fields),
        "model": predictor.weights_hash,
        "unsure": unsure,
    }
    if (given := standardiser.profile) is not None:
        settings["profile"] = hashlib.sha256(repr(given).encode()).hexdigest()[:16]
    key = json.dumps([settings, vars(output)], sort_keys=True)
    claim(work, {"key": key}, ["found", "named", "masks", "overlays"])

    parts = [
        part
        for path, field, picture in zip(paths, fields, picture_names(fields), strict=True)
        for part in parts_of(path, field, picture)
    ]

    if len(parts) == 1 and run.get("backend") != "ray":  # no other field for the other processors
        find = finder(run.get("workers") or engine.available_cpus())
        run["backend"] = "serial"

    def compute(these: Iterable[Part]) -> Iterator[pa.Table]:
        return engine.map(partial(_found, find=find), these, chunk=1, name=_name_of, **run)

    found = resumable_pieces(work / "found", key, parts, compute, FOUND, piece=1, what="find cells")
    if standardiser.profile is None:  # the caller's stays as it is: a run that goes on asks it anew
        standardiser = Standardiser(standardiser.standard, standardiser.mode)
        standardiser.learn_from(list(_seen(parts, found)))
    reader = _Reader(predictor, standardiser, unsure, output, work, parts, found.files)
    schema, places = named_schema(predictor.classes), range(len(parts))
    done = resumable_pieces(
        work / "named", key, places, reader.all, schema, piece=1, what="name cells"
    )
    with writing(out, "fields", settings=settings, same_source=same_source) as folder:
        write_summary(folder, done, predictor.classes)
        if output.coco:
            write_coco(folder / "annotations.json", done, predictor.classes)
        if output.sheet:
            write_image(folder / "sheet.jpg", sheet_of(parts, done, predictor.classes), quality=90)
        for kind in ("masks", "overlays"):
            if (work / kind).is_dir():
                shutil.copytree(work / kind, folder / kind, copy_function=link_file)
    shutil.rmtree(work, ignore_errors=True)
    return out


def common_folder(folders: Sequence[Path]) -> Path:
    """Return the absolute folder that all of some folders lie in, or are."""
    return Path(os.path.commonpath([folder.absolute() for folder in folders]))


def _digest(paths: Sequence[Path], fields: Sequence[str]) -> str:
    """Return what names the files: their names, sizes and times."""
    digest = hashlib.sha256()
    for path, field in zip(paths, fields, strict=True):
        status = path.stat()
        digest.update(repr((field, status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()[:16]


def _name_of(part: Part) -> str:
    return part.field


def _found(part: Part, *, find: Tiled) -> pa.Table:
    """Return the ``FOUND`` row of a part."""
    row: dict[str, Any] = {"cells": [], "error": part.error}
    try:
        seen = None if part.error else replace(find, width=part.width).segment(part.pixels())
    except ImageReadError as error:
        row["error"] = error.reason
    except (NaturalizeError, MemoryError):
        raise
    except Exception as error:  # one odd field shall not cost the others their cells
        row["error"] = _failed(FAILED, error)
    else:
        if seen is not None:
            row |= {"height": seen.shape[0], "width": seen.shape[1], "background": seen.background}
            row["cells"] = [_packed(cell) for cell in seen.cells]
    return pa.Table.from_pylist([row], schema=FOUND)


def _failed(what: str, error: Exception) -> str:
    """Return the outcome of a field with which something unforeseen went wrong."""
    return f"{what} ({type(error).__name__}: {error})".replace("\n", " ")


def _packed(cell: Cell) -> dict[str, Any]:
    return {
        "kind": cell.kind,
        **dict(zip(("x0", "y0", "x1", "y1"), cell.box, strict=True)),
        "score": cell.score,
        "mask": encode(cell.mask),
        "nucleus": None if cell.nucleus is None else encode(cell.nucleus),
    }


def _segmentation(table: pa.Table) -> Segmentation | None:
    """Return the cells of a ``FOUND`` row; null for a field that could not be read."""
    row = table.to_pylist()[0]
    if row["error"] is not None:
        return None
    cells = tuple(cell_of(cell) for cell in row["cells"])
    return Segmentation((row["height"], row["width"]), cells, tuple(row["background"]))


def _seen(parts: Sequence[Part], found: Pieces) -> Iterator[Seen]:
    """Yield what some parts, from all over the list, say of how they were taken."""
    for place in track(sample(parts, _SAMPLE), "measure"):
        cells = _segmentation(read_table(found.files[place], FOUND))
        if cells is not None and cells.cells:
            yield Seen.of(parts[place].pixels(), cells, main_cell(cells))


@dataclass(frozen=True)
class _Reader:
    """What names the cells of parts, and draws them."""

    predictor: NetworkPredictor
    standardiser: Standardiser
    unsure: float
    output: Output
    work: Path
    parts: Sequence[Part]
    found: Sequence[Path]

    def all(self, places: Iterable[int]) -> Iterator[pa.Table]:
        """Yield a table of one row for each part; onnxruntime allows threads."""
        if isinstance(self.predictor, OnnxPredictor):
            return prefetched(self._one, places, window=2)
        return map(self._one, places)

    def _one(self, at: int) -> pa.Table:
        part = self.parts[at]
        table = read_table(self.found[at], FOUND)
        folder = PurePosixPath(part.field).parent.as_posix()
        row: dict[str, Any] = {"field": part.field, "folder": folder}
        seen = _segmentation(table)
        if seen is None:
            row |= {"outcome": table["error"][0].as_py(), "cells": []}
            return pa.Table.from_pylist([row], schema=named_schema(self.predictor.classes))
        try:
            field = self._named(at, seen)
        except (NaturalizeError, MemoryError):
            raise
        except Exception as error:  # as where cells are found
            row |= {"outcome": _failed("naming failed", error), "cells": []}
            return pa.Table.from_pylist([row], schema=named_schema(self.predictor.classes))
        self._draw(part, field)
        height, width = part.size or field.image.shape[:2]
        row |= {"outcome": field.outcome, "height": height, "width": width}
        row |= {f"n_{kind}": n for kind, n in field.counts.items()}
        row |= {"red_cell": field.red_cell, "cells": moved(field.rows(), part.corner)}
        return pa.Table.from_pylist([row], schema=named_schema(self.predictor.classes))

    def _named(self, at: int, seen: Segmentation) -> Field:
        """Return a field, or what of a part of a scan belongs to it, its cells named."""
        part, ours = self.parts[at], self._owned(at, seen)
        image, of_file = whole(part.path) if part.window is None else (part.pixels(), ())
        field = named(
            part.field, image, seen, self.predictor, self.standardiser, self.unsure, of_file
        )
        own = {id(cell) for cell in seen.cells}
        kept = [
            one
            for one in field.cells
            if (id(one.cell) in ours if id(one.cell) in own else in_core(part, one.cell))
        ]
        cells = tuple(replace(one, number=number) for number, one in enumerate(kept, start=1))
        return replace(field, cells=cells)

    def _owned(self, at: int, seen: Segmentation) -> set[int]:
        """Return the cells that belong to this part of a scan; all of a whole field."""
        found = {at: (self.parts[at], seen)}
        for place in neighbours(self.parts, at):
            cells = _segmentation(read_table(self.found[place], FOUND)) if place != at else None
            if cells is not None:
                found[place] = (self.parts[place], cells)
        return owned(at, found)

    def _draw(self, part: Part, field: Field) -> None:
        """Write the label image of a whole field; its overlay, or that of a part of a scan."""
        small = field.image.size <= 3 * _LARGEST_MASKS and len(field.cells) <= _MOST_CELLS
        if self.output.masks and small and part.window is None:
            labels = field.label_image().astype(np.uint16)
            write_image(self.work / "masks" / f"{part.picture}.png", labels)
        if self.output.overlays:
            name = part.picture
            if part.window is not None:
                name += f"/{part.corner[0]:06d}-{part.corner[1]:06d}"
            write_image(self.work / "overlays" / f"{name}.jpg", field.draw(), quality=92)


def moved(rows: list[dict[str, Any]], corner: tuple[int, int]) -> list[dict[str, Any]]:
    """Return rows of cells, their boxes as much farther as the corner of their part."""
    by = {"x0": corner[0], "x1": corner[0], "y0": corner[1], "y1": corner[1]}
    return [row | {name: row[name] + step for name, step in by.items()} for row in rows]
