"""The section on laboratories: its numbers, and when it is there."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from naturalize.base.artifacts import read_json, writing
from naturalize.base.plots import LIGHT
from naturalize.cli.labs import tables
from naturalize.evaluation.laboratory import Laboratory
from naturalize.evaluation.labscores import answers_of
from naturalize.evaluation.merge import Merge
from naturalize.evaluation.predictions import Item
from naturalize.report import sentences, write_report


def scores(value: float) -> dict[str, dict[str, object]]:
    names = ("balanced_accuracy", "macro_f1", "accuracy", "ece", "mean_confidence", "sure_wrong",
             "aurc", "coverage_at_risk")  # fmt: skip
    return {name: {"value": value, "interval": [value - 0.05, value + 0.05]} for name in names}


def entry(value: float) -> dict[str, object]:
    return {
        "n": 40, "n_wrong": 12, "n_sure_wrong": 3, "n_unsure": 5, "n_no_cell": 1,
        "mixes": {"as found": {"scores": scores(value)}},
        "risk_coverage": {"coverage": [0.2, 1.0], "risk": [0.0, 0.3]},
    }  # fmt: skip


def of_model(values: dict[str, float]) -> dict[str, object]:
    mean, low = sum(values.values()) / len(values), min(values, key=values.__getitem__)
    worst = {name: {"value": values[low], "laboratory": low} for name in scores(0)}
    over = {"laboratories": list(values), "mean": scores(mean), "worst": worst}
    return {
        "n": 40 * len(values),
        "laboratories": {name: entry(value) for name, value in values.items()},
        "overall": {"as found": over, "balanced": over},
    }


@pytest.fixture
def labs(tmp_path: Path) -> Path:
    """A `labs` artifact of two models and two laboratories."""
    from naturalize.base.artifacts import write_json

    lab = {"n": 40, "n_images": 44, "left_out": {"duplicate": 4}, "absent": ["EO"]}
    found = {
        "laboratories": {"north": lab, "<b>south</b>": {**lab, "left_out": {}, "absent": []}},
        "models": {
            "pbc11": of_model({"north": 0.812, "<b>south</b>": 0.704}),
            "resnet18, linear": of_model({"north": 0.5, "<b>south</b>": 0.6}),
        },
        "interval_method": "percentile bootstrap, 95 %",
    }
    with writing(tmp_path / "labs", "labs") as folder:
        write_json(folder / "labs.json", found)
    return tmp_path / "labs"


def test_of_the_artifact_alone_the_page_has_that_section_only(labs: Path) -> None:
    page = write_report(labs).read_text()
    assert re.findall(r'<section id="(\w+)"', page) == ["labs"]
    for said in ("0.812", "0.758", "0.654–0.754", "4 duplicate", "has no EO", "resnet18, linear"):
        assert said in page, said
    assert "<b>south" not in page
    assert "“pbc11” reaches a mean balanced accuracy of 0.758" in page


def test_the_page_names_each_model_once_a_table_above_its_laboratories(labs: Path) -> None:
    page = write_report(labs).read_text()
    tables = re.findall(r'<table class="runs labs">.*?</table>', page, re.DOTALL)
    assert len(tables) == 2
    for table in tables:
        heads = re.findall(r'scope="rowgroup" colspan="(\d+)">.*?&nbsp;([^<]*)<', table)
        assert [name for _, name in heads] == ["pbc11", "resnet18, linear"]
        assert {int(n) for n, _ in heads} == {table.count('scope="col"')}


def test_the_printed_tables_keep_long_names_of_models_in_80_columns(labs: Path) -> None:
    found = read_json(labs / "labs.json")
    long = "tf_efficientnet_lite0.in1k, linear"
    found["models"][long] = found["models"].pop("resnet18, linear")
    console = Console(width=80, record=True, file=io.StringIO())
    for table in tables(found):
        console.print(table)
    text = console.export_text()
    assert "…" not in text
    assert text.count(long) == 2
    assert "0.758   0.71–0.81" in text


def test_figures_take_the_colours_of_the_page(labs: Path) -> None:
    page = write_report(labs).read_text()
    drawn = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawn) == 3
    for svg in drawn:
        assert "var(--run-" in svg or "var(--accent)" in svg
        assert not set(LIGHT.values()) & set(re.findall(r"#[0-9a-f]{6}", svg))


def test_a_study_has_the_section_if_its_model_was_scored(labs: Path, study: Path) -> None:
    assert 'id="labs"' not in write_report(study).read_text()
    labs.rename(study / "labs")
    page = write_report(study).read_text()
    sections = re.findall(r'<section id="(\w+)"', page)
    assert sections.index("labs") == sections.index("scores") + 1


@pytest.mark.parametrize(
    ("n", "sure", "wrong", "said"),
    [
        (2, 3, 24, "in 2 laboratories, and 0.700 in the worst, south; of 24 wrong answers 3 have"),
        (2, 1, 24, "of 24 wrong answers 1 has a confidence above 0.9."),
        (2, 0, 1, "of 1 wrong answer none have"),
        (1, 0, 0, "“m” reaches a balanced accuracy of 0.800 (0.700–0.900) in south; no answer"),
    ],
)
def test_the_sentence_says_what_the_numbers_do(n: int, sure: int, wrong: int, said: str) -> None:
    mean = {"value": 0.8, "interval": (0.7, 0.9)}
    worst = {"value": 0.7, "laboratory": "south"}
    text = sentences.labs("m", n, mean, worst, sure=sure, wrong=wrong)
    assert said in text.replace("\u00a0", " ")


def test_a_class_that_a_model_lacks_is_never_answered() -> None:
    table = pa.table(
        {
            "label": ["A", "B"], "predicted": ["A", "no cell"], "confidence": [0.9, None],
            "prob_A": [0.9, None], "group": pa.array([None, None], pa.string()),
        }
    )  # fmt: skip
    answers = answers_of(table)
    assert answers.labels == ["A", "B", "no cell"]
    assert answers.right.tolist() == [True, False]


def test_a_laboratory_counts_its_classes_and_groups() -> None:
    items = [Item("1", "a", "EO", "p1"), Item("2", "b", "EO", "p1"), Item("3", "c", "LY", None)]
    found = Laboratory("x", Path(), items, {"m": Merge()}, 3).described()
    assert (found["classes"], found["groups"], found["left_out"]) == ({"EO": 2, "LY": 1}, 1, {})
