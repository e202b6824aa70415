"""Outlines of found cells over a few source images, drawn from the cells artifact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from naturalize.base.errors import ArtifactError, ImageReadError
from naturalize.base.images import read_image
from naturalize.base.rng import rng
from naturalize.report.folder import Artifact, StudyFolder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_COLUMNS = ["image_id", "kind", "x0", "y0", "x1", "y1", "mask"]


def outlined(study: StudyFolder, cells: Artifact, most: int) -> list[tuple[str, np.ndarray]]:
    """Return up to ``most`` images with the outlines of their cells: path and RGB uint8 (H, W, 3).

    The images are drawn at random, classes in turn, from those in which cells were found; none
    where the source images are no longer in place.
    """
    if study.root is None or not (cells.path / "cells.parquet").is_file():
        return []
    images = []
    for row in _drawn(study, cells, most):
        try:
            images.append((row, read_image(study.root / row["path"])))
        except ImageReadError:
            continue
    if not images:
        return []
    found = _cells_of(cells.path / "cells.parquet", [row["image_id"] for row, _ in images])
    return [(row["path"], _outline(image, found[row["image_id"]])) for row, image in images]


def _drawn(study: StudyFolder, cells: Artifact, most: int) -> Iterator[dict[str, Any]]:
    outcomes = cells.table("outcomes.parquet", ["image_id", "path", "outcome"])
    listed = study.artifacts["catalog"].table("catalog.parquet", ["path", "label"])
    if outcomes is None or listed is None:
        return
    label_of = {row["path"]: row["label"] for row in listed.to_pylist()}
    good = [row for row in outcomes.to_pylist() if row["outcome"] == "ok"]
    shuffled = [good[i] for i in rng(0, "report outlines").permutation(len(good))]
    order: dict[str | None, int] = {label: i for i, label in enumerate(study.labels)}
    taken: dict[str | None, int] = {}
    turns = []
    for place, row in enumerate(shuffled):
        label = label_of.get(row["path"])
        taken[label] = taken.get(label, 0) + 1
        turns.append((taken[label], order.get(label, len(order)), place))
    for *_, place in sorted(turns)[:most]:
        yield shuffled[place]


def _cells_of(file: Path, image_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the cells of the named images; the table is read for these alone."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file, columns=_COLUMNS, filters=[("image_id", "in", list(image_ids))])
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(f"{file}: not a readable Parquet table ({error})") from error
    found: dict[str, list[dict[str, Any]]] = {image_id: [] for image_id in image_ids}
    for row in table.to_pylist():
        found[row["image_id"]].append(row)
    return found


def _outline(image: np.ndarray, rows: Sequence[dict[str, Any]]) -> np.ndarray:
    from naturalize.cells.overlay import overlay
    from naturalize.cells.segmentation import Cell, Segmentation
    from naturalize.imaging.runlength import decode

    cells = []
    for row in rows:
        x0, y0, x1, y1 = (int(row[key]) for key in ("x0", "y0", "x1", "y1"))
        mask = decode(np.asarray(row["mask"], np.uint32), (y1 - y0, x1 - x0))
        cells.append(Cell(row["kind"], (x0, y0, x1, y1), mask))
    height, width = image.shape[:2]
    return overlay(image, Segmentation((height, width), tuple(cells), (255.0, 255.0, 255.0)))
