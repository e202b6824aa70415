"""Segmenting many images: in pieces that survive a kill, by one worker or many."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from naturalize.base import engine
from naturalize.base.artifacts import write_table, writing
from naturalize.base.errors import ImageReadError
from naturalize.base.images import read_image, write_image
from naturalize.base.shards import resumable_rows
from naturalize.cells.segmentation import LEVELS, Segmentation
from naturalize.cells.segmenters.protocol import Segmenter
from naturalize.cells.tables import CELLS, IMAGES, OUTCOMES, failed_row, image_row


class _Task(NamedTuple):
    image_id: str
    path: str
    picture: str


def segment_images(
    items: Sequence[tuple[str, str]],
    root: str | Path,
    segmenter: Segmenter,
    out: str | Path,
    *,
    masks: bool = False,
    overlays: bool = False,
    work: str | Path | None = None,
    inputs: Mapping[str, str] | None = None,
    backend: str = "serial",
    workers: int | None = None,
) -> Path:
    """Segment images and write the ``cells`` artifact.

    Parameters
    ----------
    items
        ``(image_id, path)`` of each image; the path is relative to ``root``, ``/`` between parts.
    root
        Folder of the images.
    segmenter
        What finds the cells.
    out
        Folder of the artifact: ``cells.parquet``, ``outcomes.parquet`` and, if asked for,
        ``masks/`` and ``overlays/``. An image that cannot be read has its reason as outcome.
        Files with the same bytes share their cells: these are listed once.
    masks, overlays
        Write ``masks/<stem>.png`` (0 background, 1 white, 2 red, 3 platelet) and
        ``overlays/<stem>.jpg``. Where two images have one stem, all such are named with their
        folders.
    work
        Folder for finished pieces; a run that was killed goes on from them. It is removed at the
        end. By default a hidden folder beside ``out``.
    inputs
        Name → fingerprint of each artifact that was read.
    backend, workers
        As for :func:`naturalize.base.engine.map`; they do not change the result.

    Returns
    -------
    pathlib.Path
        ``out``.
    """
    out = Path(out)
    work = Path(work) if work else out.with_name(f".{out.name}.work")
    settings = {"segmenter": segmenter.name, **segmenter.settings, "images": _named(items)}
    settings |= {"masks": masks, "overlays": overlays}
    names = picture_names([path for _, path in items])
    tasks = [_Task(*item, name) for item, name in zip(items, names, strict=True)]
    one = partial(
        _segment_one, root=Path(root), segmenter=segmenter, work=work, kinds=(masks, overlays)
    )

    def compute(part: Sequence[_Task]) -> Iterable[dict[str, Any]]:
        return engine.map(one, part, backend=backend, workers=workers, name=_path_of)

    # settings and inputs say what is made, the root says from where
    key = json.dumps([settings, dict(inputs or {}), str(Path(root).resolve())], sort_keys=True)
    rows = resumable_rows(work, key, tasks, compute, IMAGES, what="segment")
    with writing(out, "cells", settings=settings, inputs=inputs) as folder:
        write_table(folder / "cells.parquet", _cells(rows))
        write_table(folder / "outcomes.parquet", rows.select(OUTCOMES.names))
        for asked, kind in ((masks, "masks"), (overlays, "overlays")):
            if asked:
                _gather(work / kind, folder / kind, tasks, rows)
    shutil.rmtree(work, ignore_errors=True)
    return out


def picture_names(paths: Sequence[str]) -> list[str]:
    """Return a name without suffix for the picture of each image, all different.

    The stem where no other image has it; else the folder and the stem; else, where only suffixes
    differ, the folder and the whole file name. Case is not trusted to tell names apart.

    Examples
    --------
    >>> picture_names(["a/1.jpg", "b/1.jpg", "b/2.jpg", "b/2.png", "b/3.png"])
    ['a/1', 'b/1', 'b/2.jpg', 'b/2.png', '3']
    """
    pure = [PurePosixPath(path) for path in paths]
    levels = [
        [path.stem for path in pure],
        [path.with_suffix("").as_posix() for path in pure],
        [path.as_posix() for path in pure],
    ]
    names = levels[-1]
    for level in reversed(levels[:-1]):
        n = Counter(name.lower() for name in level)
        names = [
            name if n[name.lower()] == 1 else longer
            for name, longer in zip(level, names, strict=True)
        ]
    return names


def overlay(image: np.ndarray, segmentation: Segmentation) -> np.ndarray:
    """Return RGB uint8 (H, W, 3) with the outline of each cell in the colour of its kind."""
    import cv2

    from naturalize.base.plots import KIND_COLOURS

    drawn = image.copy()
    for kind in sorted(LEVELS, key=("rbc", "platelet", "wbc").index):
        for cell in segmentation.of(kind):
            x0, y0 = cell.box[:2]
            found, _ = cv2.findContours(
                cell.mask.astype(np.uint8),
                cv2.RETR_EXTERNAL,
                cv2.CHAIN_APPROX_NONE,
                offset=(x0, y0),
            )
            cv2.drawContours(drawn, found, -1, KIND_COLOURS[kind], 2)
    return drawn


def _segment_one(
    task: _Task, *, root: Path, segmenter: Segmenter, work: Path, kinds: tuple[bool, bool]
) -> dict[str, Any]:
    try:
        image = read_image(root / task.path)
    except ImageReadError as error:
        return failed_row(task.image_id, task.path, error.reason)
    segmentation = segmenter.segment(image)
    if kinds[0]:
        write_image(work / "masks" / f"{task.picture}.png", segmentation.label_image())
    if kinds[1]:
        drawn = overlay(image, segmentation)
        write_image(work / "overlays" / f"{task.picture}.jpg", drawn, quality=90)
    return image_row(task.image_id, task.path, image, segmentation)


def _named(items: Sequence[tuple[str, str]]) -> str:
    """Return 16 hex digits naming which images are segmented, under which names."""
    import hashlib

    return hashlib.sha256(repr([tuple(item) for item in items]).encode()).hexdigest()[:16]


def _path_of(task: _Task) -> str:
    return task.path


def _cells(rows: pa.Table) -> pa.Table:
    """Return the cells of all images; those of byte-identical files once."""
    ids = rows["image_id"].to_pylist()
    first = sorted({image_id: i for i, image_id in reversed(list(enumerate(ids)))}.values())
    cells = rows.take(pa.array(first, pa.int64()))["cells"].combine_chunks().flatten()
    return pa.Table.from_arrays(cells.flatten(), names=CELLS.names).cast(CELLS)


def _gather(source: Path, target: Path, tasks: Sequence[_Task], rows: pa.Table) -> None:
    """Link (or copy) the pictures of all readable images into the artifact."""
    target.mkdir(parents=True)
    suffix = ".png" if source.name == "masks" else ".jpg"
    for task, red in zip(tasks, rows["background_r"].to_pylist(), strict=True):
        if red is None:
            continue
        name = f"{task.picture}{suffix}"
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source / name, target / name)
        except OSError:
            shutil.copyfile(source / name, target / name)
