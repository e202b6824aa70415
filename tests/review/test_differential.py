from __future__ import annotations

import pytest
from scipy.stats import binomtest

from naturalize.review.service.deliver.differential import differential, left_shift, row

BINS = ["SNE", "BNE", "LY", "MY", "ERB", "PLT"]
N = {"SNE": 50, "BNE": 10, "LY": 35, "MY": 5, "ERB": 8, "PLT": 40}


def test_shares_are_of_white_cells_and_of_nucleated_cells():
    found = row("LY", N, 200)
    expected = binomtest(35, 100).proportion_ci(method="exact")
    assert (found.white.n, found.white.of) == (35, 100)
    assert (found.white.low, found.white.high) == pytest.approx((expected.low, expected.high))
    assert (found.nucleated.n, found.nucleated.of) == (35, 108)
    at_target = binomtest(70, 200).proportion_ci(method="exact")
    assert found.at_target == pytest.approx((at_target.low, at_target.high))


def test_erythroblasts_are_no_white_cells_and_platelets_are_apart():
    found = differential(BINS, N, {"SNE": 20, "ERB": 3}, target=200)
    assert found["white_cells"] == 100
    assert found["nucleated_cells"] == 108
    assert found["platelets"] == 40
    assert found["erythroblasts_per_100"]["value"] == pytest.approx(8)
    assert found["confirmed_white_cells"] == 20
    rows = {r["code"]: r for r in found["rows"]}
    assert rows["ERB"]["white"] is None
    assert rows["ERB"]["nucleated"]["share"] == pytest.approx(8 / 108)
    assert rows["PLT"]["nucleated"] is None


def test_no_cell_has_no_share():
    found = differential(BINS, {}, {}, target=100, rules=["BNE / (BNE + SNE) > 0.1"])
    assert all(r["white"] is None or r["white"]["share"] is None for r in found["rows"])
    assert found["erythroblasts_per_100"] is None
    assert found["flags"][0]["fired"] is None


def test_left_shift_counts_every_neutrophil_that_is_not_segmented():
    found = left_shift(N)
    assert (found["bands"].n, found["bands"].of) == (10, 65)
    assert (found["immature_granulocytes"].n, found["immature_granulocytes"].of) == (5, 65)
    assert (found["immature_to_total"].n, found["immature_to_total"].of) == (15, 65)


def test_classes_that_do_not_tell_bands_have_no_ratio():
    found = left_shift({"neutrophil": 40, "ig": 4, "lymphocyte": 20})
    assert found["bands"] is None
    assert found["immature_to_total"] is None
    assert (found["immature_granulocytes"].n, found["immature_granulocytes"].of) == (4, 44)


def test_a_rule_of_a_class_that_is_gone_says_so():
    (flag,) = differential(BINS, N, {}, target=100, rules=["PMY > 0"])["flags"]
    assert flag["fired"] is None
    assert "column 1" in flag["said"]
    assert "PMY" in flag["said"]
