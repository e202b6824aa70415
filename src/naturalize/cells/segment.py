"""Segmenting many images: in pieces that survive a kill, by one worker or many."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base import engine
from naturalize.base.artifacts import check_place, link_file, same_images, write_tables, writing
from naturalize.base.errors import EngineError, ImageReadError, NaturalizeError
from naturalize.base.images import read_image, write_image
from naturalize.base.shards import Pieces, resumable_pieces
from naturalize.cells.pictures import SHEET, draw_outlines, overlay_sheet, thumbnail
from naturalize.cells.segmentation import Segmenter
from naturalize.cells.tables import CELLS, IMAGES, OUTCOMES, failed_row, image_row
from naturalize.cells.tiling import Tiled

#: Images a piece: what is lost by a kill, and held in memory, at most.
_PIECE = 64

#: Begins the outcome of an image that the segmenter itself failed at: a bug, but of one image.
FAILED = "segmenter failed"


class _Task(NamedTuple):
    image_id: str
    path: str
    picture: str
    shown: bool


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
    **run: Any,
) -> Path:
    """Segment images and write the ``cells`` artifact; return its folder.

    It holds ``cells.parquet``, ``outcomes.parquet`` and, if asked for, ``masks/``, ``overlays/``
    and ``sheet.jpg``. An image that cannot be read, or that the segmenter fails at, has the reason
    as outcome. Files with the same bytes share their cells: these are listed once. Whole fields are
    shown to the segmenter in tiles (:mod:`~.tiling`). ``EngineError`` if it fails at every image
    that can be read.

    Parameters
    ----------
    items
        ``(image_id, path)`` of each image; the path is relative to ``root``, ``/`` between parts.
    masks, overlays
        Write ``masks/<stem>.png`` (0 background, 1 white, 2 red, 3 platelet);
        ``overlays/<stem>.jpg`` and ``sheet.jpg``, a sheet of some of them. Where two images have
        one stem, all such are named with their folders.
    work
        Folder for finished pieces; a run that was killed goes on from them. It is removed at the
        end. By default a hidden folder beside ``out``.
    inputs
        Name → fingerprint of each artifact that was read.
    run
        ``backend`` and ``workers`` of :func:`naturalize.base.engine.map`; they do not change the
        result.
    """
    out = Path(out)
    settings = described(items, segmenter, masks=masks, overlays=overlays)
    same_source = same_images("outcomes.parquet", (image_id for image_id, _ in items))
    check_place(out, "cells", inputs, same_source)
    work = Path(work) if work else out.with_name(f".{out.name}.work")
    names = picture_names([path for _, path in items])
    every = max(1.0, len(items) / SHEET)
    shown = {int(i * every) for i in range(SHEET)} if overlays else set()
    tasks = [
        _Task(*item, name, i in shown)
        for i, (item, name) in enumerate(zip(items, names, strict=True))
    ]
    one = partial(
        _segment_one,
        root=Path(root),
        segmenter=Tiled(segmenter),
        work=work,
        kinds=(masks, overlays),
    )

    def compute(part: Iterable[_Task]) -> Iterator[pa.Table]:
        return engine.map(one, part, chunk=2, name=attrgetter("path"), **run)

    # the settings and inputs decide what is made, the root from which files
    key = json.dumps([settings, dict(inputs or {}), str(Path(root).resolve())], sort_keys=True)
    pieces = resumable_pieces(work, key, tasks, compute, IMAGES, piece=_PIECE, what="segment")
    if (failure := _failure_of_all(pieces)) is not None:
        shutil.rmtree(work, ignore_errors=True)
        raise EngineError(f"{failure}; and so at every other image that can be read")
    with writing(out, "cells", settings=settings, inputs=inputs, same_source=same_source) as folder:
        write_tables(folder / "cells.parquet", _cells(pieces), CELLS)
        outcomes = (table.select(OUTCOMES.names) for table in pieces)
        write_tables(folder / "outcomes.parquet", outcomes, OUTCOMES)
        for asked, kind in ((masks, "masks"), (overlays, "overlays")):
            if asked:
                _gather(work / kind, folder / kind, tasks, pieces)
        if overlays:
            _write_sheet(folder / "sheet.jpg", work / "thumbnails", tasks, pieces)
    shutil.rmtree(work, ignore_errors=True)
    return out


def described(
    items: Sequence[tuple[str, str]],
    segmenter: Segmenter,
    *,
    masks: bool = False,
    overlays: bool = False,
) -> dict[str, Any]:
    """Return the settings of the artifact that :func:`segment_images` makes of these images."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(repr(tuple(item)).encode())
    return {
        "segmenter": segmenter.name,
        **Tiled(segmenter).settings,
        "images": digest.hexdigest()[:16],
        "masks": masks,
        "overlays": overlays,
    }


#: Bytes of a name without its suffix (a disk takes 255 with it).
_LONGEST = 251


def picture_names(paths: Sequence[str]) -> list[str]:
    """Return a name without suffix for the picture of each image, all different.

    The stem where no other image has it; else the folder and the stem; else, where only suffixes
    differ, the folder and the whole file name. Names that differ in case only count as equal.

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
    return [_short(name) for name in names]


def _short(name: str) -> str:
    """Return a path whose last name leaves room for a suffix; its end is hashed if it is long."""
    folder, slash, last = name.rpartition("/")
    data = last.encode()
    if len(data) <= _LONGEST:
        return name
    mark = hashlib.sha256(data).hexdigest()[:16]
    return f"{folder}{slash}{data[: _LONGEST - 17].decode(errors='ignore')}-{mark}"


def _segment_one(
    task: _Task, *, root: Path, segmenter: Tiled, work: Path, kinds: tuple[bool, bool]
) -> pa.Table:
    return pa.Table.from_pylist([_row(task, root, segmenter, work, kinds)], schema=IMAGES)


def _row(
    task: _Task, root: Path, segmenter: Tiled, work: Path, kinds: tuple[bool, bool]
) -> dict[str, Any]:
    try:
        image = read_image(root / task.path)
    except ImageReadError as error:
        return failed_row(task.image_id, task.path, error.reason)
    try:
        segmentation = segmenter.segment(image)
    except (NaturalizeError, MemoryError):
        raise
    except Exception as error:  # one odd image shall not cost the others their cells
        reason = f"{FAILED} ({type(error).__name__}: {error})".replace("\n", " ")
        return failed_row(task.image_id, task.path, reason)
    row = image_row(task.image_id, task.path, image, segmentation)
    if kinds[0]:
        write_image(work / "masks" / f"{task.picture}.png", segmentation.label_image())
    if kinds[1]:
        draw_outlines(image, segmentation)  # nobody needs it plain any more: no copy of a field
        write_image(work / "overlays" / f"{task.picture}.jpg", image, quality=92)
        if task.shown:
            write_image(work / "thumbnails" / f"{task.picture}.png", thumbnail(image))
    return row


def _failure_of_all(pieces: Pieces) -> str | None:
    """Return the first failure of the segmenter, if it failed wherever an image could be read."""
    first = None
    for table in pieces:
        if table["background_r"].null_count < table.num_rows:
            return None
        failed = table.filter(pc.starts_with(table["outcome"], FAILED)).slice(0, 1)
        for row in failed.select(["path", "outcome"]).to_pylist():
            first = first or f"{row['path']}: {row['outcome']}"
    return first


def _cells(pieces: Pieces) -> Iterator[pa.Table]:
    """Yield the cells of all images, piece by piece; those of byte-identical files once."""
    seen: set[str] = set()
    for table in pieces:
        first = []
        for i, image_id in enumerate(table["image_id"].to_pylist()):
            if image_id not in seen:
                seen.add(image_id)
                first.append(i)
        cells = table.take(pa.array(first, pa.int64()))["cells"].combine_chunks().flatten()
        yield pa.Table.from_arrays(cells.flatten(), names=CELLS.names).cast(CELLS)


def _gather(source: Path, target: Path, tasks: Sequence[_Task], pieces: Pieces) -> None:
    """Link (or copy) the pictures of all readable images into the artifact."""
    target.mkdir(parents=True)
    suffix = ".png" if source.name == "masks" else ".jpg"
    backgrounds = (red for table in pieces for red in table["background_r"].to_pylist())
    for task, red in zip(tasks, backgrounds, strict=True):
        if red is None:
            continue
        name = f"{task.picture}{suffix}"
        link_file(source / name, target / name)


def _write_sheet(file: Path, thumbnails: Path, tasks: Sequence[_Task], pieces: Pieces) -> None:
    """Write a sheet of overlays from all over the list, with their counts."""
    columns = ["background_r", "n_wbc", "n_rbc", "n_platelet"]
    rows = (row for table in pieces for row in table.select(columns).to_pylist())
    pictures, captions = [], []
    for task, row in zip(tasks, rows, strict=True):
        if task.shown and row["background_r"] is not None:
            pictures.append(read_image(thumbnails / f"{task.picture}.png"))
            counts = f"{row['n_wbc']} white, {row['n_rbc']} red, {row['n_platelet']} plt"
            name = task.picture
            captions.append(f"{name if len(name) <= 22 else '…' + name[-21:]}  {counts}")
    if pictures:
        title = f"{len(pictures)} of {len(tasks):,} images"
        write_image(file, overlay_sheet(pictures, captions, title=title), quality=90)
