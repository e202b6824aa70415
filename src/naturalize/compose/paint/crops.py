"""The crop store: a plan's cells and scenes, decoded, mapped from files: rendering decodes nothing.

An artifact-like folder: ``colours.npy`` (uint8 (P, 3)) and ``edges.npy`` (uint8 (P,)), the pixels
of all patches one after the other (see ``patch``), ``index.parquet``, a row a patch;
``scenes.npy`` (uint8 (Q, 3)) and ``scenes.parquet`` likewise for what stands behind the cells, and
for the parts of it that are to be painted on, as they were before they were coded. It is opened
read-only, so that all workers share its pages. A store that is built for a size holds
everything at that size only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from naturalize.base import engine
from naturalize.base.artifacts import (
    fingerprint,
    is_artifact,
    read_manifest,
    read_table,
    write_table,
    writing,
)
from naturalize.base.errors import ArtifactError, InputError
from naturalize.compose.paint.blend import BLENDS
from naturalize.compose.paint.patch import Patch, reduced
from naturalize.compose.paint.scenes import BeforeCoding, CellSource, Scenes, image_of, shrunk
from naturalize.compose.paint.sizes import PAD, Shrink, Size
from naturalize.imaging.jpeg.codec import Codec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan

#: An image, ``(cell_id, style, factor)`` of its cells, ``(background_id, x, y)`` of its scenes.
Need = tuple[str, list[tuple[str, str, float]], list[tuple[str, float, float]]]

#: Columns of ``index.parquet``.
INDEX = pa.schema(
    [
        ("cell_id", pa.string()),
        ("image_id", pa.string()),
        ("style", pa.string()),
        ("factor", pa.float64()),
        ("offset", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("reach", pa.float64()),
        ("ground", pa.list_(pa.float32(), 3)),
    ]
)

#: Columns of ``scenes.parquet``.
SCENES = pa.schema(
    [
        ("background_id", pa.string()),
        ("image_id", pa.string()),
        ("factor_x", pa.float64()),
        ("factor_y", pa.float64()),
        ("offset", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("codec", pa.string()),
        ("uncoded_offset", pa.int64()),
        ("uncoded_box", pa.list_(pa.int32(), 4)),
    ]
)

_KIND = "crops"

#: Of the layout of the files; another one is made anew.
_LAYOUT = 5


class CropStore(CellSource):
    """Cells and scenes by id, mapped from a folder; pickles to the folder's name.

    Made by :meth:`build`; ``ArtifactError`` if the folder is no store or does not fit together.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).resolve()
        read_manifest(self.folder, _KIND)
        cells = read_table(self.folder / "index.parquet", INDEX).to_pylist()
        scenes = read_table(self.folder / "scenes.parquet", SCENES).to_pylist()
        self._colours = _mapped(self.folder / "colours.npy")
        self._edges = _mapped(self.folder / "edges.npy")
        self._pixels = _mapped(self.folder / "scenes.npy")
        self._patches = {(row["cell_id"], row["style"], row["factor"]): row for row in cells}
        self._scenes = {
            (row["background_id"], row["factor_x"], row["factor_y"]): row for row in scenes
        }
        self._ids = {row["cell_id"] for row in cells}
        shapes = (_end(cells), 3), (_end(cells),), (_end_of_scenes(scenes), 3)
        found = self._colours.shape, self._edges.shape, self._pixels.shape
        if shapes != found:
            raise ArtifactError(f"{self.folder}: pixels do not fit the index; make it again")

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self._ids)

    def __contains__(self, cell_id: object) -> bool:
        """Return whether the store has a cell."""
        return cell_id in self._ids

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return _opened, (str(self.folder),)

    @classmethod
    def build(
        cls,
        plan: Plan,
        bank: CellBank,
        folder: str | Path,
        *,
        size: Size = None,
        backend: str = "serial",
        workers: int | None = None,
        what: str | None = "crop cells",
    ) -> CropStore:
        """Write what ``plan`` uses to ``folder`` and open it; each image is decoded once.

        A store of the same cells and scenes that already stands there is opened as it is.

        Parameters
        ----------
        plan, bank
            The recipes, and where their cells are.
        folder
            Where the store shall be.
        size
            Of :func:`~naturalize.compose.paint.render.render`: a store for small pictures is
            smaller.
            Recipes are rendered from it at that size only. A store without one serves all sizes.
        backend, workers
            As for :func:`naturalize.base.engine.map`; they change no byte.
        what
            Heading of the progress bar; none without it.
        """
        wanted = needed(plan, size)
        names = hashlib.sha256(repr(wanted).encode()).hexdigest()[:16]
        settings = {"cells": names, "pad": PAD, "layout": _LAYOUT}
        inputs = {"bank": bank.fingerprint}
        folder = Path(folder)
        key = fingerprint(_KIND, settings, inputs)
        if is_artifact(folder, _KIND) and read_manifest(folder).fingerprint == key:
            return cls(folder)
        made = engine.map(
            partial(_of_image, Scenes(bank)),
            wanted,
            backend=backend,
            workers=workers,
            chunk=16,
            what=what,
            name=_image_name,
        )
        with writing(folder, _KIND, settings=settings, inputs=inputs) as partial_folder:
            _write(partial_folder, wanted, made)
        return cls(folder)

    def patch(self, cell_id: str, style: str = "extended", factor: float = 1.0) -> Patch:
        """Return a cell ready to be pasted, without a copy where it is stored so.

        Raises
        ------
        InputError
            If the store does not have it.
        """
        row = self._patches.get((cell_id, style, factor))
        if row is None:
            whole = self._patches.get((cell_id, style, 1.0))
            if whole is None or factor == 1:
                raise self._lacks(cell_id)
            return reduced(self._patch(whole), factor)
        return self._patch(row)

    def _patch(self, row: dict[str, Any]) -> Patch:
        at, width, height = row["offset"], row["width"], row["height"]
        end = at + width * height
        patch = Patch(
            self._colours[at:end].reshape(height, width, 3),
            self._edges[at:end].reshape(height, width),
            tuple(row["ground"]),
            row["style"],
        )
        patch.__dict__["reach"] = row["reach"]  # a cached property, known already
        return patch

    def _lacks(self, cell_id: str) -> InputError:
        if cell_id in self:
            return InputError(
                f"{self.folder}: cell {cell_id!r} is in this store for another size or blend; "
                "build it for the plan and the size that is rendered"
            )
        return InputError(
            f"{self.folder}: no cell {cell_id!r} in this store of {len(self):,} cells; "
            "build it for the plan that is rendered"
        )

    def background(
        self, background_id: str, factors: tuple[float, float] = (1.0, 1.0)
    ) -> np.ndarray:
        """Return a scene at ``factors`` of its width and height, not to be written to.

        Raises
        ------
        InputError
            If the store does not have it.
        """
        row = self._scenes.get((background_id, *factors))
        if row is None:
            whole = self._scenes.get((background_id, 1.0, 1.0))
            if whole is None or factors == (1, 1):
                raise InputError(
                    f"{self.folder}: no background {background_id!r} in this store of "
                    f"{len(self._scenes):,}; build it for the plan and the size that is rendered"
                )
            return shrunk(self._scene(whole), factors)
        return self._scene(row)

    def before_coding(self, background_id: str) -> BeforeCoding | None:
        """Return the restored part of a scene before coding, if it is stored at its own size."""
        row = self._scenes.get((background_id, 1.0, 1.0))
        if row is None or row["codec"] is None:
            return None
        x0, y0, x1, y1 = row["uncoded_box"]
        pixels = self._at(row["uncoded_offset"], x1 - x0, y1 - y0)
        return BeforeCoding(Codec.parse(row["codec"]), (x0, y0, x1, y1), pixels)

    def _scene(self, row: dict[str, Any]) -> np.ndarray:
        return self._at(row["offset"], row["width"], row["height"])

    def _at(self, offset: int, width: int, height: int) -> np.ndarray:
        return self._pixels[offset : offset + width * height].reshape(height, width, 3)


def _end(rows: list[dict[str, Any]]) -> int:
    return max((row["offset"] + row["width"] * row["height"] for row in rows), default=0)


def _end_of_scenes(rows: list[dict[str, Any]]) -> int:
    ends = []
    for row in rows:
        if row["uncoded_box"] is not None:
            x0, y0, x1, y1 = row["uncoded_box"]
            ends.append(row["uncoded_offset"] + (x1 - x0) * (y1 - y0))
    return max([_end(rows), *ends])


def _image_name(item: Need) -> str:
    return f"image {item[0]}"


def _mapped(file: Path) -> np.ndarray:
    """Map an array; a plain view, since slicing a memmap runs Python code each time."""
    try:
        return np.asarray(np.load(file, mmap_mode="r")).view(np.ndarray)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file}: cannot be mapped ({error}); make the store again") from error


#: A scene as it is stored, and what of it is to be painted on.
_Ground = tuple[np.ndarray, BeforeCoding | None]


def _of_image(source: Scenes, item: Need) -> tuple[list[Patch], list[_Ground]]:
    """Return the patches and scenes of one image; each is cut, or restored, once for all sizes."""
    _, cells, scenes = item
    cut: dict[tuple[str, str], Patch] = {}
    patches = []
    for cell_id, style, factor in cells:
        whole = cut.get((cell_id, style))
        if whole is None:
            whole = cut[cell_id, style] = source.patch(cell_id, style)
        patches.append(reduced(whole, factor) if factor < 1 else whole)
    grounds: list[_Ground] = []
    for name, x, y in scenes:
        uncoded = source.before_coding(name) if (x, y) == (1, 1) else None
        grounds.append((source.background(name, (x, y)), uncoded))
    return patches, grounds


def _write(
    folder: Path,
    wanted: Sequence[Need],
    made: Iterable[tuple[list[Patch], list[_Ground]]],
) -> None:
    cell_rows: list[tuple[Any, ...]] = []
    scene_rows: list[tuple[Any, ...]] = []
    at, scene_at = 0, 0
    with (
        _growing(folder / "colours.npy", 3) as colours,
        _growing(folder / "edges.npy") as edges,
        _growing(folder / "scenes.npy", 3) as pixels,
    ):
        for (image_id, cells, scenes), (patches, images) in zip(wanted, made, strict=True):
            for (cell_id, style, factor), patch in zip(cells, patches, strict=True):
                height, width = patch.edge.shape
                colours(patch.colours)
                edges(patch.edge)
                about = (at, width, height, patch.reach, list(patch.ground))
                cell_rows.append((cell_id, image_id, style, factor, *about))
                at += width * height
            for (name, x, y), (image, uncoded) in zip(scenes, images, strict=True):
                height, width = image.shape[:2]
                pixels(image)
                row = (name, image_id, x, y, scene_at, width, height)
                scene_at += width * height
                if uncoded is None:
                    scene_rows.append((*row, None, None, None))
                    continue
                pixels(uncoded.pixels)
                scene_rows.append((*row, str(uncoded.codec), scene_at, list(uncoded.box)))
                scene_at += uncoded.pixels.shape[0] * uncoded.pixels.shape[1]
    write_table(folder / "index.parquet", _table(cell_rows, INDEX))
    write_table(folder / "scenes.parquet", _table(scene_rows, SCENES))


def _table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    named = [dict(zip(schema.names, row, strict=True)) for row in rows]
    return pa.Table.from_pylist(named, schema=schema)


@contextmanager
def _growing(file: Path, *axes: int) -> Iterator[Callable[[np.ndarray], None]]:
    """Give a function that appends uint8 pixels to a ``.npy`` file of shape (P, *axes).

    Written piece by piece, not mapped: memory stays flat, and a full disk is an error, not a crash.
    The header is written again when P is known; numpy leaves room in it for P to grow.
    """

    def header(n: int) -> int:
        about = {"descr": "|u1", "fortran_order": False, "shape": (n, *axes)}
        np.lib.format.write_array_header_1_0(opened, about)
        return opened.tell()

    written = 0

    def append(pixels: np.ndarray) -> None:
        nonlocal written
        written += opened.write(pixels.tobytes())

    with file.open("wb") as opened:
        start = header(0)
        yield append
        opened.seek(0)
        if header(written // math.prod(axes)) != start:
            raise ArtifactError(f"{file}: too many pixels for one file")


@lru_cache(maxsize=4)
def _opened(folder: str) -> CropStore:
    return CropStore(folder)


def needed(plan: Plan, size: Size = None) -> list[Need]:
    """Return what is needed to render ``plan`` at ``size``, image by image, sorted."""
    columns, words = plan.columns, plan.columns.words
    canvases, which = np.unique(columns.size, axis=0, return_inverse=True)
    which = which.ravel()
    shrinks = [Shrink.to((int(width), int(height)), size) for width, height in canvases]
    of_image: dict[str, tuple[set[tuple[str, str, float]], set[tuple[str, float, float]]]] = {}

    styles = [BLENDS[name].style if name in BLENDS else "extended" for name in words.blends]
    factor = np.repeat(which, np.diff(columns.offsets))
    for cell, blend, k in _distinct(columns.cell, columns.blend, factor):
        cell_id, image_id, _ = words.cells[cell]
        cells, _ = of_image.setdefault(image_id, (set(), set()))
        cells.add((cell_id, styles[blend], shrinks[k].factor))

    odd = columns.ground[:, 0] % 2
    for ground, k, turn in _distinct(columns.background, which, odd):
        background_id = words.backgrounds[ground][0]
        if background_id is not None:
            _, scenes = of_image.setdefault(image_of(background_id)[0], (set(), set()))
            scenes.add((background_id, *shrinks[k].before(turn)))
    return [
        (image_id, sorted(cells), sorted(scenes))
        for image_id, (cells, scenes) in sorted(of_image.items())
    ]


def _distinct(*columns: np.ndarray) -> list[list[int]]:
    """Return the different rows of integer columns."""
    return np.unique(np.column_stack(columns), axis=0).tolist()
