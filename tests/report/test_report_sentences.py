"""Each sentence of the report against constructed results of every sign and size."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturalize.report import sentences


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def pair(
    difference: float,
    interval: tuple[float, float],
    p: float = 0.001,
    only: tuple[int, int] = (19, 5),
) -> dict[str, Any]:
    """A comparison of the runs "one" and "two": ``difference`` = one − two."""
    return {
        "a": "one", "b": "two", "n": 200, "macro_f1_difference": difference,
        "interval": list(interval), "p_value": p,
        "mcnemar": {"only_a_right": only[0], "only_b_right": only[1]},
    }  # fmt: skip


def metrics(confusion: list[list[int]], **changes: Any) -> dict[str, Any]:
    n = sum(map(sum, confusion))
    right = sum(row[i] for i, row in enumerate(confusion))
    return {
        "labels": list("ABCDEFGH")[: len(confusion)], "confusion": confusion, "n": n,
        "accuracy": right / n, "macro_f1": 0.8, "intervals": {"macro_f1": [0.7, 0.9]},
        "interval_method": "percentile bootstrap, 95 %", **changes,
    }  # fmt: skip


#: name → the comparison, what is said of run "one", of run "two", and at the head of its entry.
COMPARED = {
    "ahead, sure": (
        pair(0.1, (0.05, 0.15)),
        "Its macro-F1 is 0.100 above that of “two”, which is beyond chance.",
        "Its macro-F1 is 0.100 below that of “one”, which is beyond chance.",
        "“one” is better than “two”:",
    ),
    "behind, sure": (
        pair(-0.098, (-0.17, -0.02), 0.024, (5, 19)),
        "Its macro-F1 is 0.098 below that of “two”, which is beyond chance.",
        "Its macro-F1 is 0.098 above that of “one”, which is beyond chance.",
        "“two” is better than “one”:",
    ),
    "ahead, unsure": (
        pair(0.02, (-0.03, 0.07), 0.4),
        "Its macro-F1 is 0.020 above that of “two”, which may be chance.",
        "Its macro-F1 is 0.020 below that of “one”, which may be chance.",
        "“one” scores higher than “two”, but the difference may be chance:",
    ),
    "behind, unsure": (
        pair(-0.02, (-0.07, 0.03), 0.4, (5, 7)),
        "Its macro-F1 is 0.020 below that of “two”, which may be chance.",
        "Its macro-F1 is 0.020 above that of “one”, which may be chance.",
        "“two” scores higher than “one”, but the difference may be chance:",
    ),
    "equal": (
        pair(0.0, (-0.05, 0.05), 1.0, (4, 4)),
        "“two” has the same macro-F1.",
        "“one” has the same macro-F1.",
        "“one” and “two” have the same macro-F1:",
    ),
    "less than can be printed": (
        pair(0.0002, (-0.01, 0.01), 0.9),
        "Its macro-F1 is less than 0.001 above that of “two”, which may be chance.",
        "Its macro-F1 is less than 0.001 below that of “one”, which may be chance.",
        "“one” scores higher than “two”, but the difference may be chance:",
    ),
    "only the interval is sure": (
        pair(0.1, (0.05, 0.15), 0.2),
        "Its macro-F1 is 0.100 above that of “two”, but the interval and the test do not agree.",
        "Its macro-F1 is 0.100 below that of “one”, but the interval and the test do not agree.",
        "“one” scores higher than “two”, but the interval and the test do not agree:",
    ),
    "only the test is sure": (
        pair(-0.1, (-0.25, 0.05), 0.01, (5, 19)),
        "Its macro-F1 is 0.100 below that of “two”, but the interval and the test do not agree.",
        "Its macro-F1 is 0.100 above that of “one”, but the interval and the test do not agree.",
        "“two” scores higher than “one”, but the interval and the test do not agree:",
    ),
    "the test points to the other run": (
        pair(0.1, (0.05, 0.15), 0.001, (5, 40)),
        "Its macro-F1 is 0.100 above that of “two”, but the interval and the test do not agree.",
        "Its macro-F1 is 0.100 below that of “one”, but the interval and the test do not agree.",
        "“one” scores higher than “two”, but the interval and the test do not agree:",
    ),
    "p exactly at the limit": (
        pair(0.1, (0.05, 0.15), 0.05),
        "Its macro-F1 is 0.100 above that of “two”, but the interval and the test do not agree.",
        "Its macro-F1 is 0.100 below that of “one”, but the interval and the test do not agree.",
        "“one” scores higher than “two”, but the interval and the test do not agree:",
    ),
    "interval touches zero": (
        pair(0.1, (0.0, 0.2), 0.3),
        "Its macro-F1 is 0.100 above that of “two”, which may be chance.",
        "Its macro-F1 is 0.100 below that of “one”, which may be chance.",
        "“one” scores higher than “two”, but the difference may be chance:",
    ),
}


@pytest.mark.parametrize("case", COMPARED)
def test_sign_and_size_decide_how_two_runs_compare(case: str) -> None:
    given_, of_one, of_two, head = COMPARED[case]
    assert sentences.standing("one", [given_]) == [of_one]
    assert sentences.standing("two", [given_]) == [of_two]
    assert sentences.standing("three", [given_]) == []
    assert sentences.comparison(sentences.Difference.of(given_)) == head


@given(
    st.floats(-1, 1),
    st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(lambda ends: tuple(sorted(ends))),
    st.floats(0, 1),
    st.tuples(st.integers(0, 99), st.integers(0, 99)),
)
def test_the_order_of_two_runs_changes_no_statement(
    difference: float, interval: tuple[float, float], p: float, only: tuple[int, int]
) -> None:
    forward = pair(difference, interval, p, only)
    back = pair(-difference, (-interval[1], -interval[0]), p, only[::-1])
    back |= {"a": "two", "b": "one"}
    assert sentences.standing("one", [forward]) == sentences.standing("one", [back])
    found = sentences.Difference.of(forward)
    if found.agreed:  # what is called beyond chance has all three on its side
        winner_first = found.first == "one"
        assert (difference > 0) == winner_first
        assert (interval[0] > 0) if winner_first else (interval[1] < 0)
        assert p < 0.05
        assert (only[0] > only[1]) == winner_first


def test_a_comparison_counts_the_images_of_the_better_run_first() -> None:
    found = sentences.Difference.of(pair(-0.1, (-0.2, -0.01), 0.01, (1, 19)))
    assert plain(sentences.comparison_counts(found)) == (
        "Of 200 images, 19 are right with “two” only and 1 with “one” only"
    )
    one = sentences.Difference.of(pair(0.1, (0.01, 0.2), 0.01, (1, 0)))
    assert "1 is right with “one” only and 0 with “two” only" in sentences.comparison_counts(one)


SCORES = {
    "one mistake most frequent": (
        [[8, 2], [1, 9]],
        "“m” classifies 85 % of the test images correctly; its most frequent mistake is A taken "
        "for B (2 of 10).",
    ),
    "two equally frequent": (
        [[8, 2], [2, 8]],
        "“m” classifies 80 % of the test images correctly; its most frequent mistakes are A taken "
        "for B and B taken for A (2 images each).",
    ),
    "many equally frequent": (
        [[7, 1, 1], [1, 7, 1], [0, 0, 9]],
        "“m” classifies 85 % of the test images correctly; no single mistake stands out (4 occur "
        "equally often).",
    ),
    "no mistake": ([[3, 0], [0, 2]], "“m” classifies 100 % of the test images correctly."),
    "all wrong": (
        [[0, 3], [1, 0]],
        "“m” classifies 0 % of the test images correctly; its most frequent mistake is A taken "
        "for B (3 of 3).",
    ),
    "hardly any wrong": (
        [[999, 1], [0, 1000]],
        "“m” classifies > 99 % of the test images correctly; its most frequent mistake is A taken "
        "for B (1 of 1,000).",
    ),
}


@pytest.mark.parametrize("case", SCORES)
def test_the_takeaway_of_the_scores_names_only_what_stands_out(case: str) -> None:
    confusion, said = SCORES[case]
    assert plain(sentences.scores("m", metrics(confusion), [])) == said


def test_the_takeaway_of_the_scores_never_claims_a_lead_for_a_run_that_is_behind() -> None:
    text = sentences.scores("one", metrics([[8, 2], [1, 9]]), [COMPARED["behind, sure"][0]])
    assert "lead" not in text
    assert text.endswith("Its macro-F1 is 0.098 below that of “two”, which is beyond chance.")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "The model “m” reaches a macro-F1 of 0.800 (95 % interval 0.700–0.900) on 20 test "
             "images under the honest protocol."),
        ({"n_runs": 3}, "Of 3 runs, “m”, chosen on the validation images, reaches a macro-F1 of "
                        "0.800 (95 % interval 0.700–0.900) on 20 test images under the honest "
                        "protocol."),
        ({"protocol": "paper"}, "The model “m” reaches a macro-F1 of 0.800 (95 % interval "
                                "0.700–0.900) on 20 test images under the paper protocol, which "
                                "leaks."),
        ({"protocol": "paper", "outside": 3}, "The model “m” reaches a macro-F1 of 0.800 (95 % "
                                              "interval 0.700–0.900) on 20 test images under the "
                                              "paper protocol, which leaks."),
        ({"outside": 3}, "The model “m” reaches a macro-F1 of 0.800 (95 % interval 0.700–0.900) "
                         "on 20 test images, but 3 composites have a parent outside train."),
        ({"outside": 1}, "The model “m” reaches a macro-F1 of 0.800 (95 % interval 0.700–0.900) "
                         "on 20 test images, but 1 composite has a parent outside train."),
        ({"protocol": ""}, "The model “m” reaches a macro-F1 of 0.800 (95 % interval "
                           "0.700–0.900) on 20 test images."),
    ],
)  # fmt: skip
def test_the_verdict(changes: dict[str, Any], said: str) -> None:
    rest = {"chosen": "chosen on the validation images", "n_runs": 1, "protocol": "honest"}
    text = sentences.verdict("m", metrics([[8, 2], [1, 9]]), **{**rest, "outside": 0, **changes})
    assert plain(text) == said


@pytest.mark.parametrize(
    ("confusion", "changes", "part"),
    [
        ([[1]], {"intervals": {"macro_f1": [1.0, 1.0]}, "macro_f1": 1.0},
         "1.000 (no interval: all resamples of these images score the same) on 1 test image "),
        ([[2, 0], [0, 2]], {"intervals": {}}, "reaches a macro-F1 of 0.800 on 4 test images "),
        ([[2, 0], [0, 2]], {"interval_method": "bootstrap, 90 %"}, "(90 % interval 0.700–0.900)"),
        ([[2, 0], [0, 2]], {"interval_method": ""}, "(interval 0.700–0.900)"),
    ],
)  # fmt: skip
def test_a_verdict_on_few_images_claims_no_certainty(
    confusion: list[list[int]], changes: dict[str, Any], part: str
) -> None:
    found = metrics(confusion, **changes)
    text = sentences.verdict("m", found, chosen="", n_runs=1, protocol="honest", outside=0)
    assert part in plain(text)


@pytest.mark.parametrize(
    ("n", "by_validation", "tied", "apposition", "sentence"),
    [
        (1, True, False, "", ""),
        (2, True, False, "chosen on the validation images", "test images decided nothing"),
        (2, True, True, "one of the best on the validation images", "decided nothing"),
        (2, False, False, "best on the test images", "that score is optimistic"),
        (2, False, True, "one of the best on the test images", "that score is optimistic"),
    ],
)
def test_how_the_run_was_chosen(
    n: int, by_validation: bool, tied: bool, apposition: str, sentence: str
) -> None:
    said = sentences.choice(n, by_validation=by_validation, tied=tied)
    assert said[0] == apposition
    assert sentence in said[1]
    assert bool(said[1]) == bool(sentence)


@pytest.mark.parametrize(
    ("totals", "composed", "pooled", "said"),
    [
        ({"A": 40, "B": 16, "C": 20}, 0, False,
         "76 images in 3 classes, from 16 (B) to 40 (A) a class (1 : 2.5)."),
        ({"A": 40, "B": 16, "C": 40}, 0, False,
         "96 images in 3 classes, from 16 (B) to 40 a class (1 : 2.5)."),
        ({"A": 5, "B": 5}, 3, False,
         "10 images in 2 classes, 5 of each; 3 composites were planned in addition."),
        ({"A": 5, "B": 5}, 3, True,
         "10 images in 2 classes, 5 of each; 3 composites were pooled with them and are counted."),
        ({"A": 5, "B": 0}, 0, False, "5 images in 1 class."),
        ({"A": 1}, 0, False, "1 image in 1 class."),
        ({"A": 0}, 0, False, "The catalog holds no usable image."),
        ({}, 0, False, "The catalog holds no usable image."),
    ],
)  # fmt: skip
def test_the_images(totals: dict[str, int], composed: int, pooled: bool, said: str) -> None:
    assert plain(sentences.inputs(totals, composed, pooled=pooled)) == said


@pytest.mark.parametrize(
    ("serious", "notable", "tested", "said"),
    [
        ([], [], True, "Of 9 images, 8 can be used, and no tested property of the files is "
                       "clearly linked to the class."),
        ([], [], False, "Of 9 images, 8 can be used."),
        ([], ["1 tiny class"], True, "Of 9 images, 8 can be used. Nothing serious, but 1 tiny "
                                     "class."),
        (["x", "y"], ["1 tiny class"], True, "Of 9 images, 8 can be used. Serious: x and y."),
    ],
)  # fmt: skip
def test_the_audit(serious: list[str], notable: list[str], tested: bool, said: str) -> None:
    assert plain(sentences.audit(9, 8, serious, notable, tested=tested)) == said


@pytest.mark.parametrize(
    ("found", "accepted", "said"),
    [
        ((9, 9), (5, 7),
         "Cells were found in all 9 images; 5 of 7 target cells were accepted for composition."),
        ((0, 9), None, "Cells were found in 0 of 9 images."),
        ((1, 1), (1, 1),
         "Cells were found in 1 of 1 image; 1 of 1 target cell was accepted for composition."),
        (None, (0, 0), "the bank holds 0 target cells."),
        (None, None, "What was found in 0 images is recorded."),
    ],
)  # fmt: skip
def test_the_cells(
    found: tuple[int, int] | None, accepted: tuple[int, int] | None, said: str
) -> None:
    assert plain(sentences.cells(found, accepted)) == said


@pytest.mark.parametrize(
    ("labels", "red", "said"),
    [
        (["A", "B", "A"], 9,
         "3 composites for 2 classes (A and B), with 3.0 red cells each on average."),
        (["A"], 0, "1 composite for 1 class (A), with 0.0 red cells each on average."),
        ([], 0, "The plan holds 0 composites."),
    ],
)  # fmt: skip
def test_the_composites(labels: list[str], red: int, said: str) -> None:
    assert plain(sentences.composites(labels, red)) == said


@pytest.mark.parametrize(
    ("outside", "n", "said"),
    [
        (0, 30, "0 of 30 training composites have a parent outside train"),
        (1, 30, "1 of 30 training composites has a parent outside train"),
        (30, 30, "30 of 30 training composites have a parent outside train"),
        (0, 0, "There is no training composite"),
    ],
)
def test_the_lineage(outside: int, n: int, said: str) -> None:
    assert plain(sentences.lineage(outside, n)) == said


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([("a", 0.8, " in epoch 3 of 8")], "1 run was trained; the best macro-F1 on the "
         "validation images, 0.800, was reached in epoch 3 of 8."),
        ([("a", 0.8, ""), ("b", 0.7, "")], "2 runs were trained; the best macro-F1 on the "
         "validation images, 0.800, was reached by “a”."),
        ([("a", 0.8, " in epoch 1"), ("b", 0.8, " in epoch 2")], "2 runs were trained; the best "
         "macro-F1 on the validation images, 0.800, was reached by “a” and “b”."),
        ([("a", None, ""), ("b", 0.0, "")], "2 runs were trained; the best macro-F1 on the "
         "validation images, 0.000, was reached by “b”."),
        ([("a", None, "")], "1 run was trained."),
    ],
)  # fmt: skip
def test_the_training(runs: list[tuple[str, float | None, str]], said: str) -> None:
    assert plain(sentences.training(runs)) == said


@pytest.mark.parametrize(
    ("confidences", "n", "explained", "said"),
    [
        ([], 9, 1, "“m” is right on all 9 test images; 1 prediction is explained."),
        ([0.95], 9, 2, "“m” is wrong on 1 of 9 test images, with a confidence of 90 % or more; 2 "
                       "predictions are explained."),
        ([0.5], 1, 0, "“m” is wrong on 1 of 1 test image, not with a confidence of 90 % or more; "
                      "0 predictions are explained."),
        ([0.5, 0.9, 0.89], 9, 2, "“m” is wrong on 3 of 9 test images, 1 of them with a confidence "
                                 "of 90 % or more; 2 predictions are explained."),
        ([0.5, 0.6], 9, 2, "“m” is wrong on 2 of 9 test images, none of them with a confidence of "
                           "90 % or more; 2 predictions are explained."),
        ([], 0, 2, "2 predictions are explained."),
    ],
)  # fmt: skip
def test_the_explanations(confidences: list[float], n: int, explained: int, said: str) -> None:
    assert plain(sentences.explanations("m", confidences, n, explained)) == said


@pytest.mark.parametrize(
    ("seconds", "settings", "said"),
    [
        ({"a": 10.0, "b": 30.0}, True, "Made by naturalize 1.2 in 40.0 s; the longest stage, b, "
                                       "took 75 %. The settings below reproduce it."),
        ({"a": 10.0}, False, "Made by naturalize 1.2 in 10.0 s."),
        ({"a": 0.0, "b": 0.0}, True, "Made by naturalize 1.2 in 0.0 s. The settings below "
                                     "reproduce it."),
        ({}, True, "Made by naturalize 1.2; what its stages cost was not recorded."),
    ],
)  # fmt: skip
def test_how_it_was_made(seconds: dict[str, float], settings: bool, said: str) -> None:
    assert plain(sentences.provenance(seconds, "1.2", settings=settings)) == said


@pytest.mark.parametrize(
    ("calibration", "said"),
    [
        ({"ece": 0.031}, "differs from the share of correct answers by 3.1 percentage points"),
        ({"ece": 0.0}, "by 0.0 percentage points"),
        ({"ece": None}, ""),
        ({}, ""),
    ],
)
def test_the_calibration(calibration: dict[str, Any], said: str) -> None:
    text = sentences.calibration({"calibration": calibration})
    assert said in text
    assert bool(text) == bool(said)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ([], "For no explained class is the heat denser on red cells than on the cell."),
        (["EO"], "The model looks at red cells for EO (1 of 3 explained classes): the heat is "
                 "denser there than on the cell."),
        (["EO", "LY"], "The model looks at red cells for EO and LY (2 of 3 explained classes): the "
                       "heat is denser there than on the cell."),
    ],
)  # fmt: skip
def test_classes_whose_heat_is_on_red_cells(classes: list[str], said: str) -> None:
    assert plain(sentences.looks_at_red_cells(classes, 3)) == said
