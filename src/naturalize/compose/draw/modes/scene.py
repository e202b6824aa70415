"""``scene``: a real image lends everything but its white cell; another cell takes that one's place.

What a network could learn to call "synthetic" is then either a real pixel at its real place, or
hidden: the new cell covers the restored place of the old one as far as any cell of its class does,
from an image with the same light, stain and sharpness, so that neither is corrected; it is copied,
not resampled, and lies on the grid of the codec.

By default the scenes of a class are its own images (``donors: same``). Real scenes do differ
between classes: on 7,000 PBC images red cells, light and counts alone tell eleven classes with a
balanced accuracy of 0.26 (chance: 0.09). With scenes of any class (``donors: any``) that link is
broken, but a composite then stands in scenes that are unusual for its class, and can be told by
them. Own scenes leave the link between scene and class as it is in the real images: a network can
neither gain by it nor tell composites by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from naturalize.base.errors import InputError, SettingsError, unknown
from naturalize.compose.draw.materials import Materials
from naturalize.compose.draw.modes.fit import Matches, centre_turned, match
from naturalize.compose.draw.modes.matching import blur_for, density_for
from naturalize.compose.draw.modes.variation import (
    TURNS,
    Variation,
    Varied,
    number,
    stained,
    turned,
    whole,
)
from naturalize.compose.paint.blend import BLENDS
from naturalize.compose.recipe.columns import Columns, Vocabulary
from naturalize.compose.recipe.placement import MAX_FEATHER
from naturalize.compose.recipe.recipe import Finish
from naturalize.imaging.jpeg.grid import after, on_grid, phase_of, turned_box

DONORS = ("same", "any")
SCENE_TURNS = ("grid", "right", "none")

#: Share of an image that must be bare slide: elsewhere there is none to restore from.
_LEAST_SLIDE = 0.2

#: Share of a cell's outline that may lie against others: what it hid of them must be guessed.
_MOST_CONTACT = 0.6


@dataclass(frozen=True, kw_only=True)
class Scene(Variation):
    """Settings of the mode, besides those of :class:`Variation`.

    Attributes
    ----------
    donors
        Whose images lend the scene: ``"same"``, those of the composite's class; ``"any"``.
    choices
        Best fitting scenes among which a cell's is drawn.
    scene_turn
        ``"none"``: light falls the same way in all images of a microscope, and a scene that was
        flipped can be told by it; ``"grid"``: turns and flips that keep size and codec grid;
        ``"right"``: all that keep the size.
    on_grid
        Set cells on the grid of the scene's codec, half a block aside at most.
    width, height
        Canvas in pixels; by default the scene's own size.
    blend, feather
        How the cell's edge is painted; width of the soft edge in pixels.
    contact
        Share of a cell's outline that may lie against other cells: its edge is not seen there. The
        freer half of a class's cells may whatever theirs is.
    match_stain
        Share of the difference in stain between the two images' red cells that is made up for.
    finish, quality
        ``"none"``, ``"png"`` or ``"jpeg"``; quality of the JPEG.
    """

    name: ClassVar[str] = "scene"

    donors: str = "same"
    choices: int = 24
    scene_turn: str = "none"
    on_grid: bool = True
    width: int | None = None
    height: int | None = None
    blend: str = "scene"
    feather: float = 3.0
    contact: float = 0.12
    match_stain: float = 0.5
    finish: str = "none"
    quality: int = 95

    def __post_init__(self) -> None:
        self.check_variation(self.name)
        for name, choices in (("donors", DONORS), ("scene_turn", SCENE_TURNS), ("blend", BLENDS)):
            if getattr(self, name) not in choices:
                raise unknown(f"{name} of mode scene", getattr(self, name), list(choices))
        whole(self.name, "choices", self.choices, 1)
        for name in ("width", "height"):
            if getattr(self, name) is not None:
                whole(self.name, name, getattr(self, name), 1)
        if not isinstance(self.on_grid, bool):
            raise SettingsError(f"scene: on_grid must be true or false, got {self.on_grid!r}")
        for name, most in (("feather", MAX_FEATHER), ("contact", 1.0), ("match_stain", 1.0)):
            object.__setattr__(self, name, number(self.name, name, getattr(self, name), 0, most))
        whole(self.name, "quality", self.quality, 1)
        Finish(self.finish, self._quality)

    @property
    def _quality(self) -> int | None:
        return self.quality if self.finish == "jpeg" else None

    @property
    def settings(self) -> dict[str, Any]:
        """What decides its recipes."""
        return {**asdict(self), "quality": self._quality}

    def default_classes(self, available: Sequence[str]) -> tuple[str, ...]:
        """Return all: then "looks composed" says nothing of the class."""
        return tuple(available)

    def targets(self, materials: Materials, label: str) -> np.ndarray:
        """Return the whole target cells of a class for which there is a scene."""
        return self._matches(materials, label).cells

    def _matches(self, materials: Materials, label: str) -> Matches:
        settings = (self.donors, self.choices, self.turn, self.on_grid, self.contact)
        key = ("scene", *settings, self._canvas, label)
        return materials.remembered(key, lambda: self._found(materials, label))

    @property
    def _canvas(self) -> tuple[int, int]:
        return self.width or 0, self.height or 0

    def _found(self, materials: Materials, label: str) -> Matches:
        cells = self._free(materials, materials.targets(label))
        lenders = [label] if self.donors == "same" else list(materials.labels)
        kinds = set(materials.kind[cells].tolist())
        places = [self._places(materials, name) for name in lenders]
        pool = np.concatenate(places) if places else cells[:0]
        pool = pool[np.isin(materials.kind[pool], list(kinds))]
        if len(cells) and len(pool):
            pool = self._large_enough(materials, label, pool)
        turns = TURNS[self.turn]
        return match(materials, cells, pool, keep=self.choices, turns=turns, on_blocks=self.on_grid)

    def _free(self, materials: Materials, cells: np.ndarray) -> np.ndarray:
        """Return the whole cells among ``cells`` whose outline is seen, or the freer half."""
        cells = cells[materials.whole[cells]]
        contact = materials.contact[cells]
        limit = max(self.contact, float(np.median(contact))) if len(cells) else 0.0
        return cells[contact <= limit]

    def _places(self, materials: Materials, label: str) -> np.ndarray:
        """Return the target cells of a class whose place another can take: they stand alone."""
        cells = materials.targets(label)
        image, images = materials.image[cells], materials.images
        white = (materials.kind[cells] == "wbc").astype(np.int64)
        if len(cells) and not len(images):
            raise InputError(
                f"class {label}: the bank holds {len(cells):,} cells and no whole images, so "
                "there is no scene to set them in; use a bank that has its source images"
            )
        good = materials.whole[cells] & (images.share[image] >= _LEAST_SLIDE)
        good &= (materials.contact[cells] <= _MOST_CONTACT) & (images.counts["wbc"][image] == white)
        return cells[good]

    def _large_enough(self, materials: Materials, label: str, pool: np.ndarray) -> np.ndarray:
        sizes = materials.images.frames.size[materials.image[pool]]
        fits = (sizes >= self._canvas).all(axis=1)
        if not fits.any():
            largest = sizes[sizes.prod(axis=1).argmax()]
            raise InputError(
                f"class {label}: none of its {len(pool):,} scenes is as large as the canvas of "
                f"{self.width or 'any'} × {self.height or 'any'} pixels (the largest: "
                f"{largest[0]} × {largest[1]}); ask for a smaller canvas"
            )
        return pool[fits]

    def draw(
        self, materials: Materials, label: str, targets: np.ndarray, generator: np.random.Generator
    ) -> tuple[Columns, dict[str, np.ndarray]]:
        """Return a recipe for each of ``targets``."""
        n = len(targets)
        chance = generator.random((n, 2))
        how = self.varied(generator, n)
        old, own = self._matches(materials, label).pick(targets, chance[:, 0])
        scenes = materials.image[old]
        frames = materials.images.frames
        turn = self._scene_turns(frames.size[scenes], frames.unit[scenes], chance[:, 1])
        both = after(turn, own)
        size = turned_box(materials.size[targets], both)
        origin = turned_phase(frames.size[scenes], turn)
        unit = frames.unit[scenes] if self.on_grid else np.ones_like(frames.unit[scenes])
        middle = centre_turned(materials, old, turn)
        if self.resamples:  # nothing is copied that could lie on the grid
            unit = np.ones_like(unit)
        at = on_grid(middle - size / 2, phase_of(materials.box[targets], both), unit, origin)
        canvas, begin = self._window(frames.size[scenes], middle, frames.unit[scenes])
        cx, cy = (at + size / 2 - begin).T
        placed = {
            **turned(both, how),
            **self._suited(materials, how, targets, scenes),
            "cx": cx,
            "cy": cy,
            "feather": np.full(n, self.feather),
        }
        ground = np.column_stack([turn, begin]).astype(np.int32)
        return self._columns(materials, label, targets, scenes, placed, ground, canvas), {}

    def _scene_turns(self, size: np.ndarray, unit: np.ndarray, chance: np.ndarray) -> np.ndarray:
        """Return a turn of each scene, of those that may be."""
        codes = np.arange(8)
        if self.scene_turn == "none":
            return np.zeros(len(size), np.int64)
        may = (size[:, :1] == size[:, 1:]) | (codes % 2 == 0)[None]
        if self.scene_turn == "grid":
            phase = turned_phase(size[:, None], np.broadcast_to(codes, (len(size), 8)))
            may = may & (phase % unit[:, None] == 0).all(axis=2)
        k = (chance * may.sum(axis=1)).astype(int)
        return np.argsort(~may, axis=1, kind="stable")[np.arange(len(size)), k]

    def _window(
        self, size: np.ndarray, middle: np.ndarray, unit: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return canvas and its place in the turned scene, int (n, 2), the old cell in the middle.

        Scenes are turned so that width and height stay.
        """
        asked = np.array(self._canvas)
        canvas = np.where(asked > 0, asked, size)
        begin = np.clip(middle - canvas / 2, 0, size - canvas) // unit * unit
        return canvas, begin.astype(np.int64)

    def _suited(
        self, materials: Materials, how: Varied, targets: np.ndarray, scenes: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return stain and blur that match cells to the stain, light and focus of their scenes."""
        images, origins = materials.images, materials.image[targets]
        density = density_for(images, origins, scenes, self.match_stain)
        return {
            **stained(density * how.stain, images.light[origins], images.light[scenes]),
            "blur": blur_for(images, origins, scenes),
        }

    def _columns(
        self,
        materials: Materials,
        label: str,
        targets: np.ndarray,
        scenes: np.ndarray,
        placed: dict[str, np.ndarray],
        ground: np.ndarray,
        canvas: np.ndarray,
    ) -> Columns:
        n = len(targets)
        return Columns(
            words=materials.remembered(("scene words", self), lambda: self._words(materials)),
            label=np.full(n, materials.labels.index(label), np.int32),
            mode=np.zeros(n, np.int32),
            background=(1 + scenes).astype(np.int32),
            finish=np.zeros(n, np.int32),
            size=canvas.astype(np.int32),
            colour=materials.images.light[scenes],
            offsets=np.arange(n + 1, dtype=np.int64),
            cell=targets.astype(np.int32),
            blend=np.zeros(n, np.int32),
            placed=placed,
            ground=ground,
        )

    def _words(self, materials: Materials) -> Vocabulary:
        images = materials.images
        white = images.counts["wbc"] > 0
        scenes = [
            (f"{image_id}:{'white' if has else 'target'}", image_id)
            for image_id, has in zip(images.ids, white.tolist(), strict=True)
        ]
        return Vocabulary(
            materials.cells,
            materials.labels,
            modes=(self.name,),
            backgrounds=((None, None), *scenes),
            blends=(self.blend,),
            finishes=(Finish(self.finish, self._quality),),
        )


def turned_phase(size: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return a column and a row of turned images at which a block begins, int (..., 2)."""
    whole_image = np.concatenate([np.zeros_like(size), size], axis=-1)
    return phase_of(whole_image, turn)
