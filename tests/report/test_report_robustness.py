"""The section on robustness: its numbers, and when it is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from naturalize.base.artifacts import write_json
from naturalize.report import robustness, sentences, write_report
from naturalize.report.folder import open_study
from naturalize.report.page import views_of


def score(value: float) -> dict[str, object]:
    one = {"value": value, "interval": [value - 0.05, value + 0.05]}
    return dict.fromkeys(("macro_f1", "balanced_accuracy", "accuracy", "ece"), one)


def content(change: list[float]) -> dict[str, object]:
    def each(values: list[float]) -> dict[str, object]:
        strengths = [
            {"strength": i, "amount": i / 2, **score(v)} for i, v in enumerate(values, start=1)
        ]
        return {
            "what": "out of <focus>", "amount": "µm", "strengths": strengths,
            "mean": score(sum(values) / len(values)),
        }  # fmt: skip

    return {
        "n": 80, "per_class": 20, "seed": 4, "clean": score(0.9),
        "corruptions": {"defocus": each([0.8, 0.7, 0.6, 0.5, 0.4]), "dust": each([0.9] * 5)},
        "mean_corruption_score": score(0.75), "relative_robustness": score(0.833),
        "change": {"macro_f1": {"value": -0.15, "interval": change}},
        "interval_method": "percentile bootstrap, 95 %",
    }  # fmt: skip


def test_the_section_has_the_numbers(study: Path) -> None:
    write_json(study / "evaluations" / "naturalize" / "robustness.json", content([-0.2, -0.1]))
    page = write_report(study).read_text()
    for said in ("0.833", "0.700–0.800", "0.550–0.650", "µm: 0.5, 1, 1.5, 2, 2.5", "80\u00a0test"):
        assert said in page, said
    assert "out of <focus>" not in page


def test_it_stands_only_where_something_was_scored(study: Path) -> None:
    assert robustness.view not in views_of(open_study(study))
    write_json(study / "evaluations" / "naturalize" / "robustness.json", content([-0.2, -0.1]))
    assert robustness.view in views_of(open_study(study))


@pytest.mark.parametrize(("change", "said"), [([-0.2, -0.1], False), ([-0.2, 0.1], True)])
def test_a_difference_within_its_interval_is_said_to_be(change: list[float], said: bool) -> None:
    text = sentences.robustness("plain", content(change))
    assert "It is lowest under defocus: 0.600." in text
    assert ("the difference lies within its interval" in text) == said
