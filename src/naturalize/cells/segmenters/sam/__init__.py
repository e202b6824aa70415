"""The SAM family as a segmenter: a foundation model, prompted with every cell or with a grid."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from naturalize.cells.segmentation import Segmentation, Segmenter

Share = Annotated[float, Field(ge=0, le=1)]

#: Raised when the same settings give other cells than before.
_VERSION = 1


class Sam(Segmenter):
    """Cells outlined by Segment Anything (Kirillov et al., ICCV 2023) or a relative of it.

    In the modes ``boxes`` and ``points`` another segmenter finds the cells and their kinds. The
    model encodes the image once and is prompted with each cell's box or middle; of the masks that
    it offers for a cell the one of the highest quality is kept (``judge``). In the mode
    ``everything``, the paper's, a grid of points prompts it, and masks are sorted by size and
    stain; it takes a hundred times as long and finds less.
    """

    mode: Literal["boxes", "points", "everything"] = "boxes"
    #: A name that ``naturalize weights list`` gives; a folder with ``encoder.onnx`` and
    #: ``sam.onnx``; a folder written by transformers' ``save_pretrained``; or an official
    #: ``.pt``/``.pth`` checkpoint. All but ONNX need the extra ``sam``.
    weights: str = "mobilesam"
    #: Segmenter whose cells are outlined anew.
    detector: str = "classical"
    #: Points along each side in the mode ``everything``.
    grid: Annotated[int, Field(ge=1, le=128)] = 32
    #: In the mode ``everything``: masks with a lower estimate of their own IoU, or that change more
    #: with the threshold, are not taken (SAM's own values).
    least_score: Share = 0.88
    least_stability: Share = 0.95
    #: Threads of the model; by default one in a worker process, else ``$OMP_NUM_THREADS`` or all
    #: processors. Does not change the result.
    threads: Annotated[int, Field(ge=1)] | None = None
    name: ClassVar[str] = "sam"

    @field_validator("detector")
    @classmethod
    def _is_another(cls, detector: str) -> str:
        if detector == cls.name:
            raise ValueError("sam cannot find cells for itself; choose another segmenter")
        return detector

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the result, the bytes of the weights included, as JSON values."""
        from naturalize.cells.segmenters.sam.load import locate

        found: dict[str, Any] = {
            "mode": self.mode,
            "weights": self.weights,
            "weights_sha256": locate(self.weights).identity,
            "version": _VERSION,
        }
        if self.mode == "everything":
            found |= self.model_dump(include={"grid", "least_score", "least_stability"})
        else:
            detector = self._detector()
            found["detector"] = {"name": detector.name, **detector.settings}
        return found

    def segment(self, image: np.ndarray) -> Segmentation:
        """Return the cells of RGB uint8 (H, W, 3)."""
        from naturalize.cells.segmenters.sam.everything import everything
        from naturalize.cells.segmenters.sam.load import loaded
        from naturalize.cells.segmenters.sam.prompted import prompted

        if self.mode == "everything":
            return everything(
                image,
                loaded(self.weights, self.threads),
                grid=self.grid,
                least_score=self.least_score,
                least_stability=self.least_stability,
            )
        cells = self._detector().segment(image)
        if not cells.cells:
            return cells
        return prompted(image, cells, loaded(self.weights, self.threads), by=self.mode)

    def _detector(self) -> Any:
        from naturalize.cells.segmenters import segmenter

        return segmenter(self.detector)
