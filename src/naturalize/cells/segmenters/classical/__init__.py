"""The classical segmenter: thresholds, outlines and watersheds in optical density; no weights."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from naturalize.cells.segmentation import Segmentation
from naturalize.cells.segmenters.protocol import ScaledSegmenter


class Classical(ScaledSegmenter):
    """Cells by stain and shape.

    White cells are found by their nucleus and outlined by what is neither slide nor red cell; red
    cells by threshold, hole filling and a distance watershed; platelets by size and stain.
    """

    name: ClassVar[str] = "classical"

    def segment(self, image: np.ndarray) -> Segmentation:
        """Return the cells of RGB uint8 (H, W, 3)."""
        from naturalize.cells.segmenters.classical.find import find

        return find(image, cell_size=self.cell_size)
