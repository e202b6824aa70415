"""What every segmenter is: a name, its settings, and one pure function of an image."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from naturalize.cells.segmentation import Segmentation


class Segmenter(Protocol):
    """Cells out of one image.

    A segmenter is cheap to pickle (it goes to the workers as it is); what is heavy, such as a
    network, it loads at the first image. Equal settings and images give equal results.
    """

    @property
    def name(self) -> str:
        """The name it is registered under."""

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides its results, as JSON values: they become part of the fingerprint."""

    def segment(self, image: np.ndarray) -> Segmentation:
        """Return the cells of RGB uint8 (H, W, 3)."""
