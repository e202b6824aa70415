"""What `naturalize segment` may be pointed at: a catalog, a tree of images, or one image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from naturalize.base.artifacts import read_table
from naturalize.base.console import track
from naturalize.base.display import rows_of
from naturalize.base.errors import InputError
from naturalize.base.images import IMAGE_SUFFIXES, content_hash, read_bytes
from naturalize.base.walk import images_folder, say_skipped, walk_images
from naturalize.cells.segment import segment_images
from naturalize.cells.segmentation import OK
from naturalize.cells.segmenters import Segmenter
from naturalize.cells.tables import OUTCOMES
from naturalize.dataset.catalog import Catalog
from naturalize.inputs.kind import named

Items = list[tuple[str, str]]

#: Images named for each outcome that is not ok.
_NAMED = 3


def segment_source(
    source: str | Path,
    segmenter: Segmenter,
    out: str | Path,
    **options: Any,
) -> Path:
    """Segment a catalog, a tree of images or one image; ``options`` as for `segment_images`.

    ``InputError`` if there is nothing at ``source``, or no image in it.
    """
    root, items, inputs = open_source(Path(source))
    return segment_images(items, root, segmenter, out, inputs=inputs, **options)


def open_source(source: Path) -> tuple[Path, Items, dict[str, str]]:
    """Return the root, ``(image_id, path)`` of each image, and the inputs' fingerprints."""
    there = named(source, "images, a folder of them or a catalog")
    if (found := there.find("catalog")) is not None:
        catalog = Catalog.load(found)
        items = list(rows_of(catalog.table, "image_id", "path"))
        return catalog.root, items, {"catalog": catalog.fingerprint}
    if there.kind == "image":
        return source.parent, [(content_hash(read_bytes(source)), source.name)], {}
    if not source.is_dir():
        raise InputError(f"{source}: not an image (known: {', '.join(sorted(IMAGE_SUFFIXES))})")
    root = images_folder(source)
    walked = walk_images(root)
    if not walked.images:
        raise InputError(f"{source}: no image in it")
    say_skipped(walked.skipped)
    return root, [(_id(root / path), path) for path in track(walked.images, "read")], {}


def _id(file: Path) -> str:
    try:
        return content_hash(read_bytes(file))
    except InputError:  # an empty file has its outcome in the table, and an id of its own
        return content_hash(str(file).encode())


def summary(out: str | Path) -> list[str]:
    """Return lines to print: how many cells of each kind, and what became of other images."""
    table = read_table(Path(out) / "outcomes.parquet", OUTCOMES)
    kinds = {"white cells": "n_wbc", "red cells": "n_rbc", "platelets": "n_platelet"}
    found = ", ".join(
        f"{pc.sum(table[column]).as_py() or 0:,} {name}" for name, column in kinds.items()
    )
    others = table.filter(pc.not_equal(table["outcome"], OK))
    paths: dict[str, list[str]] = {}
    for outcome, path in rows_of(others, "outcome", "path"):
        paths.setdefault(outcome, []).append(path)
    lines = [f"{table.num_rows:,} images: {found}"]
    for outcome in sorted(paths, key=lambda o: -len(paths[o])):
        named = paths[outcome]
        more = f" and {len(named) - _NAMED:,} more" if len(named) > _NAMED else ""
        lines.append(f"{len(named):,} {outcome}: {', '.join(named[:_NAMED])}{more}")
    return lines
