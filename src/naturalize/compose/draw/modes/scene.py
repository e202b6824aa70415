"""``scene``: a real image, in which another white cell takes the place of its own.

What a network could learn to call "synthetic" is then either a real pixel at its real place, or
hidden. The new cell covers the restored place of the old one as far as any cell of its class does,
and comes from an image with the same light, stain and sharpness, so that neither is corrected. It
is copied, not resampled, and lies on the grid of the codec.

By default the scenes of a class are its own images (``donors: same``). Real scenes do differ
between classes: on 7,000 PBC images red cells, light and counts alone give eleven classes with a
balanced accuracy of 0.26 (chance: 0.09). With scenes of any class (``donors: any``) that link is
broken, but a composite then stands in scenes that are unusual for its class, and a network can
detect it by them. Own scenes leave the link between scene and class as it is in the real images.

In the bank of another laboratory (``donors: foreign``) the scenes are that laboratory's, without
labels, and its cells have been made as it would have taken them: pixels of no codec's grid, in one
light, which each scene's own takes the place of.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from naturalize.base.errors import InputError
from naturalize.compose.draw import constants as tuned
from naturalize.compose.draw.materials import Materials
from naturalize.compose.draw.modes.fit import Light, Matches, centre_turned, match
from naturalize.compose.draw.modes.mode import TURNS, Share, Variation, turned
from naturalize.compose.recipe.columns import Columns, Vocabulary
from naturalize.imaging.jpeg.grid import after, on_grid, phase_of, turned_box


class Scene(Variation):
    """Settings of the mode, besides those of :class:`Variation`.

    Attributes
    ----------
    donors
        Whose images the scene comes from: ``"same"``, those of the composite's class; ``"any"``;
        ``"foreign"``, those of another laboratory, in its bank.
    scene_turn
        ``"none"``: light falls the same way in all images of a microscope, and a scene that was
        flipped can be detected by it; ``"grid"``: turns and flips that keep size and codec grid;
        ``"right"``: all that keep the size.
    on_grid
        Set cells on the grid of the scene's codec, half a block aside at most.
    contact
        Share of a cell's outline that may lie against other cells: its edge is not seen there. The
        freer half of a class's cells may whatever theirs is.
    """

    name: ClassVar[str] = "scene"

    donors: Literal["same", "any", "foreign"] = "same"
    scene_turn: Literal["none", "grid", "right"] = "none"
    on_grid: bool = True
    contact: Share = 0.12

    def targets(self, materials: Materials, label: str) -> np.ndarray:
        """Return the whole target cells of a class for which there is a scene."""
        return self._matches(materials, label).cells

    def _matches(self, materials: Materials, label: str) -> Matches:
        settings = (self.donors, self.taken, self.choices, self.turn, self.on_grid, self.contact)
        key = ("scene", *settings, self._canvas, label)
        return materials.remembered(key, lambda: self._found(materials, label))

    @property
    def _canvas(self) -> tuple[int, int]:
        return self.width or 0, self.height or 0

    def _found(self, materials: Materials, label: str) -> Matches:
        cells = self._free(materials, materials.targets(label))
        turns = TURNS[self.turn]
        if self.donors == "foreign":
            pool = self._foreign(materials)
            if len(cells) and len(pool):
                pool = self._large_enough(materials, label, pool)
            keep = self.choices
            return match(
                materials, cells, pool, keep=keep, turns=turns, on_blocks=False, light="other"
            )
        donors = [label] if self.donors == "same" else list(materials.labels)
        kinds = set(materials.kind[cells].tolist())
        places = [self._places(materials, name) for name in donors]
        pool = np.concatenate(places) if places else cells[:0]
        pool = pool[np.isin(materials.kind[pool], list(kinds))]
        if len(cells) and len(pool):
            pool = self._large_enough(materials, label, pool)
        light: Light = "own" if self.taken == "alike" else "any"
        on_blocks = self.on_grid and light == "own"
        return match(
            materials, cells, pool, keep=self.choices, turns=turns, on_blocks=on_blocks, light=light
        )

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
        good = materials.whole[cells] & (images.share[image] >= tuned.SCENE_SLIDE)
        good &= (materials.contact[cells] <= tuned.MOST_CONTACT) & (
            images.counts["wbc"][image] == white
        )
        return cells[good]

    def _foreign(self, materials: Materials) -> np.ndarray:
        """Return the places in images of another laboratory: targets that no label speaks of."""
        places = np.flatnonzero(materials.target & (materials.label < 0)).astype(np.int32)
        if not len(places):
            raise InputError(
                "donors foreign: the bank holds no images of another laboratory; name them with "
                "--scenes FOLDER"
            )
        return places

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
        scenes, images = materials.image[old], materials.images
        frames = images.frames
        turn = self._scene_turns(frames.size[scenes], frames.unit[scenes], chance[:, 1])
        both = after(turn, own)
        size = turned_box(materials.size[targets], both)
        origin = turned_phase(frames.size[scenes], turn)
        unit = frames.unit[scenes] if self.on_grid else np.ones_like(frames.unit[scenes])
        middle = centre_turned(materials, old, turn)
        if self.resamples or self.donors == "foreign" or self.taken == "any":
            # nothing is copied that lies on the scene's grid
            unit = np.ones_like(unit)
        at = on_grid(middle - size / 2, phase_of(materials.box[targets], both), unit, origin)
        canvas, begin = self._window(frames.size[scenes], middle, frames.unit[scenes])
        cx, cy = (at + size / 2 - begin).T
        origins = materials.image[targets]
        placed = {
            **turned(both, how),
            **self.suited(images, origins, scenes, how, images.light[scenes]),
            "cx": cx,
            "cy": cy,
            "feather": np.full(n, self.feather),
        }
        columns = Columns(
            words=materials.remembered(("scene words", self), lambda: self.words(materials)),
            label=np.full(n, materials.labels.index(label)),
            background=1 + scenes,
            size=canvas,
            colour=images.light[scenes],
            offsets=np.arange(n + 1),
            cell=targets,
            placed=placed,
            ground=np.column_stack([turn, begin]),
        )
        return columns, {}

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

    def words(self, materials: Materials) -> Vocabulary:
        """Return the names that its recipes share."""
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
            finishes=(self.finishing,),
        )


def turned_phase(size: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return a column and a row of turned images at which a block begins, int (..., 2)."""
    whole_image = np.concatenate([np.zeros_like(size), size], axis=-1)
    return phase_of(whole_image, turn)
