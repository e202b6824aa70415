from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from naturalize.base.errors import SettingsError
from naturalize.review.service.deliver.rules import parse

CLASSES = ["SNE", "BNE", "LY", "PMY", "ERB"]
N = {"SNE": 50, "BNE": 10, "LY": 38, "PMY": 2, "ERB": 7}


@pytest.mark.parametrize(
    ("text", "fired"),
    [
        ("PMY > 0", True),
        ("PMY>2", False),
        ("BNE / (BNE + SNE) > 0.1", True),
        ("LY% >= 38", True),
        ("LY % > 38", False),
        ("LY% + BNE% == 48", True),
        ("PMY > 5 or LY% < 40 and ERB != 0", True),
        ("2 * (PMY + BNE) - 4 <= .5 * 40", True),
        ("ERB > 10", False),
    ],
)
def test_a_rule_says_whether_it_holds(text, fired):
    assert parse(text, CLASSES).flag(N).fired is fired


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("PMY >> 0", 6, "a number"),
        ("PMY >", 6, "the end"),
        ("PMY", 4, "a comparison"),
        ("", 1, "the end"),
        ("LYM > 1", 1, "LY"),
        ("PMY > 0 LY", 9, "and, or"),
        ("(PMY > 0", 6, "expected )"),
        ("PMY @ 2", 5, "'@'"),
        ("__import__('os') > 1", 12, "a number"),
        ("__import__ > 1", 1, "'__import__'"),
        ("PMY > 0; LY", 8, "';'"),
        ("PMY > 10**9", 10, "'*'"),
        ("LY%% > 2", 4, "a comparison"),
        ("PMY > 1 > 0", 9, "and, or"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_place(text, column, expected):
    with pytest.raises(SettingsError) as caught:
        parse(text, CLASSES)
    assert expected in str(caught.value)
    assert f"column {column}:" in str(caught.value)


def test_the_name_of_a_class_may_be_in_quotes():
    classes = ["band neutrophil", "B&T (50 %)", "and"]
    flag = parse('"band neutrophil" + "B&T (50 %)" + "and" >= 6', classes).flag(
        dict.fromkeys(classes, 2)
    )
    assert (flag.fired, flag.value) == (True, 6)
    with pytest.raises(SettingsError, match="column 1:"):
        parse('"band" > 1', classes)


@pytest.mark.parametrize("text", ["{} / 1 > 1", "1 < {}", "{} - {} == 0"])
def test_numbers_beyond_all_numbers_decide_nothing(text):
    many = " * ".join(["LY"] * 17)
    flag = parse(text.format(many, many), CLASSES).flag({"LY": 10**30})
    assert flag.fired is None
    assert flag.value is None
    assert "too large" in flag.said


@pytest.mark.parametrize("text", ["(" * 5000 + "1" + ")" * 5000 + " > 0", "(" * 30 + "1 > 0"])
def test_brackets_have_an_end(text):
    with pytest.raises(SettingsError):
        parse(text, CLASSES)


def test_a_share_has_the_exact_interval_of_its_cells():
    flag = parse("BNE / (BNE + SNE) > 0.1", CLASSES).flag(N)
    expected = binomtest(10, 60).proportion_ci(method="exact")
    assert flag.of == 60
    assert (flag.low, flag.high) == pytest.approx((expected.low, expected.high))
    assert flag.sure is False


def test_per_cent_and_counts_have_the_interval_of_the_white_cells():
    percent = parse("LY% + BNE% >= 20", CLASSES).flag(N)
    expected = binomtest(48, 100).proportion_ci(method="exact")
    assert (percent.low, percent.high) == pytest.approx((100 * expected.low, 100 * expected.high))
    assert percent.sure is True
    none = parse("PMY > 0", CLASSES).flag({**N, "PMY": 0})
    assert none.fired is False
    assert none.high == pytest.approx(98 * binomtest(0, 98).proportion_ci(method="exact").high)
    assert none.sure is None


def test_no_interval_where_the_left_side_is_no_share():
    for text in ("SNE - LY > 1", "BNE / SNE > 0.1", "BNE / (SNE + LY) > 0", "ERB > 1"):
        assert parse(text, CLASSES).flag(N).low is None


_atoms = st.sampled_from(["SNE", "BNE", "LY", "2", "0.5"])
_sums = st.recursive(
    _atoms,
    lambda part: st.builds("({} {} {})".format, part, st.sampled_from("+-*"), part),
    max_leaves=8,
)


@given(_sums, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), _sums)
def test_a_rule_means_what_arithmetic_means(left, sign, right):
    text = f"{left} {sign} {right}"
    assert parse(text, CLASSES).flag(N).fired is eval(text, {}, dict(N))
