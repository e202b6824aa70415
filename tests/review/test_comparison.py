from __future__ import annotations

import math
from fractions import Fraction
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import theilslopes
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from naturalize.base.errors import InputError
from naturalize.review.service.deliver.comparison import (
    bland_altman,
    chance_limit,
    compare,
    passing_bablok,
)

#: Peak expiratory flow by two meters, l/min: Bland & Altman, Lancet i, 1986, table 1.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def by_hand(x, y):
    """Passing and Bablok's slope and limits, in fractions and loops."""
    slopes, shift = [], 0
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            if x[i] == x[j]:
                continue
            slope = Fraction(y[i] - y[j], x[i] - x[j])
            if slope != -1:
                slopes.append(slope)
                shift += slope < -1
    slopes.sort()
    n, m = len(slopes), len(x)
    if n % 2:
        slope = slopes[(n + 1) // 2 + shift - 1]
    else:
        slope = (slopes[n // 2 + shift - 1] + slopes[n // 2 + shift]) / 2
    width = 1.96 * math.sqrt(m * (m - 1) * (2 * m + 5) / 18)
    first = round((n - width) / 2)
    low, high = slopes[first + shift - 1], slopes[n - first + 1 + shift - 1]
    of = [median([b - s * a for a, b in zip(x, y, strict=True)]) for s in (slope, high, low)]
    return [float(each) for each in (slope, low, high, *of)]


def test_passing_bablok_is_what_loops_give():
    found = passing_bablok(np.array(WRIGHT), np.array(MINI))
    slope, low, high, intercept, below, above = by_hand(WRIGHT, MINI)
    assert found.slope == pytest.approx(slope)
    assert found.slope_interval == pytest.approx((low, high))
    assert found.intercept == pytest.approx(intercept)
    assert found.intercept_interval == pytest.approx((below, above))


@given(st.lists(st.integers(1, 50), min_size=3, max_size=12), st.integers(0, 2**32 - 1))
def test_of_rising_samples_it_is_theil_and_sens_slope(steps, seed):
    rises = np.random.default_rng(seed).integers(1, 60, len(steps))
    x, y = np.cumsum(steps).astype(float), np.cumsum(rises).astype(float)
    assert passing_bablok(x, y).slope == pytest.approx(theilslopes(y, x).slope)


def test_exchanging_the_methods_inverts_the_line():
    x, y = np.array(WRIGHT, float), np.array(MINI, float)
    there, back = passing_bablok(x, y), passing_bablok(y, x)
    assert back.slope == pytest.approx(1 / there.slope, rel=0.01)
    assert back.slope_interval == pytest.approx([1 / v for v in there.slope_interval[::-1]])


def test_samples_on_a_line_and_samples_without_one():
    x = np.array([0.0, 5, 5, 10, 40])
    line = passing_bablok(x, x)
    assert (line.slope, line.intercept) == (1, 0)
    assert passing_bablok(np.ones(4), np.ones(4)) is None
    with pytest.raises(InputError, match="3 or more"):
        passing_bablok(np.ones(2), np.ones(2))


def test_bland_altman_of_the_published_example():
    found = bland_altman(np.array(MINI), np.array(WRIGHT))
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert found.bias_interval == pytest.approx((-22.0, 17.8), abs=0.1)
    spread = (found.limits[1] - found.limits[0]) / (2 * 1.96)
    assert spread == pytest.approx(38.8, abs=0.05)
    middle = [sum(found.lower_interval) / 2, sum(found.upper_interval) / 2]
    assert middle == pytest.approx(found.limits)


@pytest.mark.parametrize(("share", "counted"), [(0.03, 20), (0.5, 20), (0.2, 30)])
def test_the_limit_of_chance_is_that_of_two_binomial_counts(share, counted):
    p = [
        math.comb(counted, k) * share**k * (1 - share) ** (counted - k) for k in range(counted + 1)
    ]

    def beyond(d):
        return sum(
            a * b for i, a in enumerate(p) for j, b in enumerate(p) if abs(i - j) > d * counted
        )

    limit = chance_limit(share, counted)
    assert beyond(limit + 1e-9) <= 0.05
    assert limit == 0 or beyond(limit - 1 / counted + 1e-9) > 0.05


def samples(n, seed=0, wrong=0.1):
    rng = np.random.default_rng(seed)
    post, pre, units = [], [], []
    for unit in range(n):
        p = rng.dirichlet([8, 4, 2, 0.5])
        for code in rng.choice(["SNE", "LY", "MO", "PMY"], 60, p=p):
            post.append(str(code))
            said = "LY" if rng.random() < wrong else str(code)
            pre.append(None if rng.random() < 0.02 else said)
            units.append(f"field-{unit}")
    return pre, post, units


def test_scores_are_those_of_scikit_learn():
    pre, post, units = samples(5)
    found = compare(["SNE", "LY", "MO", "PMY"], pre, post, units)
    said = [code or "unidentified" for code in pre]
    assert found["classes"] == ["SNE", "LY", "MO", "PMY", "unidentified"]
    assert found["kappa"]["value"] == pytest.approx(cohen_kappa_score(post, said))
    low, high = found["kappa"]["interval"]
    assert low < found["kappa"]["value"] < high
    assert found["confusion"] == confusion_matrix(post, said, labels=found["classes"]).tolist()
    rows = {row["code"]: row for row in found["per_class"]}
    hits = sum(a == b == "MO" for a, b in zip(said, post, strict=True))
    assert rows["MO"]["sensitivity"]["n"] == hits
    assert rows["MO"]["sensitivity"]["of"] == post.count("MO")
    quiet = sum(a != "MO" and b != "MO" for a, b in zip(said, post, strict=True))
    assert rows["MO"]["specificity"]["n"] == quiet
    assert "unidentified" not in rows
    assert found["unidentified"] == pre.count(None)


def test_immature_cells_are_judged_sample_by_sample():
    units = ["a", "a", "b", "b", "c"]
    post = ["PMY", "LY", "LY", "LY", "PMY"]
    pre = ["PMY", "LY", "PMY", "LY", "LY"]
    found = compare(["LY", "PMY"], pre, post, units)["immature"]
    assert (found["sensitivity"]["n"], found["sensitivity"]["of"]) == (1, 2)
    assert (found["specificity"]["n"], found["specificity"]["of"]) == (0, 1)


def test_per_cents_of_samples_are_of_their_white_cells():
    post = ["LY", "LY", "MO", "ERB", "LY", "MO", "MO", "MO", "LY", "MO"]
    units = ["a"] * 4 + ["b"] * 4 + ["c"] * 2
    found = compare(["LY", "MO", "ERB"], post, post, units)["regression"]
    rows = {row["code"]: row for row in found}
    assert rows["LY"]["person"] == pytest.approx([66.6667, 25, 50], abs=1e-3)
    assert "ERB" not in rows
    assert rows["LY"]["passing_bablok"]["slope"] == pytest.approx(1)
    assert rows["LY"]["bland_altman"]["bias"] == 0
    assert rows["LY"]["beyond_chance"] == 0


def test_one_sample_has_no_line_and_no_cell_is_refused():
    found = compare(["LY", "MO"], ["LY", "MO"], ["LY", "LY"], ["a", "a"])
    assert found["enough"] is False
    assert all(row["passing_bablok"] is None for row in found["regression"])
    with pytest.raises(InputError, match="no cell is confirmed"):
        compare(["LY"], [], [], [])
