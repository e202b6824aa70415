"""Write a phantom: images in a tree like PBC's, and the truth beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base import engine
from naturalize.base.artifacts import write_table, writing
from naturalize.base.errors import SettingsError
from naturalize.base.images import write_image
from naturalize.base.sheets import labelled_rows
from naturalize.dataset.phantom.scene import (
    CLASSES,
    FIELD,
    check_label,
    check_size,
    render_phantom,
)
from naturalize.dataset.schemes import scheme

#: Folder of each class, as in PBC.
FOLDERS = {label: scheme("pbc8").prefixes[label] for label in CLASSES}

#: Columns of ``truth/boxes.parquet``; ``path`` is relative to ``images/``.
BOXES_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("instance", pa.int32()),
        ("kind", pa.string()),
        ("label", pa.string()),
        *((name, pa.int32()) for name in ("x0", "y0", "x1", "y1")),
    ]
)

#: Largest number of images a class: file names have six digits.
MOST = 999_999

#: Images a class on the contact sheet.
_SHOWN = 6


def write_phantom(
    out: str | Path,
    *,
    per_class: int | Mapping[str, int],
    seed: int = 0,
    size: tuple[int, int] = FIELD,
    **run: Any,
) -> Path:
    """Write a phantom data set as an artifact of kind ``phantom``; one that is there is replaced.

    Return its folder ``out``, which holds ``images/<folder>/<PREFIX>_<number>.jpg``,
    ``truth/masks``, ``truth/instances``, ``truth/nuclei`` (PNG), ``truth/boxes.parquet`` and
    ``sheet.jpg``.

    ``per_class`` is the number of images of every class, or class → images (none of the others).
    ``seed`` names the data set: image ``i`` of a class is the same whatever the others are.
    ``size`` is width and height in pixels. ``run``: ``backend`` and ``workers`` of
    `naturalize.base.engine.map`, which do not change the result. ``SettingsError`` for an unknown
    class, a number below 1 or a size out of range.
    """
    counts = count_classes(per_class)
    check_size(size)
    items = [(label, index) for label, n in counts.items() for index in range(n)]
    settings = {"per_class": counts, "seed": int(seed), "size": [int(n) for n in size]}
    rows: list[dict[str, Any]] = []
    shown: dict[str, list[np.ndarray]] = {label: [] for label in counts}
    with writing(out, "phantom", settings=settings) as folder:
        draw = partial(_write_one, folder=folder, seed=seed, size=size)
        written = engine.map(draw, items, what="phantom", name=_name, **run)
        for (label, _), (boxes, thumbnail) in zip(items, written, strict=True):
            rows.extend(boxes)
            if thumbnail is not None:
                shown[label].append(thumbnail)
        write_table(
            folder / "truth" / "boxes.parquet", pa.Table.from_pylist(rows, schema=BOXES_SCHEMA)
        )
        sheet = labelled_rows(shown, tile=144, title=f"phantom, seed {seed}")
        write_image(folder / "sheet.jpg", sheet, quality=90)
    return Path(out)


def count_classes(per_class: int | Mapping[str, int]) -> dict[str, int]:
    """Return class → images in the order of `CLASSES`.

    ``SettingsError`` for an unknown class, a number that is not from 1 to 999,999, or no class.
    """
    given = dict(per_class) if isinstance(per_class, Mapping) else dict.fromkeys(CLASSES, per_class)
    if not given:
        raise SettingsError("per_class: names no class; give at least one, such as SNE=20")
    for label, n in given.items():
        check_label(label)
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 1 <= n <= MOST:
            raise SettingsError(
                f"per_class: expected a whole number from 1 to {MOST:,} for {label}, got {n!r}"
            )
    return {label: int(given[label]) for label in CLASSES if label in given}


def parse_counts(text: str) -> dict[str, int]:
    """Return class → images from ``"24"``, ``"BNE=5,SNE=60"`` or ``"24,BNE=5"``.

    A bare number counts for every class; ``NAME=N`` for that class, whatever the order.
    ``SettingsError`` for text of another form, an unknown class or a number below 1.

    Examples
    --------
    >>> parse_counts("BNE=5,SNE=60")
    {'BNE': 5, 'SNE': 60}
    """
    every: dict[str, int] = {}
    single: dict[str, int] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, number = (piece.strip() for piece in part.rpartition("="))
        if not re.fullmatch(r"-?\d+", number) or (equals and not name):
            raise SettingsError(
                f"per-class: expected a number or NAME=N, got {part!r}; for example 24,BNE=5"
            )
        if equals:
            single[name] = int(number)
        else:
            every = dict.fromkeys(CLASSES, int(number))
    return count_classes(every | single)


def parse_size(text: str) -> tuple[int, int]:
    """Return (width, height) from ``"360x363"``; ``SettingsError`` for text of another form."""
    found = re.fullmatch(r"\s*(\d+)\s*[x×,]\s*(\d+)\s*", text, flags=re.IGNORECASE)
    if not found:
        raise SettingsError(f"size: expected WIDTHxHEIGHT such as 360x363, got {text!r}")
    return int(found[1]), int(found[2])


def image_path(label: str, index: int) -> str:
    """Return the place of an image relative to ``images/``: folder, prefix and number as in PBC."""
    prefix = "PLATELET" if label == "PLT" else label
    return f"{FOLDERS[label]}/{prefix}_{index:06d}.jpg"


def _name(item: tuple[str, int]) -> str:
    return image_path(*item)


def _write_one(
    item: tuple[str, int], *, folder: Path, seed: int, size: tuple[int, int]
) -> tuple[list[dict[str, Any]], np.ndarray | None]:
    """Draw and write one image; return its boxes, and the picture if it goes on the sheet."""
    label, index = item
    phantom = render_phantom(label, seed, index, size=size)
    path = image_path(label, index)
    stem = Path(path).stem
    truth = folder / "truth"
    write_image(folder / "images" / path, phantom.image)
    write_image(truth / "masks" / f"{stem}.png", phantom.label_image())
    write_image(truth / "instances" / f"{stem}.png", phantom.instances.astype(np.uint16))
    write_image(truth / "nuclei" / f"{stem}.png", phantom.nucleus_image().astype(np.uint8))
    boxes = [(path, cell.instance, cell.kind, cell.label, *cell.box) for cell in phantom.cells]
    rows = [dict(zip(BOXES_SCHEMA.names, box, strict=True)) for box in boxes]
    return rows, phantom.image if index < _SHOWN else None
