"""The white cells of fields by class, those in doubt first: a sheet to check a reading by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base.display import rows_of
from naturalize.base.sheets import contact_sheet
from naturalize.dataset.schemes import CLASS_NAMES
from naturalize.fields.differential import is_unsure, of_no_smear
from naturalize.fields.parts import Part

#: Cells of a class that are shown, tiles in a row, and the side of a tile in pixels.
_OF_CLASS, _COLUMNS, _TILE = 16, 8, 150

#: Tiles in a row at least, so that titles have room.
_FEWEST = 4

#: What is kept around a cell, in shares of its width.
_AROUND = 0.3

#: Letters of a caption.
_LETTERS = 24


def sheet_of(
    parts: Sequence[Part], named: Iterable[pa.Table], classes: Sequence[str]
) -> np.ndarray:
    """Return RGB uint8 (H, W, 3): white cells by class, at most 16 of each, the doubtful first.

    Those of fields whose outcome speaks against their classes are left out.

    ``parts``: of the fields, as ``named`` has them, one table each (`tables.named_schema`). Each
    part with a cell that is shown is read once more.
    """
    chosen: dict[str, list[tuple[Any, ...]]] = {name: [] for name in classes}
    n = dict.fromkeys(classes, 0)
    for place, table in enumerate(named):
        cells = table["cells"].combine_chunks().flatten()
        names = ("kind", "label", "confidence", "flag", "x0", "y0", "x1", "y1")
        there = pa.table([pc.struct_field(cells, name) for name in names], names)
        for _, label, sure, flag, *box in rows_of(
            there.filter(pc.is_valid(there["label"])), *names
        ):
            if of_no_smear(flag):
                continue
            n[label] += 1
            chosen[label].append((not is_unsure(flag), sure, place, tuple(box)))
        for name in classes:
            chosen[name] = sorted(chosen[name])[:_OF_CLASS]
    tiles = _tiles(parts, [row for rows in chosen.values() for row in rows])
    columns = min(_COLUMNS, max(_FEWEST, *map(len, chosen.values())))
    blocks = []
    for name in classes:
        if not (rows := chosen[name]):
            continue
        shown = "" if n[name] <= _OF_CLASS else f"; the {_OF_CLASS} most doubtful"
        title = f"{name} {CLASS_NAMES.get(name, '')}".rstrip() + f": {n[name]:,}{shown}"
        captions = [_caption(parts[place], sure, certain) for certain, sure, place, _ in rows]
        pictures = [tiles[place, box] for _, _, place, box in rows]
        blocks.append(
            contact_sheet(pictures, captions=captions, columns=columns, tile=_TILE, title=title)
        )
    return np.concatenate(blocks) if blocks else contact_sheet([], title="no white cell was named")


def _caption(part: Part, sure: float, certain: bool) -> str:
    return f"{sure:.2f}{'' if certain else '?'} {part.field}"[:_LETTERS]


def _tiles(
    parts: Sequence[Part], rows: Iterable[tuple[Any, ...]]
) -> dict[tuple[int, tuple[int, ...]], np.ndarray]:
    """Return place and box → what is around a cell; each part is read once."""
    boxes = defaultdict[int, list[tuple[int, ...]]](list)
    for _, _, place, box in rows:
        boxes[place].append(box)
    found = {}
    for place, here in boxes.items():
        image, (left, top) = parts[place].pixels(), parts[place].corner
        for box in here:
            x0, y0, x1, y1 = box
            half = round((0.5 + _AROUND) * max(x1 - x0, y1 - y0))
            x, y = (x0 + x1) // 2 - left, (y0 + y1) // 2 - top
            found[place, box] = image[
                max(0, y - half) : y + half, max(0, x - half) : x + half
            ].copy()
    return found
