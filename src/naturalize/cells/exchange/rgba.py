"""Folders of RGBA cut-outs, one cell a file: out of a bank, and into one."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from naturalize.base import engine
from naturalize.base.console import track, warn
from naturalize.base.errors import InputError
from naturalize.base.images import content_hash, read_bytes, write_image
from naturalize.base.walk import walk_images
from naturalize.cells.accept import accept_all, judge_named
from naturalize.cells.bank.files import MARGIN
from naturalize.cells.exchange.crops import Cut, write_crop_bank
from naturalize.cells.exchange.kinds import AUTO, Kinds, guess, resolve
from naturalize.cells.segmentation import Cell
from naturalize.cells.tables import CELLS, cell_row

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank

#: Colour of the slide that cut-outs are measured against, where nothing is known of it.
WHITE = (255.0, 255.0, 255.0)

#: Names of files that this project gave: the id of a cell.
_OUR_ID = re.compile(r"[0-9a-f]{16}-\d+")


class _File(NamedTuple):
    path: str
    kind: str
    label: str | None
    cell_id: str


def write_rgba(bank: CellBank, cells: pa.Table, folder: Path) -> dict[str, Any]:
    """Write ``<kind>/<class>/<cell_id>.png``, RGBA: the cell's box, empty outside its mask.

    Returns
    -------
    dict
        What was written: ``cells``.
    """
    for row in track(cells.to_pylist(), "export"):
        cut = bank.cutout(row["cell_id"])
        shown = np.where(cut.mask[..., None], cut.rgb, np.uint8(0))
        alpha = cut.mask[..., None].astype(np.uint8) * np.uint8(255)
        place = folder / row["kind"] / _folder_of(row["label"])
        write_image(place / f"{row['cell_id']}.png", np.concatenate([shown, alpha], axis=2))
    return {"cells": cells.num_rows}


def import_rgba(
    source: Path,
    out: Path,
    *,
    kinds: Kinds = None,
    background: tuple[float, float, float] = WHITE,
    judge: bool = True,
    backend: str = "serial",
    workers: int | None = None,
) -> Path:
    """Write a bank of cut-outs: files with transparency, one cell each, the folder its class.

    A folder is a kind (``rbc``), a class (``SNE``), or a class in a kind (``wbc/SNE``). The cell is
    where the file is at least half opaque. Cut-outs have no source image: each file is its own
    ``image_id``, unless its name is a cell id of this project, which is then kept.

    Parameters
    ----------
    source
        The folder.
    out
        Folder of the bank artifact; it is self-contained.
    kinds
        Which kind each folder is; see :func:`naturalize.cells.exchange.kinds.resolve`.
    background
        Red, green, blue of the slide that they were cut from, for densities and soft edges.
    judge
        Judge them as segmented cells are; else all are accepted.
    backend, workers
        As for :func:`naturalize.base.engine.map`; they do not change the result.

    Raises
    ------
    InputError
        If there is none, or one has no transparency, is empty or wholly opaque, is in a folder of
        an unknown name, or is there twice under two classes; the message names the file.
    """
    files = _files(source, kinds)
    cuts = engine.map(
        partial(_cut, root=source, background=background),
        files,
        backend=backend,
        workers=workers,
        what="import",
        name=_path_of,
    )
    labels = [file.label for file in files]

    def table_of(rows: list[dict[str, Any]]) -> pa.Table:
        table = judge_named(pa.Table.from_pylist(rows, schema=CELLS), labels)
        return table if judge else accept_all(table)

    said = repr([files, background, judge, MARGIN])
    return write_crop_bank(
        out,
        cuts,
        table_of,
        labels=sorted({label for label in labels if label is not None}),
        part=None,
        inputs={"cutouts": hashlib.sha256(said.encode()).hexdigest()[:16]},
    )


def _files(source: Path, kinds: Kinds) -> list[_File]:
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; name the folder that holds the cut-outs")
    walk, found, first = walk_images(source), [], dict[str, _File]()
    for path in walk.images:
        kind, label = _meaning(source, PurePosixPath(path), kinds)
        stem = PurePosixPath(path).stem
        ours = _OUR_ID.fullmatch(stem)
        cell_id = stem if ours else f"{content_hash(read_bytes(source / path))}-0"
        file = _File(path, kind, label, cell_id)
        other = first.setdefault(cell_id, file)
        if other is not file:
            if (other.kind, other.label) != (kind, label):
                raise InputError(
                    f"{source / path}: the same cell as {other.path}, in another folder; "
                    "keep it where it belongs"
                )
            warn(f"{source / path}: the same cell as {other.path}; left out")
            continue
        found.append(file)
    if not found:
        raise InputError(f"{source}: no cut-out in it (PNG, TIFF or WebP files with transparency)")
    return found


def _meaning(source: Path, path: PurePosixPath, kinds: Kinds) -> tuple[str, str | None]:
    """Return kind and class that the folders of a file stand for."""
    folders = [unquote(part) for part in path.parts[:-1]]
    where = str(source / path)
    if not folders:
        kind, _ = resolve("", kinds, where=where)
        return kind, None
    kind, is_class = resolve(folders[-1], kinds, where=where, parent=folders[0])
    # the class platelet of a kind platelet: named twice, it is a class
    return kind, folders[-1] if is_class or len(folders) > 1 else None


def _cut(file: _File, *, root: Path, background: tuple[float, float, float]) -> Cut:
    rgba = _rgba(root / file.path)
    mask = rgba[..., 3] >= 128
    if not mask.any():
        raise InputError(f"{root / file.path}: nothing in it is at least half opaque")
    if (rgba[..., 3] == 255).all():
        raise InputError(f"{root / file.path}: wholly opaque: a picture, not a cut-out cell")
    share = rgba[..., 3:] / 255.0
    over = rgba[..., :3] * share + np.array(background) * (1 - share)
    image = np.where(mask[..., None], rgba[..., :3], np.rint(over).astype(np.uint8))
    cell = Cell.from_mask("wbc", mask)
    x0, y0, x1, y1 = cell.box
    height, width = y1 - y0 + 2 * MARGIN, x1 - x0 + 2 * MARGIN
    crop = np.full((height, width, 3), np.rint(background), np.uint8)
    # what the file has around the box goes with it, as far as the margin reaches
    left, top = max(0, x0 - MARGIN), max(0, y0 - MARGIN)
    part = image[top : y1 + MARGIN, left : x1 + MARGIN]
    row, column = MARGIN - (y0 - top), MARGIN - (x0 - left)
    crop[row : row + part.shape[0], column : column + part.shape[1]] = part
    kind = guess(crop, [((MARGIN, MARGIN), cell.mask)])[0] if file.kind == AUTO else file.kind
    placed = Cell.from_mask(kind, cell.mask, offset=(MARGIN, MARGIN))
    image_id = file.cell_id.rpartition("-")[0]
    return Cut(cell_row(file.cell_id, image_id, file.path, crop, placed, background), crop)


def _rgba(file: Path) -> np.ndarray:
    try:
        with Image.open(file) as opened:
            if opened.mode not in ("RGBA", "LA", "PA") and "transparency" not in opened.info:
                raise InputError(
                    f"{file}: has no transparency ({opened.mode}); a cut-out is transparent where "
                    "the cell is not"
                )
            return np.asarray(opened.convert("RGBA"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{file}: not an image that can be read ({error})") from error


def _folder_of(label: str | None) -> str:
    """Return a class as one part of a path; ``""`` for none."""
    name = quote(label or "", safe=" ,()+")
    return name.replace(".", "%2E") if set(name) == {"."} else name


def _path_of(file: _File) -> str:
    return file.path
