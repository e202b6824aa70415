"""The bank at a glance: cut-out cells on their slide's colour, a row for each class and kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from naturalize.base.rng import rng
from naturalize.base.sheets import labelled_rows

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank

#: Names of the rows of cells that no label speaks of.
_OTHERS = {"rbc": "red cells", "platelet": "platelets"}


def bank_sheet(bank: CellBank, *, columns: int = 12, tile: int = 96) -> np.ndarray:
    """Return a contact sheet of accepted cells, RGB uint8 (H, W, 3).

    Parameters
    ----------
    bank
        The bank; its source images are read.
    columns
        Cells a row, drawn at random, the same for the same bank.
    tile
        Side of a picture in pixels. All cells of a row are shown at one scale.
    """
    groups = {label: bank.cells(label=label, target=True) for label in bank.labels}
    groups |= {name: bank.cells(kind, target=False) for kind, name in _OTHERS.items()}
    rows = {}
    for name, table in groups.items():
        ids = sorted(table["cell_id"].to_pylist())
        if ids:
            drawn = rng(0, "bank sheet", name).permutation(len(ids))[:columns]
            rows[name] = _one_scale([_shown(bank, ids[i]) for i in sorted(drawn)])
    n = bank.cells().num_rows
    return labelled_rows(rows, tile=tile, title=f"{n:,} cells of {bank.table.num_rows:,} accepted")


def _shown(bank: CellBank, cell_id: str) -> np.ndarray:
    """Return the cell on white."""
    cut = bank.cutout(cell_id)
    return np.where(cut.mask[..., None], cut.rgb, np.uint8(255))


def _one_scale(tiles: list[np.ndarray]) -> list[np.ndarray]:
    """Return the pictures padded to one square size with white."""
    side = max(max(tile.shape[:2]) for tile in tiles) + 4
    out = []
    for tile in tiles:
        top, left = (side - tile.shape[0]) // 2, (side - tile.shape[1]) // 2
        canvas = np.full((side, side, 3), 255, np.uint8)
        canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
        out.append(canvas)
    return out
