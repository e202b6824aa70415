"""The crop store: a plan's cells, decoded, in one mapped file, so that rendering decodes nothing.

An artifact-like folder: ``patches.npy`` (uint8 (P, 4): red, green, blue and distance to the cell's
edge of every pixel, cell after cell, see ``patch``), ``index.parquet`` (``cell_id``, ``image_id``,
``offset``, ``width``, ``height`` of each patch) and ``images/<image_id>.png`` for backgrounds. It
is opened read-only, so that all workers share its pages.
"""

from __future__ import annotations

import hashlib
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
        mapped = np.load(self.folder / "patches.npy", mmap_mode="r")
        # a plain view: slicing a memmap runs Python code each time
        self._pixels = np.asarray(mapped).view(np.ndarray)
        columns = (index[name].to_pylist() for name in ("cell_id", "offset", "width", "height"))
        self._where = {cell: (at, w, h) for cell, at, w, h in zip(*columns, strict=True)}
        end = max((at + w * h for at, w, h in self._where.values()), default=0)
        if self._pixels.ndim != 2 or self._pixels.shape[1] != 4 or len(self._pixels) < end:
            raise ArtifactError(f"{self.folder}: patches.npy does not fit its index; make it again")

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
        return Patch(self._pixels[at : at + width * height].reshape(height, width, 4))

    def cutout(self, cell_id: str) -> Cutout:
        """Return a cell as the bank does; outside the mask, the cell's own colours go on."""
        from naturalize.cells.bank import Cutout

        patch = self.patch(cell_id)
        return Cutout(patch.pixels[PAD:-PAD, PAD:-PAD, :3].copy(), cell_mask(patch))

    def image(self, image_id: str) -> np.ndarray:
        """Return the image of a background, RGB uint8 (H, W, 3), not to be written to."""
        return _image(self.folder / "images" / f"{image_id}.png")


def _by_image(cell: tuple[str, str, str]) -> tuple[str, str]:
    return cell[1], cell[0]


def _image_name(item: tuple[str, list[str]]) -> str:
    return f"image {item[0]}"


def _patches_of_image(bank: CellBank, item: tuple[str, list[str]]) -> list[np.ndarray]:
    cutouts = (bank.cutout(cell_id) for cell_id in item[1])
    return [make_patch(cutout.rgb, cutout.mask).pixels for cutout in cutouts]


def _write(
    folder: Path,
    of_image: Sequence[tuple[str, list[str]]],
    patches: Iterable[list[np.ndarray]],
) -> None:
    """Write the blob piece by piece; its header, whose length is fixed, when the size is known."""
    rows: list[dict[str, Any]] = []
    at = 0
    # written, not mapped: a full disk is then an error and not a crash
    with (folder / "patches.npy").open("wb") as file:
        start = _write_header(file, 0)
        for (image_id, cell_ids), pieces in zip(of_image, patches, strict=True):
            for cell_id, piece in zip(cell_ids, pieces, strict=True):
                height, width = piece.shape[:2]
                file.write(piece.tobytes())
                rows.append(
                    {
                        "cell_id": cell_id,
                        "image_id": image_id,
                        "offset": at,
                        "width": width,
                        "height": height,
                    }
                )
                at += width * height
        file.seek(0)
        if _write_header(file, at) != start:
            raise ArtifactError(f"{folder}: the store is too large for one file")
    write_table(folder / "index.parquet", pa.Table.from_pylist(rows, schema=INDEX))


def _write_header(file: Any, n: int) -> int:
    """Write the ``.npy`` header for (n, 4) uint8; numpy leaves room for the first axis to grow."""
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": (n, 4)}
    )
    return file.tell()


@lru_cache(maxsize=4)
def _opened(folder: str) -> CropStore:
    return CropStore(folder)


@lru_cache(maxsize=32)
def _image(path: Path) -> np.ndarray:
    image = read_image(path)
    image.flags.writeable = False
    return image
