"""What `predict` reads: odd names, hidden folders, links, and files of more than eight bits."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from naturalize.base.images import read_image, write_image
from naturalize.cli.app import run_app


def predicted(tmp_path: Path, *images: Path) -> list[dict[str, str]]:
    out = tmp_path / f"{len(list(tmp_path.glob('*.csv')))}.csv"
    with pytest.raises(SystemExit, match="0"):
        run_app(["predict", *map(str, images), "-o", str(out)])
    return list(csv.DictReader(out.open()))


def test_hidden_folders_links_and_names_that_are_no_text(tmp_path, capsys):
    root, other = tmp_path / "images", tmp_path / "other"
    slide = np.full((40, 40, 3), (250, 228, 203), np.uint8)
    for place in ("EO", ".ipynb_checkpoints", ".Trash-1000/files", "__MACOSX"):
        write_image(root / place / "a.png", slide)
    write_image(other / "b.png", slide)
    (root / "LY").symlink_to(other)
    (root / "again").symlink_to(root / "EO")
    shutil.copy(other / "b.png", os.fsencode(root) + b"/Zelle-\xe4.png")
    rows = predicted(tmp_path, root)
    assert [row["path"] for row in rows] == [f"{root}/EO/a.png", f"{root}/LY/b.png"]
    said = capsys.readouterr()
    assert "not valid UTF-8 (" in said.err
    assert "predictions of 2 images" in said.out


@pytest.mark.real
def test_twelve_bits_in_sixteen_are_read_by_their_own_range(real_data, tmp_path):
    path = sorted((real_data / "pbc" / "lymphocyte").glob("*.jpg"))[0]
    deep = read_image(path).astype(np.uint16) * 16
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb")
    (plain,) = predicted(tmp_path, path)
    (row,) = predicted(tmp_path, tmp_path / "deep.tif")
    assert row["label"] == plain["label"]
    assert abs(float(row["confidence"]) - float(plain["confidence"])) < 0.05
    assert "rescaled" in row["flag"]
