"""The colour of the bare slide, around one cell and of a whole image, and a cell isolated on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturalize.imaging.slide import isolated, slide_around, slide_colour
from naturalize.imaging.stain import optical_density

LIGHT = st.tuples(*[st.integers(180, 250)] * 3)


def picture(light: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return a cell that covers most of a picture of bare slide, and its mask."""
    rows, columns = np.mgrid[:60, :60]
    mask = np.hypot(rows - 30, columns - 30) < 25
    image = np.broadcast_to(np.array(light, np.uint8), (60, 60, 3)).copy()
    image[mask] = (120, 60, 140)
    return image, mask


@given(LIGHT)
def test_the_slide_has_one_colour_wherever_it_is_measured(light: tuple[int, int, int]) -> None:
    image, mask = picture(light)
    assert slide_around(image, mask) == light
    assert slide_colour(image) == light


def test_where_no_slide_is_seen_the_brightest_of_the_cell_is_taken() -> None:
    image = np.full((8, 8, 3), (90, 80, 70), np.uint8)
    assert slide_around(image, np.ones((8, 8), bool)) == (90, 80, 70)
    assert slide_around(np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), bool)) == (1, 1, 1)


def test_an_isolated_cell_keeps_its_pixels_and_loses_what_lies_around() -> None:
    image, mask = picture((250, 228, 204))
    image[:4, :4] = (200, 150, 150)
    alone = isolated(image, 255 * mask.astype(np.uint8), (240.0, 220.0, 210.0))
    assert np.array_equal(alone[30, 10:50], image[30, 10:50])
    assert (alone[:4, :4] == (240, 220, 210)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_density_has_the_precision_that_is_asked_for(dtype: type) -> None:
    image, _ = picture((250, 228, 204))
    found = optical_density(image, (250, 228, 204), dtype)
    assert found.dtype == dtype
    wanted = np.log10(np.array([250, 228, 204]) / np.maximum(image.astype(float), 1))
    np.testing.assert_allclose(found, wanted, atol=1e-6 if dtype == np.float32 else 1e-15)
