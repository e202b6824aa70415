"""From maps to cells: what the network would say of known cells gives these cells again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.cells.segmenters.unet.group import cells_of, group
from naturalize.cells.segmenters.unet.network import CENTRE, CYTOPLASM, NUCLEUS, OUTPUTS, UNIT

CLASS = {"wbc": CYTOPLASM, "rbc": 3, "platelet": 4}
RADIUS = {"wbc": 26, "rbc": 17, "platelet": 6}


def disc(shape: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def maps_of(shape: tuple[int, int], cells: list[tuple[str, np.ndarray]]) -> np.ndarray:
    """Return what a perfect network would say of cells (kind, mask)."""
    maps = np.zeros((OUTPUTS, *shape), np.float32)
    maps[0], maps[CENTRE] = 6, -8
    for kind, mask in cells:
        rows, columns = np.nonzero(mask)
        y, x = rows.mean(), columns.mean()
        maps[:5, mask] = 0
        maps[CLASS[kind], mask] = 6
        if kind == "wbc":
            core = mask & disc(shape, x, y, 14)
            maps[:5, core] = 0
            maps[NUCLEUS, core] = 6
        maps[CENTRE + 1, mask] = (y - rows) / UNIT
        maps[CENTRE + 2, mask] = (x - columns) / UNIT
        grid = np.mgrid[: shape[0], : shape[1]]
        near = np.exp(-((grid[0] - y) ** 2 + (grid[1] - x) ** 2) / 18)
        maps[CENTRE] = np.maximum(maps[CENTRE], 16 * near - 8)
    return maps


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return np.count_nonzero(a & b) / max(1, np.count_nonzero(a | b))


def full(cell, shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    x0, y0, x1, y1 = cell.box
    mask[y0:y1, x0:x1] = cell.mask
    return mask


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_cells_that_touch_come_apart_and_keep_their_kinds(data):
    shape = (150, 170)
    free = np.ones(shape, bool)
    truth = []
    for _ in range(data.draw(st.integers(1, 9))):
        kind = data.draw(st.sampled_from(sorted(CLASS)))
        radius = RADIUS[kind]
        x = data.draw(st.integers(radius + 1, shape[1] - radius - 2))
        y = data.draw(st.integers(radius + 1, shape[0] - radius - 2))
        mask = disc(shape, x, y, radius)
        if free[mask].all():
            truth.append((kind, mask))
            free[mask] = False
    found = cells_of(group(maps_of(shape, truth), 1.0), shape)
    assert sorted(cell.kind for cell in found) == sorted(kind for kind, _ in truth)
    for kind, mask in truth:
        best = max(iou(full(cell, shape), mask) for cell in found if cell.kind == kind)
        assert best > 0.9


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_masks_at_full_size_cover_what_they_cover_in_the_map(factor):
    shape = (96, 112)
    mask = disc(shape, 50, 40, 26)
    cell = cells_of(group(maps_of(shape, [("wbc", mask)]), 1 / factor),
                    (factor * shape[0], factor * shape[1]))[0]  # fmt: skip
    large = np.kron(mask, np.ones((factor, factor), bool))
    assert iou(full(cell, large.shape), large) > 0.96
    assert cell.nucleus is not None
    assert not (cell.nucleus & ~cell.mask).any()
    assert 0.2 < np.count_nonzero(cell.nucleus) / cell.area < 0.4


def test_a_cell_is_one_piece_without_holes():
    shape = (90, 90)
    mask = disc(shape, 45, 45, 26)
    maps = maps_of(shape, [("wbc", mask)])
    hole = disc(shape, 38, 52, 4)
    maps[:5, hole] = 0
    maps[0, hole] = 6
    cell = cells_of(group(maps, 1.0), shape)[0]
    assert iou(full(cell, shape), mask) > 0.97


def test_specks_are_no_cells():
    shape = (64, 64)
    assert cells_of(group(maps_of(shape, [("rbc", disc(shape, 30, 30, 2))]), 1.0), shape) == []


def test_nothing_on_a_bare_slide():
    assert cells_of(group(maps_of((48, 48), []), 1.0), (48, 48)) == []
