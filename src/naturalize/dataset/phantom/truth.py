"""What is known exactly about a phantom image: its cells, their masks, boxes and nuclei."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Values of a label image, by kind of cell.
KIND_VALUES = {"wbc": 1, "rbc": 2, "platelet": 3}


@dataclass(frozen=True)
class PhantomCell:
    """The truth about one cell.

    Attributes
    ----------
    instance
        Its value in `PhantomImage.instances`.
    kind
        ``"wbc"``, ``"rbc"`` or ``"platelet"``.
    label
        The class, for the cell that the image is about; None for the others.
    box
        ``x0, y0, x1, y1``, half-open pixels, of the visible part.
    mask
        bool (y1 - y0, x1 - x0): the visible part.
    nucleus
        bool, the same shape: the nucleus; None for cells without one.
    """

    instance: int
    kind: str
    label: str | None
    box: tuple[int, int, int, int]
    mask: np.ndarray
    nucleus: np.ndarray | None


@dataclass(frozen=True)
class PhantomImage:
    """An image and the truth about it.

    Attributes
    ----------
    image
        RGB uint8 (H, W, 3).
    label
        Its class.
    instances
        int32 (H, W): 0 background, otherwise the number of the cell to be seen there.
    cells
        One a number, in order; from the lowest to the topmost.
    """

    image: np.ndarray
    label: str
    instances: np.ndarray
    cells: tuple[PhantomCell, ...]

    @property
    def target(self) -> PhantomCell:
        """The cell that the image's label speaks of."""
        return next(cell for cell in self.cells if cell.label is not None)

    def label_image(self) -> np.ndarray:
        """Return uint8 (H, W): 0 background, 1 white cells, 2 red cells, 3 platelets."""
        values = np.array([0, *(KIND_VALUES[cell.kind] for cell in self.cells)], np.uint8)
        return values[self.instances]

    def nucleus_image(self) -> np.ndarray:
        """Return bool (H, W): the white cell's nucleus."""
        out = np.zeros(self.instances.shape, bool)
        for cell in self.cells:
            if cell.nucleus is not None:
                x0, y0, x1, y1 = cell.box
                out[y0:y1, x0:x1] |= cell.nucleus
        return out
