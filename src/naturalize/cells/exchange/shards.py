"""Shards: tar files of ``<cell_id>.png`` and ``<cell_id>.json``, out of a bank and into one.

The layout is that of WebDataset (Aizman, Maltby & Breuel, High performance I/O for large scale deep
learning, IEEE Big Data 2019), so that ``tar`` and any of its readers open them.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from naturalize.base.artifacts import file_hash, read_json, write_bytes, write_json
from naturalize.base.console import track
from naturalize.base.errors import InputError, SettingsError
from naturalize.base.images import encode_image
from naturalize.cells.bank.files import MARGIN, moved_into_crop
from naturalize.cells.exchange.cutouts import Cut, read_rgba, write_crop_bank
from naturalize.cells.tables import BANK
from naturalize.imaging.runlength import encode

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.cells.exchange import ImportSettings

#: Bytes after which a new shard begins.
SHARD_BYTES = 64 * 2**20

#: Beside the shards: classes, part and number of cells.
ABOUT = "export.json"

#: Columns of a cell's JSON: the mask is the picture's alpha.
_COLUMNS = [name for name in BANK.names if name != "mask"]

_BOX = ("x0", "y0", "x1", "y1")


def write_shards(
    bank: CellBank, cells: pa.Table, folder: Path, *, shard_bytes: int = SHARD_BYTES
) -> dict[str, Any]:
    """Write ``cells-00000.tar``, …: the same bytes for the same cells.

    The PNG is RGBA: the cell's box and 8 pixels around it as they are in the image, transparent
    outside the mask (the colours are still there). The JSON has the bank's row, and ``crop``, the
    box within the PNG.
    """
    if shard_bytes < 1:
        raise SettingsError(f"shard_bytes must be at least 1, got {shard_bytes}")
    n, size, files = 0, 0, list[tuple[str, bytes]]()
    for row in track(cells.to_pylist(), "export"):
        if size >= shard_bytes:
            write_bytes(folder / f"cells-{n:05d}.tar", _tar(files))
            n, size, files = n + 1, 0, []
        cut = bank.cutout(row["cell_id"], margin=MARGIN)
        alpha = cut.mask[..., None].astype(np.uint8) * np.uint8(255)
        crop = moved_into_crop(row, "")
        about = {name: row[name] for name in _COLUMNS} | {"crop": [crop[name] for name in _BOX]}
        files.append((f"{row['cell_id']}.json", json.dumps(about, allow_nan=False).encode()))
        picture = np.concatenate([cut.rgb, alpha], axis=2)
        files.append((f"{row['cell_id']}.png", encode_image(picture, "png")))
        size += sum(tarfile.BLOCKSIZE + len(data) for _, data in files[-2:])
    write_bytes(folder / f"cells-{n:05d}.tar", _tar(files))
    about = {"labels": list(bank.labels), "part": bank.part, "cells": cells.num_rows}
    write_json(folder / ABOUT, about)
    return {"cells": cells.num_rows, "shards": n + 1}


def import_shards(
    source: Path, out: Path, settings: ImportSettings, run: Mapping[str, Any]
) -> None:
    """Write a bank of crops from shards that this project wrote, judged as they were.

    ``source``: a folder of ``.tar`` files, or one of them. Of the settings and of ``run`` nothing
    is needed.

    Raises ``InputError`` if there is no shard, or one is damaged or not of this layout; the message
    names it.
    """
    shards = [source] if source.is_file() else sorted(source.glob("*.tar"))
    if not shards:
        raise InputError(f"{source}: no shard (*.tar) in it")
    file = (source if source.is_dir() else source.parent) / ABOUT
    about = read_json(file) if file.is_file() else {}
    digest = hashlib.sha256("".join(file_hash(shard) for shard in shards).encode()).hexdigest()

    def cuts() -> Iterator[Cut]:
        seen: set[str] = set()
        for shard in track(shards, "import"):
            for cut in _read(shard):
                if cut.row["cell_id"] in seen:
                    raise InputError(f"{shard}: {cut.row['cell_id']} is in the shards twice")
                seen.add(cut.row["cell_id"])
                yield cut

    def table_of(rows: list[dict[str, Any]]) -> pa.Table:
        try:
            return pa.Table.from_pylist(rows, schema=BANK)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(
                f"{source}: a cell's JSON has a value of another type ({error})"
            ) from error

    write_crop_bank(
        out,
        cuts(),
        table_of,
        labels=about.get("labels"),
        part=about.get("part"),
        inputs={"shards": digest[:16]},
    )


def _tar(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a tar file, whose bytes depend on its members only."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)  # no time, no owner
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _members(shard: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield stem, suffix and bytes of each file of a shard; nothing is unpacked."""
    try:
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.isfile() and (opened := tar.extractfile(member)) is not None:
                    stem, _, suffix = member.name.partition(".")
                    yield stem, suffix, opened.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(f"{shard}: not a readable tar file ({error})") from error


def _read(shard: Path) -> Iterator[Cut]:
    waiting: dict[str, dict[str, bytes]] = {}
    n = 0
    for stem, suffix, data in _members(shard):
        if suffix not in ("png", "json"):
            continue
        parts = waiting.setdefault(stem, {})
        parts[suffix] = data
        if len(parts) == 2:
            n += 1
            yield _cut(f"{shard}: {stem}", stem, waiting.pop(stem))
    if waiting:
        stem, parts = next(iter(waiting.items()))
        raise InputError(f"{shard}: {stem}.{next(iter(parts))} has no partner (.png and .json)")
    if not n:
        raise InputError(f"{shard}: no cell (.png and .json of one name) in it")


def _cut(where: str, stem: str, parts: dict[str, bytes]) -> Cut:
    try:
        values = json.loads(parts["json"])
        missing = sorted({*_COLUMNS, "crop"} - set(values))
        box = [int(value) for value in values.get("crop", ())]
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{where}.json: not the JSON of a cell ({error})") from error
    if missing or values["cell_id"] != stem or len(box) != 4:
        what = f"lacks {', '.join(missing)}" if missing else "its cell_id or crop is wrong"
        raise InputError(f"{where}.json: {what}; such shards are written by cells export")
    rgba = read_rgba(io.BytesIO(parts["png"]), f"{where}.png")
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= rgba.shape[1] and 0 <= y0 < y1 <= rgba.shape[0]):
        raise InputError(f"{where}.json: crop {box} leads out of the picture")
    mask = rgba[y0:y1, x0:x1, 3] >= 128
    if np.count_nonzero(mask) != values["area"] or values["area"] < 1:
        raise InputError(
            f"{where}.png: {np.count_nonzero(mask)} opaque pixels, its JSON says {values['area']}"
        )
    row = {name: values[name] for name in _COLUMNS} | dict(zip(_BOX, box, strict=True))
    return Cut({**row, "mask": encode(mask)}, np.ascontiguousarray(rgba[..., :3]))
