"""``varied``: composites to learn from, not to hide.

A network that sees a cell in one kind of scene, one way up, in one stain, learns these with it. So
here a cell stands in scenes of any class and of any acquisition domain, turned or mirrored, a
little larger or smaller, paler or darker, less sharp; some stand among red cells that were laid
anew and touch or overlap, and some alone. Nucleus and granules stay: each range ends where cells of
one class differ in real smears, or microscopes in their focus.

Such composites can be told from real images, so train with the same variations of real ones:
``augment: varied`` of :mod:`naturalize.training.settings`. Where all classes are rare, compose all
alike; beside full ones, composites of the rare alone do as well or better (``docs/results.md``).

Copied cells on varied scenes help where there are few images: Dwibedi, Misra & Hebert, Cut, paste
and learn, ICCV 2017; Ghiasi et al., Simple copy-paste, CVPR 2021.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from naturalize.compose.draw.materials import Materials
from naturalize.compose.draw.modes.layout import Layout
from naturalize.compose.draw.modes.mode import Count, Share, Turn, Variation
from naturalize.compose.draw.modes.scene import Scene
from naturalize.compose.recipe.columns import Columns, Vocabulary


class Varied(Variation):
    """Settings of the mode, besides those of :class:`Variation`, which vary all cells.

    Those that :class:`Scene` and :class:`Layout` have mean the same here.
    """

    name: ClassVar[str] = "varied"

    turn: Turn = "right"
    scale: Annotated[float, Field(ge=0, le=0.15)] = 0.06
    stain: Annotated[float, Field(ge=0, le=0.2)] = 0.08
    focus: Annotated[float, Field(ge=0, le=1.5)] = 0.8
    taken: Literal["alike", "any"] = "any"
    choices: Count = 96
    donors: Literal["same", "any"] = "any"
    scene_turn: Literal["none", "grid", "right"] = "right"
    #: Shares of the composites whose red cells are laid anew, as in ``layout``, and whose white
    #: cell stands alone; the others are real scenes.
    crowded: Share = 0.25
    alone: Share = 0.1
    crowding: Annotated[float, Field(ge=0, le=5)] = 1.2
    overlap: Annotated[float, Field(ge=0, le=0.6)] = 0.3
    touching: Annotated[int, Field(ge=0, le=6)] = 0

    @model_validator(mode="after")
    def _consistent(self) -> Varied:
        if self.crowded + self.alone > 1:
            raise ValueError("crowded and alone are shares of all composites: 1 together at most")
        if (self.width is None) != (self.height is None):
            raise ValueError("name width and height, or neither")
        return self

    @property
    def _shared(self) -> dict[str, Any]:
        return self.model_dump(include=set(Variation.model_fields))

    @cached_property
    def scene(self) -> Scene:
        """What draws real scenes."""
        return Scene(donors=self.donors, scene_turn=self.scene_turn, **self._shared)

    @cached_property
    def layout(self) -> Layout | None:
        """What draws scenes that are laid anew, and cells alone; ``None`` if no share is."""
        share = self.crowded + self.alone
        if not share:
            return None
        return Layout(
            alone=self.alone / share,
            crowding=self.crowding,
            overlap=self.overlap,
            touching=self.touching,
            **self._shared,
        )

    def targets(self, materials: Materials, label: str) -> np.ndarray:
        """Return the target cells of a class for which there is a scene, real or laid anew."""
        found = [mode.targets(materials, label) for mode in (self.scene, self.layout) if mode]
        return np.unique(np.concatenate(found)).astype(np.int32)

    def draw(
        self, materials: Materials, label: str, targets: np.ndarray, generator: np.random.Generator
    ) -> tuple[Columns, dict[str, np.ndarray]]:
        """Return a recipe for each of ``targets``, and how many cells found no room in each."""
        anew = generator.random(len(targets)) < self.crowded + self.alone
        if self.layout:
            anew |= ~np.isin(targets, self.scene.targets(materials, label))
            anew &= np.isin(targets, self.layout.targets(materials, label))
        words = materials.remembered(("varied words", self), lambda: self._words(materials))
        parts, reasons = [], dict[str, np.ndarray]()
        for mode, rows in (
            (self.scene, np.flatnonzero(~anew)),
            (self.layout, np.flatnonzero(anew)),
        ):
            if mode is None or not len(rows):
                continue
            drawn, left_out = mode.draw(materials, label, targets[rows], generator)
            parts.append(self._renamed(drawn, words, mode is self.layout))
            for reason, counts in left_out.items():
                reasons[reason] = np.zeros(len(targets), int)
                reasons[reason][rows] = counts
        order = np.concatenate([np.flatnonzero(~anew), np.flatnonzero(anew)])
        return Columns.concat(parts).take(np.argsort(order)), reasons

    def _renamed(self, drawn: Columns, words: Vocabulary, anew: bool) -> Columns:
        """Return recipes of one of the two modes in the words of this one."""
        if not anew:
            return replace(drawn, words=words, blend=np.full(len(drawn.cell), 1))
        after = drawn.background + (len(words.backgrounds) - len(drawn.words.backgrounds))
        return replace(drawn, words=words, background=np.where(drawn.background, after, 0))

    def _words(self, materials: Materials) -> Vocabulary:
        scenes = self.scene.words(materials)
        if not self.layout:
            return replace(scenes, modes=(self.name,), blends=("density", self.blend))
        laid = self.layout.words(materials)
        backgrounds = (*scenes.backgrounds, *laid.backgrounds[1:])
        return replace(laid, modes=(self.name,), backgrounds=backgrounds)
