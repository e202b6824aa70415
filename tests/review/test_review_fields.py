"""A reading of fields as a review: its white cells, their outlines, the fields around them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from naturalize.base.artifacts import read_table, write_table
from naturalize.base.errors import InputError
from naturalize.base.images import decode_image, write_image
from naturalize.cells.tables import cell_of
from naturalize.fields.outcome import CUT
from naturalize.review.service.intake.prepare import make
from naturalize.review.service.pictures.pictures import Pictures
from naturalize.review.service.review import Review

SAMPLE = Path(__file__).parents[1] / "fields" / "samples" / "fields-v1"


@pytest.fixture
def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kept reading, and in ``slides/`` beside it fields on which its white cells are dark."""
    shutil.copytree(SAMPLE, tmp_path / "reading")
    cells = read_table(SAMPLE / "cells.parquet").to_pylist()
    for field in read_table(SAMPLE / "fields.parquet").to_pylist():
        image = np.full((field["height"] or 60, field["width"] or 60, 3), 230, np.uint8)
        for row in cells:
            if row["field"] == field["field"] and row["kind"] == "wbc":
                cell = cell_of(row | {"nucleus": None})
                x0, y0, x1, y1 = cell.box
                image[y0:y1, x0:x1][cell.mask] = 40
        write_image(tmp_path / "slides" / field["field"], image)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "reading"


def test_white_cells_of_a_reading_are_reviewed_and_platelets_counted_apart(reading: Path) -> None:
    rows = read_table(SAMPLE / "cells.parquet").to_pylist()
    whites = [r for r in rows if r["kind"] == "wbc" and CUT not in r["flag"].split("; ")]
    review = Review.open(make([reading]))  # the fields lie in a folder beside it
    settings = review.settings
    assert settings.input == "fields"
    assert settings.platelets == sum(row["kind"] == "platelet" for row in rows)
    assert review.progress(1).total == len(whites)
    pictures = Pictures(review)
    for number, row in enumerate(whites, start=1):
        cell = review.row(number)
        assert cell.box == (row["x0"], row["y0"], row["x1"], row["y1"])
        assert (cell.number, cell.area) == (row["cell"], row["area"])
        assert row["field"].endswith(cell.path)
        assert cell.model_label == row["label"]
        dark = decode_image(pictures.full(number))[0].max(axis=2) < 120
        points, size = pictures.shape(number)
        assert size == dark.shape[::-1]
        y, x = np.nonzero(dark)
        xs, ys = zip(*points, strict=True)
        assert (min(xs), min(ys)) == pytest.approx((x.min(), y.min()), abs=2)
        assert (max(xs), max(ys)) == pytest.approx((x.max(), y.max()), abs=2)
    pictures.close()
    review.close()


def test_cells_that_the_edge_cuts_are_left_out_and_counted(reading: Path) -> None:
    file = reading / "cells.parquet"
    table = read_table(file)
    rows = table.select(["kind", "flag"]).to_pylist()
    flags = [CUT if row["kind"] == "wbc" else row["flag"] for row in rows]
    place = table.column_names.index("flag")
    write_table(file, table.set_column(place, "flag", [flags]))
    with pytest.raises(InputError, match="no cell to review; 2 cut by the edge"):
        make([reading])
