"""What every door gives: marked cells of images, and their measures as after segmenting."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from naturalize.base import engine
from naturalize.base.console import warn
from naturalize.base.errors import InputError
from naturalize.base.images import content_hash, decode_image, read_bytes
from naturalize.cells.exchange.kinds import AUTO, guess
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.cells.segmenters.classical.view import view
from naturalize.cells.tables import CELLS, IMAGES, OUTCOMES, image_row


@dataclass(frozen=True, eq=False)
class Marking:
    """One marked cell.

    Attributes
    ----------
    mask
        Bool (h, w), at least one pixel.
    kind
        ``"wbc"``, ``"rbc"``, ``"platelet"``, or ``"auto"``.
    offset
        Column and row of the mask's first pixel in the image.
    label
        Its class, if it is known.
    nucleus
        Bool like ``mask``, or ``None``.
    score
        Confidence, 0–1.
    cell_id
        The id that it had when this project wrote it.
    """

    mask: np.ndarray
    kind: str
    offset: tuple[int, int] = (0, 0)
    label: str | None = None
    nucleus: np.ndarray | None = None
    score: float = 1.0
    cell_id: str | None = None


class Task(NamedTuple):
    """An image below the root, and what its door needs to find its markings."""

    path: str
    about: Any


#: Returns the markings of RGB uint8 (H, W, 3); a module-level function, it goes to the workers.
Reader = Callable[[Task, np.ndarray], list[Marking]]


@dataclass(frozen=True)
class Listing:
    """The images that a source marks cells in.

    Attributes
    ----------
    root
        Folder of the images.
    tasks
        One an image, sorted by path.
    read
        Gives the markings of one.
    classes
        Classes of the cells in the source's order; empty where it knows none.
    """

    root: Path
    tasks: tuple[Task, ...]
    read: Reader
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """Cells as tables.

    Attributes
    ----------
    cells, outcomes
        As in a ``cells`` artifact.
    labels
        Class of each cell, or ``None``.
    """

    cells: pa.Table
    outcomes: pa.Table
    labels: list[str | None]

    @property
    def digest(self) -> str:
        """16 hex digits of the ids, kinds, boxes, masks and classes."""
        columns = ["cell_id", "path", "kind", "x0", "y0", "x1", "y1", "mask", "nucleus", "score"]
        said = [self.cells[name].to_pylist() for name in columns]
        return hashlib.sha256(repr([said, self.labels]).encode()).hexdigest()[:16]


def measured(listing: Listing, *, backend: str, workers: int | None) -> Measured:
    """Measure all marked cells of a source.

    Raises
    ------
    InputError
        If an image is missing or cannot be read, or its markings do not fit it.
    """
    rows = engine.map(
        partial(_measure, root=listing.root, read=listing.read),
        listing.tasks,
        backend=backend,
        workers=workers,
        what="import",
        name=_path_of,
    )
    kept, labels, seen = [], [], dict[str, str]()
    for row, of_cells in rows:
        first = seen.setdefault(row["image_id"], row["path"])
        if first != row["path"]:
            warn(f"{row['path']}: the same file as {first}; its cells are taken from there")
            continue
        kept.append(row)
        labels += of_cells
    images = pa.Table.from_pylist(kept, schema=IMAGES)
    flat = images["cells"].combine_chunks().flatten()
    cells = pa.Table.from_arrays(flat.flatten(), names=CELLS.names).cast(CELLS)
    if not cells.num_rows:
        raise InputError(f"{listing.root}: no cell is marked in any of {len(kept)} images")
    _check_ids(cells)
    return Measured(cells, images.select(OUTCOMES.names), labels)


def shape_error(where: str, what: str, got: Sequence[int], shape: Sequence[int]) -> InputError:
    """Return the error for a size (rows, columns) that is not that of its image."""
    return InputError(
        f"{where}: {what} is {got[1]} × {got[0]} pixels, its image {shape[1]} × {shape[0]}; "
        "use the image that was annotated, at its own size"
    )


def _measure(task: Task, *, root: Path, read: Reader) -> tuple[dict[str, Any], list[str | None]]:
    file = root / task.path
    data = read_bytes(file)
    image, _ = decode_image(data, name=file)
    markings = read(task, image)
    kinds = [marking.kind for marking in markings]
    if AUTO in kinds:
        guessed = guess(image, [(marking.offset, marking.mask) for marking in markings])
        kinds = [g if kind == AUTO else kind for g, kind in zip(guessed, kinds, strict=True)]
    cells = tuple(_cells(markings, kinds))
    image_id = content_hash(data)
    found = Segmentation(image.shape[:2], cells, view(image).background)
    row = image_row(image_id, task.path, image, found)
    for cell, marking in zip(row["cells"], markings, strict=True):
        # an id that this project gave to a cell of this very image is still good
        if marking.cell_id and marking.cell_id.rpartition("-")[0] == image_id:
            cell["cell_id"] = marking.cell_id
    return row, [marking.label for marking in markings]


def _cells(markings: Sequence[Marking], kinds: Sequence[str]) -> Iterator[Cell]:
    for marking, kind in zip(markings, kinds, strict=True):
        yield Cell.from_mask(
            kind,
            marking.mask,
            score=marking.score,
            nucleus=marking.nucleus,
            offset=marking.offset,
        )


def _check_ids(cells: pa.Table) -> None:
    ids, paths = cells["cell_id"].to_pylist(), cells["path"].to_pylist()
    seen: set[str] = set()
    for cell_id, path in zip(ids, paths, strict=True):
        if cell_id in seen:
            raise InputError(f"{path}: two of its cells have the id {cell_id}")
        seen.add(cell_id)


def _path_of(task: Task) -> str:
    return task.path
