"""Whole fields: a row for each white cell, where it is, and no class for what holds none."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from naturalize.base.images import content_hash, read_image, write_image
from naturalize.cli.app import run_app
from naturalize.models.predictor import Predictor
from naturalize.models.shipped import find
from naturalize.prediction.files import predict_files


@pytest.fixture(scope="module")
def cells(real_data: Path) -> list[Path]:
    """Six images of one size that the model was not trained on, of four classes."""
    seen = set((find("pbc11") / "training_images.txt").read_text().split())
    chosen: list[Path] = []
    for folder in ("eosinophil", "lymphocyte", "monocyte", "basophil"):
        unseen = (
            path
            for path in sorted((real_data / "pbc" / folder).glob("*.jpg"))
            if content_hash(path.read_bytes()) not in seen
            and read_image(path).shape == (363, 360, 3)
        )
        chosen += [next(unseen), next(unseen)]
    return chosen[:6]


@pytest.fixture(scope="module")
def field(cells: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The six side by side, three in a row."""
    images = [read_image(path) for path in cells]
    path = tmp_path_factory.mktemp("field") / "field.png"
    write_image(path, np.vstack([np.hstack(images[:3]), np.hstack(images[3:])]))
    return path


def run(*words: object) -> None:
    with pytest.raises(SystemExit, match="0"):
        run_app([str(word) for word in words])


@pytest.mark.real
def test_each_white_cell_of_a_field_gets_its_class_and_place(cells, field, tmp_path, capsys):
    out = tmp_path / "p.csv"
    run("predict", field, "-o", out)
    assert f"{field}: this is a field; use naturalize read" in capsys.readouterr().err
    rows = list(csv.DictReader(out.open()))
    assert [int(row["cell"]) for row in rows] == list(range(1, len(rows) + 1))
    alone = {row.path: row.label for row in predict_files(Predictor.load("pbc11"), cells)}
    right = 0
    for i, path in enumerate(cells):
        x, y = 360 * (i % 3) + 180, 363 * (i // 3) + 181
        there = [
            row
            for row in rows
            if int(row["x0"]) < x < int(row["x1"]) and int(row["y0"]) < y < int(row["y1"])
        ]
        assert len(there) == 1, path
        right += there[0]["label"] == alone[path]
    assert right >= 5
    run("predict", field, "-o", tmp_path / "whole.csv", "--whole")
    whole = list(csv.DictReader((tmp_path / "whole.csv").open()))
    assert len(whole) == 1
    assert "cell" not in whole[0]


@pytest.mark.real
def test_a_field_without_a_white_cell_has_none(cells, tmp_path):
    red_cells = read_image(cells[0])[:110, :360]  # a strip above the cell
    write_image(tmp_path / "reds.png", np.tile(red_cells, (6, 2, 1)))
    write_image(tmp_path / "slide.png", np.full((800, 900, 3), (250, 228, 203), np.uint8))
    for row in predict_files(Predictor.load("pbc11"), sorted(tmp_path.iterdir())):
        assert row.label == "no white cell"
        assert row.confidence is None


@pytest.mark.real
def test_fields_and_images_of_one_cell_go_together_in_any_batch_and_engine(cells, field):
    paths = [cells[0], field, cells[1]]
    found = {
        (engine, batch): list(
            predict_files(Predictor.load("pbc11", engine=engine), paths, batch=batch)
        )
        for engine, batch in (("onnx", 1), ("onnx", 32), ("torch", 2))
    }
    first = found["onnx", 1]
    assert first[0].number is None
    assert first[1].number == 1
    assert first[-1].path == cells[1]
    for rows in found.values():
        assert [(row.path, row.label, row.box, row.flags) for row in rows] == [
            (row.path, row.label, row.box, row.flags) for row in first
        ]
