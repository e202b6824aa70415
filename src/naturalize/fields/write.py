"""Reading many fields into an artifact: found in pieces that survive a kill, then named."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from naturalize.base.images import read_image, write_image
from naturalize.base.shards import Pieces, resumable_pieces
from naturalize.cells.segment import FAILED, picture_names
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.cells.tables import cell_of
from naturalize.cells.tiling import Tiled
from naturalize.fields.read import finder, named
from naturalize.fields.summary import write_summary
from naturalize.fields.tables import FOUND, named_schema
from naturalize.imaging.runlength import encode
from naturalize.models.onnx_predictor import OnnxPredictor
from naturalize.models.predictor import NetworkPredictor
from naturalize.prediction.files import UNSURE
from naturalize.prediction.profile import Seen, sample
from naturalize.prediction.scene import main_cell
from naturalize.prediction.standardise import Standardiser

#: A field to name: its file, its name, that of its pictures, and the file of its cells.
_Task = tuple[Path, str, str, Path]

#: Fields on which scale and stain are measured at most.
_SAMPLE = 48

#: Fields of more pixels, or more cells than 16 bits number, get no label image: the table has all
#: masks.
_LARGEST_MASKS, _MOST_CELLS = 40_000_000, 65_535


@dataclass(frozen=True)
class Output:
    """What is written beside the tables.

    ``masks``: ``masks/<name>.png``, uint16, the numbers of cells; ``overlays``:
    ``overlays/<name>.jpg``.
    """

    masks: bool = True
    overlays: bool = True


def read_fields(
    paths: Sequence[Path],
    predictor: NetworkPredictor,
    out: str | Path,
    *,
    standardiser: Standardiser,
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
    unsure
        Confidence below which a class is flagged.
    output
        What is written beside the tables.
    run
        ``backend`` and ``workers`` of :func:`naturalize.base.engine.map`, for finding cells; they
        do not change the result.
    """
    out = Path(out)
    root = _root(paths)
    fields = [path.relative_to(root).as_posix() for path in paths]
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
    key = json.dumps([settings, str(standardiser.profile)], sort_keys=True)

    def compute(part: Iterable[Path]) -> Iterator[pa.Table]:
        return engine.map(partial(_found, find=find), part, chunk=1, **run)

    found = resumable_pieces(work / "found", key, paths, compute, FOUND, piece=1, what="find cells")
    if standardiser.profile is None:
        standardiser.learn_from(list(_seen(paths, found)))
    reader = _Reader(predictor, standardiser, unsure, output, work)
    tasks = list(zip(paths, fields, picture_names(fields), found.files, strict=True))
    schema = named_schema(predictor.classes)
    done = resumable_pieces(
        work / "named", key, tasks, reader.all, schema, piece=1, what="name cells"
    )
    with writing(out, "fields", settings=settings, same_source=same_source) as folder:
        write_summary(folder, done, predictor.classes)
        for kind in ("masks", "overlays"):
            if (work / kind).is_dir():
                shutil.copytree(work / kind, folder / kind, copy_function=link_file)
    shutil.rmtree(work, ignore_errors=True)
    return out


def _root(paths: Sequence[Path]) -> Path:
    """Return the folder that all paths lie in."""
    return Path(os.path.commonpath([path.parent for path in paths]))


def _digest(paths: Sequence[Path], fields: Sequence[str]) -> str:
    """Return what names the files: their names, sizes and times."""
    digest = hashlib.sha256()
    for path, field in zip(paths, fields, strict=True):
        status = path.stat()
        digest.update(repr((field, status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()[:16]


def _found(path: Path, *, find: Tiled) -> pa.Table:
    """Return the ``FOUND`` row of a field."""
    row: dict[str, Any] = {"cells": []}
    try:
        image = read_image(path)
        seen = find.segment(image)
    except ImageReadError as error:
        row["error"] = error.reason
    except (NaturalizeError, MemoryError):
        raise
    except Exception as error:  # one odd field shall not cost the others their cells
        row["error"] = f"{FAILED} ({type(error).__name__}: {error})".replace("\n", " ")
    else:
        row |= {"height": seen.shape[0], "width": seen.shape[1], "background": seen.background}
        row["cells"] = [_packed(cell) for cell in seen.cells]
    return pa.Table.from_pylist([row], schema=FOUND)


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


def _seen(paths: Sequence[Path], found: Pieces) -> Iterator[Seen]:
    """Yield what some fields, from all over the list, say of how they were taken."""
    for place in track(sample(paths, _SAMPLE), "measure"):
        cells = _segmentation(read_table(found.files[place], FOUND))
        if cells is not None and cells.cells:
            yield Seen.of(read_image(paths[place]), cells, main_cell(cells))


@dataclass(frozen=True)
class _Reader:
    """What names the cells of fields, and draws them."""

    predictor: NetworkPredictor
    standardiser: Standardiser
    unsure: float
    output: Output
    work: Path

    def all(self, tasks: Iterable[_Task]) -> Iterator[pa.Table]:
        """Yield a table of one row for each field; onnxruntime allows threads."""
        if isinstance(self.predictor, OnnxPredictor):
            return prefetched(self._one, tasks, window=2)
        return map(self._one, tasks)

    def _one(self, task: _Task) -> pa.Table:
        path, name, picture, file = task
        table = read_table(file, FOUND)
        about = {"field": name, "folder": PurePosixPath(name).parent.as_posix()}
        seen = _segmentation(table)
        if seen is None:
            error = table["error"][0].as_py()
            return self._table({**about, "outcome": error, "cells": []})
        image = read_image(path)
        field = named(name, image, seen, self.predictor, self.standardiser, self.unsure)
        small = image.size <= 3 * _LARGEST_MASKS and len(field.cells) <= _MOST_CELLS
        if self.output.masks and small:
            labels = field.label_image().astype(np.uint16)
            write_image(self.work / "masks" / f"{picture}.png", labels)
        if self.output.overlays:
            write_image(self.work / "overlays" / f"{picture}.jpg", field.draw(), quality=92)
        row = {
            **about,
            "outcome": field.outcome,
            "height": image.shape[0],
            "width": image.shape[1],
            **{f"n_{kind}": n for kind, n in field.counts.items()},
            "red_cell": field.red_cell,
            "cells": field.rows(),
        }
        return self._table(row)

    def _table(self, row: Mapping[str, Any]) -> pa.Table:
        return pa.Table.from_pylist([row], schema=named_schema(self.predictor.classes))
