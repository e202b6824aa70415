"""Scores of probabilities, and along maturation, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from naturalize.base.errors import InputError, SettingsError
from naturalize.evaluation import intervals, metrics, ranks, stages

LABELS = ["PMY", "EO", "MY", "SNE"]


def _drawn(seed: int, n: int = 60, *, ties: bool = True) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    true = draw.integers(0, 4, n)
    values = draw.random((n, 4)) + np.eye(4)[true]
    if ties:
        values = np.ceil(4 * values)
    return true, values / values.sum(axis=1, keepdims=True)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_curves_equal_scikit_learn_for_every_resample(seed: int) -> None:
    true, p = _drawn(seed)
    weights = np.random.default_rng(seed).integers(0, 3, (60, 5))
    found = ranks.scores(true, p, weights.astype(np.int16))
    for r in range(5):
        w = weights[:, r]
        for k in range(4):
            y = true == k
            if w[y].sum() and w[~y].sum():
                auc = oracle.roc_auc_score(y, p[:, k], sample_weight=w)
                assert found["auc"][r, k] == pytest.approx(auc)
            if w[y].sum():
                ap = oracle.average_precision_score(y, p[:, k], sample_weight=w)
                assert found["average_precision"][r, k] == pytest.approx(ap)


def test_the_second_guess_counts() -> None:
    true, p = _drawn(3, ties=False)
    weights = np.random.default_rng(0).integers(1, 4, (60, 1))
    expected = oracle.top_k_accuracy_score(true, p, k=2, sample_weight=weights[:, 0])
    assert ranks.scores(true, p, weights)["top_2_accuracy"][0] == pytest.approx(expected)


def test_interval_equals_resampling_images_one_by_one() -> None:
    true, p = _drawn(1, 200)
    draw = np.random.default_rng(0)
    values = []
    for _ in range(1000):
        rows = draw.integers(0, 200, 200)
        values.append(float(ranks.scores(true[rows], p[rows])["macro_auc"][0]))
    found = ranks.bootstrap(LABELS, [LABELS[k] for k in true], p)
    expected = np.quantile(values, [0.025, 0.975])
    assert found["intervals"]["macro_auc"] == pytest.approx(expected, abs=0.01)
    assert found["scores"]["macro_auc"] == pytest.approx(
        oracle.roc_auc_score(true, p, multi_class="ovr")
    )


def test_groups_widen_the_interval() -> None:
    true, p = (np.repeat(x, 5, axis=0) for x in _drawn(2, 100))
    names = [LABELS[k] for k in true]
    alone = ranks.bootstrap(LABELS, names, p)["intervals"]["macro_auc"]
    groups = [f"patient {i // 5}" for i in range(500)]
    found = ranks.bootstrap(LABELS, names, p, groups=groups)["intervals"]["macro_auc"]
    assert np.ptp(found) > 1.8 * np.ptp(alone)


def test_what_is_not_defined_is_null_and_has_no_say() -> None:
    p = np.array([[0.7, 0.2, 0.1, 0.0]])
    one = ranks.bootstrap(LABELS, ["PMY"], p)
    assert one["scores"] == {
        "top_2_accuracy": 1.0, "macro_auc": None, "macro_average_precision": 1.0,
    }  # fmt: skip
    assert one["per_class"] == {"PMY": {"average_precision": 1.0}}
    assert "macro_auc" not in one["intervals"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([[0.5, 0.5, 0.5, 0.0]], "do not sum to one: row 0 has 1.5"),
        ([[np.nan, 0.5, 0.5, 0.0]], "no numbers"),
        ([[2.0, -1.0, 0.0, 0.0]], "its least -1"),
        ([[0.5, 0.5]], r"expected shape \(1, 4\)"),
        ([[1.0, 0, 0, 0]] * 2, r"got \(2, 4\)"),
    ],
)
def test_what_is_no_probability_is_refused(values: list[list[float]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ranks.bootstrap(LABELS, ["PMY"], np.array(values))


def test_names_outside_the_scheme_and_few_resamples_are_refused() -> None:
    with pytest.raises(InputError, match="expected one of PMY"):
        ranks.bootstrap(LABELS, ["XX"], np.array([[1.0, 0, 0, 0]]))
    with pytest.raises(SettingsError, match="resamples"):
        ranks.bootstrap(LABELS, ["PMY"], np.array([[1.0, 0, 0, 0]]), resamples=3)


@pytest.mark.filterwarnings("ignore")  # scikit-learn's, of what is not defined
@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=60))
def test_agreement_equals_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    true, called = np.array(pairs).T
    counts = metrics.confusion_matrix(true, called, 4)
    assert metrics.mcc(counts) == pytest.approx(oracle.matthews_corrcoef(true, called))
    beyond = oracle.cohen_kappa_score(true, called, labels=range(4))
    assert metrics.kappa(counts) == pytest.approx(np.nan_to_num(beyond))
    # the stages alone, at their places along maturation: 0, 1 and 4
    on_line = (true != 1) & (called != 1)
    place = np.array([0, -1, 1, 4])
    found = stages.summary(counts, LABELS)
    if len(set(true[on_line]) | set(called[on_line])) > 1:
        expected = oracle.cohen_kappa_score(
            place[true[on_line]], place[called[on_line]], labels=range(5), weights="quadratic"
        )
        assert found["stage_kappa"] == pytest.approx(expected)
    of_line = true != 1
    away = np.where(called == 1, 4, abs(place[true] - place[called]))[of_line]
    assert found["stage_cost"] == pytest.approx(away.mean() if of_line.any() else 0)
    near = (abs(place[true] - place[called]) == 1) & (true != 1) & (called != 1)
    assert found["tolerant_accuracy"] == pytest.approx(np.mean((true == called) | near))
    forgiven = np.where(near, true, called)
    expected = oracle.f1_score(
        true, forgiven, labels=sorted(set(true)), average="macro", zero_division=0
    )
    assert found["tolerant_macro_f1"] == pytest.approx(expected)


def test_stages_are_known_by_the_field_s_names_and_need_three() -> None:
    counts = np.ones((3, 3), int)
    names = ["myelocytes", "band neutrophil", "Segmented"]
    assert set(stages.ALONG) <= set(stages.summary(counts, names))
    assert set(stages.summary(counts, ["BNE", "SNE", "neutrophil"])) == set(metrics.SUMMARY)


def test_every_score_of_an_evaluation_has_an_interval() -> None:
    draw = np.random.default_rng(0)
    true, called = ([LABELS[k] for k in draw.integers(0, 4, 80)] for _ in range(2))
    found = intervals.bootstrap(LABELS, true, called, resamples=200)["intervals"]
    assert list(found) == [*metrics.SUMMARY, *stages.ALONG]
    assert all(low <= high for low, high in found.values())
