"""Losses against formulas written out, and against torch where it has them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from naturalize.training.losses import Loss  # noqa: E402
from naturalize.training.settings import TrainSettings  # noqa: E402

COUNTS = np.array([50, 8, 2])
WEIGHTS = np.array([0.5, 1.5, 4.0], np.float32)


def case(seed: int, n: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(seed)
    logits = torch.from_numpy(generator.normal(0, 3, (n, 3)).astype(np.float32))
    return logits, torch.from_numpy(generator.integers(0, 3, n))


def softmax(logits: torch.Tensor) -> np.ndarray:
    raised = np.exp(logits.numpy().astype(np.float64))
    return raised / raised.sum(1, keepdims=True)


@settings(deadline=None)  # torch's first call takes its time
@given(seed=st.integers(0, 99), smoothing=st.sampled_from([0.0, 0.1]), weighted=st.booleans())
def test_sums_over_weights_are_torchs_weighted_mean(seed, smoothing, weighted):
    logits, target = case(seed)
    loss = Loss(smoothing=smoothing, weights=WEIGHTS if weighted else None)
    theirs = torch.nn.functional.cross_entropy(
        logits, target, weight=loss.weights, label_smoothing=smoothing
    )
    weight = len(target) if loss.weights is None else float(loss.weights[target].sum())
    assert float(loss(logits, target).sum()) / weight == pytest.approx(float(theirs), rel=1e-5)


@settings(deadline=None)  # torch's first call takes its time
@given(seed=st.integers(0, 99), gamma=st.sampled_from([0.5, 1.0, 2.0, 5.0]))
def test_focal_is_the_published_formula(seed, gamma):
    logits, target = case(seed)
    p = softmax(logits)[np.arange(len(target)), target.numpy()]
    expected = -WEIGHTS[target.numpy()] * (1 - p) ** gamma * np.log(p)
    found = Loss("focal", gamma=gamma, weights=WEIGHTS)(logits, target).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@settings(deadline=None)  # torch's first call takes its time
@given(seed=st.integers(0, 99), smoothing=st.sampled_from([0.0, 0.2]), weighted=st.booleans())
def test_focal_without_gamma_is_the_cross_entropy(seed, smoothing, weighted):
    logits, target = case(seed)
    options = {"smoothing": smoothing, "weights": WEIGHTS if weighted else None}
    found, plain = (Loss(kind, gamma=0.0, **options) for kind in ("focal", "cross_entropy"))
    np.testing.assert_allclose(found(logits, target), plain(logits, target), rtol=1e-5, atol=1e-6)


def test_focal_gradients_stay_numbers_where_the_network_is_certain():
    logits = torch.tensor([[90.0, -90.0, 0.0]] * 2, requires_grad=True)
    for gamma in (0.5, 2.0):
        Loss("focal", gamma=gamma)(logits, torch.tensor([0, 1])).sum().backward()
        assert torch.isfinite(logits.grad).all()


@settings(deadline=None)  # torch's first call takes its time
@given(seed=st.integers(0, 99))
def test_balanced_softmax_is_the_published_formula(seed):
    logits, target = case(seed)
    raised = COUNTS * np.exp(logits.numpy().astype(np.float64))
    expected = -np.log(raised[np.arange(len(target)), target.numpy()] / raised.sum(1))
    found = Loss("balanced_softmax", counts=COUNTS)(logits, target)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_balanced_softmax_with_equal_counts_is_the_cross_entropy():
    logits, target = case(3)
    equal = Loss("balanced_softmax", counts=np.array([4, 4, 4]))
    np.testing.assert_allclose(equal(logits, target), Loss()(logits, target), rtol=1e-5)


def test_the_settings_make_the_loss_and_the_model_does_not_carry_it():
    targets = np.repeat([0, 1, 2], COUNTS)
    wanted = TrainSettings(loss="focal", focal_gamma=3.0, class_weights="balanced")
    loss = Loss.of(wanted, targets, ["a", "b", "c"])
    assert (loss.kind, loss.gamma, loss.smoothing) == ("focal", 3.0, 0.1)
    np.testing.assert_allclose(loss.weights, 60 / (3 * COUNTS), rtol=1e-6)
    assert loss.state_dict() == {}


@settings(deadline=None)  # torch's first call takes its time
@given(
    seed=st.integers(0, 99),
    kind=st.sampled_from(["cross_entropy", "focal", "balanced_softmax"]),
    smoothing=st.sampled_from([0.0, 0.1]),
    weighted=st.booleans(),
)
def test_a_spread_that_spreads_nothing_changes_no_loss(seed, kind, smoothing, weighted):
    logits, target = case(seed)
    weights = WEIGHTS if weighted and kind != "balanced_softmax" else None
    options = {"smoothing": smoothing, "weights": weights, "counts": COUNTS}
    found, plain = (Loss(kind, spread=s, **options) for s in (np.eye(3), None))
    np.testing.assert_allclose(found(logits, target), plain(logits, target), rtol=1e-5, atol=1e-6)


def test_neighbouring_stages_share_the_target_and_other_classes_keep_theirs():
    classes = ["SNE", "LY", "BNE", "MMY"]
    settings_ = TrainSettings(neighbours=0.2, label_smoothing=0.0)
    loss = Loss.of(settings_, np.arange(4), classes)
    wanted = np.array([[0.8, 0, 0.2, 0], [0, 1, 0, 0], [0.1, 0, 0.8, 0.1], [0, 0, 0.2, 0.8]])
    logits = torch.tensor([[0.3, -1.0, 2.0, 0.1]] * 4)
    expected = -wanted @ np.log(softmax(logits))[0]
    np.testing.assert_allclose(loss(logits, torch.arange(4)).numpy(), expected, rtol=1e-5)


def test_the_loss_is_least_where_the_network_answers_the_spread_target():
    loss = Loss.of(TrainSettings(neighbours=0.2, label_smoothing=0.0), np.arange(2), ["BNE", "SNE"])
    p = np.linspace(0.01, 0.99, 99)
    logits = torch.from_numpy(np.log(np.stack([p, 1 - p], axis=1)).astype(np.float32))
    assert p[int(loss(logits, torch.zeros(99, dtype=torch.int64)).argmin())] == pytest.approx(0.8)
