"""What of a restored scene is to be painted on, as it was before it was coded.

Around the place that a cell was taken from, another will be painted, and the blocks that it touches
go through the scene's codec. For that they are kept once more, without the trace of the first time
(see ``imaging.jpeg.decode``).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from naturalize.compose.paint.levels import WIDE
from naturalize.compose.paint.patch import CellSource
from naturalize.compose.paint.scenes import background_of, image_of
from naturalize.compose.paint.sizes import Shrink
from naturalize.imaging.jpeg.decode import before_coding

if TYPE_CHECKING:
    from naturalize.imaging.jpeg.codec import Codec

#: Pixels around what was restored that a cell in its place may reach, with its surroundings.
_AROUND = WIDE + 16

#: Parts of scenes kept in memory for a source.
_KEPT = 16

_soft: WeakKeyDictionary[object, OrderedDict[str, Soft | None]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Soft:
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


def soft_of(source: CellSource, background_id: str) -> Soft | None:
    """Return the part of a scene that is to be painted on.

    ``None`` for what was not restored, or came through no codec. Ready-made where the source keeps
    it; else the last few are kept.
    """
    ready = getattr(source, "soft", None)
    if ready is not None:
        return ready(background_id)
    known = _soft.setdefault(source, OrderedDict())
    if background_id not in known:
        known[background_id] = _made(source, background_id)
        if len(known) > _KEPT:
            known.popitem(last=False)
    known.move_to_end(background_id)
    return known[background_id]


def _made(source: CellSource, background_id: str) -> Soft | None:
    from naturalize.imaging.jpeg.estimate import estimate

    image_id, removal = image_of(background_id)
    if removal is None:
        return None
    scene = background_of(source, background_id, Shrink.none((1, 1)))
    codec = estimate(scene)
    if codec is None:
        return None
    box = _box_of((scene != source.image(image_id)).any(axis=2), codec.unit)
    x0, y0, x1, y1 = box
    # pixels next to a part's border are coded with others beside them
    margin = codec.unit
    left, top = max(x0 - margin, 0), max(y0 - margin, 0)
    part = before_coding(scene[top : y1 + margin, left : x1 + margin], codec, (left, top))
    pixels = part[y0 - top : y1 - top, x0 - left : x1 - left]
    return Soft(codec, box, np.ascontiguousarray(pixels))


def _box_of(changed: np.ndarray, unit: int) -> tuple[int, int, int, int]:
    """Return the box of what was restored and around it, in whole units as far as there are any."""
    height, width = changed.shape
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    if not len(rows):
        return 0, 0, width, height
    x0, y0 = (max(int(found[0]) - _AROUND, 0) // unit * unit for found in (columns, rows))
    x1, y1 = (-(-(int(found[-1]) + _AROUND) // unit) * unit for found in (columns, rows))
    return x0, y0, min(x1, width), min(y1, height)
