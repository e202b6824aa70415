"""Pictures of a review's cells: thumbnails at one scale, whole cells, fields, outlines, heat maps.

What was made is kept in one file, ``cache/pictures.sqlite``: it can be deleted at any time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from sqlalchemy import select

from naturalize.base.errors import ImageReadError, SettingsError
from naturalize.base.images import content_hash, encode_image, read_bytes, read_image
from naturalize.base.plots import ACCENT
from naturalize.cells.segmentation import Cell, Segmentation, target_of
from naturalize.fields.pixels import pixels, scan_size
from naturalize.models.shipped import find
from naturalize.review.service.errors import NoSuchError, RateError
from naturalize.review.service.pictures.cache import Cache
from naturalize.review.service.pictures.cut import (
    LARGEST,
    corner_of,
    cut,
    jpeg,
    middle,
    missing,
    outline_of,
    scaled,
    shrunk,
)
from naturalize.review.service.pictures.references import FILE as REFERENCES
from naturalize.review.service.pictures.references import Reference, References
from naturalize.review.service.review import Review
from naturalize.review.store.cells import CellRow
from naturalize.review.store.tables import CELL

#: Quality of thumbnails as JPEG, by eye.
_SMALL_QUALITY = 85

#: Longest side of a whole picture and of a field in pixels, and what of the field is shown around
#: a cell of a large one, in spans of a thumbnail.
_LONGEST, _AROUND = 1600, 8

#: Decoded fields that are held.
_HELD = 2

#: Threads that may wait for a network: a fifth of those that a server has.
_TURNS = 8

#: Colour and width in pixels of the box around a cell in its field: the accent of the pages.
_BOX, _WIDTH = tuple(bytes.fromhex(ACCENT[1:])), 3

#: Numbers of reference cells that are the review's own: those of its cells and this.
OWN = 1_000_000_000


class Pictures:
    """The pictures of a review; every method may be called from any thread."""

    def __init__(self, review: Review) -> None:
        self._review, self._folder = review, Path(review.folder)
        self._shown = review.settings.shown
        self._cache = Cache(self._folder / "cache" / "pictures.sqlite")
        self._held: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock, self._slow = threading.Lock(), threading.Lock()
        self._turns = threading.Semaphore(_TURNS)

    def close(self) -> None:
        """Close the cache."""
        self._cache.close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for the network, which one thread asks at a time; ``RateError`` if many wait."""
        if not self._turns.acquire(blocking=False):  # or all threads of the server would wait here
            raise RateError("the model is at work for others; try again in a moment")
        try:
            with self._slow:
                yield
        finally:
            self._turns.release()

    # ---- what is shown of a cell

    def thumbnail(self, cell: int) -> bytes:
        """Return a cell in the middle of `SIDE` pixels, JPEG, at the one scale of the review.

        ``ImageReadError`` where the image cannot be read. All cells of a field are cut at once.
        """
        if (kept := self._cache.get(f"thumbnail-{cell}")) is not None:
            return kept
        row = self._review.row(cell)
        if row.box is None:
            made = {cell: self._small(self._image(row), None)}
        else:
            made = self._of_field(row, cell)
        found = {f"thumbnail-{i}": jpeg(each, _SMALL_QUALITY) for i, each in made.items()}
        self._cache.put(found)
        return found[f"thumbnail-{cell}"]

    def _of_field(self, row: CellRow, cell: int) -> dict[int, np.ndarray]:
        if scan_size(self._review.file(row.path)) is not None:
            return {cell: shrunk(self._square(row, self._shown))}
        image = self._image(row)
        return {i: self._small(image, one.box) for i, one in self._review.rows_at(row.path)}

    def _small(self, image: np.ndarray, box: tuple[int, int, int, int] | None) -> np.ndarray:
        height, width = image.shape[:2]
        left, top = corner_of(box or (0, 0, width, height), self._shown)
        return shrunk(cut(image, left, top, self._shown))

    def full(self, cell: int) -> bytes:
        """Return all of an image of one cell, or a field around a cell, JPEG.

        ``ImageReadError`` if it cannot be read.
        """
        return jpeg(self._full(self._review.row(cell))[0])

    def _full(self, row: CellRow) -> tuple[np.ndarray, tuple[int, int], float]:
        """Return what `full` shows, where it begins in the file, and its scale."""
        if row.box is None:
            image = self._image(row)
            scale = min(1.0, _LONGEST / max(image.shape[:2]))
            return scaled(image, scale), (0, 0), scale
        x0, y0, x1, y1 = row.box
        side = min(max(self._shown, x1 - x0, y1 - y0), LARGEST)
        corner = corner_of(row.box, side)
        return self._square(row, side), corner, 1.0

    def _square(self, row: CellRow, side: int) -> np.ndarray:
        """Return a square of a field around a cell, RGB uint8; of a scan no more is read."""
        assert row.box is not None
        path, (left, top) = self._review.file(row.path), corner_of(row.box, side)
        if (size := scan_size(path)) is None:
            return cut(self._image(row), left, top, side)
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(size[1], left + side), min(size[0], top + side)
        return cut(pixels(path, (x0, y0, x1, y1)), left - x0, top - y0, side)

    def around(self, cell: int) -> bytes:
        """Return the field that a cell lies in, its box drawn, JPEG; of a scan, what is near it.

        Of an image of one cell it is the image.
        """
        row = self._review.row(cell)
        if row.box is None:
            return self.full(cell)
        if scan_size(self._review.file(row.path)) is None:
            image, corner = self._image(row), (0, 0)
        else:
            side = min(_AROUND * self._shown, LARGEST)
            image, corner = self._square(row, side), corner_of(row.box, side)
        scale = min(1.0, _LONGEST / max(image.shape[:2]))
        made = scaled(image, scale).copy()  # what is held stays as it is
        corners = [round(scale * (v - at)) for v, at in zip(row.box, corner * 2, strict=True)]
        cv2.rectangle(made, corners[:2], corners[2:], _BOX, _WIDTH, cv2.LINE_AA)
        return jpeg(made)

    def shape(self, cell: int) -> tuple[list[list[int]] | None, tuple[int, int] | None]:
        """Return a cell's outline and the size of its picture, in pixels of `full`: x, y.

        Where no segmenter has seen the image yet, it is asked, unless many wait for it. Null where
        there is no cell in the middle, or the image cannot be read.
        """
        row = self._review.row(cell)
        try:
            image, (left, top), scale = self._full(row)
        except ImageReadError:
            return None, None
        size = image.shape[1], image.shape[0]
        points = row.outline
        corner = (0, 0) if row.box is None else row.box[:2]
        if points is None and row.box is None:
            with suppress(RateError):  # a cell is shown without it, and has it the next time
                points = self._outline(cell, row)
        if points is None or not len(points):
            return None, size
        moved = scale * (points + np.array(corner) - (left, top))
        return np.rint(moved).astype(int).tolist(), size

    def outline(self, cell: int) -> list[list[int]] | None:
        """Return a cell's outline; see `shape`."""
        return self.shape(cell)[0]

    def _outline(self, cell: int, row: CellRow) -> np.ndarray | None:
        name = f"shape-{cell}"
        if (kept := self._cache.get(name)) is None:
            with self._turn():
                found = self._segmenter.segment(self._image(row))
            target = _target(found, row.kind)
            points = np.zeros((0, 2), np.int32)
            if target is not None:
                points = outline_of(target.mask) + np.array(target.box[:2], np.int32)
            kept = points.astype(np.int32).tobytes()
            self._cache.put({name: kept})
        return np.frombuffer(kept, np.int32).reshape(-1, 2)

    @cached_property
    def _segmenter(self) -> Any:
        from naturalize.fields.read import finder

        return finder()

    def heat(self, cell: int, label: str | None = None) -> bytes:
        """Return `full` with where the model looked for a class, PNG; by default for its own.

        ``SettingsError`` without PyTorch or the model, or for a class that it does not have;
        ``RateError`` where many wait for the model.
        """
        row = self._review.row(cell)
        label = label or row.model_label
        if not self._review.settings.heat or label is None:
            why = "the cell has no class" if label is None else "PyTorch or the model is not here"
            raise SettingsError(f"cell {cell}: no heat map: {why}")
        name = f"heat-{cell}-{label}"
        if (kept := self._cache.get(name)) is None:
            with self._turn():
                kept = encode_image(self._heater(self._full(row)[0], label))
            self._cache.put({name: kept})
        return kept

    @cached_property
    def _heater(self) -> Callable[[np.ndarray, str], np.ndarray]:
        from naturalize.review.service.pictures.heat import Heater

        return Heater(find(self._review.settings.model))

    # ---- cells to compare with

    @property
    def has_references(self) -> bool:
        """Whether there are labelled cells of a reference."""
        return (self._folder / REFERENCES).is_file()

    @cached_property
    def _references(self) -> References:
        return References(self._folder, find(self._review.settings.model))

    def nearest(self, cell: int, k: int = 6) -> list[tuple[Reference, float]]:
        """Return the ``k`` reference cells most like a cell, and their cosines; [] without any.

        ``RateError`` where many wait for the model.
        """
        if not self.has_references:
            return []
        row = self._review.row(cell)
        image_id = content_hash(read_bytes(self._review.file(row.path))) if row.box is None else ""
        with self._turn():
            return self._references.nearest(self._full(row)[0], image_id, k)

    def atlas(self, label: str, k: int = 12) -> list[Reference]:
        """Return ``k`` typical cells of a class: of the reference.

        Without one, those of the review that the model is surest of; `has_references` says which.
        """
        if self.has_references:
            return self._references.atlas(label, k)
        asked = (
            select(CELL.c.id, CELL.c.path)
            .where(CELL.c.model_label == label)
            .order_by(CELL.c.doubt, CELL.c.rank)
            .limit(k)
        )
        with self._review.database.reading() as link:
            rows = link.execute(asked).all()
        return [Reference(OWN + row.id, label, self._review.file(row.path), "") for row in rows]

    def reference(self, number: int) -> bytes:
        """Return a reference cell as thumbnails are shown; ``NoSuchError`` if there is none."""
        if number > OWN:
            return self.thumbnail(number - OWN)
        cells = self._references.cells if self.has_references else []
        if not 1 <= number <= len(cells):
            raise NoSuchError(f"no reference cell {number} in this review")
        name = f"reference-{number}"
        if (kept := self._cache.get(name)) is None:
            try:
                image = read_image(cells[number - 1].path)
            except ImageReadError:
                return jpeg(missing())
            kept = jpeg(shrunk(middle(image)), _SMALL_QUALITY)
            self._cache.put({name: kept})
        return kept

    def _image(self, row: CellRow) -> np.ndarray:
        """Return the image of a cell, RGB uint8 (H, W, 3); of fields the last ones are held."""
        path = self._review.file(row.path)
        if row.box is None:
            return read_image(path)
        with self._lock:
            if (image := self._held.get(row.path)) is not None:
                self._held.move_to_end(row.path)
                return image
        image = pixels(path)
        image.setflags(write=False)
        with self._lock:
            self._held[row.path] = image
            while len(self._held) > _HELD:
                self._held.popitem(last=False)
        return image


def _target(found: Segmentation, kind: str) -> Cell | None:
    return target_of(found.of(kind) or found.of("wbc"), found.shape)
