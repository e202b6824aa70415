"""A grid of arms, sizes and seeds: cells are studies that resume, on one test set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from naturalize.base.artifacts import read_table
from naturalize.base.errors import NaturalizeError
from naturalize.cli.app import run_app
from naturalize.dataset.phantom import write_phantom
from naturalize.dataset.split import Split
from naturalize.study.check import check_study
from naturalize.study.grid import Cell, is_grid, parse_grid, run_grid
from naturalize.study.settings import parse_study, read_study

STUDIES = Path(__file__).parents[2] / "studies"

GRID = {
    "name": "try",
    "data": {"phantom": {"per_class": 8}, "scheme": "pbc11"},
    "split": {"fractions": [0.5, 0.125, 0.375]},
    "segment": {"segmenter": "classical"},
    "images_per_class": [2, 3],
    "seeds": [0],
    "weak": ["LY"],
    "run": {"model": "custom_cnn", "input_size": 32, "epochs": 1, "samples_per_epoch": 32},
    "arms": {"real": {}, "other": {"run": {"lr": 0.01}}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    (folder / "grid.yaml").write_text(yaml.safe_dump({"version": 1, **GRID}, sort_keys=False))
    with pytest.raises(SystemExit, match="0"):
        run_app(["run", str(folder / "grid.yaml"), "-o", str(folder / "out")])
    return folder


def test_every_arm_answers_for_the_same_images_and_trains_on_a_few(run):
    result = json.loads((run / "out" / "arms.json").read_text())
    assert [(c["arm"], c["images_per_class"]) for c in result["cells"]] == [
        ("real", 2), ("other", 2), ("real", 3), ("other", 3),
    ]  # fmt: skip
    assert result["test_images"] == 33
    assert result["failed"] == []
    splits = {n: Split.load(run / "out" / Cell("real", n, 0).folder / "split") for n in (2, 3)}
    other = Split.load(run / "out" / Cell("other", 2, 0).folder / "split")
    assert splits[2].hash == other.hash
    assert set(splits[2].counts()["train"].values()) == {2}
    assert set(splits[2].ids("train")) < set(splits[3].ids("train"))
    assert splits[2].ids("test") == splits[3].ids("test")
    page = (run / "out" / "report.html").read_text()
    assert "beside real" in page
    assert (run / "out" / "macro_f1.svg").is_file()


def test_other_laboratories_are_scored_too_without_training_again(run, tmp_path, capsys):
    for name, classes in {
        "north": {"lymphocyte": "LY", "monocyte": "MO"},
        "south": {"eosinophil": "EO", "LY": "LY"},
    }.items():
        drawn = write_phantom(tmp_path / "all" / name, per_class=3, seed=len(name) + ord(name[0]))
        for label, prefix in classes.items():
            (tmp_path / name / label).mkdir(parents=True)
            for file in (drawn / "images").rglob(f"{prefix}_*"):
                file.rename(tmp_path / name / label / file.name)
    places = [str(tmp_path / name) for name in ("north", "south")]
    for image in (run / "out" / "shared" / "data" / "images").rglob("*.jpg"):
        image.touch()  # copied anew by hand, as it is: read once, not by every cell
    page = run_grid(parse_grid({**GRID, "laboratories": places}), run / "out")
    said = capsys.readouterr().err
    assert "train-real: unchanged" in said
    assert said.count("catalog: unchanged") == len(GRID["arms"]) * len(GRID["images_per_class"])
    result = json.loads((run / "out" / "arms.json").read_text())
    assert result["scores"] == ["macro_f1", "weak_f1", "elsewhere"]
    assert result["laboratories"] == {"north": 6, "south": 6}
    for cell in result["cells"]:
        folder = run / "out" / Cell(cell["arm"], cell["images_per_class"], 0).folder
        found = []
        for name in ("north", "south"):
            table = read_table(
                folder / "laboratories" / "predictions" / cell["arm"] / f"{name}.parquet"
            )
            rows = table.select(["label", "predicted"]).to_pylist()
            of_class = {row["label"]: [] for row in rows}
            for row in rows:
                of_class[row["label"]].append(row["label"] == row["predicted"])
            found.append(np.mean([np.mean(each) for each in of_class.values()]))
        assert cell["elsewhere"] == pytest.approx(np.mean(found))
    text = page.read_text()
    assert "north (6\N{NO-BREAK SPACE}images)" in text
    assert (run / "out" / "elsewhere.svg").is_file()


def test_what_is_done_is_not_done_again_and_a_failure_is_stated(run, capsys):
    more = {**GRID, "arms": {**GRID["arms"], "bad": {"run": {"lr": 1e30}}}}
    before = (run / "out" / "cells" / "real-2-0" / "models" / "real" / "weights.safetensors").stat()
    page = run_grid(parse_grid(more), run / "out")
    said = capsys.readouterr().err
    assert "train-real: unchanged" in said
    after = (run / "out" / "cells" / "real-2-0" / "models" / "real" / "weights.safetensors").stat()
    assert after.st_mtime_ns == before.st_mtime_ns
    result = json.loads((run / "out" / "arms.json").read_text())
    assert {(f["arm"], f["n"]) for f in result["failed"]} == {("bad", 2), ("bad", 3)}
    assert "lower lr" in result["failed"][0]["error"]
    assert "2\N{NO-BREAK SPACE}trainings failed" in page.read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": {}}, "arms"),
        ({"images_per_class": [2, 2]}, "each once"),
        ({"images_per_class": [0]}, "images_per_class"),
        (
            {"arms": {"real": {"runs": {}}}},
            r"unknown key 'arms.real.runs' \(did you mean 'run'\?\)",
        ),
        ({"weak": ["XX"]}, "unknown class 'XX'"),
        ({"arms": {"real": {}, "b": {"beside": "c"}}}, "arms.b.beside: c is no arm"),
        ({"laboratories": ["nowhere"]}, "laboratories: nowhere: no such folder"),
        ({"arms": {"real": {"run": {"epoch": 3}}}}, r"arms.real: unknown key 'runs.real.epoch'"),
        ({"run": {"model": "custom_cnn", "composite_share": 0.5}}, "set composites to true"),
    ],
)
def test_a_mistake_is_named_before_anything_runs(changes, message, tmp_path):
    with pytest.raises(NaturalizeError, match=message):
        run_grid(parse_grid({**GRID, **changes}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_options_of_a_study_are_refused(run, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_app(["run", str(run / "grid.yaml"), "--until", "bank"])
    assert "this file is a grid" in capsys.readouterr().err


@pytest.mark.parametrize("file", sorted(STUDIES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_studies_of_the_repository_are_valid(file):
    raw = read_study(file, ["data.root=somewhere"])
    if not is_grid(raw):
        check_study(parse_study(raw))
        return
    grid = parse_grid(raw)
    studies = [grid.study(Cell(arm, 10, 0)) for arm in grid.arms]
    for study in {study.compose and study.compose.mode: study for study in studies}.values():
        check_study(study)
    runs = [run for study in studies for run in study.runs.values()]
    assert len({(run.samples_per_epoch, run.epochs) for run in runs}) == 1
