"""The size by which cells are ordered: that of drawn cells, and of what is no cell."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.cells.segmenters.classical.size import area_of_target

SLIDE, RED, CYTOPLASM, NUCLEUS = (236, 226, 230), (214, 160, 160), (182, 172, 220), (92, 58, 140)


def drawn(radius: int, side: int = 240) -> np.ndarray:
    """A cell of this radius in the middle, red cells in the corners."""
    image = np.full((side, side, 3), SLIDE, np.uint8)
    for x, y in ((0.1, 0.1), (0.9, 0.12), (0.12, 0.88), (0.88, 0.9)):
        cv2.circle(image, (round(x * side), round(y * side)), side // 9, RED, -1, cv2.LINE_AA)
    middle = (side // 2, side // 2)
    cv2.circle(image, middle, radius, CYTOPLASM, -1, cv2.LINE_AA)
    cv2.circle(image, middle, round(0.6 * radius), NUCLEUS, -1, cv2.LINE_AA)
    return image


def radius_of(image: np.ndarray) -> float:
    """The radius of a disc of that area, in pixels of a picture of 100."""
    area = area_of_target(image)
    assert area is not None
    return float(np.sqrt(area / np.pi) * 100 / len(image))


@pytest.mark.parametrize("radius", [20, 30, 40, 55])
@pytest.mark.parametrize("side", [200, 320])
def test_the_area_of_a_drawn_cell_is_found(radius: int, side: int) -> None:
    assert radius_of(drawn(radius, side)) == pytest.approx(radius * 100 / side, abs=1.5)


def test_lobes_that_lie_apart_are_one_cell() -> None:
    image = drawn(40)
    cv2.rectangle(image, (116, 84), (124, 156), CYTOPLASM, -1)
    assert radius_of(image) == pytest.approx(40 * 100 / 240, abs=1.5)


def test_a_small_cell_in_the_middle_is_meant_and_not_the_larger_one_at_the_edge() -> None:
    image = drawn(24)
    cv2.circle(image, (120, 225), 30, CYTOPLASM, -1, cv2.LINE_AA)
    cv2.circle(image, (120, 225), 18, NUCLEUS, -1, cv2.LINE_AA)
    assert radius_of(image) == pytest.approx(24 * 100 / 240, abs=1.5)


@pytest.mark.parametrize("colour", [SLIDE, (0, 0, 0), (255, 255, 255)])
def test_where_nothing_is_stained_there_is_no_size(colour: tuple[int, int, int]) -> None:
    assert area_of_target(np.full((90, 120, 3), colour, np.uint8)) is None


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 130), st.integers(1, 130), st.integers(0, 2**32 - 1))
def test_any_image_has_a_size_within_it_or_none(height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    found = area_of_target(image)
    assert found is None or 0 < found <= height * width
