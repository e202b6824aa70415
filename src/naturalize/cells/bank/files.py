"""The pictures of a bank: read from where they lie, and copied to where they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from naturalize.base.artifacts import write_bytes
from naturalize.base.console import say, track
from naturalize.base.display import rows_of
from naturalize.base.errors import ArtifactError, ImageReadError
from naturalize.base.images import content_hash, decode_image, read_bytes, write_image

#: Folder of a self-contained bank's pictures.
IMAGES = "images"

#: Pixels around a cell's box that its crop has, so that an edge can be blended with what was there.
MARGIN = 8

#: Decoded source images kept in memory (about 0.4 MB each for PBC).
_KEPT = 64

_ADVICE = (
    "the bank points into it: bring the file back, or say where the images are now with --root"
)


@dataclass(frozen=True, eq=False)
class Cutout:
    """A cell: ``rgb`` uint8 (h, w, 3), its box as it is; ``mask`` bool (h, w), the cell.

    ``corner``: column and row of ``rgb`` in its image file.
    """

    rgb: np.ndarray
    mask: np.ndarray
    corner: tuple[int, int] = (0, 0)


class Pictures:
    """Images below a folder; pickles without the pixels that it holds.

    ``check``: compare the content of every file that is read with ``hashes`` (path → content id),
    or with the image id where they lack it.
    """

    def __init__(self, root: Path, *, check: bool, hashes: Mapping[str, str]) -> None:
        self.root, self.check, self.hashes = root, check, dict(hashes)

    def read(self, path: str, image_id: str, *, check: bool | None = None) -> np.ndarray:
        """Return the image at ``path``, RGB uint8 (H, W, 3), not to be written to.

        Raises ``ArtifactError`` if the file is gone, or (with ``check``, by default that of this
        object) its content is another than when it was segmented.
        """
        if self.check if check is None else check:
            self.data(path, image_id, check=True)
        return self._decoded(path, image_id)

    @cached_property
    def _decoded(self) -> Callable[[str, str], np.ndarray]:
        return lru_cache(_KEPT)(self._decode)

    def _decode(self, path: str, image_id: str) -> np.ndarray:
        data = self.data(path, image_id, check=False)
        try:
            image, _ = decode_image(data, name=self.root / path)
        except ImageReadError as error:
            raise ArtifactError(f"{error}; {_ADVICE}") from error
        image.setflags(write=False)
        return image

    def data(self, path: str, image_id: str, *, check: bool) -> bytes:
        """Return the bytes of the image at ``path``; errors are those of :meth:`read`."""
        file = self.root / path
        try:
            data = read_bytes(file)
        except ImageReadError as error:
            raise ArtifactError(f"{error}; {_ADVICE}") from error
        now, expected = content_hash(data), self.hashes.get(path, image_id)
        if check and now != expected:
            raise ArtifactError(
                f"{file}: has changed since it was segmented (content {now}, was {expected}); "
                "bring the file back, or segment again and rebuild the bank"
            )
        return data

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_decoded"}


class ExportedImage(NamedTuple):
    """An image as it was exported: its path there, and its height and width."""

    path: str
    shape: tuple[int, int]


def images_of(*tables: pa.Table) -> dict[str, str]:
    """Return path → image id of all images that tables of cells or backgrounds name, sorted."""
    return dict(sorted({pair for table in tables for pair in rows_of(table, "path", "image_id")}))


def copy_images(pictures: Pictures, files: Mapping[str, str], folder: Path) -> None:
    """Copy images (path → image id), byte for byte.

    Raises ``ArtifactError`` if an image is gone, has changed since it was segmented, or lies
    outside its folder.
    """
    for path in track(list(files), "copy images"):
        write_bytes(folder / path, pictures.data(safe(path), files[path], check=True))


def export_images(pictures: Pictures, cells: pa.Table, folder: Path) -> dict[str, ExportedImage]:
    """Copy the images of ``cells`` for other software, upright; return path → copy.

    Masks count in upright pixels, and much software does not read the EXIF orientation. An image
    that has one is written as a PNG of the upright pixels; all others are copied byte for byte.
    """
    files = images_of(cells)
    written: dict[str, ExportedImage] = {}
    turned = 0
    for path in track(list(files), "copy images"):
        data = pictures.data(safe(path), files[path], check=True)
        image, facts = decode_image(data, name=pictures.root / path)
        target = path
        if facts.exif_rotated:
            target = PurePosixPath(path).with_suffix(".png").as_posix()
            target = f"{path}.png" if target != path and target in files else target
            turned += 1
            write_image(folder / target, image)
        else:
            write_bytes(folder / path, data)
        written[path] = ExportedImage(target, (image.shape[0], image.shape[1]))
    if turned:
        say(f"{turned:,} images with an EXIF orientation are written upright, as PNG")
    return written


def safe(path: str) -> str:
    """Return ``path`` if it stays below the folder it is relative to; else ``ArtifactError``."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or ":" in path:
        raise ArtifactError(f"{path}: leads out of the folder of images; such a file is not copied")
    return path


def crop_path(cell_id: str) -> str:
    """Return the place of a cell's crop; many thousand files in one folder are slow to list."""
    return safe(f"{cell_id[:2]}/{cell_id}.png")


def moved_into_crop(row: dict[str, Any], path: str) -> dict[str, Any]:
    """Return a cell's row with its path and box in its own crop, ``MARGIN`` pixels around."""
    left, top = min(row["x0"], MARGIN), min(row["y0"], MARGIN)
    width, height = row["x1"] - row["x0"], row["y1"] - row["y0"]
    box = {"x0": left, "y0": top, "x1": left + width, "y1": top + height}
    return {**row, **box, "path": path}
