"""Sets of classes hold the true one as often as they say; what is like nothing seen is found."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from naturalize.base.errors import InputError
from naturalize.models.doubt import ENOUGH, Doubt, fit_doubt, least_of

CLASSES = ("EO", "LY", "MO")


def answers(seed: int, counts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Logits of images of three classes, the last two of which overlap, and the true classes."""
    draw = np.random.default_rng(seed)
    true = np.repeat(np.arange(3), counts)
    centres = np.array([[6.0, 0, 0], [0, 4, 2.5], [0, 2.5, 4]])
    return centres[true] + draw.normal(0, 1, (len(true), 3)), true


def fitted(seed: int = 0, counts: tuple[int, ...] = (200, 200, 200)) -> Doubt:
    logits, true = answers(seed, counts)
    found = fit_doubt(CLASSES, logits, softmax(logits, axis=1), true)
    assert found is not None
    return found


@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=60, unique=True),
    st.sampled_from([0.5, 0.8, 0.9]),
)
def test_of_exchangeable_images_the_share_asked_for_is_at_or_above(values, share) -> None:
    inside = [v >= least_of(np.array(values[:i] + values[i + 1 :]), share)
              for i, v in enumerate(values)]  # fmt: skip
    assert np.mean(inside) >= share - 1e-9


def test_the_threshold_is_the_order_statistic_worked_out_by_hand() -> None:
    # 19 images: one in ten of the 20 with a new one may be below: the second smallest is kept
    assert least_of(np.linspace(0.05, 0.95, 19)) == pytest.approx(0.1)
    assert least_of(np.linspace(0.1, 0.9, 9)) == pytest.approx(0.1)
    assert least_of(np.linspace(0.1, 0.8, 8)) == -np.inf


def test_sets_hold_the_true_class_as_often_as_promised_class_by_class() -> None:
    doubt = fitted()
    logits, true = answers(1, (2000, 2000, 2000))
    sets = doubt.sets(CLASSES, softmax(logits, axis=1))
    held = sets[np.arange(len(true)), true]
    for k in range(3):
        assert held[true == k].mean() > 0.9 - 0.06  # 3 standard deviations of the threshold's
    assert sets.any(axis=1).all()
    assert sets[true == 0].sum(axis=1).mean() < 1.1 < sets[true == 1].sum(axis=1).mean()


def test_what_is_like_nothing_seen_is_above_the_limit_and_few_others_are() -> None:
    doubt = fitted()
    logits, _ = answers(2, (2000, 2000, 2000))
    assert 0.003 < (doubt.strangeness(logits) > 0).mean() < 0.025
    odd = np.array([[0.0, 0, 0], [-9, -9, -9], [6, 6, 6], [np.nan, 0, 0], [np.inf, 0, 0]])
    assert (doubt.strangeness(odd) > 0).all()


def test_a_class_with_few_images_has_the_threshold_of_all_and_one_without_is_no_error() -> None:
    doubt = fitted(0, (150, 150, 4))
    assert doubt.pooled == ("MO",)
    logits, true = answers(0, (150, 150, 4))
    own = softmax(logits, axis=1)[np.arange(304), true]
    assert doubt.least["MO"] == pytest.approx(np.sort(own)[30 - 1], abs=1e-6)
    without = fitted(0, (150, 150, 0))
    assert without.counts["MO"] == 0
    assert set(without.means) == {"EO", "LY"}


def test_it_survives_json() -> None:
    doubt = fitted()
    assert Doubt.parse(json.loads(json.dumps(asdict(doubt)))) == doubt


def test_too_few_images_say_nothing_and_damaged_answers_are_named() -> None:
    logits, true = answers(0, (200, 200, 200))
    p = softmax(logits, axis=1)
    few = slice(0, ENOUGH - 1)
    assert fit_doubt(CLASSES, logits[few], p[few], true[few]) is None
    assert fit_doubt(CLASSES, logits[:1], p[:1], true[:1]) is None
    many = [str(k) for k in range(150)]  # as many classes as images
    assert fit_doubt(many, np.eye(150), np.eye(150), np.arange(150)) is None
    with pytest.raises(InputError, match="numbers that are none"):
        fit_doubt(CLASSES, np.where(logits > 5, np.nan, logits), p, true)
    with pytest.raises(InputError, match="expected classes 0 to 2"):
        fit_doubt(CLASSES, logits, p, true + 1)
    with pytest.raises(InputError, match="by 2 classes"):
        fit_doubt(CLASSES[:2], logits, p, true)
