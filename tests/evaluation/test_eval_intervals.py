"""Intervals: they cover what they should, as often as they say."""

from __future__ import annotations

import time

import numpy as np
import pytest

from naturalize.base.errors import InputError, SettingsError
from naturalize.evaluation import intervals, metrics

CLASSES = ["BA", "EO", "LY", "MO"]


def _simulated(n: int, seed: int, *, right: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    true = draw.choice(4, n, p=[0.4, 0.3, 0.2, 0.1])
    wrong = (true + draw.integers(1, 4, n)) % 4
    return true, np.where(draw.random(n) < right, true, wrong)


def _names(values: np.ndarray) -> list[str]:
    return [CLASSES[i] for i in values]


def test_a_95_percent_interval_covers_the_truth_95_times_in_100() -> None:
    true, predicted = _simulated(500_000, 99)
    counts = metrics.confusion_matrix(true, predicted, 4)
    truth = {name: float(v) for name, v in metrics.summary(counts).items()}
    trials, hits = 120, dict.fromkeys(truth, 0)
    for trial in range(trials):
        true, predicted = _simulated(300, trial)
        sure = intervals.bootstrap(
            CLASSES, _names(true), _names(predicted), resamples=300, seed=trial
        )
        for name, (low, high) in sure["intervals"].items():
            hits[name] += low <= truth[name] <= high
    # 3 standard errors of 120 trials, and percentile intervals run slightly short
    assert all(n / trials >= 0.89 for n in hits.values()), hits
    assert any(n < trials for n in hits.values()), "an interval that always covers is too wide"


def test_bootstrap_of_accuracy_agrees_with_wilson() -> None:
    true, predicted = _simulated(1500, 1)
    sure = intervals.bootstrap(CLASSES, _names(true), _names(predicted))
    assert sure["intervals"]["accuracy"] == pytest.approx(sure["accuracy_wilson"], abs=0.004)


def test_resampling_counts_equals_resampling_images() -> None:
    """The multinomial short cut, against drawing images one by one."""
    true, predicted = _simulated(400, 2)
    draw = np.random.default_rng(0)
    values = []
    for _ in range(2000):
        rows = draw.integers(0, 400, 400)
        counts = metrics.confusion_matrix(true[rows], predicted[rows], 4)
        values.append(float(metrics.summary(counts)["macro_f1"]))
    expected = np.quantile(values, [0.025, 0.975])
    sure = intervals.bootstrap(CLASSES, _names(true), _names(predicted))
    assert sure["intervals"]["macro_f1"] == pytest.approx(expected, abs=0.006)


def test_groups_of_one_change_nothing_but_twins_widen_the_interval() -> None:
    true, predicted = _simulated(300, 3)
    t, p = _names(np.repeat(true, 4)), _names(np.repeat(predicted, 4))
    alone = intervals.bootstrap(CLASSES, t, p, groups=[f"image {i}" for i in range(1200)])
    assert alone == intervals.bootstrap(CLASSES, t, p)
    twins = intervals.bootstrap(CLASSES, t, p, groups=[f"patient {i // 4}" for i in range(1200)])
    low, high = alone["intervals"]["accuracy"]
    low4, high4 = twins["intervals"]["accuracy"]
    # four copies say no more than one: twice the width of 1,200 independent images
    assert (high4 - low4) / (high - low) == pytest.approx(2, rel=0.15)
    assert "300 groups" in twins["method"]


def test_an_image_without_a_group_is_a_group_of_its_own() -> None:
    assert intervals.group_numbers(["a", None, "a", None, "b"], 5).tolist() == [0, 1, 0, 2, 3]
    assert intervals.group_numbers(["1", None], 2).tolist() == [0, 1]


def test_same_seed_same_interval_other_seed_another() -> None:
    true, predicted = _simulated(200, 4)
    names = _names(true), _names(predicted)
    one = intervals.bootstrap(CLASSES, *names, seed=5)
    assert one == intervals.bootstrap(CLASSES, *names, seed=5)
    assert one["intervals"] != intervals.bootstrap(CLASSES, *names, seed=6)["intervals"]


def test_a_rare_class_missing_from_resamples_keeps_its_interval() -> None:
    sure = intervals.bootstrap(["EO", "LY", "MO"], ["EO"] * 60 + ["LY"], ["EO"] * 60 + ["LY"])
    assert sure["per_class"]["LY"]["recall"] == [1.0, 1.0]
    assert "MO" not in sure["per_class"]


def test_2000_resamples_of_3000_images_in_11_classes_take_under_a_second() -> None:
    draw = np.random.default_rng(0)
    labels = [f"c{i}" for i in range(11)]
    true = [labels[i] for i in draw.integers(0, 11, 3000)]
    predicted = [labels[i] for i in draw.integers(0, 11, 3000)]
    groups = [f"g{i // 2}" for i in range(3000)]
    intervals.bootstrap(labels, true, predicted, resamples=100)  # imports scipy
    for given in (None, groups):
        start = time.process_time()
        intervals.bootstrap(labels, true, predicted, groups=given)
        assert time.process_time() - start < 1


def test_wilson_equals_the_textbook() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263, 15 of 148, 0 of 20
    assert intervals.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert intervals.wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert intervals.wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)


def test_bad_input_is_named() -> None:
    with pytest.raises(SettingsError, match="resamples: expected 100"):
        intervals.bootstrap(["a"], ["a"], ["a"], resamples=5)
    with pytest.raises(SettingsError, match="level"):
        intervals.bootstrap(["a"], ["a"], ["a"], level=95)
    with pytest.raises(InputError, match="at least one"):
        intervals.bootstrap(["a"], [], [])
    with pytest.raises(InputError, match="one for each of 1 images"):
        intervals.bootstrap(["a"], ["a"], ["a"], groups=["x", "y"])
    with pytest.raises(InputError, match="3 of 2"):
        intervals.wilson(3, 2)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (["p"] * 6, "over 1 group of images (too few for intervals to mean anything)"),
        (list("ppqqrs"), "over 4 groups of images (too few for intervals to mean anything)"),
        (list("pqrstt"), "over 5 groups of images, 100"),
        (None, "over 6 images, 100"),
    ],
)
def test_intervals_over_too_few_groups_are_said_to_mean_nothing(groups, said: str) -> None:
    found = intervals.bootstrap(
        ["EO", "LY"], ["EO", "LY"] * 3, ["EO"] * 6, groups=groups, resamples=100
    )
    assert said in found["method"]
