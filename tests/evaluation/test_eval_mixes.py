"""Scores under mixes of classes, against scikit-learn and against data in that mix."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from naturalize.base.errors import SettingsError
from naturalize.evaluation.calibration import calibration, calibration_errors
from naturalize.evaluation.mixes import (
    BALANCED,
    BLOOD_COUNT,
    FOUND,
    Answers,
    drawn_scores,
    parsed_mixes,
    resampled,
    shares_of,
    weighted_scores,
    with_intervals,
)
from naturalize.evaluation.risk import area, risk_coverage

LABELS = ("NEU", "LYM", "MON", "PLT")


def some_answers(n: int = 120, seed: int = 0) -> Answers:
    """Answers that are right two times in three, PLT never true."""
    draw = np.random.default_rng(seed)
    true = draw.choice(3, n, p=[0.5, 0.3, 0.2])
    predicted = np.where(draw.random(n) < 0.67, true, draw.integers(0, 4, n))
    return Answers(LABELS, true, predicted, draw.uniform(0.3, 1, n))


def repeated(answers: Answers, times: np.ndarray) -> Answers:
    rows = np.repeat(np.arange(len(answers.true)), times)
    return Answers(
        answers.labels, answers.true[rows], answers.predicted[rows], answers.confidence[rows]
    )


def oracle(answers: Answers) -> dict[str, float]:
    """The same scores by scikit-learn, and by what is tested elsewhere."""
    true, predicted = answers.true, answers.predicted
    wrong = ~answers.right
    return {
        "balanced_accuracy": balanced_accuracy_score(true, predicted),
        "macro_f1": f1_score(true, predicted, average="macro", labels=np.unique(true)),
        "accuracy": accuracy_score(true, predicted),
        "ece": calibration(answers.confidence, answers.right)["ece"],
        "mean_confidence": answers.confidence.mean(),
        "sure_wrong": (answers.confidence[wrong] > 0.9).mean(),
        "aurc": float(area(*risk_coverage(answers.confidence, answers.right))),
    }


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    answers = some_answers(seed=seed)
    found = weighted_scores(answers, np.ones((1, len(answers.true))))
    for name, value in oracle(answers).items():
        assert found[name][0] == pytest.approx(value), name


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_scores_under_a_mix_are_those_of_data_in_that_mix() -> None:
    answers = some_answers()
    n = answers.counts
    # every image of a class as often as the product of the other classes' sizes: all classes alike
    whole = n["NEU"] * n["LYM"] * n["MON"]
    times = np.array([whole // n[LABELS[k]] // 10 for k in answers.true])
    shares = dict.fromkeys(n, 0.0)
    for k, often in zip(answers.true, times, strict=True):
        shares[LABELS[k]] += often / times.sum()
    weights = np.ones((101, len(answers.true)), np.uint16)
    found = with_intervals(drawn_scores(answers, weights, shares))
    for name, value in oracle(repeated(answers, times)).items():
        assert found[name]["value"] == pytest.approx(value), name


def test_under_equal_shares_accuracy_is_balanced_accuracy() -> None:
    answers = some_answers()
    shares, covered = shares_of(BALANCED, {}, answers.counts, {}) or ({}, 0.0)
    found = drawn_scores(answers, resampled(answers, 100, 0, "lab"), shares)
    assert covered == 1
    np.testing.assert_allclose(found["accuracy"], found["balanced_accuracy"])


def test_calibration_under_weights_is_that_of_a_table_worked_out_by_hand() -> None:
    sure, right = np.array([0.9, 0.9, 0.3]), np.array([True, False, True])
    # one bin: |1/2 − 0.9| of weight 2, the other |1 − 0.3| of weight 1, then 2
    found = calibration_errors(sure, right, np.array([[1, 1, 1], [1, 1, 2], [0, 0, 0]]))
    np.testing.assert_allclose(found, [(0.4 * 2 + 0.7) / 3, (0.4 * 2 + 0.7 * 2) / 4, 0])


def test_shares_of_a_blood_count_go_to_the_classes_that_are_there() -> None:
    counts = {"band": 10, "SNE": 30, "Lymphocyte": 20, "PLT": 9}
    parts = {"band": ("BNE",), "SNE": ("SNE",), "Lymphocyte": ("LY",), "PLT": ("PLT",)}
    shares, covered = shares_of("blood count", BLOOD_COUNT, counts, parts) or ({}, 0.0)
    assert covered == pytest.approx(0.9)
    assert shares == pytest.approx(
        {"band": 0.6 / 0.9 / 4, "SNE": 0.6 / 0.9 * 3 / 4, "Lymphocyte": 0.3 / 0.9, "PLT": 0}
    )
    assert shares_of(FOUND, {}, {"A": 3, "B": 1}, {}) == ({"A": 0.75, "B": 0.25}, 1.0)
    assert shares_of("blood count", BLOOD_COUNT, {"cat": 3, "dog": 1}, {}) is None


def test_resamples_keep_the_classes_and_the_first_row_is_the_sample() -> None:
    answers = some_answers()
    weights = resampled(answers, 150, 3, "lab")
    assert weights.shape == (151, 120)
    assert (weights[0] == 1).all()
    for k, label in enumerate(LABELS[:3]):
        assert (weights[:, answers.true == k].sum(axis=1) == answers.counts[label]).all()
    assert (weights == resampled(answers, 150, 3, "lab")).all()
    assert (weights != resampled(answers, 150, 3, "another")).any()


def test_groups_are_drawn_whole() -> None:
    plain = some_answers()
    groups = [f"patient {i // 10}" for i in range(120)]
    answers = Answers(plain.labels, plain.true, plain.predicted, plain.confidence, groups)
    weights = resampled(answers, 100, 0, "lab").reshape(101, 12, 10)
    assert (weights == weights[:, :, :1]).all()
    assert (weights[:, :, 0].sum(axis=1) == 12).all()


def test_an_answer_of_no_cell_is_wrong_comes_last_and_has_no_confidence() -> None:
    labels = ("A", "B", "no cell")
    answers = Answers(
        labels, np.array([0, 0, 1]), np.array([0, 2, 1]), np.array([0.9, np.nan, 0.5])
    )
    found = weighted_scores(answers, np.ones((1, 3)))
    assert found["balanced_accuracy"][0] == pytest.approx((0.5 + 1) / 2)
    assert found["mean_confidence"][0] == pytest.approx(0.7)
    assert found["ece"][0] == pytest.approx((0.1 + 0.5) / 2)
    assert found["coverage_at_risk"][0] == pytest.approx(2 / 3)
    assert found["aurc"][0] == pytest.approx(1 / 9)


def test_mixes_are_read_and_others_refused() -> None:
    assert parsed_mixes(["viral: lymphocyte=3,neutrophil=1"]) == {
        "viral": {"lymphocyte": 0.75, "neutrophil": 0.25}
    }
    for text in ("viral", "viral:lymphocyte", "viral:lymphocyte=x", ":a=1", "v:a=-1", "v:a=0"):
        with pytest.raises(SettingsError, match="--mix"):
            parsed_mixes([text])
    with pytest.raises(SettingsError, match="already"):
        parsed_mixes(["balanced:a=1"])


def test_too_few_resamples_are_refused() -> None:
    with pytest.raises(SettingsError, match="resamples"):
        resampled(some_answers(), 10, 0, "lab")
