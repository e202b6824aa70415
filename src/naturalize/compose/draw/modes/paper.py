"""``paper``: the published algorithm to the letter, for reproduction.

Abou Ali, Dornaika & Arganda-Carreras, Algorithms 16(12):562 (2023), and what three of its published
composites show: a canvas of 360 × 363 pixels, one clean background of (253, 229, 203) ± 2, one
white cell anywhere inside, six red cells in each, nothing cut, no box over another, hard edges,
nothing rescaled. The blocks of the parents' JPEG files still lie upright in the cells, and their
grain is as strong as in the parents: they were not turned.

Eight red cells are tried. With a single random place each, only 2.6 of them would find room beside
a white cell of the published size; six, as published, remain when each may try about 15 places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field

from naturalize.base.errors import InputError
from naturalize.compose.draw.materials import Materials
from naturalize.compose.draw.modes.mode import TURNS, Count, Mode, colour_of
from naturalize.compose.draw.modes.placing import place_in_turn, turned_size
from naturalize.compose.recipe.columns import Columns, Vocabulary, offsets_of

#: The classes that the paper composes.
WEAK = ("BNE", "MMY", "MY", "PMY", "SNE")


class Paper(Mode):
    """Settings of the mode, besides those of :class:`Mode`."""

    name: ClassVar[str] = "paper"

    width: Count = 360
    height: Count = 363
    #: Its colour, 0–255 each.
    background: Annotated[tuple[float, float, float], BeforeValidator(colour_of)] = (
        253.0,
        229.0,
        203.0,
    )
    #: Red cells that are tried.
    red_cells: Annotated[int, Field(ge=0)] = 8
    #: Random places that each of them may try before it is dropped.
    tries: Count = 15

    def default_classes(self, available: Sequence[str]) -> tuple[str, ...]:
        """Return the paper's five weak classes, as far as they are there; else all."""
        return tuple(label for label in available if label in WEAK) or tuple(available)

    def targets(self, materials: Materials, label: str) -> np.ndarray:
        """Return the whole target cells of a class that fit on the canvas."""
        return self._usable(materials, materials.targets(label))

    def _usable(self, materials: Materials, codes: np.ndarray) -> np.ndarray:
        fits = (materials.size[codes] <= (self.width, self.height)).all(axis=1)
        return codes[materials.whole[codes] & fits]

    def draw(
        self, materials: Materials, label: str, targets: np.ndarray, generator: np.random.Generator
    ) -> tuple[Columns, dict[str, np.ndarray]]:
        """Return a recipe for each of ``targets``, and how many red cells found no room in each."""
        n, k = len(targets), self.red_cells
        red = self._usable(materials, materials.others("rbc"))
        if k and not len(red):
            raise InputError(
                f"mode paper: the bank has no whole red cell (of {len(materials.others('rbc'))} "
                "accepted ones); build it from more images, or set red_cells to 0"
            )
        cells = np.empty((n, 1 + k), np.int32)
        cells[:, 0] = targets
        if k:
            cells[:, 1:] = red[generator.integers(len(red), size=(n, k))]
        angle, flip = self._turns(generator.random((n, 1 + k)))
        boxes, placed = place_in_turn(
            turned_size(materials.size[cells], angle),
            generator.random((n, 1 + k, self.tries, 2)),
            (self.width, self.height),
        )
        # a cell that turned too large for the canvas lies as it was
        lost = ~placed[:, 0]
        if lost.any():
            angle[lost], flip[lost] = 0.0, False
            boxes[lost], placed[lost] = place_in_turn(
                materials.size[cells[lost]],
                generator.random((int(lost.sum()), 1 + k, self.tries, 2)),
                (self.width, self.height),
            )
        left_out = {"red cells left out for lack of room": k + 1 - placed.sum(axis=1)}
        finish, box = self.finishing, boxes[placed]
        columns = Columns(
            words=materials.remembered(
                ("paper words", finish),
                lambda: Vocabulary(materials.cells, materials.labels, finishes=(finish,)),
            ),
            label=np.full(n, materials.labels.index(label)),
            size=np.tile([self.width, self.height], (n, 1)),
            colour=np.tile(self.background, (n, 1)),
            offsets=offsets_of(placed.sum(axis=1)),
            cell=cells[placed],
            placed={
                "cx": (box[:, 0] + box[:, 2]) / 2,
                "cy": (box[:, 1] + box[:, 3]) / 2,
                "angle": angle[placed],
                "flip": flip[placed],
            },
        )
        return columns, left_out

    def _turns(self, chances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return degrees, and whether a cell is flipped, by chances in [0, 1)."""
        if self.turn == "any":
            return chances.astype(np.float32) * np.float32(360), np.zeros(chances.shape, bool)
        codes = np.array(TURNS[self.turn])
        code = codes[(chances * len(codes)).astype(int)]
        return 90.0 * (code % 4), code >= 4
