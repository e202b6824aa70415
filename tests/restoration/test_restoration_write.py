"""Backgrounds of many images: the artifact, its table, the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from naturalize.base.artifacts import read_manifest, read_table
from naturalize.base.errors import InputError, SettingsError
from naturalize.base.images import read_image, write_image
from naturalize.cells.segmenters import segmenter
from naturalize.cli.app import run_app
from naturalize.dataset.phantom import render_phantom
from naturalize.inputs.images import open_source
from naturalize.restoration.write import SCENES, difference, summary, write_backgrounds


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for label in ("LY", "SNE", "PLT"):
        write_image(folder / label / "1.jpg", render_phantom(label, 2, 0, size=(240, 240)).image)
    (folder / "LY" / "broken.jpg").write_bytes(b"no picture")
    return folder


def _backgrounds(source: Path, find, out: Path, **options) -> Path:
    root, items, inputs = open_source(source)
    return write_backgrounds(items, root, find, out, inputs=inputs, **options)


def files(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_every_image_s_outcome_is_in_the_table(images: Path, tmp_path: Path) -> None:
    out = _backgrounds(images, segmenter("classical"), tmp_path / "out", sheet=True)
    assert read_manifest(out, "backgrounds").settings["without"] == "wbc"
    rows = read_table(out / "backgrounds.parquet", SCENES).to_pylist()
    outcome = {row["path"]: row["outcome"] for row in rows}
    assert outcome["LY/1.jpg"] == outcome["SNE/1.jpg"] == "ok"
    assert "not an image" in outcome["LY/broken.jpg"]
    for row in rows:
        assert (row["file"] is None) == ("broken" in row["path"])
        if row["file"]:
            assert read_image(out / row["file"]).shape == (240, 240, 3)
            assert 0 <= row["quality"] <= 1
    assert read_image(out / "sheet.jpg").ndim == 3
    assert any("not an image" in line for line in summary(read_table(out / "backgrounds.parquet")))


def test_workers_do_not_change_a_byte(images: Path, tmp_path: Path) -> None:
    one, two = (
        _backgrounds(
            images, segmenter("classical"), tmp_path / str(n), backend="processes", workers=n
        )
        for n in (1, 2)
    )
    assert files(one) == files(two)


def test_the_command_takes_everything_out(images: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "bare"
    picture = str(images / "LY" / "1.jpg")
    with pytest.raises(SystemExit) as end:
        run_app(["background", picture, "-o", str(out), "--without", "all"])
    assert end.value.code == 0
    row = read_table(out / "backgrounds.parquet", SCENES).to_pylist()[0]
    assert row["n_removed"] > 1
    assert "usable" in capsys.readouterr().out


def test_mistakes_are_named(images: Path, tmp_path: Path) -> None:
    find = segmenter("classical")
    with pytest.raises(SettingsError, match="did you mean 'wbc'"):
        _backgrounds(images, find, tmp_path / "x", without="wbcs")
    with pytest.raises(InputError, match="no such folder or file"):
        _backgrounds(tmp_path / "nowhere", find, tmp_path / "x")


@pytest.mark.parametrize(("change", "factor"), [(0, 4.0), (10, 4.0), (100, 1.2), (255, 0.4)])
def test_the_difference_clips_nothing_and_says_its_factor(change: int, factor: float) -> None:
    before = np.zeros((4, 6, 3), np.uint8)
    after = before.copy()
    after[1, 2] = change
    found, said = difference(before, after)
    assert said == factor
    assert found[1, 2, 0] == round(128 + factor * change)
    assert found[0, 0].tolist() == [128, 128, 128]
    assert (difference(after, before)[0][1, 2] == round(128 - factor * change)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--without", "rbc"), "unknown choice"), (("-s", "unett"), "did you mean 'unet'")],
)
def test_choices_are_checked_before_images_are_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, str], message: str
) -> None:
    with pytest.raises(SystemExit) as end:
        run_app(["background", str(tmp_path / "nowhere"), "-o", str(tmp_path / "out"), *arguments])
    assert end.value.code == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
