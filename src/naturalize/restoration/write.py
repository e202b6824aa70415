"""Backgrounds of many images: each without its white cells, or without any, and how good it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from naturalize.base import engine
from naturalize.base.artifacts import link_file, same_images, write_table, writing
from naturalize.base.errors import ImageReadError, unknown
from naturalize.base.images import read_image, write_image
from naturalize.base.shards import resumable_rows
from naturalize.base.sheets import contact_sheet
from naturalize.cells.segment import picture_names
from naturalize.cells.segmentation import Segmenter
from naturalize.cells.tiling import Tiled
from naturalize.restoration.quality import USABLE, Measures
from naturalize.restoration.restore import scene

#: What `--without` may say, and what `scene` calls it.
WITHOUT = {"wbc": "white", "target": "target", "all": "all"}

#: Columns of ``backgrounds.parquet`` of a ``backgrounds`` artifact.
SCENES = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("file", pa.string()),
        ("outcome", pa.string()),
        ("n_removed", pa.int32()),
        ("quality", pa.float32()),
        ("usable", pa.bool_()),
        ("reasons", pa.list_(pa.string())),
        ("codec", pa.string()),
        *((name, pa.float32()) for name in Measures().as_dict()),
    ]
)

#: Images on the sheet, and columns of it: before, after, difference.
_SHOWN, _COLUMNS = 48, 9


class _Task(NamedTuple):
    image_id: str
    path: str
    picture: str


def write_backgrounds(
    items: Sequence[tuple[str, str]],
    root: str | Path,
    segmenter: Segmenter,
    out: str | Path,
    *,
    inputs: Mapping[str, str] | None = None,
    without: str = "wbc",
    sheet: bool = False,
    backend: str = "serial",
    workers: int | None = None,
) -> Path:
    """Take the cells that ``segmenter`` finds out of images; write the artifact at ``out``.

    It holds ``images/<stem>.png``, ``backgrounds.parquet`` and, with ``sheet``, ``sheet.jpg``:
    images before and after, and their difference. A run that was killed goes on where it was.

    Parameters
    ----------
    items, root
        ``(image_id, path)`` of each image, paths relative to ``root``.
    inputs
        Name → fingerprint of what the items come from.
    without
        ``"wbc"``: all white cells; ``"target"``: the cell that the image is about; ``"all"``.
        ``SettingsError`` for another word.
    backend, workers
        As for :func:`naturalize.base.engine.map`; they do not change the result.
    """
    check_without(without)
    out, root, inputs = Path(out), Path(root), dict(inputs or {})
    settings = {"segmenter": segmenter.name, **segmenter.settings, "without": without}
    names = picture_names([path for _, path in items])
    tasks = [_Task(*item, name) for item, name in zip(items, names, strict=True)]
    work = out.with_name(f".{out.name}.work")
    one = partial(_one, root=root, segmenter=Tiled(segmenter), work=work, remove=WITHOUT[without])

    def compute(part: Sequence[_Task]) -> Iterable[dict[str, Any]]:
        return engine.map(one, part, backend=backend, workers=workers, chunk=2, name=_path_of)

    key = json.dumps([settings, inputs, str(root.resolve()), tasks], sort_keys=True)
    rows = resumable_rows(work, key, tasks, compute, SCENES, piece=64, what="backgrounds")
    same_source = same_images("backgrounds.parquet", (image_id for image_id, _ in items))
    with writing(
        out, "backgrounds", settings=settings, inputs=inputs, same_source=same_source
    ) as folder:
        write_table(folder / "backgrounds.parquet", rows)
        for name in rows["file"].to_pylist():
            if name is not None:
                link_file(work / name, folder / name)
        if sheet:
            write_image(folder / "sheet.jpg", _sheet(root, folder, rows), quality=90)
    shutil.rmtree(work, ignore_errors=True)
    return out


def check_without(without: str) -> None:
    """Raise ``SettingsError`` if ``without`` is none of :data:`WITHOUT`."""
    if without not in WITHOUT:
        raise unknown("choice of what to leave out", without, list(WITHOUT))


def summary(rows: pa.Table) -> list[str]:
    """Return lines for people: how many backgrounds there are, what is wrong with the others."""
    table = rows.to_pylist()
    done = [row for row in table if row["file"] is not None]
    usable = [row for row in done if row["usable"]]
    lines = [f"{len(usable):,} of {len(table):,} backgrounds usable (quality {USABLE} or more)"]
    lines += [f"{row['path']}: {row['outcome']}" for row in table if row["file"] is None][:3]
    poor = sorted((row for row in done if not row["usable"]), key=lambda row: row["quality"])
    lines += [f"{row['path']}: {'; '.join(row['reasons'])}" for row in poor[:3]]
    return lines


def _path_of(task: _Task) -> str:
    return task.path


def _one(task: _Task, *, root: Path, segmenter: Tiled, work: Path, remove: str) -> dict[str, Any]:
    row: dict[str, Any] = {"image_id": task.image_id, "path": task.path}
    try:
        image = read_image(root / task.path)
    except ImageReadError as error:
        return {**row, "outcome": error.reason}
    cells = segmenter.segment(image).cells
    restored = scene(image, cells, remove=remove, key=task.image_id)
    file = f"images/{task.picture}.png"
    write_image(work / file, restored.image)
    codec = restored.codec
    return {
        **row,
        "file": file,
        "outcome": "ok" if restored.removed else "nothing to take out",
        "n_removed": len(restored.removed),
        "quality": restored.quality,
        "usable": restored.quality >= USABLE,
        "reasons": list(restored.reasons),
        "codec": None if codec is None else f"jpeg-{codec.quality}-{codec.subsampling}",
        **restored.measures.as_dict(),
    }


def _sheet(root: Path, folder: Path, rows: pa.Table) -> np.ndarray:
    """Return images before and after, and their difference; evenly drawn, the poorest first."""
    shown = [row for row in rows.to_pylist() if row["file"] is not None]
    shown = shown[:: max(1, len(shown) // _SHOWN)][:_SHOWN]
    pictures, captions = [], []
    for row in sorted(shown, key=lambda row: row["quality"]):
        before, after = read_image(root / row["path"]), read_image(folder / row["file"])
        change, factor = difference(before, after)
        pictures += [before, after, change]
        captions += [Path(row["path"]).stem, f"quality {row['quality']:.2f}", f"change × {factor}"]
    return contact_sheet(
        pictures or [np.full((64, 64, 3), 255, np.uint8)],
        captions=captions or ["no image"],
        columns=_COLUMNS,
        tile=200,
        title=f"Backgrounds: {len(shown)} of {rows.num_rows:,} images",
    )


def difference(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, float]:
    """Return a difference on grey, RGB uint8, and its factor: the largest that clips nothing."""
    change = after.astype(np.int32) - before
    largest = max(int(np.abs(change).max()), 1)
    # one digit, rounded down; more than four times makes noise of nothing
    factor = min(np.floor(10 * 127 / largest) / 10, 4.0)
    return np.rint(128 + factor * change).astype(np.uint8), float(factor)
