"""Cells without their images: a bank whose pictures are the cells themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from naturalize.base.artifacts import writing
from naturalize.base.images import write_image
from naturalize.cells.bank.files import IMAGES, crop_bank, crop_path, write_tables


class Cut(NamedTuple):
    """A cell's row, its box counting in the crop; and the crop, RGB uint8 (h, w, 3)."""

    row: dict[str, Any]
    crop: np.ndarray


def write_crop_bank(
    out: Path,
    cuts: Iterable[Cut],
    table_of: Callable[[list[dict[str, Any]]], pa.Table],
    *,
    labels: Sequence[str],
    part: str | None,
    inputs: dict[str, str],
) -> Path:
    """Write a self-contained bank of crops.

    Parameters
    ----------
    out
        Its folder.
    cuts
        The cells; each crop is written as it comes.
    table_of
        Gives the ``BANK`` table of all rows.
    labels, part, inputs
        Of the bank.
    """
    with writing(out, "bank", settings={"part": part}, inputs=inputs) as folder:
        rows = []
        for cut in cuts:
            path = crop_path(cut.row["cell_id"])
            write_image(folder / IMAGES / path, cut.crop)
            rows.append({**cut.row, "path": path})
        bank = crop_bank(table_of(rows), folder / IMAGES, labels, part=part, inputs=inputs)
        write_tables(bank, folder, "crops")
    return out
