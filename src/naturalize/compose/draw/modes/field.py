"""``field``: a whole field of a smear, every cell of which is known: to teach and test detectors.

Any size, magnification and density. White cells of any class, red cells single, touching or in
stacks, platelets single or in clumps, all cut by the edge where they meet it. Cells are laid as
dyes: where they overlap, their optical densities add up (Beer–Lambert). A field is shown by a
camera of its own: stain, light, lens, sensor and codec. Specks of stain and dirt lie anywhere.

A field has the class of the white cell that it is drawn for; the bank says the class of each of its
others. Red cells and platelets come from a few images that look alike, the same for all classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from naturalize.compose.draw import constants as tuned
from naturalize.compose.draw.materials import Materials
from naturalize.compose.draw.modes.mode import TURNS, Count, Mode, Share, Turn
from naturalize.compose.draw.modes.scatter import Scatter, clump, set_white, stack
from naturalize.compose.draw.modes.stock import Stock
from naturalize.compose.recipe.columns import Columns, Vocabulary, offsets_of
from naturalize.compose.recipe.placement import KERNELS, SPECK
from naturalize.compose.recipe.plan import FIELD
from naturalize.compose.recipe.recipe import Camera, Codec, Finish
from naturalize.imaging.camera import field_camera


def _span(value: Any) -> tuple[float, float]:
    try:
        low, high = (float(number) for number in value)
    except (TypeError, ValueError) as error:
        raise ValueError("expected two numbers: the least and the most") from error
    if not 0 <= low <= high < np.inf:
        raise ValueError(f"expected two numbers from 0 on, the lesser one first, got {value}")
    return low, high


_Span = Annotated[tuple[float, float], BeforeValidator(_span)]


class WholeField(Mode):
    """Settings of the mode, besides those of :class:`Mode`; spans are drawn from for each field."""

    name: ClassVar[str] = FIELD
    block: ClassVar[int] = 1
    about_one: ClassVar[bool] = False

    turn: Turn = "any"
    width: Count = 1024
    height: Count = 1024
    #: Where cameras vary, so does the quality: 50 to 95.
    finish: Codec = "jpeg"
    #: Pixels of the field to one of the images, evenly by the logarithm.
    sizes: _Span = (0.35, 1.3)
    #: Share of the field that its red cells would cover side by side.
    coverage: _Span = (0.05, 0.75)
    #: White cells.
    white: _Span = (1, 8)
    #: Classes of the white cells besides the first: each as often, or as often as in the bank.
    mix: Literal["even", "bank"] = "even"
    #: Share of red cells in stacks; of platelets in clumps.
    stacks: Share = 0.15
    clumps: Share = 0.2
    #: Factor on the number of platelets: 1 is about one to 14 red cells.
    platelets: Annotated[float, Field(ge=0, le=50)] = 1.0
    #: Factor on the number of specks of stain and dirt: 1 is as many a red cell as the bank has.
    specks: Annotated[float, Field(ge=0, le=1000)] = 1.0
    #: Most that single red cells overlap, as a share of the sum of their radii.
    overlap: Annotated[float, Field(ge=0, le=0.6)] = 0.4
    #: Most of a white cell that other white cells may cover.
    hidden: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    #: How far stain, light, lens, sensor and codec vary: 0, as in the images, to 1, as laboratories
    #: do.
    cameras: Share = 1.0
    #: Images whose red cells and platelets are used.
    images: Count = 200
    #: Places that a cell, a stack or a clump may try.
    tries: Count = 8

    @model_validator(mode="after")
    def _possible(self) -> WholeField:
        if self.sizes[0] < 0.05 or self.sizes[1] > 4:
            raise ValueError(f"sizes: expected 0.05 to 4, got {list(self.sizes)}")
        if self.coverage[1] > 2:
            raise ValueError(f"coverage: expected 2 at most, got {list(self.coverage)}")
        if self.white[0] < 1 or any(n % 1 for n in self.white):
            raise ValueError(f"white: expected whole numbers from 1 on, got {list(self.white)}")
        return self

    def targets(self, materials: Materials, label: str) -> np.ndarray:
        """Return the whole target cells of a class, int32 positions."""
        cells = materials.targets(label)
        return cells[materials.whole[cells]]

    def draw(
        self, materials: Materials, label: str, targets: np.ndarray, generator: np.random.Generator
    ) -> tuple[Columns, dict[str, np.ndarray]]:
        """Return a recipe for each of ``targets``, and how many cells found no room in each."""
        materials = materials.remembered("with specks", materials.with_specks)
        stock = materials.remembered(
            ("field stock", self.images), lambda: Stock.of(materials, self.images)
        )
        drawn = [self._one(materials, stock, int(target), generator) for target in targets]
        n, parts = len(drawn), [one.cells for one in drawn]
        finishes = self._finishes
        columns = Columns(
            words=Vocabulary(
                materials.cells,
                materials.labels,
                modes=(self.name,),
                blends=("density",),
                finishes=finishes,
                cameras=tuple(one.camera for one in drawn),
            ),
            label=np.full(n, materials.labels.index(label)),
            size=np.tile([self.width, self.height], (n, 1)),
            colour=np.array([one.slide for one in drawn]),
            offsets=offsets_of(np.array([len(one["cell"]) for one in parts])),
            finish=generator.integers(len(finishes), size=n),
            camera=np.arange(n),
            cell=np.concatenate([one["cell"] for one in parts]),
            placed={
                **{
                    name: np.concatenate([one[name] for one in parts])
                    for name in parts[0]
                    if name != "cell"
                },
                "kernel": np.full(sum(len(one["cell"]) for one in parts), KERNELS.index("cubic")),
            },
        )
        return columns, {
            "cells left out for lack of room": np.array([one.left_out for one in drawn])
        }

    @property
    def _finishes(self) -> tuple[Finish, ...]:
        if self.finish == "jpeg" and self.cameras:
            return tuple(Finish("jpeg", quality) for quality in tuned.FIELD_QUALITIES)
        return (self.finishing,)

    def _one(
        self, materials: Materials, stock: Stock, target: int, generator: np.random.Generator
    ) -> _Drawn:
        """Draw one field."""
        home = int(generator.integers(len(stock.lenders)))
        scale = float(np.exp(generator.uniform(*np.log(self.sizes))))
        slide = tuple(float(c) for c in stock.light[home])
        camera = field_camera(generator, slide, self.cameras, scale)
        white, at = self._white(materials, target, scale, generator)
        scatter = Scatter((self.width, self.height))
        scatter.add(at, _radius(materials, white) * scale, tuned.HARD)
        groups = self._red(materials, stock.red[home], scale, generator, scatter)
        n_red = sum(len(group.cell) for group in groups)
        groups += self._platelets(
            materials, stock.platelets[home], n_red, scale, generator, scatter
        )
        groups += self._specks(materials, n_red, scale, generator, scatter)
        placed = [group for group in groups if group.at is not None]
        left_out = sum(len(group.cell) for group in groups if group.at is None)
        cell = np.concatenate([*(group.cell for group in placed), white]).astype(np.int32)
        way = np.concatenate([*(group.way for group in placed), np.full(len(white), np.nan)])
        middle = np.concatenate([*(group.at for group in placed), at])
        columns = self._varied(way, scale, generator)
        columns |= {"cell": cell, "cx": middle[:, 0], "cy": middle[:, 1]}
        columns["stain_scale"] = stock.suited(materials, cell, home, generator)
        return _Drawn(columns, camera, slide, left_out)

    def _varied(
        self, way: np.ndarray, scale: float, generator: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Return how n cells lie; those in a stack, whose ``way`` is not NaN, aslant across it."""
        n, stacked = len(way), np.isfinite(way)
        turns = np.array(TURNS[self.turn])
        turn = turns[generator.integers(len(turns), size=n)]
        angle, flip = 90.0 * (turn % 4), turn >= 4
        if self.turn == "any":
            angle, flip = generator.uniform(0, 360, n), np.zeros(n, bool)
        aslant = generator.uniform(*tuned.ASLANT, n)
        return {
            "angle": np.where(stacked, -np.degrees(np.nan_to_num(way)), angle),
            "flip": flip,
            "scale": np.full(n, scale),
            "aspect": np.where(stacked, aslant, 1.0),
        }

    def _white(
        self, materials: Materials, target: int, scale: float, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the white cells that find room, the one that is asked for among them, and where.

        Only a field that is drawn for a platelet holds that one instead.
        """
        low, high = (int(number) for number in self.white)
        n = int(generator.integers(low, high + 1))
        pools = materials.remembered("field white", lambda: _white_cells(materials))
        cells = [target]
        if pools:
            weight = np.array([len(pool) if self.mix == "bank" else 1.0 for pool in pools])
            codes = generator.choice(len(pools), size=n - 1, p=weight / weight.sum())
            cells += [int(generator.choice(pools[code])) for code in codes]
        found = np.array(cells, np.int32)
        area = materials.area[found] * scale**2
        room = tuned.MOST_WHITE * self.width * self.height
        found = found[(np.cumsum(area) <= room) | (np.arange(len(found)) == 0)]
        box = materials.size[found] * scale
        at = set_white(
            (self.width, self.height),
            np.hypot(*box.T) / 2,
            materials.area[found] * scale**2,
            self.hidden,
            generator.random((len(found), self.tries, 2)),
        )
        kept = np.isfinite(at[:, 0])
        # the one that is asked for is painted last
        return found[kept][::-1], at[kept][::-1]

    def _red(
        self,
        materials: Materials,
        pool: np.ndarray,
        scale: float,
        generator: np.random.Generator,
        scatter: Scatter,
    ) -> list[_Group]:
        if not len(pool):
            return []
        usual = float(materials.area[pool].mean()) * scale**2
        cover = generator.uniform(*self.coverage)
        n = round(
            cover * (self.width + 0.8 * usual**0.5) * (self.height + 0.8 * usual**0.5) / usual
        )
        cells = pool[generator.integers(len(pool), size=n)]
        radius = _radius(materials, cells) * scale
        groups, i = [], 0
        in_stacks = self.stacks * generator.uniform(0, 2)
        while i < n:
            g = 1
            if generator.random() < in_stacks / 3.5:  # stacks have 4.5 cells on average
                g = min(int(generator.integers(2, tuned.STACKED - 1)), n - i)
            part = slice(i, i + g)
            shape, way = np.zeros((1, 2)), np.full(1, np.nan)
            if g > 1:
                shape, way = stack(radius[part], generator)
            may = 0.0
            if generator.random() < tuned.MAY_TOUCH:
                may = self.overlap * generator.random() ** 2
            chances = generator.random((self.tries, 2))
            at_most = self.overlap if cover > 0.35 else 0.0
            at = scatter.try_group(shape, radius[part], may, at_most, chances)
            groups.append(_Group(cells[part], at, way))
            i += g
        return groups

    def _platelets(
        self,
        materials: Materials,
        pool: np.ndarray,
        n_red: int,
        scale: float,
        generator: np.random.Generator,
        scatter: Scatter,
    ) -> list[_Group]:
        median, spread = tuned.PLATELET_RATE
        n = self.platelets * median * np.exp(generator.normal(0, spread)) * (n_red + 5)
        n = int(generator.poisson(n)) if len(pool) else 0
        cells = pool[generator.integers(len(pool), size=n)] if n else pool[:0]
        radius = _radius(materials, cells) * scale
        groups, i = [], 0
        while i < n:
            g = 1
            if generator.random() < self.clumps / 5:
                g = min(int(generator.integers(2, tuned.CLUMPED + 1)), n - i)
            part = slice(i, i + g)
            may = 1.0 if generator.random() < tuned.ON_RED else 0.0
            chances = generator.random((self.tries, 2))
            at = scatter.try_group(clump(radius[part], generator), radius[part], may, 0.0, chances)
            groups.append(_Group(cells[part], at, np.full(g, np.nan)))
            i += g
        return groups

    def _specks(
        self,
        materials: Materials,
        n_red: int,
        scale: float,
        generator: np.random.Generator,
        scatter: Scatter,
    ) -> list[_Group]:
        pool = np.flatnonzero(materials.kind == SPECK)
        if not len(pool) or not self.specks:
            return []
        a_red_cell = len(pool) / max(1, int(materials.images.counts["rbc"].sum()))
        n = int(generator.poisson(self.specks * a_red_cell * (n_red + 5)))
        cells = pool[generator.integers(len(pool), size=n)]
        radius = _radius(materials, cells) * scale
        groups = []
        for part in (slice(i, i + 1) for i in range(n)):  # anywhere, on cells too
            chances = generator.random((self.tries, 2))
            at = scatter.try_group(np.zeros((1, 2)), radius[part], 1.0, 0.0, chances)
            groups.append(_Group(cells[part], at, np.full(1, np.nan)))
        return groups


@dataclass(frozen=True, eq=False)
class _Group:
    cell: np.ndarray  # (g,)
    at: np.ndarray | None  # (g, 2); ``None``: left out
    way: np.ndarray  # (g,): direction of the stack, radians; NaN in none


@dataclass(frozen=True, eq=False)
class _Drawn:
    cells: dict[str, np.ndarray]
    camera: Camera
    slide: tuple[float, ...]
    left_out: int


def _radius(materials: Materials, cells: np.ndarray) -> np.ndarray:
    return np.sqrt(materials.area[cells] / np.pi)


def _white_cells(materials: Materials) -> list[np.ndarray]:
    """Return the whole white cells of each class that has some."""
    white = materials.target & materials.whole & (materials.kind == "wbc")
    codes = np.unique(materials.label[white])
    return [np.flatnonzero(white & (materials.label == code)) for code in codes]
