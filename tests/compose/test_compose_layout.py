"""Where cells may go: inside, apart, and in bounded time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.compose.draw.modes.placing import overlap, place_in_turn, turned_size


@st.composite
def scenes(draw):
    """Sizes and tries of a few scenes, and a canvas that may be too small for some."""
    n, k, t = (draw(st.integers(1, top)) for top in (4, 9, 6))
    canvas = (draw(st.integers(4, 80)), draw(st.integers(4, 80)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    return generator.integers(1, 40, (n, k, 2)), generator.random((n, k, t, 2)), canvas


@settings(max_examples=80, deadline=None)
@given(scenes())
def test_boxes_lie_inside_keep_their_size_and_share_nothing(scene) -> None:
    sizes, chances, canvas = scene
    boxes, placed = place_in_turn(sizes, chances, canvas)
    assert (boxes[~placed] == 0).all()
    kept = boxes[placed]
    assert (kept[:, :2] >= 0).all()
    assert (kept[:, 2:] <= canvas).all()
    np.testing.assert_array_equal(kept[:, 2:] - kept[:, :2], sizes[placed])
    for row, there in zip(boxes, placed, strict=True):
        covered = np.zeros(canvas[::-1], int)
        for x0, y0, x1, y1 in row[there]:
            covered[y0:y1, x0:x1] += 1
        assert covered.max(initial=0) <= 1


@given(st.lists(st.integers(0, 9), min_size=8, max_size=8))
def test_boxes_overlap_where_a_pixel_lies_in_both(numbers: list[int]) -> None:
    a, b = (
        np.sort(np.reshape(part, (2, 2)), axis=0).ravel() for part in (numbers[:4], numbers[4:])
    )
    covered = np.zeros((2, 9, 9), bool)
    for layer, (x0, y0, x1, y1) in zip(covered, (a, b), strict=True):
        layer[y0:y1, x0:x1] = True
    assert overlap(a, b) == covered.all(axis=0).any()


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_a_dropped_box_had_no_free_try(scene) -> None:
    sizes, chances, canvas = scene
    boxes, placed = place_in_turn(sizes, chances, canvas)
    for s, k in np.argwhere(~placed):
        room = np.array(canvas) - sizes[s, k] + 1
        if (room <= 0).any():
            continue
        earlier = boxes[s, :k][placed[s, :k]]
        corners = (chances[s, k] * room).astype(int)
        tried = np.concatenate([corners, corners + sizes[s, k]], axis=1)
        assert all(overlap(earlier, box).any() for box in tried)


def test_a_crowded_scene_ends_and_drops_what_has_no_room() -> None:
    sizes = np.full((50, 40, 2), 30)
    chances = np.random.default_rng(0).random((50, 40, 20, 2))
    _, placed = place_in_turn(sizes, chances, (64, 64))
    assert placed[:, 0].all()
    assert (placed.sum(axis=1) <= 4).all()


def test_every_place_of_the_canvas_can_be_had() -> None:
    chances = np.random.default_rng(1).random((4000, 1, 1, 2))
    boxes, placed = place_in_turn(np.full((4000, 1, 2), 3), chances, (6, 5))
    assert placed.all()
    assert set(map(tuple, boxes[:, 0, :2].tolist())) == {(x, y) for x in range(4) for y in range(3)}


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.floats(-720, 720),
)
def test_a_turned_box_lies_in_its_upright_box(width: int, height: int, angle: float) -> None:
    turn = np.exp(1j * np.deg2rad(angle))
    corners = np.array([width + 1j * height, width - 1j * height]) / 2 * turn
    wanted = 2 * np.abs(corners.real).max(), 2 * np.abs(corners.imag).max()
    found = turned_size(np.array([width, height]), np.array(angle))
    assert (found >= np.array(wanted) - 1e-4).all()
    assert (found <= np.array(wanted) + 1.0001).all()


@pytest.mark.parametrize("angle", [0, 90, 180, 270, 360])
def test_right_angles_add_no_pixel(angle: int) -> None:
    found = turned_size(np.array([31, 17]), np.array(angle)).tolist()
    assert found == ([17, 31] if angle in (90, 270) else [31, 17])
