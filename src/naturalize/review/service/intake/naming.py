"""Images to cells of a review: named by a model in pieces that survive a kill, fields read."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base.artifacts import fingerprint, is_artifact
from naturalize.base.shards import claim, resumable_pieces
from naturalize.fields.write import Output, read_fields
from naturalize.models.predictor import NetworkPredictor, Predictor
from naturalize.prediction.files import Prediction, predict_files
from naturalize.prediction.profile import Profile
from naturalize.prediction.standardise import NO_WHITE_CELL, Standardiser
from naturalize.review.service.intake.rows import NO_CLASS, Found, of_fields
from naturalize.review.store.cells import CellRow

#: Images a piece: what a kill costs at most.
_PIECE = 64

#: How the flag of a file begins that cannot be read; the reason follows.
BROKEN = "error: "

#: One row an image, or a white cell of a field, as a model named it.
_NAMED = pa.schema(
    [
        ("path", pa.string()),
        ("label", pa.string()),
        ("confidence", pa.float32()),
        ("probabilities", pa.list_(pa.float32())),
        ("candidates", pa.list_(pa.string())),
        ("flag", pa.string()),
        ("error", pa.string()),
        ("field", pa.bool_()),
    ]
)


def name_cells(
    paths: Sequence[Path],
    model: Path,
    work: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    profile: Profile | None = None,
    piece: int = _PIECE,
) -> Found:
    """Return the cells of images: one of an image of one cell, the white ones of a field.

    Fields are read by `naturalize.fields`; red cells and platelets of fields are no cells of a
    review. A file that cannot be read is a cell without class whose flag says why.

    Parameters
    ----------
    paths
        Image files, absolute or from the working directory.
    model
        A model folder.
    work
        Folder of finished pieces: a run that was killed goes on from there. The caller removes it.
    progress
        Is given the number of images that are done, and of all.
    profile
        How images from elsewhere were taken; by default it is measured on these.
    piece
        Images whose cells are kept at a time.
    """
    predictor = Predictor.load(model)
    key = json.dumps([digest_of(paths), predictor.weights_hash])
    claim(work, {"key": key}, ["named", "fields"])
    standardiser = Standardiser(predictor.config.standard, profile=profile)
    if profile is None:
        standardiser.learn(paths)

    def compute(left: Iterable[Path]) -> Iterator[pa.Table]:
        todo = list(left)
        rows = predict_files(predictor, todo, standardiser=standardiser)
        each = itertools.groupby(rows, key=lambda row: row.path)
        for done, (_, its) in enumerate(each, start=len(paths) - len(todo) + 1):
            table = pa.Table.from_pylist([_row(one) for one in its], schema=_NAMED)
            progress(done, len(paths))
            yield table

    pieces = resumable_pieces(
        work / "named", key, paths, compute, _NAMED, piece=piece, what="name cells"
    )
    rows = [row for piece in pieces for row in piece.to_pylist()]
    fields = list(dict.fromkeys(row["path"] for row in rows if row["field"]))
    cells = [_cell(row, predictor) for row in rows if not row["field"]]
    found = Found(tuple(predictor.classes), cells, profile=standardiser.profile)
    if not fields:
        return found
    read = _read(
        [Path(path).absolute() for path in fields], predictor, standardiser, work / "fields"
    )
    return replace(read, cells=[*cells, *read.cells], profile=found.profile)


def _read(
    fields: Sequence[Path], predictor: NetworkPredictor, standardiser: Standardiser, out: Path
) -> Found:
    """Return the white cells of fields; a reading that is there already is taken."""
    if not is_artifact(out, "fields"):
        none = Output(masks=False, overlays=False)
        root = Path(fields[0].anchor)
        read_fields(
            fields, predictor, out, standardiser=standardiser, root=root, output=none,
            backend="serial",
        )  # fmt: skip
    found = of_fields(out)
    paths = {cell.path: (Path(fields[0].anchor) / cell.path).as_posix() for cell in found.cells}
    cells = [replace(one, path=paths[one.path], field=paths[one.path]) for one in found.cells]
    return replace(found, cells=cells)


def digest_of(paths: Sequence[Path]) -> str:
    """Return what names image files: their names, sizes and times."""
    status = {str(path): path.stat() for path in paths}
    facts: dict[str, Any] = {name: [s.st_size, s.st_mtime_ns] for name, s in status.items()}
    return fingerprint("images", facts, {})


def _row(one: Prediction) -> dict[str, Any]:
    return {
        "path": one.path.as_posix(),
        "label": one.label,
        "confidence": one.confidence,
        "probabilities": one.probabilities,
        "candidates": one.candidates or (),
        "flag": "; ".join(one.flags),
        "error": one.error,
        "field": one.box is not None or one.label == NO_WHITE_CELL,
    }


def _cell(row: dict[str, Any], predictor: NetworkPredictor) -> CellRow:
    """Return the cell of an image of one, or of a file that cannot be read."""
    label, flag = row["label"], row["flag"]
    if label in NO_CLASS:
        label, flag = None, "; ".join(text for text in (row["label"], flag) if text)
    standard = predictor.config.standard
    kinds = standard.kinds if standard is not None else {}
    shares = row["probabilities"]
    return CellRow(
        path=row["path"],
        kind="platelet" if kinds.get(label) == "platelet" else "wbc",
        model_label=label,
        confidence=row["confidence"],
        probabilities=None if shares is None else np.array(shares, np.float32),
        candidates=tuple(row["candidates"]),
        flag=f"{BROKEN}{row['error']}" if row["error"] else flag,
    )
