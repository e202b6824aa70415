"""Labels that spread among like cells, the layer that is fitted to them, and its cross-check."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import LabelSpreading

from naturalize.adaptation.check import Check, check
from naturalize.adaptation.head import Cells, Head, adapted, as_sure_as, neighbours, spread, targets


def clusters(counts, *, shift=0.0, seed=0, width=24) -> tuple[Cells, np.ndarray, Head]:
    """Cells of some classes, each about a mean of its own, and the layer that fits them unshifted.

    ``shift`` moves all cells towards the last class and stretches them.
    """
    draw = np.random.default_rng(seed)
    means = 3 * np.linalg.qr(draw.normal(size=(width, width)))[0][: len(counts)]
    labels = np.repeat(np.arange(len(counts)), counts)
    cells = means[labels] + 0.35 * draw.normal(size=(len(labels), width))
    views = cells[:, None] + 0.1 * draw.normal(size=(len(labels), 8, width))
    views = views * (1 + 0.2 * shift) + shift * means[-1]
    allowed = np.ones((len(labels), len(counts)), bool)
    head = Head(0.5 * means, np.zeros(len(counts)))
    return Cells(views.astype(np.float32), allowed, np.zeros_like(allowed)), labels, head


def right(cells: Cells, labels: np.ndarray, head: Head) -> float:
    return float((cells.answers(head).argmax(axis=1) == labels).mean())


def test_labels_spread_as_scikit_learn_has_it():
    cells, labels, _ = clusters([12, 20, 9])
    features = cells.features.mean(axis=1)
    given_ = np.where(np.arange(len(labels)) % 4 == 0, labels, -1)
    graph = neighbours(features)
    oracle = LabelSpreading(kernel=lambda a, b: graph, alpha=0.95, max_iter=5000, tol=1e-12)
    expected = oracle.fit(features, given_).label_distributions_
    start = (given_[:, None] == np.arange(3)).astype(float)
    np.testing.assert_allclose(spread(graph, start), expected, atol=1e-6)


def test_each_cell_has_its_nearest_neighbours_and_not_itself():
    cells, labels, _ = clusters([10, 10])
    graph = neighbours(cells.features.mean(axis=1))
    assert not graph.diagonal().any()
    np.testing.assert_array_equal(graph, graph.T)
    assert ((graph > 0).sum(axis=1) >= 7).all()
    assert not graph[labels == 0][:, labels == 1].any()


def test_the_layer_is_fitted_as_scikit_learn_would():
    draw = np.random.default_rng(3)
    features = draw.normal(size=(60, 1, 5)) * [1, 2, 3, 4, 5]
    labels = draw.integers(0, 3, 60)
    flat = features[:, 0]
    size = flat.std(axis=0)
    standard = (flat - flat.mean(axis=0)) / (size + 0.1 * size.mean())
    oracle = LogisticRegression(C=1 / (60 * 0.01), fit_intercept=False, tol=1e-8, max_iter=5000)
    expected = oracle.fit(np.c_[standard, np.ones(60)], labels)
    nothing = Head(np.zeros((3, 5)), np.zeros(3), temperature=0.5)
    found = nothing.fitted(features, np.eye(3)[labels], np.ones(60)).logits(flat)
    probabilities = np.exp(found) / np.exp(found).sum(axis=1, keepdims=True)
    wanted = expected.predict_proba(np.c_[standard, np.ones(60)])
    np.testing.assert_allclose(probabilities, wanted, atol=2e-3)


@pytest.mark.parametrize("shift", [0.9, 1.0, 1.1])
@pytest.mark.parametrize("counts", [(30, 30, 30, 30), (84, 12, 12, 12), (60, 40, 20, 0)])
def test_classes_that_lie_apart_are_all_right_however_the_layer_divides_them(counts, shift):
    cells, labels, head = clusters(counts, shift=shift)
    graph = neighbours(cells.features[:, :4].mean(axis=1))
    assert graph[labels[:, None] != labels].sum() < 0.01 * graph.sum()
    before = right(cells, labels, head)
    assert before < 0.97
    assert (targets(cells, head).argmax(axis=1) == labels).all()
    assert right(cells, labels, adapted(cells, head)) > before
    assert check(cells, head).helped


@pytest.mark.parametrize("told", [0, 5])
def test_units_and_origin_of_features_change_no_answer(told):
    cells, labels, head = clusters([60, 40, 20], shift=0.95)
    for label in range(3):
        cells.told[np.flatnonzero(labels == label)[:told], label] = True
    moved = Cells(2.5 * cells.features + 7, cells.allowed, cells.told)
    weights = head.weights / 2.5
    as_well = Head(weights, head.bias - 7 * weights.sum(axis=1))
    expected = cells.each_view(adapted(cells, head))
    np.testing.assert_allclose(moved.each_view(adapted(moved, as_well)), expected, atol=1e-4)


def test_without_labels_the_layer_before_counts_as_64_cells():
    cells, _, head = clusters([40, 24], shift=0.5)
    fitted = head.fitted(cells.features[:, :4], targets(cells, head), np.ones(64))
    found = adapted(cells, head)
    sure = cells.answers(head).max(axis=1).mean()
    fitted = as_sure_as(cells, fitted, sure)
    half = Head((head.weights + fitted.weights) / 2, (head.bias + fitted.bias) / 2)
    np.testing.assert_allclose(cells.answers(found).max(axis=1).mean(), sure, atol=1e-3)
    scales = np.c_[found.weights, found.bias] / np.c_[half.weights, half.bias]
    np.testing.assert_allclose(scales, scales[0, 0])  # their mean, as sure as the one before


@pytest.mark.parametrize(
    ("views", "near", "stability", "helped"),
    [
        ((0.9, 0.95), (0.8, 0.9), 0.61, True),
        ((0.9, 0.85), (0.8, 0.84), 0.69, False),  # both together agree less than before
        ((0.9, 0.85), (0.8, 0.84), 0.7, True),  # but the halves agree
        ((0.5, 0.95), (0.4, 0.59), 0.9, False),
        ((0.5, 0.95), (0.4, 0.9), 0.59, False),
    ],
)
def test_what_halves_and_neighbours_say_decides_without_labels(views, near, stability, helped):
    assert Check(views, near, stability).helped is helped
    for balanced in ((0.5, 0.6), (0.6, 0.5)):  # labels know better
        assert Check(views, near, stability, balanced).helped is (balanced == (0.5, 0.6))
    assert Check(views, near, stability, (0.5, 0.5)).helped is helped


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(4, 60), min_size=3, max_size=4), st.integers(0, 99))
def test_a_skewed_mix_does_not_move_a_layer_that_fits(counts, seed):
    cells, labels, head = clusters(counts, seed=seed)
    assert right(cells, labels, head) == 1
    assert right(cells, labels, adapted(cells, head)) == 1


def test_an_answer_stays_of_the_kind_that_was_found():
    cells, _labels, head = clusters([20, 20, 20])
    cells.allowed[:, 2] = False
    assert set(cells.answers(head).argmax(axis=1)) == {0, 1}
    cells.allowed[:] = False  # no class of that kind: nothing is known
    np.testing.assert_allclose(cells.each_view(head), 1 / 3)


def test_labels_mend_what_images_alone_cannot():
    cells, labels, head = clusters([40, 40, 40])
    swapped = Head(head.weights[[1, 0, 2]], head.bias)
    assert right(cells, labels, adapted(cells, swapped)) < 0.5
    for label in range(3):
        cells.told[np.flatnonzero(labels == label)[:8], label] = True
    assert right(cells, labels, adapted(cells, swapped)) == 1
    found = check(cells, swapped)
    assert found.balanced == pytest.approx((1 / 3, 1), abs=0.01)
    assert found.helped


def test_a_label_of_two_classes_is_met_by_either():
    cells, labels, head = clusters([40, 40, 40])
    cells.told[np.flatnonzero(labels < 2)[::8]] = [True, True, False]
    cells.told[np.flatnonzero(labels == 2)[::4]] = [False, False, True]
    assert right(cells, labels, adapted(cells, head)) == 1
    assert check(cells, head).balanced == (1, 1)


def test_a_class_of_one_labelled_cell_is_not_scored():
    cells, labels, head = clusters([20, 20, 20])
    for label in (0, 1):
        cells.told[np.flatnonzero(labels == label)[:4], label] = True
    cells.told[np.flatnonzero(labels == 2)[0], 2] = True
    assert check(cells, Head(head.weights[[1, 0, 2]], head.bias)).balanced == (0, 1)


def test_one_cell_of_a_class_cannot_be_left_out():
    cells = clusters([20, 20])[0]
    head = Head(np.eye(2, 24), np.zeros(2))
    cells.told[0, 0] = cells.told[20, 1] = cells.told[21, 1] = True
    assert check(cells, head).balanced is None


def test_confidence_is_scaled_and_answers_stay():
    cells, _, head = clusters([30, 20, 10], shift=0.3)
    cells.allowed[:5, 0] = False
    before = cells.answers(head)
    for share in (0.6, 0.9):
        after = cells.answers(as_sure_as(cells, head, share))
        assert after.max(axis=1).mean() == pytest.approx(share, abs=0.005)
        np.testing.assert_array_equal(after.argmax(axis=1), before.argmax(axis=1))


def test_features_without_classes_are_no_help():
    draw = np.random.default_rng(0)
    features = draw.normal(size=(60, 8, 24)).astype(np.float32)
    cells = Cells(features, np.ones((60, 3), bool), np.zeros((60, 3), bool))
    assert not check(cells, Head(draw.normal(size=(3, 24)), np.zeros(3))).helped
