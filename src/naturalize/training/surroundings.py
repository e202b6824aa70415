"""The masks of the cells that labels speak of, for showing these cells alone."""

from __future__ import annotations

import cv2
import numpy as np

from naturalize.cells.bank import CellBank
from naturalize.dataset.catalog import Catalog
from naturalize.imaging.isolate import alone
from naturalize.imaging.runlength import decode
from naturalize.models.preprocess import View

__all__ = ["TargetMasks", "alone"]


class TargetMasks:
    """The mask of the cell that each image's label speaks of, as far as a bank has it.

    Parameters
    ----------
    bank
        Whose target cells are taken, accepted or not.
    catalog
        For the size of the images.
    view
        What the network sees of an image: the masks are of that.
    """

    def __init__(self, bank: CellBank, catalog: Catalog, view: View) -> None:
        self.view = view
        rows = catalog.table.select(["image_id", "height", "width"]).to_pylist()
        shapes = {row["image_id"]: (row["height"], row["width"]) for row in rows}
        table = bank.cells(target=True, accepted=None)
        self._cells = {
            row["image_id"]: (row, shapes[row["image_id"]])
            for row in table.select(["image_id", "x0", "y0", "x1", "y1", "mask"]).to_pylist()
            if row["image_id"] in shapes
        }

    def __len__(self) -> int:
        """Return the number of images whose cell is known."""
        return len(self._cells)

    def get(self, image_id: str) -> np.ndarray | None:
        """Return the mask in an image, uint8 (size, size), 255 in the cell; null if not known."""
        found = self._cells.get(image_id)
        if found is None:
            return None
        row, shape = found
        mask = np.zeros(shape, np.uint8)
        box = (row["y1"] - row["y0"], row["x1"] - row["x0"])
        runs = np.asarray(row["mask"], np.uint32)
        mask[row["y0"] : row["y1"], row["x0"] : row["x1"]][decode(runs, box)] = 255
        top, left, bottom, right = self.view.window(*shape)
        size = (self.view.size, self.view.size)
        return cv2.resize(mask[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
