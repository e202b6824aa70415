"""Risk and coverage, against tables worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturalize.base.errors import InputError
from naturalize.evaluation.risk import area, coverage_at, risk_coverage, selective

#: Five answers by confidence: right, right, wrong, right, wrong. Risks 0, 0, 1/3, 1/4, 2/5.
SURE = np.array([0.95, 0.9, 0.7, 0.6, 0.2])
RIGHT = np.array([True, True, False, True, False])


def test_the_curve_and_its_area_are_those_worked_out_by_hand() -> None:
    coverage, risk = risk_coverage(SURE, RIGHT)
    np.testing.assert_allclose(coverage, [0.2, 0.4, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(risk, [0, 0, 1 / 3, 1 / 4, 2 / 5])
    assert area(coverage, risk) == pytest.approx((1 / 3 + 1 / 4 + 2 / 5) / 5)


@pytest.mark.parametrize(("most", "expected"), [(0.05, 0.4), (0.25, 0.8), (0.4, 1.0)])
def test_coverage_is_the_largest_whose_risk_is_low_enough(most: float, expected: float) -> None:
    assert coverage_at(*risk_coverage(SURE, RIGHT), most) == pytest.approx(expected)


def test_where_the_surest_answer_is_wrong_nothing_is_covered() -> None:
    assert coverage_at(*risk_coverage(np.array([0.9, 0.5]), np.array([False, False]))) == 0


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9]), st.booleans()), min_size=1), st.data())
def test_the_order_of_images_decides_nothing(
    rows: list[tuple[float, bool]], data: st.DataObject
) -> None:
    other = data.draw(st.permutations(rows))
    one, two = (risk_coverage(*map(np.array, zip(*each, strict=True))) for each in (rows, other))
    np.testing.assert_allclose(one[1], two[1])
    assert area(*one) == pytest.approx(float(area(*two)))


@given(st.lists(st.integers(0, 4), min_size=5, max_size=5).filter(any))
def test_a_weight_counts_like_so_many_copies(weights: list[int]) -> None:
    weighted = area(*risk_coverage(SURE, RIGHT, np.array([weights])))
    copies = area(*risk_coverage(np.repeat(SURE, weights), np.repeat(RIGHT, weights)))
    assert weighted[0] == pytest.approx(float(copies))


def test_nothing_and_unequal_lengths_are_errors() -> None:
    for confidence, right in ((np.array([]), np.array([])), (SURE, RIGHT[:2])):
        with pytest.raises(InputError, match="one length"):
            risk_coverage(confidence, right)


def test_a_written_curve_keeps_its_ends_and_its_area_is_that_of_all_points() -> None:
    draw = np.random.default_rng(0)
    confidence = draw.random(1000)
    right = draw.random(1000) < confidence
    found, curve = selective(confidence, right), risk_coverage(confidence, right)
    assert len(found["coverage"]) == len(found["risk"]) == 200
    assert found["coverage"][-1] == 1
    assert found["risk"][-1] == pytest.approx(1 - right.mean())
    assert found["aurc"] == pytest.approx(area(*curve))
