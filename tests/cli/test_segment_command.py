"""`naturalize segment` as a user meets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from naturalize.base.artifacts import read_manifest
from naturalize.base.errors import InputError, SettingsError
from naturalize.base.images import read_image, write_image
from naturalize.cli.app import build_app
from naturalize.dataset.phantom import render_phantom


def run(*arguments: object) -> None:
    build_app()(args=[str(a) for a in arguments], standalone_mode=False)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for label in ("LY", "PLT", "SNE"):
        write_image(root / label / f"{label}[1].jpg", render_phantom(label, 3, 0).image)
    write_image(root / "blank.png", np.full((90, 80, 3), 240, np.uint8))
    return root


def test_masks_overlays_sheet_and_what_became_of_each(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cells"
    run("segment", images, "-s", "classical", "-o", out, "--masks", "--overlays",
        "--engine", "serial")  # fmt: skip
    said = " ".join(capsys.readouterr().out.split())
    assert "4 images" in said
    assert "1 no cell found: blank.png" in said
    assert "sheet.jpg" in said
    assert np.asarray(Image.open(out / "masks" / "LY[1].png")).max() >= 1
    assert (out / "overlays" / "PLT[1].jpg").is_file()
    assert read_image(out / "sheet.jpg").shape[1] > 3 * 256


def test_settings_reach_the_segmenter(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "cells"
    one = images / "LY" / "LY[1].jpg"
    run("segment", one, "-o", out, "-s", "classical", "--set", "cell_size=72",
        "--engine", "serial")  # fmt: skip
    assert read_manifest(out).settings["cell_size"] == 72
    assert not (out / "sheet.jpg").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "cellsize=3"], "cell_size"),
        (["--set", "cell_size"], "KEY=VALUE"),
        (["--set", "cell_size=[1"], "YAML"),
        (["-s", "clasical"], "did you mean 'classical'"),
    ],
)
def test_a_mistake_is_refused_before_any_work(
    images: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        run("segment", images, "-o", tmp_path / "cells", *options)
    assert {p.name for p in tmp_path.iterdir()} == {"images"}


def test_a_folder_of_somebody_else_is_not_written_to(images: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        run("segment", tmp_path / "nowhere", "-o", tmp_path / "cells")
    with pytest.raises(Exception, match="did not write"):
        run("segment", images, "-o", images)
