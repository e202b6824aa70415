"""What a network gets to see of an image: the middle, the whole, and under which light."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from naturalize.imaging.slide import slide_colour
from naturalize.models.preprocess import SLIDE_GREY, View, balance, resize


def smear(slide: tuple[int, int, int] = (250, 230, 200), side: int = 120) -> np.ndarray:
    """A slide with one dark cell and a pale one."""
    image = np.full((side, side, 3), slide, np.uint8)
    cv2.circle(image, (side // 2, side // 2), side // 4, (90, 60, 140), -1)
    cv2.circle(image, (side // 6, side // 6), side // 8, (215, 160, 165), -1)
    return image


@given(
    height=st.integers(20, 400),
    width=st.integers(20, 400),
    crop=st.floats(0.11, 0.99),
)
def test_a_window_is_a_square_about_the_centre(height, width, crop):
    top, left, bottom, right = View(64, crop=crop).window(height, width)
    assert bottom - top == right - left == max(1, round(crop * min(height, width)))
    assert abs((top + bottom) - height) <= 1
    assert abs((left + right) - width) <= 1
    assert min(top, left) >= 0
    assert bottom <= height
    assert right <= width


@given(npst.arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30), st.just(3))))
def test_the_slides_colour_is_the_median_between_two_quantiles(image):
    sparse = image[::3, ::3].reshape(-1, 3)
    light = sparse.sum(axis=1, dtype=np.int32)
    low, high = np.quantile(light, (0.85, 0.97))
    slide = (light >= low) & (light <= high)
    if not slide.any():
        slide = light == light.max()
    assert slide_colour(image) == tuple(np.median(sparse[slide], axis=0))


def test_without_a_crop_the_whole_image_is_seen():
    image = smear()
    assert View(48).window(300, 200) == (0, 0, 300, 200)
    np.testing.assert_array_equal(View(48).prepare(image), resize(image, 48))


def test_a_crop_shows_the_middle_at_input_size():
    image = smear(side=100)
    seen = View(50, crop=0.5).prepare(image)
    np.testing.assert_array_equal(seen, image[25:75, 25:75])


@pytest.mark.parametrize("slide", [(250, 230, 200), (205, 190, 220), (235, 235, 235)])
def test_the_slides_colour_is_found_under_cells(slide):
    np.testing.assert_allclose(slide_colour(smear(slide)), slide, atol=1)


def test_glints_are_not_the_slide():
    image = smear()
    image[:4, :40] = 255  # just over one in a hundred
    np.testing.assert_allclose(slide_colour(image), (250, 230, 200), atol=1)


@pytest.mark.parametrize("slide", [(250, 230, 200), (180, 150, 200)])
def test_balancing_makes_any_slide_the_same_grey(slide):
    seen = View(60, balanced=True).prepare(smear(slide))
    np.testing.assert_allclose(seen[0, -1], [SLIDE_GREY] * 3, atol=1)


@given(value=st.integers(0, 255), slide=st.tuples(*[st.integers(120, 255)] * 3))
def test_balancing_multiplies_each_channel(value, slide):
    image = np.full((2, 2, 3), value, np.uint8)
    found = balance(image, slide)[0, 0].astype(float)
    expected = np.clip(value * SLIDE_GREY / np.array(slide), 0, 255)
    assert np.abs(found - expected).max() <= 0.5 + 1e-6


def test_a_black_image_is_not_blown_up_beyond_all_bounds():
    image = np.full((6, 6, 3), 10, np.uint8)
    assert View(6, balanced=True).prepare(image).max() <= 22
