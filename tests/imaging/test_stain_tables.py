"""A table of levels, with and without the gaps that it leaves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturalize.imaging.stain import dithered, gain_table, rounded, stain_table


def looked_up(colours, table):
    return cv2.LUT(colours, rounded(table))


def ramp(height=64):
    """Every level, many times: uint8 (height, 256, 3)."""
    return np.repeat(np.tile(np.arange(256, dtype=np.uint8), (height, 1))[..., None], 3, axis=2)


@pytest.mark.parametrize("toned", [looked_up, dithered])
def test_no_change_changes_nothing(toned):
    colours = ramp()
    table = stain_table((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(toned(colours, table), colours)


@given(
    st.tuples(*[st.floats(0.9, 1.1)] * 3).map(np.array),
    st.sampled_from([looked_up, dithered]),
)
def test_levels_are_within_one_of_what_the_table_says(gain, toned):
    colours = ramp(8)
    exact = np.clip(colours * gain, 0, 255)
    found = toned(colours, gain_table(gain))
    assert found.dtype == np.uint8
    assert np.abs(found - exact).max() <= (1.001 if toned is dithered else 0.501)


def test_a_gain_leaves_gaps_in_the_levels_unless_dithered():
    bright = np.random.default_rng(0).integers(0, 230, (200, 200, 3), np.uint8)
    table = gain_table(np.full(3, 1.1))

    assert len(np.unique(looked_up(bright, table))) == 230
    assert len(np.unique(dithered(bright, table))) == int(np.rint(229 * 1.1)) + 1


def test_chances_keep_the_mean_and_are_the_same_every_time():
    grey = np.full((128, 300, 3), 101, np.uint8)
    table = gain_table(np.array([1.05, 1.0, 0.97]))
    found = dithered(grey, table)
    np.testing.assert_allclose(found.mean((0, 1)), [101 * 1.05, 101, 101 * 0.97], atol=0.02)
    np.testing.assert_array_equal(found, dithered(grey.copy(), table))


def test_light_is_absorbed_as_density_says():
    table = stain_table((0.1, 0.0, -0.05), (1.0, 1.2, 1.0))
    expected = [200 * 10**-0.1, 255 * (200 / 255) ** 1.2, 200 * 10**0.05]
    np.testing.assert_allclose(table[0, 200], expected)
