"""``layout``: a scene from nothing, as full, as crowded and as cut as real smears are.

How many red cells and platelets there are, how near they come to each other and to the white cell,
is drawn from what was measured on real smears (:mod:`naturalize.compose.draw.modes.sites`), the
same for all classes. Slide, light and grain of a scene are those of a real image without its cells;
its red cells come from images with the same light, stain and sharpness as that and as the image of
the white cell. Cells are copied, not resampled, unless that is asked for; overlapping red cells
take light from each other; the white cell is painted last, so that nothing covers it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from naturalize.compose.draw import constants as tuned
from naturalize.compose.draw.materials import Materials
from naturalize.compose.draw.modes.fit import centre
from naturalize.compose.draw.modes.mode import (
    TURNS,
    Changes,
    Count,
    Share,
    Variation,
    colour_of,
    stained,
    turned,
)
from naturalize.compose.draw.modes.placing import place_discs
from naturalize.compose.draw.modes.sites import Sites, Smear, smears
from naturalize.compose.recipe.columns import Columns, Vocabulary, offsets_of
from naturalize.imaging.jpeg.grid import on_grid, phase_of, turned_box, turned_point


def _background(value: Any) -> Any:
    if value in ("bare", "flat"):
        return value
    try:
        return colour_of(value)
    except ValueError as error:
        raise ValueError("expected bare, flat or a colour: three numbers of 0–255") from error


class Layout(Variation):
    """Settings of the mode, besides those of :class:`Variation`, which vary all cells."""

    name: ClassVar[str] = "layout"

    #: ``"bare"``: a real image without its cells; ``"flat"``: that image's colour; or a colour of
    #: your own, 0–255 each.
    background: Annotated[str | tuple[float, float, float], BeforeValidator(_background)] = "bare"
    #: ``"pbc"``, or a JSON file of statistics such as ``python -m tools.smears`` writes.
    smears: Annotated[str, Field(min_length=1)] = "pbc"
    #: Factor on the number of red cells.
    crowding: Annotated[float, Field(ge=0, le=5)] = 1.0
    #: Most that two cells overlap, as a share of the sum of their radii.
    overlap: Annotated[float, Field(ge=0, le=0.6)] = 0.3
    #: Most red cells that are set against the white cell, where they find room there; others may
    #: come to lie so too.
    touching: Annotated[int, Field(ge=0, le=6)] = 0
    #: Share of the composites in which the white cell is alone, on its slide's colour: as training
    #: shows real cells alone (``augment: {alone: …}``).
    alone: Share = 0.0
    #: Places that a red cell or platelet may try before it is dropped.
    tries: Count = 8
    #: Bare scenes that may be used in all: each has to be restored once.
    scenes: Count = 200

    @cached_property
    def domains(self) -> tuple[Smear, ...]:
        """The statistics to draw from."""
        return smears(self.smears)

    @model_validator(mode="after")
    def _consistent(self) -> Layout:
        if (self.width is None) != (self.height is None):
            raise ValueError("name width and height, or neither")
        _ = self.domains  # a file that is none is refused now
        return self

    def _sites(self, materials: Materials) -> Sites:
        key = (
            "sites",
            self.background,
            self.choices,
            self.scenes,
            self.taken,
            self.width,
            self.height,
        )
        canvas = (self.width, self.height) if self.width and self.height else None
        colour = self.background if isinstance(self.background, tuple) else None
        return materials.remembered(
            key,
            lambda: Sites.of(
                materials,
                bare=self.background == "bare",
                colour=colour,
                most=self.scenes,
                choices=self.choices,
                canvas=canvas,
                near_any=self.taken == "any",
            ),
        )

    def targets(self, materials: Materials, label: str) -> np.ndarray:
        """Return the whole target cells of a class for which there is a scene that holds them."""
        return self._sites(materials).targets(materials, label)

    def draw(
        self, materials: Materials, label: str, targets: np.ndarray, generator: np.random.Generator
    ) -> tuple[Columns, dict[str, np.ndarray]]:
        """Return a recipe for each of ``targets``, and how many cells found no room in each."""
        sites = self._sites(materials)
        n = len(targets)
        site = sites.pick(materials, targets, generator.random(n))
        cells, wanted = self._cast(sites, site, targets, generator)
        k = cells.shape[1]
        alone = generator.random(n) < self.alone if self.alone else np.zeros(n, bool)
        wanted[alone, 1:] = False
        how = self.varied(generator, n * k)
        turns = np.array(TURNS[self.turn])
        turn = turns[generator.integers(len(turns), size=(n, k))]
        size = turned_box(materials.size[cells], turn)
        canvas = sites.size[site]
        goal = self._goals(materials, cells, turn, canvas, generator)
        near, beside = self._nearness(sites, site, k, generator)
        radius = np.sqrt(materials.area[cells] / np.pi) * how.scale.reshape(n, k)
        if self.touching:
            self._set_against(goal, beside * (radius[:, :1] + radius), generator)
        corner = goal - size[:, :, None] / 2
        unit = np.ones_like(sites.unit[site]) if self.resamples else sites.unit[site]
        phase = phase_of(materials.box[cells], turn)[:, :, None]
        corner = on_grid(corner, phase, unit[:, None, None])
        # the white cell as a whole is on the canvas
        room = canvas - size[:, 0]
        step = unit * np.where(corner[:, 0, 0] < 0, 1, -1)
        outside = (corner[:, 0, 0] < 0) | (corner[:, 0, 0] > room)
        back = np.where(corner[:, 0, 0] < 0, -corner[:, 0, 0], corner[:, 0, 0] - room)
        corner[:, 0] += np.where(outside, step * -(-back // unit), 0)[:, None]
        corner[:, 0] = np.clip(corner[:, 0], 0, np.maximum(room, 0)[:, None])
        middles = corner + size[:, :, None] / 2
        taken = place_discs(middles, radius * wanted, near, beside, canvas)
        placed = (taken >= 0) & wanted
        at = np.take_along_axis(middles, np.maximum(taken, 0)[:, :, None, None], axis=2)[:, :, 0]
        cx, cy = at.reshape(-1, 2).T
        suited = self._suited(materials, sites, how, cells, site)
        rows = {**turned(turn.ravel(), how), **suited, "cx": cx, "cy": cy}
        left_out = {"cells left out for lack of room": (wanted & ~placed).sum(axis=1)}
        return self._columns(materials, sites, label, cells, placed, rows, site, alone), left_out

    def _cast(
        self, sites: Sites, site: np.ndarray, targets: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the cells of each scene, int32 (n, k), the target first, and which count.

        Red cells follow, then platelets: the order in which they find room.
        """
        smear, n = self._smear(sites, site), len(site)
        chance = generator.random((n, 2))
        counts = []
        for what, column in (("red_cells_per_100k", 0), ("platelets_per_100k", 1)):
            drawn = np.empty(n)
            for code, one in enumerate(self.domains):
                here = smear == code
                drawn[here] = one.draw(what, chance[here, column])
            counts.append(drawn * sites.size[site].prod(axis=1) / 1e5)
        red = np.rint(self.crowding * counts[0]).astype(int) * (sites.n_red[site] > 0)
        platelets = np.minimum(np.rint(counts[1]), tuned.MOST_PLATELETS).astype(int)
        platelets = platelets * (sites.n_platelets[site] > 0)
        most_red = int(red.max(initial=0))
        k = 1 + most_red + int(platelets.max(initial=0))
        pick = generator.random((n, k))
        cells = np.empty((n, k), np.int32)
        cells[:, 0] = targets
        reds, others = np.s_[1 : 1 + most_red], np.s_[1 + most_red :]
        cells[:, reds] = _picked(sites.red[site], sites.n_red[site], pick[:, reds], targets)
        cells[:, others] = _picked(
            sites.platelets[site], sites.n_platelets[site], pick[:, others], targets
        )
        number_of = np.arange(k)
        wanted = (number_of[None] <= red[:, None]) & (number_of <= most_red)
        wanted |= (number_of > most_red) & (number_of <= most_red + platelets[:, None])
        return cells, wanted

    def _smear(self, sites: Sites, site: np.ndarray) -> np.ndarray:
        """Return the domain whose light is the most like that of each scene."""
        lights = np.array([one.light for one in self.domains])
        return np.abs(sites.light[site][:, None] - lights[None]).sum(axis=2).argmin(axis=1)

    def _goals(
        self,
        materials: Materials,
        cells: np.ndarray,
        turn: np.ndarray,
        canvas: np.ndarray,
        generator: np.random.Generator,
    ) -> np.ndarray:
        """Return where cells would like their middles, (n, k, tries, 2).

        The target as far off the centre as in its own image; the others anywhere on the canvas and
        a little beyond.
        """
        n, k = cells.shape
        reach = 0.8 * np.sqrt(materials.area[cells] / np.pi)[:, :, None, None].astype(np.float32)
        goal = generator.random((n, k, self.tries, 2), dtype=np.float32)
        goal *= canvas[:, None, None].astype(np.float32) + 2 * reach
        goal -= reach
        own = materials.image[cells[:, 0]]
        middle = centre(materials, cells[:, 0])
        if len(materials.images):
            size = materials.images.frames.size[own]
            turned = turn[:, 0]
            off = turned_point(middle, size, turned) - turned_box(size, turned) / 2
            off = np.clip(off, -canvas / 4, canvas / 4)
        else:
            off = np.zeros_like(middle)
        goal[:, 0] = (canvas / 2 + off)[:, None]
        return goal

    def _set_against(
        self, goal: np.ndarray, apart: np.ndarray, generator: np.random.Generator
    ) -> None:
        """Let some red cells of each scene try beside the target first: so far ``apart`` (n, k).

        The first places of ``goal`` (n, k, tries, 2) are changed in place.
        """
        n, most = len(goal), min(self.touching, goal.shape[1] - 1)
        angle = generator.uniform(0, 2 * np.pi, (n, most))
        way = np.stack([np.cos(angle), np.sin(angle)], axis=2)
        # a pixel more, since cells are set on whole pixels
        there = goal[:, :1, 0] + (apart[:, 1 : 1 + most, None] + 1) * way
        these = np.arange(most) < generator.integers(0, most + 1, size=(n, 1))
        some = goal[:, 1 : 1 + most, 0]
        some[these] = there[these]

    def _nearness(
        self, sites: Sites, site: np.ndarray, k: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return how near cells may come to each other and to the target, (n, k) each."""
        n = len(site)
        chance = generator.random((2, n, k))
        found = np.ones((2, n, k))
        smear = self._smear(sites, site)
        for code, one in enumerate(self.domains):
            here = smear == code
            for row, what in enumerate(("nearest_red_cells", "nearest_to_target")):
                found[row, here] = one.draw(what, chance[row, here])
        # those that are far apart in a smear may be anywhere as long as they do not touch
        near, beside = np.clip(found, 1 - self.overlap, 1.0)
        return near, beside

    def _suited(
        self,
        materials: Materials,
        sites: Sites,
        how: Changes,
        cells: np.ndarray,
        site: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Return stain and blur that match all cells to the white cell's own image."""
        k, images = cells.shape[1], materials.images
        if not len(images):
            white = np.full_like(how.stain, 255.0)
            return {**stained(how.stain, white, white), "blur": np.round(how.blur, 2)}
        origins, to = materials.image[cells].ravel(), np.repeat(materials.image[cells[:, 0]], k)
        red = (materials.kind[cells.ravel()] == "rbc") & (self.match_stain > 0)
        light = np.repeat(sites.light[site], k, axis=0)
        return self.suited(images, origins, to, how, light, red)

    def _columns(
        self,
        materials: Materials,
        sites: Sites,
        label: str,
        cells: np.ndarray,
        placed: np.ndarray,
        rows: dict[str, np.ndarray],
        site: np.ndarray,
        alone: np.ndarray,
    ) -> Columns:
        n, k = cells.shape
        # painted in this order: red cells, platelets, and last the target
        order = np.roll(np.arange(n * k).reshape(n, k), -1, axis=1)
        kept = order[np.roll(placed, -1, axis=1)]
        target = kept % k == 0
        covers = target | np.isin(materials.kind[cells.ravel()[kept]], ["platelet"])
        rows = {**{name: column[kept] for name, column in rows.items()},
                "feather": np.where(covers, self.feather, 0.0)}  # fmt: skip
        return Columns(
            words=materials.remembered(
                ("layout words", self.blend, self.finishing),
                lambda: self.words(materials),
            ),
            label=np.full(n, materials.labels.index(label)),
            background=np.where(alone | (self.background != "bare"), 0, 1 + sites.image[site]),
            size=sites.size[site],
            colour=sites.light[site],
            offsets=offsets_of(placed.sum(axis=1)),
            cell=cells.ravel()[kept],
            blend=covers,
            placed=rows,
        )

    def words(self, materials: Materials) -> Vocabulary:
        """Return the names that its recipes share."""
        scenes = [(f"{image_id}:bare", image_id) for image_id in materials.images.ids]
        return Vocabulary(
            materials.cells,
            materials.labels,
            modes=(self.name,),
            backgrounds=((None, None), *scenes),
            blends=("density", self.blend),
            finishes=(self.finishing,),
        )


def _picked(
    pools: np.ndarray, sizes: np.ndarray, chance: np.ndarray, instead: np.ndarray
) -> np.ndarray:
    """Return a member of each row's pool for each chance; ``instead`` where it is empty."""
    which = np.minimum((chance * sizes[:, None]).astype(int), np.maximum(sizes[:, None] - 1, 0))
    found = np.take_along_axis(pools, which, axis=1) if pools.shape[1] else which
    return np.where(sizes[:, None] > 0, found, instead[:, None])
