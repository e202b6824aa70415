"""Red cells in one outline come apart; what is one stays one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.cells.segmentation import Cell
from naturalize.cells.segmenters.unet.overlapping import completed, parted

SHAPE = (300, 320)
RADIUS = 30.0


def disc(x: float, y: float, wide: float = RADIUS, high: float = RADIUS) -> np.ndarray:
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return ((columns - x) / wide) ** 2 + ((rows - y) / high) ** 2 <= 1


def cell(mask: np.ndarray, kind: str = "rbc") -> Cell:
    return Cell.from_mask(kind, mask, score=0.9)


#: Three whole red cells, from which the usual size is known.
DISCS = [disc(x, 40) for x in (40, 120, 200)]
USUAL = [cell(mask) for mask in DISCS]

#: Colour of the bare slide, and optical density of one red cell.
SLIDE, DENSITY = (250.0, 240.0, 230.0), 0.1


def film(*discs: np.ndarray) -> np.ndarray:
    """Return the picture of discs: where they overlap, light is absorbed by each (Beer-Lambert)."""
    layers = np.sum(np.stack([*DISCS, *discs]), axis=0)[..., None]
    return np.round(np.array(SLIDE) * 10 ** (-DENSITY * layers)).astype(np.uint8)


def parts_of(cells: list[Cell], *discs: np.ndarray) -> list[Cell]:
    return parted(cells, film(*discs), SLIDE)


def iou(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    both = np.prod(np.clip(high - low, 0, None))
    return both / (np.prod(np.subtract(a[2:], a[:2])) + np.prod(np.subtract(b[2:], b[:2])) - both)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.65, 1.8), st.floats(0, np.pi))
def test_two_discs_in_one_outline_are_two_cells_and_whole_again(apart: float, angle: float) -> None:
    dx, dy = 0.5 * apart * RADIUS * np.cos(angle), 0.5 * apart * RADIUS * np.sin(angle)
    one, two = disc(160 - dx, 180 - dy), disc(160 + dx, 180 + dy)
    found = parts_of([*USUAL, cell(one | two)], one, two)
    assert len(found) == 5
    assert found[:3] == USUAL
    assert np.count_nonzero(one | two) >= found[3].area + found[4].area > 0.95 * (one | two).sum()
    whole = [c.box for c in completed(found, SHAPE)[3:]]
    for mask in (one, two):
        assert max(iou(box, cell(mask).box) for box in whole) > 0.8


@settings(max_examples=25, deadline=None)
@given(st.floats(20, 75), st.floats(20, 75))
def test_a_cell_without_dents_stays_one_whatever_its_size(wide: float, high: float) -> None:
    one = disc(160, 180, wide, high)
    cells = [*USUAL, cell(one)]
    assert parts_of(cells, one) == cells


def test_a_cell_with_one_dent_stays_one() -> None:
    one = disc(160, 180, 45, 45) & ~disc(205, 180, 18, 18)
    cells = [*USUAL, cell(one)]
    assert parts_of(cells, one) == cells


def test_other_kinds_and_images_of_few_cells_are_left_as_they_are() -> None:
    pair = disc(140, 180), disc(180, 180)
    cells = [*USUAL, cell(pair[0] | pair[1], "wbc")]
    assert parts_of(cells, *pair) == cells
    few = [USUAL[0], cell(pair[0] | pair[1])]
    assert parts_of(few, *pair) == few
    assert parts_of([]) == []
