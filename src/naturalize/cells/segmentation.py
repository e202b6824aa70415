"""What a segmenter is, and what it gives: cells with masks, and what became of the image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import Field

from naturalize.base.errors import SettingsError, unknown
from naturalize.base.settings import Settings
from naturalize.imaging.shape import off_target, touches_border

#: Kinds of cells; ``wbc`` is any nucleated cell, erythroblasts included.
KINDS = ("wbc", "rbc", "platelet")

#: Grey level of each kind in a label image; 0 is background.
LEVELS = {"wbc": 1, "rbc": 2, "platelet": 3}

#: What lies over what where masks overlap: a platelet over a white cell over a red one.
OVERLAP = ("rbc", "wbc", "platelet")

#: Outcomes of an image that could be read.
OK, NO_CELL, UNSURE = "ok", "no cell found", "white cells uncertain"


@dataclass(frozen=True, eq=False)
class Cell:
    """One cell of an image."""

    kind: str  #: One of :data:`KINDS`.
    #: ``x0, y0, x1, y1``, half-open, in pixels of the image.
    box: tuple[int, int, int, int]
    #: Bool (y1 − y0, x1 − x0): the cell inside its box.
    mask: np.ndarray
    score: float = 1.0  #: The segmenter's own confidence, 0–1.
    #: Bool like ``mask``: the nucleus, a part of the cell; ``None`` where there is none.
    nucleus: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.kind not in LEVELS:
            raise unknown("kind of cell", self.kind, list(KINDS))
        x0, y0, x1, y1 = self.box
        for name, mask in (("mask", self.mask), ("nucleus", self.nucleus)):
            if mask is not None and (mask.shape != (y1 - y0, x1 - x0) or mask.dtype != bool):
                raise SettingsError(
                    f"{name}: expected bool {(y1 - y0, x1 - x0)} for box {self.box}, "
                    f"got {mask.dtype} {mask.shape}"
                )

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(np.count_nonzero(self.mask))

    @classmethod
    def from_mask(
        cls,
        kind: str,
        mask: np.ndarray,
        *,
        score: float = 1.0,
        nucleus: np.ndarray | None = None,
        offset: tuple[int, int] = (0, 0),
    ) -> Cell:
        """Return the cell of a bool (H, W) mask, cut to its box.

        ``kind``, ``score``: as above. ``mask``: the cell; at least one pixel. ``nucleus``: bool (H,
        W), or ``None``; what lies outside the cell is left out. ``offset``: column and row of the
        mask's first pixel in the image.
        """
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            raise SettingsError("mask: expected at least one pixel, got none")
        y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        inside = np.ascontiguousarray(mask[y0:y1, x0:x1])
        kernel = None if nucleus is None else nucleus[y0:y1, x0:x1] & inside
        dx, dy = offset
        box = (int(x0 + dx), int(y0 + dy), int(x1 + dx), int(y1 + dy))
        return cls(kind, box, inside, float(score), kernel)

    def moved(self, dx: int, dy: int) -> Cell:
        """Return the cell ``dx`` columns to the right and ``dy`` rows down."""
        x0, y0, x1, y1 = self.box
        return replace(self, box=(x0 + dx, y0 + dy, x1 + dx, y1 + dy))

    def touches(self, shape: Sequence[int]) -> bool:
        """Return whether the edge of an image of ``shape`` (height, width, …) cuts the cell.

        The box reaching the first or last row or column is what counts; what lies beyond the edge
        cannot be known.
        """
        return touches_border(self.box, shape)


def in_order(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    """Return cells in the order of a segmentation: white, red, platelets; each from the top."""
    return tuple(sorted(cells, key=lambda c: (KINDS.index(c.kind), c.box[1], c.box[0], c.box[2:])))


def target_of(cells: Sequence[Cell], shape: Sequence[int]) -> Cell | None:
    """Return which of some cells their image (height, width, …) was taken of; none without cells.

    A large one near its middle: see :func:`~naturalize.imaging.shape.off_target`.
    """
    if not cells:
        return None
    boxes, areas = np.array([cell.box for cell in cells]), np.array([cell.area for cell in cells])
    return cells[int(off_target(boxes, areas, shape).argmin())]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """All cells of one image."""

    shape: tuple[int, int]  #: Height and width of the image.
    cells: tuple[Cell, ...]  #: In the order of :func:`in_order`.
    background: tuple[float, float, float]  #: Red, green and blue of the bare slide, 0–255.
    #: Whether the segmenter does not trust what it says of white cells.
    unsure: bool = False

    @property
    def outcome(self) -> str:
        """``"ok"``, ``"white cells uncertain"`` or ``"no cell found"``."""
        if self.unsure:
            return UNSURE
        return OK if self.cells else NO_CELL

    def of(self, kind: str) -> tuple[Cell, ...]:
        """Return the cells of one kind."""
        return tuple(cell for cell in self.cells if cell.kind == kind)

    def label_image(self) -> np.ndarray:
        """Return uint8 (H, W): 0 background, 1 white cells, 2 red cells, 3 platelets.

        Where masks overlap, a platelet lies over a white cell and a white cell over a red one.
        """
        image = np.zeros(self.shape, np.uint8)
        for kind in OVERLAP:
            for cell in self.of(kind):
                x0, y0, x1, y1 = cell.box
                image[y0:y1, x0:x1][cell.mask] = LEVELS[kind]
        return image


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
    """A segmenter that can be given the size of the red cells."""

    #: Diameter of a red cell in pixels; by default each image is measured.
    cell_size: Annotated[float, Field(ge=4, le=2000)] | None = None

    def with_cell_size(self, cell_size: float) -> Self:
        """Return the segmenter with this size of red cells, unless it has one already."""
        if self.cell_size is not None:
            return self
        return self.model_copy(update={"cell_size": round(cell_size, 1)})
