"""Calibration and Brier's score against scikit-learn, simulation and tables by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from naturalize.base.errors import InputError, SettingsError
from naturalize.evaluation.calibration import brier, calibration


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


def test_the_debiased_error_is_that_of_a_simulation() -> None:
    draw = np.random.default_rng(0)
    confidence = draw.uniform(0.3, 1, 300)
    right = draw.random(300) < confidence**1.5
    rows = [row for row in calibration(confidence, right)["bins"] if row["n"]]
    n, share, mean = (np.array([r[k] for r in rows]) for k in ("n", "accuracy", "confidence"))
    again = draw.normal(share, np.sqrt(share * (1 - share) / n), (20_000, len(rows)))
    simulated = (n * abs(again - mean)).sum(axis=1).mean() / 300
    found = calibration(confidence, right)
    assert found["ece_debiased"] == pytest.approx(2 * found["ece"] - simulated, abs=1e-3)


def test_the_debiased_error_of_a_calibrated_model_is_nearer_to_none() -> None:
    draw = np.random.default_rng(1)
    plain, debiased = [], []
    for _ in range(40):
        confidence = draw.uniform(0.2, 1, 150)
        found = calibration(confidence, draw.random(150) < confidence)
        plain.append(found["ece"])
        debiased.append(found["ece_debiased"])
    assert np.mean(debiased) < 0.75 * np.mean(plain)


def some_probabilities(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    values = draw.dirichlet([0.5, 0.7, 1.0], n)
    return values, np.array([draw.choice(3, p=row) for row in values])


@given(st.integers(0, 10**6), st.integers(1, 80))
def test_brier_is_that_of_scikit_learn_and_the_sum_of_its_parts(seed: int, n: int) -> None:
    values, true = some_probabilities(seed, n)
    found = brier(values, true)
    each = [brier_score_loss(true == k, values[:, k], pos_label=1) for k in range(3)]
    assert found["score"] == pytest.approx(sum(each))
    parts = found["reliability"] - found["resolution"] + found["uncertainty"] + found["within"]
    assert parts == pytest.approx(found["score"])


def test_a_calibrated_model_has_no_reliability_left_and_a_useless_one_no_resolution() -> None:
    values, true = some_probabilities(3, 20_000)
    assert brier(values, true)["reliability"] == pytest.approx(0, abs=1e-3)
    useless = brier(np.full((300, 3), 1 / 3), np.arange(300) % 3)
    assert useless["resolution"] == pytest.approx(0, abs=5e-3)
    assert useless["within"] == pytest.approx(0, abs=1e-12)
    assert brier(np.eye(3), np.arange(3))["score"] == 0


@pytest.mark.parametrize(
    ("rows", "true", "said"),
    [([[0.5, 0.6]], [0], "do not sum to one: row 0 has 1.1"),
     ([[1.2, -0.2]], [0], "its least -0.2"), ([[float("nan"), 1]], [0], "NaN"),
     ([[0.5, 0.5]], [0, 1], "shapes"), (np.empty((0, 2)), [], "at least 1")],
)  # fmt: skip
def test_probabilities_that_are_none_are_named(rows: list, true: list[int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        brier(np.array(rows), np.array(true))
