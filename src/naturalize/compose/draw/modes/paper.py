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
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from naturalize.base.errors import InputError, SettingsError
from naturalize.compose.draw.materials import Materials
from naturalize.compose.draw.modes.placing import place_in_turn, turned_size
from naturalize.compose.recipe.columns import Columns, Vocabulary, offsets_of
from naturalize.compose.recipe.recipe import Background, Finish

#: The classes that the paper composes.
WEAK = ("BNE", "MMY", "MY", "PMY", "SNE")

_TURNS = ("none", "right", "any")


@dataclass(frozen=True)
class Paper:
    """Settings of the mode.

    Attributes
    ----------
    width, height
        Canvas in pixels.
    background
        Its colour, 0–255 each.
    red_cells
        Red cells that are tried.
    tries
        Random places that each of them may try before it is dropped.
    turn
        ``"none"``, ``"right"`` (by 0, 90, 180 or 270 degrees, no pixel is resampled) or ``"any"``.
    finish
        ``"none"``, ``"png"`` or ``"jpeg"``.
    quality
        Of the JPEG.
    """

    name: ClassVar[str] = "paper"

    width: int = 360
    height: int = 363
    background: Sequence[float] = (253.0, 229.0, 203.0)
    red_cells: int = 8
    tries: int = 15
    turn: str = "none"
    finish: str = "none"
    quality: int = 95

    def __post_init__(self) -> None:
        for name, low in (("width", 1), ("height", 1), ("red_cells", 0), ("tries", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < low:
                raise SettingsError(
                    f"paper: {name} must be a whole number of at least {low}, got {value!r}"
                )
        if self.turn not in _TURNS:
            raise SettingsError(f"paper: turn must be {', '.join(_TURNS)}, got {self.turn!r}")
        if type(self.quality) is not int:
            raise SettingsError(f"paper: quality must be a whole number, got {self.quality!r}")
        Finish(self.finish, self._quality)
        try:
            red, green, blue = (float(c) for c in self.background)
            colour = Background((red, green, blue)).colour
        except (TypeError, ValueError, SettingsError) as error:
            raise SettingsError(
                f"paper: background must be three numbers of 0–255, got {self.background!r}"
            ) from error
        object.__setattr__(self, "background", colour)

    @property
    def _quality(self) -> int | None:
        return self.quality if self.finish == "jpeg" else None

    @property
    def settings(self) -> dict[str, Any]:
        """What decides its recipes."""
        return {**asdict(self), "background": list(self.background), "quality": self._quality}

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
        """Return a recipe for each of ``targets``, and how many red cells each one gave up."""
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
        angle = self._angles(generator.random((n, 1 + k)))
        boxes, placed = place_in_turn(
            turned_size(materials.size[cells], angle, np.ones_like(angle)),
            generator.random((n, 1 + k, self.tries, 2)),
            (self.width, self.height),
        )
        # a cell that turned too large for the canvas lies as it was
        lost = ~placed[:, 0]
        if lost.any():
            angle[lost] = 0.0
            boxes[lost], placed[lost] = place_in_turn(
                materials.size[cells[lost]],
                generator.random((int(lost.sum()), 1 + k, self.tries, 2)),
                (self.width, self.height),
            )
        given_up = {"red cell without room": k + 1 - placed.sum(axis=1)}
        return self._columns(materials, label, cells, angle, boxes, placed), given_up

    def _angles(self, chances: np.ndarray) -> np.ndarray:
        if self.turn == "none":
            return np.zeros_like(chances)
        if self.turn == "right":
            return np.floor(chances * 4) * 90.0
        return chances.astype(np.float32) * np.float32(360)

    def _columns(
        self,
        materials: Materials,
        label: str,
        cells: np.ndarray,
        angle: np.ndarray,
        boxes: np.ndarray,
        placed: np.ndarray,
    ) -> Columns:
        n, m = len(cells), int(placed.sum())
        finish = Finish(self.finish, self._quality)
        box = boxes[placed]
        return Columns(
            words=materials.remembered(("paper words", finish), lambda: _words(materials, finish)),
            label=np.full(n, materials.labels.index(label), np.int32),
            mode=np.zeros(n, np.int32),
            background=np.zeros(n, np.int32),
            finish=np.zeros(n, np.int32),
            size=np.tile(np.array([self.width, self.height], np.int32), (n, 1)),
            colour=np.tile(np.array(self.background, np.float32), (n, 1)),
            offsets=offsets_of(placed.sum(axis=1)),
            cell=cells[placed],
            blend=np.zeros(m, np.int32),
            placed={
                "cx": (box[:, 0] + box[:, 2]) / 2,
                "cy": (box[:, 1] + box[:, 3]) / 2,
                "angle": angle[placed],
            },
        )


def _words(materials: Materials, finish: Finish) -> Vocabulary:
    return Vocabulary(materials.cells, materials.labels, finishes=(finish,))
