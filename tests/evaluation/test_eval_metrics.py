"""Scores against scikit-learn, over generated labels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from naturalize.base.errors import InputError
from naturalize.evaluation import metrics

LABELS = ["BA", "BNE", "EO", "ERB", "LY"]

answers = st.lists(
    st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=60
)


def _split(pairs: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [t for t, _ in pairs], [p for _, p in pairs]


@settings(deadline=None)
@given(answers)
def test_scores_equal_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    true, predicted = _split(pairs)
    present = sorted(set(true))
    found = metrics.scores(LABELS, true, predicted)
    p, r, f, _ = oracle.precision_recall_fscore_support(
        true, predicted, labels=present, average="macro", zero_division=0
    )
    assert found["macro_precision"] == pytest.approx(p)
    assert found["macro_recall"] == pytest.approx(r)
    assert found["macro_f1"] == pytest.approx(f)
    assert found["accuracy"] == pytest.approx(oracle.accuracy_score(true, predicted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of predictions of absent classes
        balanced = oracle.balanced_accuracy_score(true, predicted)
    assert found["balanced_accuracy"] == pytest.approx(balanced)
    assert found["confusion"] == oracle.confusion_matrix(true, predicted, labels=LABELS).tolist()


@settings(deadline=None)
@given(answers)
def test_each_class_equals_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    true, predicted = _split(pairs)
    found = metrics.scores(LABELS, true, predicted)["per_class"]
    columns = oracle.precision_recall_fscore_support(
        true, predicted, labels=LABELS, zero_division=0
    )
    for label, p, r, f, n in zip(LABELS, *columns, strict=True):
        assert found[label] == pytest.approx({"precision": p, "recall": r, "f1": f, "support": n})


@settings(deadline=None)
@given(answers)
def test_order_of_images_changes_nothing(pairs: list[tuple[str, str]]) -> None:
    assert metrics.scores(LABELS, *_split(pairs)) == metrics.scores(LABELS, *_split(pairs[::-1]))


def test_a_stack_of_matrices_gives_what_each_gives() -> None:
    stack = np.random.default_rng(0).integers(0, 9, size=(7, 4, 4))
    together = metrics.summary(stack)
    for i, one in enumerate(stack):
        for name, value in metrics.summary(one).items():
            assert together[name][i] == pytest.approx(float(value))


def test_absent_class_is_named_and_has_no_say() -> None:
    found = metrics.scores(["EO", "LY", "MO"], ["EO", "EO", "LY"], ["EO", "MO", "LY"])
    assert found["absent"] == ["MO"]
    assert found["per_class"]["MO"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}
    assert found["macro_recall"] == pytest.approx(0.75)  # of EO and LY, not of three classes


@pytest.mark.parametrize(
    ("true", "predicted", "said"),
    [
        ([], [], "at least one"),
        (["EO"], ["XX"], "y_pred: expected one of"),
        (["LYY"], ["LY"], "did you mean 'LY'"),
        (["EO", "LY"], ["EO"], "one length"),
    ],
)
def test_bad_input_is_named(true: list[str], predicted: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        metrics.scores(["EO", "LY"], true, predicted)


def test_numbers_out_of_range_and_doubled_labels_are_refused() -> None:
    with pytest.raises(InputError, match="expected classes 0 to 1"):
        metrics.confusion_matrix(np.array([0, 2]), np.array([0, 1]), 2)
    with pytest.raises(InputError, match="each class once"):
        metrics.scores(["EO", "EO"], ["EO"], ["EO"])
