"""What every segmenter is: a name, its settings, and one pure function of an image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import Field

from naturalize.base.settings import Settings
from naturalize.cells.segmentation import Segmentation


class Segmenter(Settings, ABC):
    """Cells out of one image. The fields of a segmenter are its settings.

    A segmenter is cheap to pickle: it goes to the workers as it is, and loads what is heavy, such
    as a network, at the first image. Equal settings and images give equal results.
    """

    #: The name it is registered under.
    name: ClassVar[str]

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides its results, as JSON values: they become part of the fingerprint."""
        return self.model_dump(mode="json")

    @abstractmethod
    def segment(self, image: np.ndarray) -> Segmentation:
        """Return the cells of RGB uint8 (H, W, 3)."""

    def with_cell_size(self, cell_size: float) -> Segmenter:
        """Return the segmenter for images whose red cells are ``cell_size`` pixels wide.

        By default a segmenter does not use their size, and this is itself.
        """
        return self


class ScaledSegmenter(Segmenter):
    """A segmenter that can be given the size of the red cells.

    Parameters
    ----------
    cell_size
        Diameter of a red cell in pixels; by default each image is measured.
    """

    cell_size: Annotated[float, Field(ge=4, le=2000)] | None = None

    def with_cell_size(self, cell_size: float) -> Self:
        """Return the segmenter with this size of red cells, unless it has one already."""
        if self.cell_size is not None:
            return self
        return self.model_copy(update={"cell_size": round(cell_size, 1)})
