"""Calibration against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from naturalize.base.errors import InputError, SettingsError
from naturalize.evaluation.intervals import calibration


@given(st.integers(1, 200), st.integers(0, 10**6), st.sampled_from([1, 5, 15]))
def test_bins_equal_scikit_learn(n: int, seed: int, bins: int) -> None:
    draw = np.random.default_rng(seed)
    confidence = draw.uniform(0, 1, n)
    right = draw.random(n) < confidence**2
    accuracy, mean = calibration_curve(right, confidence, n_bins=bins, strategy="uniform")
    found = calibration(confidence, right, bins=bins)
    rows = [row for row in found["bins"] if row["n"]]
    assert [row["accuracy"] for row in rows] == pytest.approx(accuracy)
    assert [row["confidence"] for row in rows] == pytest.approx(mean)
    n_in = np.histogram(confidence, np.linspace(0, 1, bins + 1))[0]
    assert found["ece"] == pytest.approx((n_in[n_in > 0] / n * abs(accuracy - mean)).sum())


def test_error_by_hand() -> None:
    found = calibration(np.array([0.6, 0.6, 0.9, 1.0]), np.array([1, 0, 1, 0]), bins=2)
    assert found["ece"] == pytest.approx(0.775 - 0.5)
    assert found["overconfidence"] == pytest.approx(0.275)
    assert [row["n"] for row in found["bins"]] == [0, 4]
    assert found["bins"][0]["accuracy"] is None


def test_edges_belong_to_the_bin_below_and_zero_to_the_first() -> None:
    found = calibration(np.array([0.0, 0.5, 1.0]), np.array([0, 1, 1]), bins=2)
    assert [row["n"] for row in found["bins"]] == [2, 1]


@pytest.mark.parametrize(
    ("confidence", "right", "said"),
    [([], [], "at least 1"), ([0.5], [1, 0], "one length"), ([1.5], [1], "between 0 and 1"),
     ([float("nan")], [1], "between 0 and 1")],
)  # fmt: skip
def test_bad_input_is_named(confidence: list[float], right: list[int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        calibration(np.array(confidence), np.array(right))


def test_no_bins_are_refused() -> None:
    with pytest.raises(SettingsError, match="bins"):
        calibration(np.array([0.5]), np.array([1]), bins=0)
