"""Studies that are not finished, not whole, or no studies at all."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import typer
from report_study import page_of
from typer.testing import CliRunner

from naturalize.base.artifacts import read_table, write_table
from naturalize.base.errors import ArtifactError, InputError, NaturalizeError
from naturalize.report import write_report

SAYS = {
    "catalog": "The study has no catalog yet",
    "audit": "have not been audited",
    "plan": "No composites: the models of this study saw no composed image",
    "models": "No model has been trained",
    "evaluations": "No model of this study has been evaluated yet",
}


@pytest.mark.parametrize("part", SAYS)
def test_a_missing_artifact_is_left_out_with_a_line(study: Path, part: str) -> None:
    assert SAYS[part] not in page_of(study).text
    shutil.rmtree(study / part)
    assert SAYS[part] in page_of(study).text


@pytest.mark.parametrize(
    "part", ["split", "cells", "bank", "explanations", "comparisons.json", "study.json"]
)
def test_other_parts_may_be_missing_too(study: Path, part: str) -> None:
    target = study / part
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    assert len(page_of(study).all("section")) == 8


def test_without_cells_and_bank_the_page_says_so(study: Path) -> None:
    shutil.rmtree(study / "cells")
    shutil.rmtree(study / "bank")
    assert "No cell was cut out" in page_of(study).text


def test_mistakes_are_listed_even_if_nothing_was_explained(study: Path) -> None:
    shutil.rmtree(study / "explanations")
    page = page_of(study)
    assert "The mistakes with the highest confidence" in page.text
    shutil.rmtree(study / "evaluations")
    assert "No prediction of this study has been explained yet" in page_of(study).text


def test_a_study_that_has_just_begun_still_gives_a_page(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("name: early\n")
    page = page_of(tmp_path)
    assert "early" in page.text
    assert len([a for a in page.all("section") if a.get("class") == "absent"]) == 7


def test_a_model_without_history_has_no_chart_and_no_error(study: Path) -> None:
    for run in ("naturalize", "real-only"):
        (study / "models" / run / "history.csv").unlink()
    assert not [a for a in page_of(study).all("svg") if "epochs" in a["aria-label"]]


def test_a_run_that_ended_before_its_first_epoch_is_no_error(study: Path) -> None:
    (study / "models/naturalize/history.csv").write_text("epoch,train_loss,val_loss\n")
    assert page_of(study)


#: What is written over which file of a study.
SPOILT = {
    "yaml": ("study.yaml", "a: [1\n"),
    "yaml list": ("study.yaml", "- 1\n"),
    "json": ("evaluations/naturalize/metrics.json", "{"),
    "log": ("study.json", "[]"),
    "list": ("models/naturalize/model.json", "[1]"),
    "object": ("explanations/explanations.json", "{}"),
    "comparisons": ("comparisons.json", "{}"),
    "key": ("evaluations/naturalize/metrics.json", '{"macro_f1": 0.9}'),
    "nan": ("evaluations/naturalize/metrics.json", '{"macro_f1": NaN}'),
    "cost": ("study.json", '{"stages": {"train": {"seconds": "long"}}}'),
    "difference": ("comparisons.json", '[{"a": "x", "b": "y", "p_value": "small"}]'),
    "history": ("models/naturalize/history.csv", "epoch,val_loss\n1,many\n"),
    "table": ("plan/plan.parquet", "PAR1"),
}


def spoil(study: Path, what: str) -> Path:
    """Spoil a study and return what to give to the report."""
    if what in SPOILT:
        name, text = SPOILT[what]
        (study / name).write_text(text)
    elif what == "version":
        file = study / "plan/artifact.json"
        file.write_text(file.read_text().replace('"format_version": 1', '"format_version": 9'))
    elif what == "kind":
        shutil.rmtree(study / "bank")
        shutil.copytree(study / "split", study / "bank")
    places = {
        "missing": study / "nowhere",
        "file": study / "study.yaml",
        "no study": study / "evaluations" / "naturalize",
    }
    return places.get(what, study)


@pytest.mark.parametrize(
    ("what", "error", "says"),
    [
        ("missing", InputError, "no such folder; name the folder"),
        ("file", InputError, "is a file; name the folder"),
        ("no study", InputError, "no study in it"),
        ("yaml", ArtifactError, "study.yaml: not YAML"),
        ("yaml list", ArtifactError, "study.yaml: expected keys"),
        ("json", ArtifactError, "metrics.json: not JSON"),
        ("log", ArtifactError, "study.json: expected a JSON object"),
        ("list", ArtifactError, "model.json: expected a JSON object"),
        ("object", ArtifactError, "explanations.json: expected a list"),
        ("comparisons", ArtifactError, "comparisons.json: expected a list"),
        ("key", ArtifactError, "metrics.json: was changed after it was written"),
        ("cost", ArtifactError, r"study.json: stages.train.seconds: .*'long'.*run the study again"),
        ("difference", ArtifactError, "comparisons.json: key 'n' is missing"),
        ("nan", ArtifactError, "NaN is no number"),
        ("version", ArtifactError, "format version 9"),
        ("kind", ArtifactError, "is a split; expected a bank of cells"),
        ("history", ArtifactError, "history.csv: not a table of epochs"),
        ("table", ArtifactError, "plan.parquet: not a readable Parquet table"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_no_report(
    study: Path, what: str, error: type[Exception], says: str
) -> None:
    given = spoil(study, what)
    with pytest.raises(error, match=says) as caught:
        write_report(given, study / "out.html")
    assert "\n" not in str(caught.value)
    assert not (study / "out.html").exists()


def refusal(study: Path) -> str:
    """Return why the report of a study is refused; empty where it is written."""
    try:
        write_report(study, study / "out.html")
    except NaturalizeError as error:
        return str(error)
    return ""


def test_a_number_that_became_text_is_named_whichever_file_it_is_in(study: Path) -> None:
    named = set()
    for file in sorted(study.rglob("*.json")):
        before = file.read_text()
        after = re.sub(r'(": )-?[0-9][0-9.e-]*', r'\1"many"', before, count=1)
        file.write_text(after)
        if error := refusal(study):
            assert f"{file.parent.name}/{file.name}: " in error
            named.add(file.name)
        file.write_text(before)
    assert named >= {"artifact.json", "metrics.json", "model.json", "checks.json", "study.json"}


def test_a_table_that_lacks_a_column_is_named(study: Path) -> None:
    file = study / "plan" / "plan.parquet"
    write_table(file, read_table(file).drop_columns(["label"]))
    with pytest.raises(ArtifactError, match=r"plan.parquet: lacks the column\(s\) label"):
        write_report(study)


def test_predictions_that_the_scores_are_not_of_are_refused(study: Path) -> None:
    file = study / "evaluations/naturalize/predictions.parquet"
    write_table(file, read_table(file).slice(1))
    with pytest.raises(ArtifactError, match=r"right answers of \d+, metrics.json \d+ of \d+;"):
        write_report(study)


def test_a_folder_as_output_is_refused(study: Path) -> None:
    with pytest.raises(InputError, match="is a folder; name a file"):
        write_report(study, study / "plan")


def test_the_command_writes_the_file_it_is_told(study: Path, tmp_path: Path) -> None:
    from naturalize.cli.report import report

    app = typer.Typer()
    app.command()(report)
    result = CliRunner().invoke(app, [str(study), "-o", str(tmp_path / "r.html")])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"report: {tmp_path / 'r.html'}\n"
    assert (tmp_path / "r.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    again = CliRunner().invoke(app, [str(study), "-o", str(tmp_path / "r.html")])
    assert "--overwrite" in str(again.exception)
