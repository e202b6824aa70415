"""Statistics that several rooms share, held against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import DisjointSet
from scipy.stats import median_abs_deviation

from naturalize.base.rng import rng
from naturalize.base.statistics import (
    connected,
    percentile_interval,
    resampled_units,
    robust_spread,
)

ITEMS = st.sampled_from("abcdefgh")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_the_robust_spread_is_that_of_scipy(values: list[float]) -> None:
    # SciPy has more digits of 1.4826
    wanted = float(median_abs_deviation(values, scale="normal"))
    assert robust_spread(np.array(values)) == pytest.approx(wanted, rel=1e-5, abs=1e-9)


def test_the_centre_of_the_spread_may_be_given() -> None:
    assert robust_spread(np.array([1.0, 3.0, 5.0]), 0) == pytest.approx(1.4826 * 3)


@given(st.lists(st.tuples(ITEMS, ITEMS), max_size=12))
def test_connected_sets_are_those_of_a_disjoint_set(pairs: list[tuple[str, str]]) -> None:
    sets = DisjointSet({item for pair in pairs for item in pair})
    for a, b in pairs:
        sets.merge(a, b)
    assert connected(pairs) == sorted(sorted(one) for one in sets.subsets())


def test_an_interval_leaves_out_what_says_nothing() -> None:
    draws = np.stack([np.arange(101.0), np.where(np.arange(101) < 50, np.nan, 7.0)], axis=1)
    low, high = percentile_interval(draws, 0.9)
    assert low.tolist() == pytest.approx([5, 7])
    assert high.tolist() == pytest.approx([95, 7])


def test_a_unit_is_drawn_whole_and_the_sample_comes_first() -> None:
    units = np.array([0, 1, 1, 2, 2, 2])
    times = resampled_units(units, 4000, rng(0, "units"))
    assert times.shape == (4001, 6)
    assert (times[0] == 1).all()
    assert (times[:, 1] == times[:, 2]).all()
    assert (times[:, 3] == times[:, 5]).all()
    # three units are drawn with replacement each time
    assert (times[:, [0, 1, 3]].sum(axis=1) == 3).all()
    np.testing.assert_allclose(times.mean(axis=0), 1, atol=0.05)
