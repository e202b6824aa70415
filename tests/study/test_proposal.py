"""A study that is written for a folder of images suits it, and runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from naturalize.base.errors import InputError, SettingsError
from naturalize.base.images import write_image
from naturalize.cli.app import build_app
from naturalize.dataset.phantom import write_phantom
from naturalize.study.check import check_study
from naturalize.study.proposal import propose
from naturalize.study.run import run_study
from naturalize.study.settings import load_study, parse_study

COUNTS = {"BA": 24, "BNE": 8, "EO": 20}


@pytest.fixture(scope="module")
def smears(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smears") / "a phantom"
    write_phantom(folder, per_class=COUNTS, seed=3)
    return folder


@pytest.fixture(scope="module")
def text(smears: Path) -> str:
    return propose(smears).text


def test_the_study_is_valid_and_sized_to_the_images(text: str, smears: Path) -> None:
    study = parse_study(yaml.safe_load(text))
    check_study(study)
    assert study.name == "a-phantom"
    assert study.data.root == smears.resolve()
    assert study.data.scheme == "pbc11"  # by the names of the files
    assert study.compose is not None
    assert (study.compose.mode, study.compose.classes) == ("varied", None)  # all classes alike
    train = {label: round(n * study.split.fractions[0]) for label, n in COUNTS.items()}
    assert study.compose.add <= 10 * train["BNE"]
    total = sum(train.values()) + len(train) * study.compose.add
    budgets = {run.samples_per_epoch for run in study.runs.values()}
    assert len(budgets) == 1
    assert max(budgets) < 2 * total  # no 6,000 images an epoch of 31
    assert {run.composites for run in study.runs.values()} == {False, True}
    assert "52 images in 3 classes, 8 to 24 each" in text
    assert "on this machine" in text
    assert text.count("#") > 10


def test_rare_classes_beside_full_ones_are_composed_by_themselves(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for label, n in {"band": 20, "segmented": 180, "blast": 3, "other": 190}.items():
        for i in range(n):
            image = draw.integers(0, 256, (40, 40, 3), np.uint8)
            write_image(tmp_path / "images" / label / f"{i}.png", image)
    study = parse_study(yaml.safe_load(propose(tmp_path / "images").text))
    assert study.compose is not None
    assert study.compose.classes == ["band"]  # of three blasts nothing can be composed
    composed = study.runs["with-composites"]
    assert composed.sampler == "balanced"
    assert composed.composite_share == pytest.approx(1 / 4 / 2)  # half of what the class is drawn
    assert study.compose.add == 100


def test_the_study_runs_up_to_its_plan(text: str, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text, encoding="utf-8")
    folder = run_study(load_study(file, ["engine.workers=1"]), tmp_path / "run", until="plan")
    assert (folder / "plan" / "plan.parquet").is_file()


def test_the_command_writes_the_file_and_does_not_replace_one(smears: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    first = CliRunner().invoke(build_app(), ["init", "--preset", "pbc11", "-o", str(out)])
    assert first.exit_code == 0, first.output
    assert load_study(out, ["data.root=x"]) == load_study("pbc11", ["data.root=x"])
    again = CliRunner().invoke(build_app(), ["init", str(smears), "-o", str(out)])
    assert "--overwrite" in str(again.exception)
    both = CliRunner().invoke(build_app(), ["init", str(smears), "--preset", "demo"])
    assert isinstance(both.exception, InputError)


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images"):
        propose(tmp_path)


def test_a_class_that_is_wrong_stops_as_soon_as_the_images_are_listed(
    smears: Path, tmp_path: Path
) -> None:
    study = {
        "name": "x", "data": {"root": str(smears), "scheme": "pbc11"},
        "compose": {"add": 5, "classes": ["BNN"]},
        "runs": {"a": {"model": "custom_cnn", "composites": True}},
        "engine": {"workers": 1},
    }  # fmt: skip
    with pytest.raises(SettingsError, match=r"classes: unknown class 'BNN' .did you mean 'BNE'"):
        run_study(parse_study(study), tmp_path / "run")
    assert (tmp_path / "run" / "catalog").is_dir()
    assert not (tmp_path / "run" / "audit").exists()
    study["compose"]["classes"] = ["PMY"]  # of the scheme, but without an image here
    with pytest.raises(InputError, match=r"compose\.classes: class 'PMY' has no image"):
        run_study(parse_study(study), tmp_path / "run")


def test_grey_squares_of_one_class_are_said_to_be_too_few(tmp_path: Path) -> None:
    for i in range(2):
        write_image(tmp_path / "images" / "a" / f"{i}.png", np.full((40, 40, 3), 90 + i, np.uint8))
    for i in range(9):
        write_image(tmp_path / "images" / "b" / f"{i}.png", np.full((40, 40, 3), 9 + i, np.uint8))
    found = propose(tmp_path / "images", workers=1)
    assert any("class 'a' has 2 image(s), too few" in remark for remark in found.remarks)
    assert any("no patient or slide is known" in remark for remark in found.remarks)
    assert yaml.safe_load(found.text)["runs"]["real-only"]["input_size"] == 32
