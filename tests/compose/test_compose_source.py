"""What a user may call SOURCE, and the command that composes from it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from compose_makers import make_bank
from PIL import Image
from typer.testing import CliRunner

from naturalize.base.artifacts import read_json
from naturalize.base.errors import ArtifactError, InputError, NaturalizeError
from naturalize.base.images import read_image
from naturalize.cells.bank import CellBank
from naturalize.cli.compose import compose
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.render import render
from naturalize.compose.recipe.plan import Plan
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split
from naturalize.inputs.compose import open_source


@pytest.fixture(scope="module")
def tree(phantom_root: Path, tmp_path_factory) -> Path:
    """Four images of each of three classes, one folder a class."""
    root = tmp_path_factory.mktemp("tree") / "images"
    for label in ("BNE", "SNE", "LY"):
        (root / label).mkdir(parents=True)
        for file in sorted((phantom_root / "images").rglob(f"{label}_*.jpg"))[:4]:
            shutil.copy(file, root / label / file.name)
    return root


@pytest.fixture(scope="module")
def study(tree: Path, tmp_path_factory) -> Path:
    """A folder with a catalog, a split and a bank in it, as a study has."""
    folder = tmp_path_factory.mktemp("study")
    catalog = Catalog.build(tree)
    split = Split.build(catalog, fractions=(0.5, 0.25, 0.25), seed=1)
    catalog.save(folder / "catalog")
    split.save(folder / "split")
    with open_source(folder, work=folder / ".work") as found:
        found.bank.save(folder / "bank")
    return folder


def test_a_study_lends_its_bank_and_its_split(study: Path, tmp_path: Path) -> None:
    with open_source(study, work=tmp_path / "work") as found:
        split = Split.load(study / "split")
        assert found.bank.fingerprint == CellBank.load(study / "bank").fingerprint
        assert found.real == split.counts()["train"]
        drawn = plan(found.bank, mode="paper", add=4, real=found.real)
        told = found.lineage(drawn)
    assert drawn.parents() <= set(split.ids("train"))
    assert (told["outside"], told["n_composites"]) == (0, 8)
    assert not (tmp_path / "work").exists()


def test_a_bank_alone_claims_no_lineage(study: Path, tmp_path: Path) -> None:
    with open_source(study / "bank", work=tmp_path / "work") as found:
        told = found.lineage(plan(found.bank, mode="paper", add=1))
    assert "outside" not in told
    assert told["statement"].startswith("not checked")
    assert "'train'" in told["statement"]
    with open_source(study / "bank", work=tmp_path / "work", split=study / "split") as found:
        assert found.lineage(plan(found.bank, mode="paper", add=1))["outside"] == 0


def test_a_leaking_bank_is_told(study: Path, tree: Path, tmp_path: Path) -> None:
    with open_source(tree, work=tmp_path / "work") as found:
        found.bank.save(tmp_path / "bank")
    with open_source(tmp_path / "bank", work=tmp_path / "work", split=study / "split") as found:
        told = found.lineage(plan(found.bank, mode="paper", add=30))
    assert told["outside"] > 0
    assert told["statement"].startswith(f"{told['outside']:,} of 60")


def test_labelled_images_are_segmented_on_the_way(tree: Path, tmp_path: Path) -> None:
    with open_source(tree, work=tmp_path / "work") as found:
        assert found.split is None
        assert found.bank.part is None
        assert found.real == {"BNE": 4, "LY": 4, "SNE": 4}
        drawn = plan(found.bank, mode="paper", add=2, real=found.real)
        assert render(drawn.recipe(0), found.bank).shape == (363, 360, 3)
    assert not (tmp_path / "work").exists()


def test_with_a_split_only_train_images_lend_cells(tree: Path, study: Path, tmp_path: Path) -> None:
    with open_source(tree, work=tmp_path / "work", split=study / "split") as found:
        assert set(found.bank.table["image_id"].to_pylist()) <= set(found.split.ids("train"))
        assert found.bank.part == "train"


def test_an_image_with_two_labels_lends_no_cell(tree: Path, tmp_path: Path) -> None:
    root = shutil.copytree(tree, tmp_path / "tree")
    twice = sorted((root / "BNE").iterdir())[0]
    shutil.copy(twice, root / "SNE" / "copy.jpg")
    with open_source(root, work=tmp_path / "work") as found:
        paths = set(found.bank.table["path"].to_pylist())
    assert not paths & {f"BNE/{twice.name}", "SNE/copy.jpg"}
    assert len(paths) == 11


def test_a_killed_run_does_not_segment_again(tree: Path, tmp_path: Path, monkeypatch) -> None:
    class Killed(BaseException):
        pass

    work = tmp_path / "work"
    killed = open_source(tree, work=work)
    first = killed.__enter__().bank.table
    assert not killed.__exit__(Killed, Killed(), None)
    assert work.is_dir()

    from naturalize.cells import segment

    def refuse(*_args, **_settings):
        raise AssertionError("segmented again")

    monkeypatch.setattr(segment, "segment_images", refuse)
    with open_source(tree, work=work) as found:
        assert found.bank.table.equals(first)
    assert not work.exists()
    with pytest.raises(AssertionError, match="segmented again"), open_source(tree, work=work):
        pass


def test_a_mistake_leaves_nothing(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError), open_source(tree, work=tmp_path / "work") as found:
        plan(found.bank, mode="paper", add=9, max_reuse=1)
    assert not list(tmp_path.iterdir())


def test_sources_without_cells_are_refused(study: Path, tree: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    with pytest.raises(InputError, match="no such folder"), open_source("nowhere", work=work):
        pass
    with (
        pytest.raises(ArtifactError, match="is a split"),
        open_source(study / "split", work=work),
    ):
        pass
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"), open_source(tmp_path / "empty", work=work):
        pass
    make_bank(tmp_path / "other", per_class=1)
    with (
        pytest.raises(InputError, match="made from other images"),
        open_source(tmp_path / "other", work=work, split=study / "split"),
    ):
        pass


def run(*arguments: object):
    """Return the result of the command, serial and without the other commands."""
    app = typer.Typer()
    app.command()(compose)
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(app, ["-m", "paper", *words, "--engine", "serial"])
    if result.exception and not isinstance(result.exception, (NaturalizeError, SystemExit)):
        raise result.exception
    return result


def test_the_command_writes_a_plan_with_lineage_and_sheet(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "plan"
    assert run(study, "--add", 3, "-o", out).exit_code == 0
    assert len(Plan.load(out)) == 6
    assert read_json(out / "lineage.json")["outside"] == 0
    sheet = read_image(out / "sheet.jpg")
    assert sheet.shape[0] > 250
    assert (np.abs(sheet.astype(int) - (253, 229, 203)).max(axis=2) < 8).mean() > 0.1
    assert [p.name for p in tmp_path.iterdir()] == ["plan"]


def test_the_command_renders_folders_that_others_can_eat(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(tree, "--add", 2, "--classes", "LY, SNE", "--write", "imagefolder", "-o", out)
    assert done.exit_code == 0
    found = sorted(p.relative_to(out / "images") for p in (out / "images").rglob("*.jpg"))
    ids = Plan.load(out / "plan").ids
    assert sorted(p.stem for p in found) == sorted(ids)
    assert [p.parent.name for p in found] == ["LY", "LY", "SNE", "SNE"]
    assert {Image.open(out / "images" / p).size for p in found} == {(360, 363)}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    again = Catalog.build(out)
    assert again.counts() == {"LY": 2, "SNE": 2}


def test_settings_of_the_mode_reach_the_plan(study: Path, tmp_path: Path) -> None:
    run(study, "--add", 1, "--set", "turn=any", "--set", "red_cells=2", "-o", tmp_path / "plan")
    told = Plan.load(tmp_path / "plan").settings
    assert (told["turn"], told["red_cells"]) == ("any", 2)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([], "name one target"),
        (["--add", 1, "--balance"], "add and balance"),
        (["--add", 1, "-m", "papre"], "did you mean 'paper'"),
        (["--add", 1, "--set", "turm=any"], "did you mean 'turn'"),
        (["--add", 1, "--set", "turn"], "KEY=VALUE"),
        (["--add", 1, "--set", "turn=[1"], "not YAML"),
        (["--add", 1, "--write", "imagefolders"], "imagefolder"),
        (["--add", 1, "--write", "imagefolder", "--format", "gif"], "jpeg"),
        (["--add", 1, "--classes", "BNE,XYZ"], "unknown class 'XYZ'"),
        (["--add", 99, "--max-reuse", 2], "class BNE: 99 composites asked"),
    ],
)
def test_mistakes_end_in_one_line_and_leave_nothing(
    study: Path, tmp_path: Path, wrong: list, words: str
) -> None:
    done = run(study, *wrong, "-o", tmp_path / "out")
    assert isinstance(done.exception, NaturalizeError)
    assert words in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_a_place_that_is_taken_is_refused_before_long_work(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    done = run(tree, "--add", 1, "-o", tmp_path / "mine")
    assert "did not write" in str(done.exception)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
