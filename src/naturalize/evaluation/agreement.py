"""Labels that another source confirms: a table with the columns ``image`` and ``agreed``.

A label may be wrong, and then so is the score of a model that is right. On images where two sources
agree (another reader, attributes, a label audit) a mistake is more surely the model's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa

from naturalize.base.display import rows_of
from naturalize.base.errors import InputError
from naturalize.base.table import read_rows

_YES, _NO = ("yes", "true", "1"), ("no", "false", "0")


def read_agreed(file: str | Path) -> dict[str, bool]:
    """Read image → whether its label is confirmed; ``InputError`` for what cannot be understood.

    ``image`` is a path as the data has it, a file name, or an ``image_id``; ``agreed`` is yes, no,
    true, false, 1 or 0. An image that is not in the table is not confirmed.
    """
    found: dict[str, bool] = {}
    for row in read_rows(file, ("path", "agreed")):
        name, said = row["path"].replace("\\", "/"), row["agreed"].lower()
        if said not in (*_YES, *_NO):
            raise InputError(f"{row.where}: agreed: expected yes or no, got {row['agreed']!r}")
        if found.setdefault(name, said in _YES) != (said in _YES):
            raise InputError(f"{row.where}: {name} is there before, with another answer")
    if not found:
        raise InputError(f"{file}: has no row; list images with the columns image and agreed")
    return found


def confirmed(table: pa.Table, agreed: Mapping[str, bool]) -> np.ndarray:
    """Return whether each row of a predictions table has a confirmed label: bool (N,).

    ``InputError`` if none has, or a file name in ``agreed`` fits several images of ``table``.
    """
    rows = list(rows_of(table, "image_id", "path"))
    names = [PurePosixPath(path).name for _, path in rows]
    times = Counter(names)
    found = np.zeros(len(rows), bool)
    for i, ((image_id, path), name) in enumerate(zip(rows, names, strict=True)):
        if path not in agreed and name in agreed and times[name] > 1:
            raise InputError(f"agreed: {name} is the name of several images; give their paths")
        found[i] = next((agreed[key] for key in (path, image_id, name) if key in agreed), False)
    if not found.any():
        known = sum(
            not {*row, name}.isdisjoint(agreed) for row, name in zip(rows, names, strict=True)
        )
        raise InputError(
            f"agreed: none of {len(rows):,} images is confirmed, {known:,} are in the table; "
            "check that it names these images, by path, file name or image_id"
        )
    return found
