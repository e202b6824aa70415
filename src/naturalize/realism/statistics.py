"""All named statistics of an image, by family; their names are what a person is told."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from naturalize.cells.segmentation import Segmentation
from naturalize.realism.areas import Areas
from naturalize.realism.blocks import blocks
from naturalize.realism.edges import edges
from naturalize.realism.grain import grain
from naturalize.realism.scene import colour, scene

#: Family → what measures it.
FAMILIES: dict[str, Callable[[Areas], dict[str, float]]] = {
    "grain": grain,
    "coding": blocks,
    "edges": edges,
    "arrangement": scene,
    "colour": colour,
}


def statistics(areas: Areas) -> np.ndarray:
    """Return the statistics of an image in the order of :func:`names`, float32; NaN where absent.

    A statistic is absent where the image has no such part: no red cell, no target, no bare slide.
    """
    values = [value for measure in FAMILIES.values() for value in measure(areas).values()]
    return np.array(values, np.float32)


@lru_cache(maxsize=1)
def names() -> tuple[tuple[str, str], ...]:
    """Return ``(family, name)`` of every statistic."""
    empty = Areas(np.zeros((64, 64, 3), np.uint8), Segmentation((64, 64), (), (255, 255, 255)))
    return tuple((family, name) for family, measure in FAMILIES.items() for name in measure(empty))


#: All statistics that a change of encoding, or a shift by a pixel, does not give away.
BUT_CODING = "all but coding"


def family_columns(family: str) -> np.ndarray:
    """Return the positions of the statistics of a family, or of :data:`BUT_CODING`, int64."""
    if family == BUT_CODING:
        return np.flatnonzero([found != "coding" for found, _ in names()])
    return np.flatnonzero([found == family for found, _ in names()])
