"""AUC, folds and distances of the realism probe, against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import polynomial_kernel

from naturalize.base.errors import InputError, SettingsError
from naturalize.base.rng import rng
from naturalize.realism.classifiers import (
    boosted_scores,
    deviations,
    grouped_folds,
    largest_share,
    linear_scores,
    units_of,
)
from naturalize.realism.measures import auc_with_interval, kernel_distance, nearest, within_auc

scores_and_kinds = st.lists(
    st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=40
).filter(lambda rows: len({kind for _, kind in rows}) == 2)


@settings(deadline=None)
@given(scores_and_kinds)
def test_auc_of_one_class_is_that_of_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    scores, kinds = np.array([s for s, _ in rows], float), np.array([k for _, k in rows])
    found = within_auc(scores, kinds, np.zeros(len(rows), int))
    assert found == pytest.approx(roc_auc_score(kinds, scores))


def test_classes_are_not_compared_with_each_other() -> None:
    # a score that knows the class and nothing else, where one class has more composites
    labels = ["A"] * 30 + ["B"] * 30
    composite = np.array([True] * 20 + [False] * 10 + [True] * 10 + [False] * 20)
    scores = np.array([1.0] * 30 + [0.0] * 30)
    folds = np.arange(60) % 2
    assert roc_auc_score(composite, scores) > 0.6
    found = auc_with_interval(scores, composite, labels, folds, np.arange(60))
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
    assert set(found.per_class) == {"A", "B"}


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    draw = rng(3, "coverage")
    truth, hits = 0.7602, 0  # of two normals one standard deviation apart
    for trial in range(120):
        composite = np.arange(80) % 2 == 1
        scores = draw.normal(size=80) + composite
        found = auc_with_interval(
            scores, composite, ["A"] * 80, np.zeros(80, int), np.arange(80), resamples=300,
            seed=trial,
        )  # fmt: skip
        assert found.low <= found.value <= found.high
        hits += found.low <= truth <= found.high
    assert 0.88 <= hits / 120 <= 0.99


def test_images_that_hang_together_make_the_interval_wider() -> None:
    draw = rng(5, "units")
    composite = np.repeat(np.arange(20) % 2 == 1, 5)
    scores = np.repeat(draw.normal(size=20), 5) + composite
    labels, folds = ["A"] * 100, np.zeros(100, int)
    alone = auc_with_interval(scores, composite, labels, folds, np.arange(100))
    tied = auc_with_interval(scores, composite, labels, folds, np.repeat(np.arange(20), 5))
    assert tied.value == alone.value
    assert tied.high - tied.low > 1.5 * (alone.high - alone.low)


def test_scores_that_are_no_numbers_and_too_few_resamples_are_refused() -> None:
    composite, labels = np.array([True, False]), ["A", "A"]
    zeros = np.zeros(2, int)
    with pytest.raises(InputError, match="finite"):
        auc_with_interval(np.array([np.nan, 1.0]), composite, labels, zeros, np.arange(2))
    with pytest.raises(SettingsError, match="resamples"):
        auc_with_interval(np.ones(2), composite, labels, zeros, np.arange(2), resamples=5)
    with pytest.raises(InputError, match="same fold"):
        auc_with_interval(np.ones(2), composite, labels, np.arange(2), np.arange(2))


@settings(deadline=None)
@given(st.lists(st.sets(st.sampled_from("abcdefgh"), max_size=3), min_size=1, max_size=14))
def test_units_are_the_reach_of_shared_origins(origins: list[set[str]]) -> None:
    units = units_of(origins)
    for i, mine in enumerate(origins):
        reach, names = {i}, set(mine)
        while more := {j for j, one in enumerate(origins) if one & names} - reach:
            reach |= more
            names |= set().union(*(origins[j] for j in more))
        assert set(np.flatnonzero(units == units[i]).tolist()) == reach
    assert sorted(set(units.tolist())) == list(range(units.max() + 1))
    assert largest_share(units) == np.unique(units, return_counts=True)[1].max() / len(origins)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4))
def test_no_unit_is_on_both_sides_of_a_fold(seed: int, folds: int) -> None:
    draw = rng(seed, "folds")
    n = 60
    labels = [("A", "B")[i % 2] for i in range(n)]
    composite = np.arange(n) % 4 >= 2
    units = units_of([{str(draw.integers(45))} for _ in range(n)])
    sides = {(labels[i], bool(composite[i])): set() for i in range(n)}
    for i in range(n):
        sides[labels[i], bool(composite[i])].add(int(units[i]))
    assume(min(map(len, sides.values())) >= folds)
    found = grouped_folds(labels, composite, units, folds=folds, seed=seed)
    for unit in np.unique(units):
        assert len(set(found[units == unit].tolist())) == 1
    assert set(found.tolist()) == set(range(folds))


def test_a_class_with_fewer_units_than_folds_is_named_with_its_counts() -> None:
    labels = ["A"] * 8 + ["B"] * 8
    composite = np.arange(16) % 2 == 1
    units = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 8, 10, 8, 11, 8, 12])
    with pytest.raises(InputError, match=r"class B: 1 independent real image, fewer than the 3"):
        grouped_folds(labels, composite, units, folds=3)


def test_kernel_distance_is_the_unbiased_estimate() -> None:
    draw = rng(1, "kid")
    x, y = draw.normal(size=(9, 6)), draw.normal(size=(7, 6)) + 0.5
    k = {
        (a, b): polynomial_kernel(p, q, degree=3, gamma=1 / 6, coef0=1)
        for (a, p) in (("x", x), ("y", y))
        for (b, q) in (("x", x), ("y", y))
    }
    off = ~np.eye(9, dtype=bool), ~np.eye(7, dtype=bool)
    expected = k["x", "x"][off[0]].mean() + k["y", "y"][off[1]].mean() - 2 * k["x", "y"].mean()
    kinds = np.arange(16) >= 9
    found = kernel_distance(np.concatenate([x, y]), kinds, ["A"] * 16, np.arange(16))
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high


def test_kernel_distance_of_equal_distributions_is_about_zero_whatever_the_classes() -> None:
    draw = rng(2, "kid")
    values = []
    for _ in range(60):
        labels = ["A", "B"] * 20
        features = draw.normal(size=(40, 4)) + 3.0 * (np.arange(40) % 2)[:, None]
        kinds = np.arange(40) >= 20
        estimate = kernel_distance(features, kinds, labels, np.arange(40), resamples=100)
        values.append(estimate.value)
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(60)
    assert min(values) < 0 < max(values)


def test_copies_are_nearer_than_other_real_images() -> None:
    draw = rng(4, "nearest")
    real = draw.normal(size=(60, 8))
    labels, kinds = ["A"] * 120, np.arange(120) >= 60
    fresh = nearest(np.concatenate([real, draw.normal(size=(60, 8))]), kinds, labels)
    assert fresh.ratio.low < 1 < fresh.ratio.high
    assert fresh.parent_ratio is None
    away = np.full(60, 0.01)
    copies = real[draw.permutation(60)] + 0.01 * draw.normal(size=(60, 8))
    copied = nearest(np.concatenate([real, copies]), kinds, labels, to_parent=away)
    assert copied.ratio.high < 0.2
    assert copied.parent_ratio == pytest.approx(0.01 / copied.real_to_real)


@pytest.mark.parametrize("how", ["trees", "linear"])
def test_classifiers_see_a_shift_within_class_and_no_class(how: str) -> None:
    draw = rng(6, how)
    n = 120
    labels = [("A", "B")[i % 2] for i in range(n)]
    composite = np.arange(n) % 4 >= 2
    values = draw.normal(size=(n, 12)) + 20.0 * (np.arange(n) % 2)[:, None]
    fold = grouped_folds(labels, composite, np.arange(n), folds=4)
    score = {"trees": boosted_scores, "linear": linear_scores}[how]

    def auc(table: np.ndarray) -> float:
        scores = score(table.astype(np.float32), composite, labels, fold)
        return auc_with_interval(scores, composite, labels, fold, np.arange(n)).value

    assert 0.35 < auc(values) < 0.65
    values[:, 3] += 1.5 * composite
    assert auc(values) > 0.75


def test_deviations_are_in_spreads_of_the_known_images_of_the_class() -> None:
    values = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [103.0, 5.0], [np.nan, 5.0]])
    known = np.array([True, True, True, False, False])
    found = deviations(values, ["A"] * 5, known)
    unit = 1.4826
    np.testing.assert_allclose(found[:3, 0], [-1 / unit, 0, 1 / unit], rtol=1e-5)
    assert found[3, 0] == 30  # as far as it goes
    assert np.isnan(found[4, 0])
    assert (found[:, 1] == 0).all()
