"""``naturalize compose --write``: every writer by name, and the options that are theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from compose_makers import make_bank
from typer.testing import CliRunner

from naturalize.base.artifacts import read_json, read_manifest, read_table
from naturalize.base.errors import SettingsError
from naturalize.base.images import read_image
from naturalize.cli.compose import compose, size_of


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("options")
    make_bank(folder / "images", per_class=4, labels=("LY", "SNE")).save(folder / "bank")
    return folder / "bank"


def run(bank: Path, out: Path, *arguments: object) -> str:
    """Run the command, serially, let its errors out, and return what it printed."""
    app = typer.Typer()
    app.command()(compose)
    words = [str(bank), "-m", "scene", "--add", "2", *map(str, arguments), "-o", str(out)]
    done = CliRunner().invoke(app, [*words, "--engine", "serial"], catch_exceptions=False)
    # composites never come without the plan they are of
    assert read_json(out / "plan" / "lineage.json")["n_composites"] == 4
    assert (out / "plan" / "sheet.jpg").is_file()
    return done.output


def test_the_help_names_every_writer_and_sorts_options_into_panels() -> None:
    app = typer.Typer()
    app.command()(compose)
    said = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).output
    assert all(name in said for name in ("imagefolder", "webdataset", "coco"))
    panels = ("How many", "How they are made", "Rendered files", "Where the cells come from")
    places = [said.index(panel) for panel in panels]
    assert places == sorted(places)
    for option, place, end in (("--per-class", 0, 1), ("--gate", 1, 2), ("--masks", 2, 3)):
        assert places[place] < said.index(option, places[0]) < places[end]


def test_masks_and_boxes_on_request(bank: Path, tmp_path: Path) -> None:
    run(bank, tmp_path / "out", "--write", "imagefolder", "--masks", "--format", "png")
    assert len(list((tmp_path / "out").glob("masks/*/*.png"))) == 4
    boxes = read_table(tmp_path / "out" / "boxes.parquet")
    assert set(boxes["label"].to_pylist()) >= {"LY", "SNE"}
    run(bank, tmp_path / "bare", "--write", "imagefolder")
    assert not (tmp_path / "bare" / "masks").exists()


def test_shards_are_as_small_as_asked_for(bank: Path, tmp_path: Path) -> None:
    run(bank, tmp_path / "out", "--write", "webdataset", "--masks", "--shard-mb", "0.02")
    told = read_json(tmp_path / "out" / "shards.json")
    assert told["samples"] == 4
    assert len(told["shards"]) > 1
    run(bank, tmp_path / "one", "--write", "webdataset")
    assert len(read_json(tmp_path / "one" / "shards.json")["shards"]) == 1


@pytest.mark.parametrize(("text", "size"), [("64", (64, 64)), ("80x60", (80, 60))])
def test_images_have_the_size_asked_for(
    bank: Path, tmp_path: Path, text: str, size: tuple[int, int]
) -> None:
    run(bank, tmp_path / "out", "--write", "coco", "--size", text, "--format", "png")
    file = next((tmp_path / "out").glob("images/*/*.png"))
    assert read_image(file).shape[1::-1] == size
    told = read_json(tmp_path / "out" / "annotations.json")
    assert {(image["width"], image["height"]) for image in told["images"]} == {size}


def test_coco_says_that_it_has_masks_anyway(bank: Path, tmp_path: Path) -> None:
    said = run(bank, tmp_path / "one", "--write", "coco", "--masks", "--size", "48")
    assert "changes nothing" in said
    assert "changes nothing" not in run(bank, tmp_path / "other", "--write", "coco", "--size", "48")
    assert read_manifest(tmp_path / "one").files == read_manifest(tmp_path / "other").files


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--write", "cocco"], "did you mean 'coco'.*imagefolder, webdataset, coco"),
        (["--masks"], "--masks is of rendered files; add --write"),
        (["--size", 64], "--size is of rendered files"),
        (["--shard-mb", 5], "--shard-mb is of rendered files"),
        (["--write", "coco", "--shard-mb", 5], "coco writes no shards"),
        (["--write", "webdataset", "--shard-mb", 0], "0.01 MiB or more, got 0"),
        (["--write", "webdataset", "--shard-mb", "nan"], "got nan"),
        (["--write", "coco", "--size", 0], "such as 192 or 320x240, got '0'"),
        (["--write", "coco", "--size", "64x"], "got '64x'"),
        (["--write", "coco", "--size", "-5x5"], "got '-5x5'"),
        (["--write", "coco", "--size", "large"], "got 'large'"),
        (["--write", "coco", "--format", "gif"], "jpeg, png"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_any_work(
    bank: Path, tmp_path: Path, arguments: list, words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        run(bank, tmp_path / "out", *arguments)
    assert not list(tmp_path.iterdir())


def test_sizes_are_read_as_people_write_them() -> None:
    assert size_of(" 320X240 ") == (320, 240)
    assert size_of(None) is None
