"""Turns and grids, against arrays that are really turned and blocks that are really marked."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from naturalize.imaging.jpeg.grid import (
    after,
    dihedral,
    on_grid,
    phase_of,
    turned_box,
    turned_point,
)

turns = st.integers(0, 7)


def turned(image: np.ndarray, turn: int) -> np.ndarray:
    return dihedral(image, turn >= 4, turn % 4)


@given(turns, turns)
def test_two_turns_are_the_one_that_is_named(first: int, second: int) -> None:
    image = np.arange(12).reshape(3, 4)
    both = turned(turned(image, first), second)
    assert np.array_equal(both, turned(image, int(after(np.array(second), np.array(first)))))


@given(turns, st.integers(1, 9), st.integers(1, 9), st.data())
def test_a_point_lies_where_the_turned_image_has_it(
    turn: int, width: int, height: int, data: st.DataObject
) -> None:
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    image = np.zeros((height, width), bool)
    image[y, x] = True
    size = np.array([width, height])
    found = turned_point(np.array([x + 0.5, y + 0.5]), size, np.array(turn))
    rows, columns = np.nonzero(turned(image, turn))
    assert found.tolist() == [columns[0] + 0.5, rows[0] + 0.5]
    assert turned_box(size, np.array(turn)).tolist() == list(turned(image, turn).shape[::-1])


@given(turns, turns, st.data())
def test_blocks_of_a_copied_cell_go_on_in_those_of_the_scene(
    turn: int, scene_turn: int, data: st.DataObject
) -> None:
    unit, width, height = 8, 40, 51
    x0, y0 = data.draw(st.integers(0, 20)), data.draw(st.integers(0, 20))
    x1, y1 = data.draw(st.integers(x0 + 9, width)), data.draw(st.integers(y0 + 9, height))
    box = np.array([x0, y0, x1, y1])
    # every pixel named by its block: block borders are where the name changes
    rows, columns = np.mgrid[:height, :width] // unit
    blocks = np.stack([rows, columns], axis=2)
    cell = turned(blocks[y0:y1, x0:x1], turn)
    scene = turned(blocks, scene_turn)
    size = np.array([width, height])
    origin = phase_of(np.array([0, 0, width, height]), np.array(scene_turn))
    goal = np.array(data.draw(st.tuples(st.floats(0, 30), st.floats(0, 30))))
    place = on_grid(goal, phase_of(box, np.array(turn)), np.array([unit, unit]), origin)
    assert (np.abs(place - goal) <= unit / 2 + 1e-9).all()
    starts = {axis: borders(cell, axis) for axis in (0, 1)}
    grid = {axis: borders(scene, axis) for axis in (0, 1)}
    for axis, offset in ((0, place[1]), (1, place[0])):
        length = turned_box(size, np.array(scene_turn))[1 - axis]
        inside = {int(b + offset) for b in starts[axis] if 0 < b + offset < length}
        assert inside <= grid[axis]


def borders(names: np.ndarray, axis: int) -> set[int]:
    """Return the rows (columns) at which a block begins."""
    change = (np.diff(names, axis=axis) != 0).any(axis=(1 - axis, 2))
    return set((np.flatnonzero(change) + 1).tolist())
