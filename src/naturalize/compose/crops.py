"""The crop store: a plan's cells, decoded, in one mapped file, so that rendering decodes nothing.

An artifact-like folder: ``colours.npy`` (uint8 (P, 3)) and ``edges.npy`` (uint8 (P,)), the pixels
of all patches one after the other (see ``patch``), ``index.parquet`` (``cell_id``, ``image_id``,
``offset``, ``width``, ``height`` of each patch), and ``images/<image_id>.png`` for backgrounds. It
is opened read-only, so that all workers share its pages.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import groupby
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
from naturalize.base.images import read_image, write_image
from naturalize.compose.patch import PAD, Patch, cell_mask, make_patch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from naturalize.cells.bank import CellBank, Cutout
    from naturalize.compose.plan import Plan

#: Columns of ``index.parquet``.
INDEX = pa.schema(
    [
        ("cell_id", pa.string()),
        ("image_id", pa.string()),
        ("offset", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)

_KIND = "crops"


class CropStore:
    """Cells by id, mapped from a folder; pickles to the folder's name.

    Use :meth:`build` or :meth:`open`.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).resolve()
        read_manifest(self.folder, _KIND)
        index = read_table(self.folder / "index.parquet", INDEX)
        self._colours = _mapped(self.folder / "colours.npy")
        self._edges = _mapped(self.folder / "edges.npy")
        columns = (index[name].to_pylist() for name in ("cell_id", "offset", "width", "height"))
        self._where = {cell: (at, w, h) for cell, at, w, h in zip(*columns, strict=True)}
        end = max((at + w * h for at, w, h in self._where.values()), default=0)
        if self._colours.shape != (end, 3) or self._edges.shape != (end,):
            raise ArtifactError(f"{self.folder}: pixels do not fit the index; make it again")

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self._where)

    def __contains__(self, cell_id: object) -> bool:
        """Return whether the store has a cell."""
        return cell_id in self._where

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return _opened, (str(self.folder),)

    @classmethod
    def open(cls, folder: str | Path) -> CropStore:
        """Open a store; ``ArtifactError`` if the folder is none or does not fit together."""
        return cls(folder)

    @classmethod
    def build(
        cls,
        plan: Plan,
        bank: CellBank,
        folder: str | Path,
        *,
        backend: str = "serial",
        workers: int | None = None,
        what: str | None = "crop cells",
    ) -> CropStore:
        """Write the cells that ``plan`` uses to ``folder`` and open it; each image is decoded once.

        A store of the same cells that already stands there is opened as it is.
        """
        cells = plan.cells()
        images = sorted(plan.background_images())
        names = "\n".join([*(cell_id for cell_id, _, _ in cells), "", *images])
        settings = {"cells": hashlib.sha256(names.encode()).hexdigest()[:16], "pad": PAD}
        inputs = {"bank": bank.fingerprint}
        folder = Path(folder)
        wanted = fingerprint(_KIND, settings, inputs)
        if is_artifact(folder, _KIND) and read_manifest(folder).fingerprint == wanted:
            return cls(folder)
        of_image = [
            (image_id, [cell_id for cell_id, _, _ in group])
            for image_id, group in groupby(sorted(cells, key=_by_image), key=lambda cell: cell[1])
        ]
        patches = engine.map(
            partial(_patches_of_image, bank),
            of_image,
            backend=backend,
            workers=workers,
            chunk=32,
            what=what,
            name=_image_name,
        )
        with writing(folder, _KIND, settings=settings, inputs=inputs) as partial_folder:
            _write(partial_folder, of_image, patches)
            for image_id in images:
                write_image(partial_folder / "images" / f"{image_id}.png", bank.image(image_id))
        return cls(folder)

    def patch(self, cell_id: str) -> Patch:
        """Return a cell ready to be pasted, without a copy; ``InputError`` for an unknown one."""
        try:
            at, width, height = self._where[cell_id]
        except KeyError:
            raise InputError(
                f"{self.folder}: no cell {cell_id!r} in this store of {len(self):,} cells; "
                "build it for the plan that is rendered"
            ) from None
        end = at + width * height
        return Patch(
            self._colours[at:end].reshape(height, width, 3),
            self._edges[at:end].reshape(height, width),
        )

    def cutout(self, cell_id: str) -> Cutout:
        """Return a cell as the bank does; outside the mask, the cell's own colours go on."""
        from naturalize.cells.bank import Cutout

        patch = self.patch(cell_id)
        return Cutout(patch.colours[PAD:-PAD, PAD:-PAD].copy(), cell_mask(patch))

    def image(self, image_id: str) -> np.ndarray:
        """Return the image of a background, RGB uint8 (H, W, 3), not to be written to."""
        return _image(self.folder / "images" / f"{image_id}.png")


def _by_image(cell: tuple[str, str, str]) -> tuple[str, str]:
    return cell[1], cell[0]


def _image_name(item: tuple[str, list[str]]) -> str:
    return f"image {item[0]}"


def _mapped(file: Path) -> np.ndarray:
    """Map an array; a plain view, since slicing a memmap runs Python code each time."""
    try:
        return np.asarray(np.load(file, mmap_mode="r")).view(np.ndarray)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file}: cannot be mapped ({error}); make the store again") from error


def _patches_of_image(bank: CellBank, item: tuple[str, list[str]]) -> list[Patch]:
    cutouts = (bank.cutout(cell_id) for cell_id in item[1])
    return [make_patch(cutout.rgb, cutout.mask) for cutout in cutouts]


def _write(
    folder: Path,
    of_image: Sequence[tuple[str, list[str]]],
    patches: Iterable[list[Patch]],
) -> None:
    rows: list[dict[str, Any]] = []
    at = 0
    with _growing(folder / "colours.npy", 3) as colours, _growing(folder / "edges.npy") as edges:
        for (image_id, cell_ids), pieces in zip(of_image, patches, strict=True):
            for cell_id, patch in zip(cell_ids, pieces, strict=True):
                height, width = patch.edge.shape
                colours(patch.colours)
                edges(patch.edge)
                row = (cell_id, image_id, at, width, height)
                rows.append(dict(zip(INDEX.names, row, strict=True)))
                at += width * height
    write_table(folder / "index.parquet", pa.Table.from_pylist(rows, schema=INDEX))


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


@lru_cache(maxsize=32)
def _image(path: Path) -> np.ndarray:
    image = read_image(path)
    image.flags.writeable = False
    return image
