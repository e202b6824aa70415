"""The project's own small network: cells of all kinds in one look, no download, no GPU."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from naturalize.cells.segmentation import Segmentation
from naturalize.cells.segmenters.protocol import ScaledSegmenter


class UNet(ScaledSegmenter):
    """Cells by a small U-Net whose weights come with the package; see its model card.

    It gives each pixel a kind (slide, cytoplasm, nucleus, red cell, platelet) and an arrow to the
    centre of its cell; pixels whose arrows meet are one cell, so cells that touch come apart.

    Parameters
    ----------
    cell_size
        Diameter of a red cell in pixels. By default an image is looked at as PBC images are
        (red cells of about 75 pixels in 360), and once more at another scale where what is found
        then is much larger or smaller.
    weights
        Path of another ONNX file with the same inputs and outputs; by default the package's own.
    """

    weights: str | None = None
    name: ClassVar[str] = "unet"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as JSON values, and the digest of the weights."""
        from naturalize.cells.segmenters.unet.network import digest

        return {"cell_size": self.cell_size, "weights": digest(self.weights)}

    def segment(self, image: np.ndarray) -> Segmentation:
        """Return the cells of RGB uint8 (H, W, 3)."""
        from naturalize.cells.segmenters.unet.find import find

        return find(image, cell_size=self.cell_size, weights=self.weights)
