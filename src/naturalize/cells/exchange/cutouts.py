"""Cells without their images: folders of transparent cut-outs, out of a bank and into one."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from naturalize.base import engine
from naturalize.base.artifacts import writing
from naturalize.base.console import track, warn
from naturalize.base.errors import InputError, UnusableError
from naturalize.base.images import content_hash, read_bytes, write_image
from naturalize.base.walk import walk_images
from naturalize.cells.bank.files import IMAGES, MARGIN, crop_path
from naturalize.cells.choose import accept_all, judge_named
from naturalize.cells.exchange.annotated import counted
from naturalize.cells.exchange.kinds import AUTO, Kinds, guess, resolve
from naturalize.cells.segmentation import Cell
from naturalize.cells.tables import CELLS, cell_row

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.cells.exchange import ImportSettings

#: Names of files that this project gave: the id of a cell.
_OUR_ID = re.compile(r"[0-9a-f]{16}-\d+")


class Cut(NamedTuple):
    """A cell's row, its box counting in the crop; and the crop, RGB uint8 (h, w, 3)."""

    row: dict[str, Any]
    crop: np.ndarray


class _File(NamedTuple):
    path: str
    kind: str
    label: str | None
    cell_id: str


def write_crop_bank(
    out: Path,
    cuts: Iterable[Cut],
    table_of: Callable[[list[dict[str, Any]]], pa.Table],
    *,
    inputs: Mapping[str, str],
    labels: Sequence[str] | None = None,
    part: str | None = None,
) -> None:
    """Write a self-contained bank of crops, each as it comes; ``table_of`` rows is its table.

    ``labels``: its classes, by default those of the cells.
    """
    from naturalize.cells.bank import CellBank

    with writing(out, "bank", settings={"part": part}, inputs=inputs) as folder:
        rows = []
        for cut in cuts:
            path = crop_path(cut.row["cell_id"])
            write_image(folder / IMAGES / path, cut.crop)
            rows.append({**cut.row, "path": path})
        table = table_of(rows)
        named = labels or sorted(set(table["label"].to_pylist()) - {None})
        about = {"labels": tuple(named), "part": part, "inputs": inputs}
        CellBank.of_crops(table, folder / IMAGES, **about).write_tables(folder, "crops")


def write_rgba(bank: CellBank, cells: pa.Table, folder: Path) -> dict[str, Any]:
    """Write ``<kind>/<class>/<cell_id>.png``, RGBA: the cell's box, empty outside its mask."""
    for row in track(cells.to_pylist(), "export"):
        cut = bank.cutout(row["cell_id"])
        shown = np.where(cut.mask[..., None], cut.rgb, np.uint8(0))
        alpha = cut.mask[..., None].astype(np.uint8) * np.uint8(255)
        place = folder / row["kind"] / _folder_of(row["label"])
        write_image(place / f"{row['cell_id']}.png", np.concatenate([shown, alpha], axis=2))
    return {"cells": cells.num_rows}


def import_rgba(source: Path, out: Path, settings: ImportSettings, run: Mapping[str, Any]) -> None:
    """Write a bank of cut-outs: files with transparency, one cell each, the folder its class.

    A folder is a kind (``rbc``), a class (``SNE``), or a class in a kind (``wbc/SNE``). The cell is
    where the file is at least half opaque. Cut-outs have no source image: each file is its own
    ``image_id``, unless its name is a cell id of this project, which is then kept. Files that
    cannot be used are left out, counted by reason.

    Raises ``InputError`` if no file can be used.
    """
    unusable: list[UnusableError] = []
    files = list(_files(source, settings.kinds, unusable))
    cut = partial(_cut, root=source, background=settings.background)
    found = engine.map(cut, files, what="import", name=attrgetter("path"), **run)
    labels = []

    def cuts() -> Iterator[Cut]:
        for file, one in zip(files, found, strict=True):
            if isinstance(one, Cut):
                labels.append(file.label)
                yield one
            else:
                unusable.append(one)
        if not labels:
            why = "; ".join(counted(unusable)) or "no PNG, TIFF or WebP file in it"
            raise InputError(f"{source}: no cut-out that can be used: {why}")
        for line in counted(unusable):
            warn(f"left out: {line}")

    def table_of(rows: list[dict[str, Any]]) -> pa.Table:
        table = judge_named(pa.Table.from_pylist(rows, schema=CELLS), labels)
        return table if settings.judge else accept_all(table)

    about = repr([files, settings.background, settings.judge, MARGIN])
    write_crop_bank(
        out,
        cuts(),
        table_of,
        inputs={"cutouts": hashlib.sha256(about.encode()).hexdigest()[:16]},
    )


def _files(source: Path, kinds: Kinds, unusable: list[UnusableError]) -> Iterator[_File]:
    """Yield the files of a folder by their meaning; what has none, or two, is unusable."""
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; name the folder that holds the cut-outs")
    first: dict[str, _File] = {}
    for path in walk_images(source).images:
        file = source / path
        try:
            kind, label = _meaning(file, PurePosixPath(path), kinds)
            stem = file.stem
            ours = _OUR_ID.fullmatch(stem)
            cell_id = stem if ours else f"{content_hash(read_bytes(file))}-0"
            found = _File(path, kind, label, cell_id)
            other = first.setdefault(cell_id, found)
            if other is not found:
                same = (other.kind, other.label) == (kind, label)
                where = "twice" if same else "in two folders; keep it where it belongs"
                raise UnusableError(f"{file} ({other.path})", f"cell that is there {where}")
        except UnusableError as error:
            unusable.append(error)
        else:
            yield found


def _meaning(file: Path, path: PurePosixPath, kinds: Kinds) -> tuple[str, str | None]:
    """Return kind and class that the folders of a file stand for."""
    folders = [unquote(part) for part in path.parts[:-1]]
    if not folders:
        return resolve("", kinds, where=str(file))[0], None
    kind, is_class = resolve(folders[-1], kinds, where=str(file), parent=folders[0])
    # the class platelet of a kind platelet: named twice, it is a class
    return kind, folders[-1] if is_class or len(folders) > 1 else None


def _cut(file: _File, *, root: Path, background: tuple[float, float, float]) -> Cut | UnusableError:
    try:
        rgba = _cutout(root / file.path)
    except UnusableError as error:
        return error
    mask = rgba[..., 3] >= 128
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


def read_rgba(source: Path | io.BytesIO, where: object) -> np.ndarray:
    """Return an image with transparency, uint8 (H, W, 4); ``UnusableError`` if it is none."""
    try:
        with Image.open(source) as opened:
            if opened.mode not in ("RGBA", "LA", "PA") and "transparency" not in opened.info:
                raise UnusableError(
                    where, "no transparency; a cut-out is transparent where the cell is not"
                )
            return np.asarray(opened.convert("RGBA"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise UnusableError(where, f"not an image that can be read ({error})") from error


def _cutout(file: Path) -> np.ndarray:
    rgba = read_rgba(file, file)
    if (rgba[..., 3] < 128).all():
        raise UnusableError(file, "nothing in it is at least half opaque")
    if (rgba[..., 3] == 255).all():
        raise UnusableError(file, "wholly opaque: a picture, not a cut-out cell")
    return rgba


def _folder_of(label: str | None) -> str:
    """Return a class as one part of a path; ``""`` for none."""
    name = quote(label or "", safe=" ,()+")
    return name.replace(".", "%2E") if set(name) == {"."} else name
