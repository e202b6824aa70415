"""The fitted temperature is the likeliest one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.training.learner import fit_temperature


@settings(deadline=None, max_examples=25)
@given(st.floats(0.2, 5), st.integers(0, 1000))
def test_it_finds_the_temperature_that_labels_were_drawn_with(truth, seed):
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 3, (4000, 4))
    shares = np.exp(logits / truth)
    shares /= shares.sum(axis=1, keepdims=True)
    targets = (generator.random((4000, 1)) > shares.cumsum(axis=1)).sum(axis=1).clip(0, 3)
    assert abs(np.log(fit_temperature(logits, targets) / truth)) < 0.25


def test_it_stays_within_bounds_where_all_is_right():
    logits = np.eye(3)
    assert 0.05 <= fit_temperature(logits, np.arange(3)) < 0.06


def test_a_network_is_calibrated_on_validation_batches_if_there_are_enough():
    torch = pytest.importorskip("torch")
    from naturalize.models.zoo import build
    from naturalize.training.learner import answers_to, validation_temperature

    network = build("custom_cnn", ["A", "B"], input_size=16)
    generator = np.random.default_rng(3)

    def batches(n: int) -> list[dict]:
        pixels = torch.from_numpy(generator.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8))
        return [{"pixels": pixels, "target": torch.from_numpy(generator.integers(0, 2, n))}]

    assert validation_temperature(*answers_to(network, batches(40))) == 1.0
    assert 0.05 <= validation_temperature(*answers_to(network, batches(120))) <= 20.0
