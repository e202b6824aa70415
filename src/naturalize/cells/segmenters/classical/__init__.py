"""The classical segmenter: thresholds, outlines and watersheds in optical density; no weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from naturalize.cells.segmentation import Segmentation


@dataclass(frozen=True)
class Classical:
    """Cells by stain and shape.

    White cells are found by their nucleus and outlined by what is neither slide nor red cell; red
    cells by threshold, hole filling and a distance watershed; platelets by size and stain.

    Parameters
    ----------
    cell_size
        Diameter of a red cell in pixels; measured in every image if not given.
    """

    cell_size: float | None = None
    name: ClassVar[str] = "classical"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return asdict(self)

    def segment(self, image: np.ndarray) -> Segmentation:
        """Return the cells of RGB uint8 (H, W, 3)."""
        from naturalize.cells.segmenters.classical.find import find

        return find(image, cell_size=self.cell_size)
