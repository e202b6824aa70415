"""Where the renderer takes cells and scenes from, and what stands behind the cells.

A scene is a flat colour, or a real image, whole or without some of its cells. Around the place that
a cell was taken out of, another will be painted, and the blocks that it touches go through the
scene's codec again; so restored scenes are kept before coding as well (``imaging.jpeg.decode``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np

from naturalize.base.errors import InputError, unknown
from naturalize.compose.paint import constants as tuned
from naturalize.compose.paint.patch import Patch, cut_patch, reduced
from naturalize.compose.paint.sizes import Shrink
from naturalize.compose.recipe.recipe import Background
from naturalize.imaging.jpeg.codec import Codec
from naturalize.imaging.jpeg.decode import before_coding
from naturalize.imaging.jpeg.estimate import estimate
from naturalize.imaging.jpeg.grid import dihedral

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.cells.segmentation import Cell
    from naturalize.restoration import Restored

#: After an image id and a colon: what is taken out of the scene.
REMOVALS = {"white": "white", "target": "target", "bare": "all"}


T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class BeforeCoding:
    """A part of a scene before it was coded.

    Attributes
    ----------
    codec
        Of the scene.
    box
        x0, y0, x1, y1 of the part in the scene.
    pixels
        RGB uint8 (y1 − y0, x1 − x0, 3).
    """

    codec: Codec
    box: tuple[int, int, int, int]
    pixels: np.ndarray

    def over(self, scene: np.ndarray) -> np.ndarray:
        """Return a scene, RGB uint8 (H, W, 3), with this part of it."""
        x0, y0, x1, y1 = self.box
        out = scene.copy()
        out[y0:y1, x0:x1] = self.pixels
        return out


class CellSource(ABC):
    """Where cells and scenes come from: a bank by :class:`Scenes`, or a store of crops."""

    @abstractmethod
    def patch(self, cell_id: str, style: str = "extended", factor: float = 1.0) -> Patch:
        """Return a cell ready to be pasted, at ``factor`` times its size."""

    @abstractmethod
    def background(
        self, background_id: str, factors: tuple[float, float] = (1.0, 1.0)
    ) -> np.ndarray:
        """Return a scene, RGB uint8 (H, W, 3), at ``factors`` of its width and height.

        It is not turned, and not to be written to.
        """

    @abstractmethod
    def before_coding(self, background_id: str) -> BeforeCoding | None:
        """Return the restored part of a scene, at its own size, before coding.

        ``None`` for what was not restored, or came through no codec.
        """


def source_of(bank: CellSource | CellBank) -> CellSource:
    """Return a source as it is, and a bank as a source."""
    return bank if isinstance(bank, CellSource) else Scenes(bank)


class Scenes(CellSource):
    """A bank as a source. The scenes that were asked for last stay in memory.

    Hand one along wherever many composites of a bank are made; it pickles to its bank alone.

    Parameters
    ----------
    bank
        The cells and their images.
    keep
        Restored scenes that are kept (0.4 MB each for PBC).
    """

    def __init__(self, bank: CellBank, keep: int = 16) -> None:
        self.bank, self.keep = bank, keep
        self._restored: OrderedDict[str, Restored] = OrderedDict()
        self._uncoded: OrderedDict[str, BeforeCoding | None] = OrderedDict()

    def __reduce__(self) -> tuple[Any, tuple[CellBank, int]]:
        return Scenes, (self.bank, self.keep)

    def patch(self, cell_id: str, style: str = "extended", factor: float = 1.0) -> Patch:
        """Return a cell ready to be pasted, cut from its image."""
        patch = cut_patch(self.bank, cell_id, style)
        return reduced(patch, factor) if factor < 1 else patch

    def background(
        self, background_id: str, factors: tuple[float, float] = (1.0, 1.0)
    ) -> np.ndarray:
        """Return a scene at ``factors`` of its width and height, not to be written to."""
        image_id, removal = image_of(background_id)
        whole = self.bank.image(image_id) if removal is None else self.restored(background_id).image
        return shrunk(whole, factors)

    def before_coding(self, background_id: str) -> BeforeCoding | None:
        """Return the restored part of a scene before coding."""
        return self._kept(self._uncoded, background_id, self._before_coding)

    def restored(self, background_id: str) -> Restored:
        """Return an image without some of its cells, and how good it is."""
        return self._kept(self._restored, background_id, self._restore)

    def cells(self, image_id: str) -> list[Cell]:
        """Return all cells of an image, accepted or not, as a segmenter gave them."""
        import pyarrow.compute as pc

        from naturalize.cells.tables import cell_of

        rows = self.bank.table.filter(pc.field("image_id") == image_id)
        return [cell_of(row) for row in rows.to_pylist()]

    def _kept(self, kept: OrderedDict[str, T], name: str, make: Callable[[str], T]) -> T:
        if name not in kept:
            kept[name] = make(name)
            if len(kept) > self.keep:
                kept.popitem(last=False)
        kept.move_to_end(name)
        return kept[name]

    def _restore(self, background_id: str) -> Restored:
        from naturalize.restoration import scene

        image_id, removal = image_of(background_id)
        image, remove = self.bank.image(image_id), REMOVALS[removal or ""]
        found = scene(image, self.cells(image_id), remove=remove, key=image_id)
        found.image.flags.writeable = False
        return found

    def _before_coding(self, background_id: str) -> BeforeCoding | None:
        image_id, removal = image_of(background_id)
        if removal is None:
            return None
        scene = self.restored(background_id).image
        codec = estimate(scene)
        if codec is None:
            return None
        box = _box_of((scene != self.bank.image(image_id)).any(axis=2), codec.unit)
        x0, y0, x1, y1 = box
        # pixels next to a part's border are coded with others beside them
        margin = codec.unit
        left, top = max(x0 - margin, 0), max(y0 - margin, 0)
        part = before_coding(scene[top : y1 + margin, left : x1 + margin], codec, (left, top))
        pixels = part[y0 - top : y1 - top, x0 - left : x1 - left]
        return BeforeCoding(codec, box, np.ascontiguousarray(pixels))


def _box_of(changed: np.ndarray, unit: int) -> tuple[int, int, int, int]:
    """Return the box of what was restored and around it, in whole units as far as there are any."""
    height, width = changed.shape
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    if not len(rows):
        return 0, 0, width, height
    x0, y0 = (max(int(found[0]) - tuned.REACHED, 0) // unit * unit for found in (columns, rows))
    x1, y1 = (-(-(int(found[-1]) + tuned.REACHED) // unit) * unit for found in (columns, rows))
    return x0, y0, min(x1, width), min(y1, height)


def canvas_of(ground: Background, shrink: Shrink, source: CellSource) -> np.ndarray:
    """Return the canvas before any cell, RGB uint8 (height, width, 3), to be painted on.

    Raises
    ------
    InputError
        If the scene is smaller than the canvas, or the source does not have it.
    """
    if ground.background_id is None:
        return _flat(shrink.width, shrink.height, ground.colour).copy()
    image = source.background(ground.background_id, shrink.before(ground.turn))
    return laid_under(image, ground, shrink).copy()


def laid_under(image: np.ndarray, ground: Background, shrink: Shrink) -> np.ndarray:
    """Return the part of a scene (H, W, …), turned, that lies under a canvas.

    ``InputError`` where the scene is too small.
    """
    if ground.turn:
        image = dihedral(image, ground.turn >= 4, ground.turn % 4)
    height, width = image.shape[:2]
    if height < shrink.height or width < shrink.width:
        raise _too_small(ground, shrink, (width, height))
    x, y = round(ground.x * shrink.x), round(ground.y * shrink.y)
    if not shrink.is_none:  # rounding may go a pixel too far
        x, y = min(x, width - shrink.width), min(y, height - shrink.height)
    if y + shrink.height > height or x + shrink.width > width:
        raise _too_small(ground, shrink, (width, height))
    return image[y : y + shrink.height, x : x + shrink.width]


def _too_small(ground: Background, shrink: Shrink, size: tuple[int, int]) -> InputError:
    where = f" from {ground.x}, {ground.y}" if ground.x or ground.y else ""
    return InputError(
        f"background {ground.background_id}: {size[0]} × {size[1]} pixels, smaller than the canvas "
        f"of {shrink.width} × {shrink.height}{where}"
    )


@lru_cache(maxsize=16)
def _flat(width: int, height: int, colour: tuple[float, float, float]) -> np.ndarray:
    return np.full((height, width, 3), np.rint(colour), np.uint8)


def shrunk(image: np.ndarray, factors: tuple[float, float]) -> np.ndarray:
    """Return a scene at ``factors`` of its width and height, each pixel the mean of its area."""
    if factors == (1, 1):
        return image
    height, width = image.shape[:2]
    size = max(round(width * factors[0]), 1), max(round(height * factors[1]), 1)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def image_of(background_id: str) -> tuple[str, str | None]:
    """Return the image of a scene, and what is taken out of it; ``InputError`` if unknown."""
    image_id, _, removal = background_id.partition(":")
    if not removal:
        return image_id, None
    if removal not in REMOVALS:
        raise unknown("scene", removal, sorted(REMOVALS))
    return image_id, removal
