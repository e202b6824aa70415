"""What composing from labelled images leaves behind, and what goes on from there."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from naturalize.base.artifacts import is_artifact, read_json, read_manifest
from naturalize.base.errors import SettingsError
from naturalize.base.images import write_image
from naturalize.cells import segment
from naturalize.cells.bank import CellBank
from naturalize.cli.compose import compose
from naturalize.compose.paint.render import render
from naturalize.compose.recipe.plan import Plan
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split
from naturalize.inputs.compose import open_plan, open_source
from naturalize.inputs.training import open_data

LEFT = ("bank", "catalog", "cells", "split")


def run(*arguments: object) -> None:
    """Run the command, serially, and let its errors out."""
    app = typer.Typer()
    app.command()(compose)
    words = [str(argument) for argument in arguments]
    words = ["-m", "paper", *words, "--engine", "serial"]
    CliRunner().invoke(app, words, catch_exceptions=False)
    # a NaturalizeError is raised as it is: only the whole program turns it into a line


@pytest.fixture(scope="module")
def tree(phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images of each of two classes, one folder a class."""
    root = tmp_path_factory.mktemp("tree") / "images"
    for label in ("LY", "SNE"):
        (root / label).mkdir(parents=True)
        for file in sorted((phantom_root / "images").rglob(f"{label}_*.jpg"))[:4]:
            shutil.copy(file, root / label / file.name)
    return root


@pytest.fixture(scope="module")
def made(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan of composites from the tree, which was split on the way."""
    out = tmp_path_factory.mktemp("made") / "plan"
    run(tree, "--add", 2, "--classes", "LY,SNE", "--fractions", "0.5,0.25,0.25", "-o", out)
    return out


@pytest.fixture
def no_segmenting(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_settings: object) -> None:
        raise AssertionError("segmented again")

    monkeypatch.setattr(segment, "segment_images", refuse)


def test_all_that_was_made_on_the_way_lies_beside_the_plan(made: Path, tree: Path) -> None:
    assert all(is_artifact(made / kind, kind) for kind in LEFT)
    assert Catalog.load(made / "catalog").fingerprint == Catalog.build(tree).fingerprint
    assert Plan.load(made).bank == CellBank.load(made / "bank").fingerprint
    assert [p.name for p in made.parent.iterdir()] == ["plan"]


def test_a_tree_split_on_the_way_lends_its_train_part_alone(made: Path) -> None:
    train = set(Split.load(made / "split").ids("train"))
    assert len(train) == 4
    assert Plan.load(made).parents() <= train
    told = read_json(made / "lineage.json")
    assert (told["outside"], told["n_composites"]) == (0, 4)
    assert told["split"] == Split.load(made / "split").hash


def test_realism_finds_the_bank(made: Path) -> None:
    plan, bank = open_plan(made)
    assert render(plan.recipe(0), bank).dtype == np.uint8


def test_training_goes_on_from_there(made: Path) -> None:
    data = open_data(made, composites=True)
    assert data.plan is not None
    assert data.bank is not None
    assert data.plan.parents() <= set(data.split.ids("train"))


@pytest.mark.usefixtures("no_segmenting")
def test_the_same_call_again_gives_the_same_files_and_segments_nothing(
    made: Path, tree: Path, tmp_path: Path
) -> None:
    again = shutil.copytree(made, tmp_path / "plan")
    run(tree, "--add", 2, "--classes", "LY,SNE", "--fractions", "0.5,0.25,0.25", "-o", again)
    assert read_manifest(again) == read_manifest(made)
    more = ["--add", 3, "--seed", 5, "--write", "imagefolder", "--fractions", "0.5,0.25,0.25"]
    run(tree, *more, "-o", again)
    assert len(Plan.load(again / "plan")) == 3
    assert all(is_artifact(again / kind, kind) for kind in LEFT)


@pytest.mark.usefixtures("no_segmenting")
def test_composing_goes_on_from_there(made: Path, tmp_path: Path) -> None:
    run(made, "--per-class", 4, "--classes", "LY,SNE", "-o", tmp_path / "more")
    assert Plan.load(tmp_path / "more").targets == {"LY": 2, "SNE": 2}  # beside 2 of the train part
    assert read_json(tmp_path / "more" / "lineage.json")["outside"] == 0


def test_other_images_or_another_segmenter_do_segment(
    made: Path, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def stop(*arguments: object, **_settings: object) -> None:
        asked.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(segment, "segment_images", stop)
    fewer = shutil.copytree(tree, tmp_path / "fewer")
    next((fewer / "LY").iterdir()).unlink()
    shares = (0.5, 0.25, 0.25)
    for source, settings in ((fewer, {}), (tree, {"segmenter": "classical"})):
        with (
            pytest.raises(KeyboardInterrupt),
            open_source(source, work=tmp_path / "work", kept=made, fractions=shares, **settings),
        ):
            pass
    assert len(asked) == 2


def test_counts_of_a_tree_are_those_of_its_folder_too(
    tree: Path, made: Path, tmp_path: Path
) -> None:
    with open_source(tree, work=tmp_path / "work", kept=made) as found:
        found.keep(tmp_path / "kept")
    assert not (tmp_path / "kept" / "split").exists()
    with open_source(tmp_path / "kept", work=tmp_path / "work") as again:
        assert again.real == found.real == {"LY": 4, "SNE": 4}
        assert again.bank.fingerprint == found.bank.fingerprint


def test_the_bank_of_an_archive_takes_its_images_along(phantom_root: Path, tmp_path: Path) -> None:
    from naturalize.base.images import read_image

    files = sorted((phantom_root / "images").rglob("LY_*.jpg"))[:3]
    images = np.stack([read_image(file) for file in files])
    np.savez(
        tmp_path / "few.npz", train_images=images, train_labels=np.zeros((len(images), 1), int)
    )
    with open_source(tmp_path / "few.npz", work=tmp_path / "work") as found:
        found.keep(tmp_path / "kept")
    bank = CellBank.load(tmp_path / "kept" / "bank")
    image_id = bank.table["image_id"][0].as_py()
    np.testing.assert_array_equal(bank.image(image_id, check=True), found.bank.image(image_id))


@pytest.mark.parametrize(
    ("source", "more", "words"),
    [
        ("made", [], "holds cells already"),
        ("made/catalog", ["--split", "made/split"], "name one of them"),
        ("tree", ["--fractions", "0.5,0.5"], "expected three"),
        ("tree", ["--fractions", "half"], "three numbers such as"),
    ],
)
def test_what_cannot_be_split_is_said(
    made: Path, tree: Path, tmp_path: Path, source: str, more: list[str], words: str
) -> None:
    def place(text: str) -> str:
        name, _, rest = text.partition("/")
        return str({"made": made, "tree": tree}[name] / rest) if name in ("made", "tree") else text

    with pytest.raises(SettingsError, match=words):
        run(
            place(source), "--add", 1, "--fractions", "0.5,0.25,0.25",
            *map(place, more), "-o", tmp_path / "out",
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_a_picture_with_two_labels_is_left_out_of_the_split(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(tree, tmp_path / "tree")
    for label in ("LY", "SNE"):
        write_image(root / label / "twice.png", np.full((90, 90, 3), 200, np.uint8))
    with open_source(root, work=tmp_path / "work", fractions=(0.5, 0.25, 0.25)) as found:
        assert found.split is not None
        assert len(found.split.dropped) == 2
    assert "twice.png" in capsys.readouterr().err


def test_a_plan_of_a_bank_finds_it_again(made: Path, tmp_path: Path) -> None:
    for source in (made, made / "bank"):
        out = tmp_path / source.name / "out"
        out.mkdir(parents=True)
        with open_source(source, work=tmp_path / "work") as found:
            found.keep(out)
        again = CellBank.load(out / "bank")
        assert again.fingerprint == found.bank.fingerprint
        image_id = again.table["image_id"][0].as_py()
        np.testing.assert_array_equal(again.image(image_id), found.bank.image(image_id))
    with open_source(made, work=tmp_path / "work") as found:
        found.keep(made / "beside")  # the study's own bank is found there
    assert not (made / "beside").exists()


def test_a_bank_whose_images_moved_is_kept_with_their_place(made: Path, tmp_path: Path) -> None:
    root = CellBank.load(made / "bank").root
    moved = shutil.copytree(root, tmp_path / "moved")
    out = tmp_path / "out"
    out.mkdir()
    with open_source(made / "bank", work=tmp_path / "work", root=moved) as found:
        found.keep(out)
    assert CellBank.load(out / "bank").root == moved.resolve()
