"""Tables to cells of a review: every ending, bad rows refused or stated."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from naturalize.base.artifacts import write_bytes, write_json, write_table
from naturalize.base.errors import InputError, NaturalizeError
from naturalize.prediction.files import Prediction
from naturalize.prediction.table import ENDINGS, write_predictions
from naturalize.review.service.intake.order import in_order
from naturalize.review.service.intake.rows import located, of_table, places_of
from naturalize.review.service.review import Review
from naturalize.review.store.cells import CellRow

CLASSES = ("BNE", "SNE", "PLT")


def predictions() -> list[Prediction]:
    def one(name: str, *shares: float, **more: object) -> Prediction:
        row = np.array(shares, np.float32)
        label = CLASSES[int(row.argmax())]
        return Prediction(Path(name), label, float(row.max()), row, **more)  # type: ignore[arg-type]

    return [
        one("a/1.jpg", 0.2, 0.7, 0.1, candidates=("SNE", "BNE"), flags=("unsure: two classes",)),
        one("a/field.jpg", 0.9, 0.05, 0.05, number=3, box=(10, 20, 40, 60)),
        Prediction(Path("b/2.jpg"), "no cell", flags=("standardised",)),
        Prediction(Path("b/3.jpg"), error="truncated"),
    ]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_table_of_any_ending_gives_the_same_cells(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"predictions{ending}"
    write_predictions(file, CLASSES, predictions(), sets=True)
    found = of_table(file, ("other",))
    assert found.classes == CLASSES
    assert not found.left_out
    first, field, empty, bad = found.cells
    assert (first.path, first.model_label, first.box) == ("a/1.jpg", "SNE", None)
    assert first.probabilities is not None
    np.testing.assert_allclose(first.probabilities, [0.2, 0.7, 0.1], atol=1e-6)
    assert first.candidates == ("SNE", "BNE")
    assert (field.field, field.number, field.box) == ("a/field.jpg", 3, (10, 20, 40, 60))
    assert (empty.model_label, empty.flag) == (None, "no cell; standardised")
    assert (bad.model_label, bad.flag, bad.probabilities) == (None, "error: truncated", None)


def test_a_row_that_comes_twice_is_taken_once_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    write_predictions(file, CLASSES, [*predictions(), predictions()[0]])
    found = of_table(file, ())
    assert len(found.cells) == 4
    assert found.left_out == {"twice in the table": 1}


def test_a_table_without_probabilities_takes_the_models_classes_or_its_own(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("path,label\na.jpg,SNE\nb.jpg,\n")
    assert of_table(file, CLASSES).classes == CLASSES
    file.write_text("path,label\na.jpg,blast\nb.jpg,SNE\n")
    assert of_table(file, CLASSES).classes == ("SNE", "blast")


def test_an_evaluations_answers_are_taken_not_its_labels(tmp_path: Path) -> None:
    file = tmp_path / "predictions.parquet"
    row = {"path": ["a.jpg"], "label": ["SNE"], "predicted": ["BNE"]}
    write_table(file, pa.table(row | {"prob_BNE": [0.9], "prob_SNE": [0.1]}))
    assert of_table(file, ()).cells[0].model_label == "BNE"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label,prob_A,prob_B\na.jpg,A,nan,0.5\n", "no numbers"),
        ("path,label,prob_A,prob_B\na.jpg,A,0.9,0.9\n", "sum to one"),
        ("path,label,prob_A,prob_B\na.jpg,A,0.9,\n", "no numbers"),
        ("path,label,prob_A,prob_B\na.jpg,A,much,0.1\n", "no number"),
        ("path,label,prob_A,prob_B\na.jpg,C,0.9,0.1\n", "C: no class"),
        ("path,class_name\na.jpg,\n", "takes"),
        ("path,other\na.jpg,A\n", "lacks the column 'label'"),
        ("label,prob_A\nA,1\n", "'path'"),
        ("path,label\n,A\n", "has no path"),
        ("path,label,x0,y0,x1,y1\na.jpg,A,5,5,2,9\n", "box"),
        ("path,label,x0,y0,x1,y1\na.jpg,A,5,5,x,9\n", "no number"),
        ("path,label,confidence\na.jpg,A,7\n", "confidence"),
        ("path,label\n", "no row"),
    ],
)
def test_rows_that_cannot_be_right_are_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "p.csv"
    file.write_text(text)
    if said == "takes":
        assert of_table(file, CLASSES).cells[0].model_label is None
        return
    with pytest.raises(InputError, match=said):
        of_table(file, CLASSES)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("p.xlsx", b"PK\x03\x04 no workbook"),
        ("p.json", b'{"path": 1}'),
        ("p.json", b'[{"path": "a", "label": "A", "prob_A": NaN}]'),
        ("p.parquet", b"PAR1"),
        ("p.doc", b"text"),
        ("p.csv", b"\x00\x01"),
    ],
)
def test_damaged_tables_are_refused_by_name(tmp_path: Path, name: str, data: bytes) -> None:
    write_bytes(tmp_path / name, data)
    with pytest.raises(NaturalizeError, match=name):
        of_table(tmp_path / name, CLASSES)


def test_images_are_found_beside_the_table_and_missing_ones_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lab/images/x").mkdir(parents=True)
    for name in ("images/1.jpg", "images/x/2.jpg"):
        (tmp_path / "lab" / name).write_bytes(b"1")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    names = ["images/1.jpg", "images/x/2.jpg", "images/../images/gone.jpg"]
    cells = [CellRow(name, field=name) for name in names]
    table = tmp_path / "lab" / "p.csv"
    root, found = located(cells, places_of(table, None), table)
    assert root == tmp_path / "lab/images"
    assert [cell.path for cell in found] == ["1.jpg", "x/2.jpg", "gone.jpg"]
    assert [cell.field for cell in found] == ["1.jpg", "x/2.jpg", "gone.jpg"]
    assert found[0].taken is not None
    assert found[2].taken is None
    assert "1 of 3 images are not there" in capsys.readouterr().err
    with pytest.raises(InputError, match="--root"):
        located([CellRow("nowhere.jpg")], places_of(table, None), table)
    assert places_of(table, tmp_path) == [tmp_path]


def test_sets_of_classes_with_blanks_in_their_names_stay_whole(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    head = "path,label,prob_band cell,prob_band cell old,set\n"
    file.write_text(
        head + "a.jpg,band cell,0.6,0.4,band cell old band cell\nb.jpg,band cell,1,0,no\n"
    )
    first, second = of_table(file, ()).cells
    assert first.candidates == ("band cell old", "band cell")
    assert second.candidates == ()  # no class: it says nothing


def test_json_of_a_table_may_hold_numbers_as_text(tmp_path: Path) -> None:
    write_json(tmp_path / "p.json", [{"path": "a\\b.jpg", "label": "A", "prob_A": "1.0"}])
    (cell,) = of_table(tmp_path / "p.json", ()).cells
    assert cell.path == "a/b.jpg"
    assert cell.probabilities is not None
    assert math.isclose(cell.probabilities[0], 1.0)


_values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["SNE", "no cell", "inf", "nan", "0.5", "1e999", "a\0b", "\udce9", "a\tb", ""]),
    st.lists(st.integers(), max_size=2), st.fixed_dictionaries({"a": st.integers()}),
)  # fmt: skip
_columns = ("confidence", "flag", "set", "cell", "x0", "y0", "x1", "y1", "prob_SNE")
_rows = st.fixed_dictionaries(
    dict.fromkeys(("path", "label"), _values), optional=dict.fromkeys(_columns, _values)
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(_rows, max_size=3))
def test_whatever_a_table_holds_it_is_cells_or_refused(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    file = tmp_path / "p.json"
    file.write_text(json.dumps(rows))
    try:
        found = of_table(file, CLASSES)
        cells = in_order(found.cells, found.classes)
        located(cells, [tmp_path], file)
        Review.create(tmp_path, {"name": "x", "classes": list(found.classes)}, cells)
    except NaturalizeError:
        return
    (tmp_path / "review.db").unlink()


def test_images_in_a_folder_called_uploads_are_not_the_reviews_own(
    tmp_path: Path,
) -> None:
    for name in ("uploads/1.png", "other/2.png"):
        write_bytes(tmp_path / "images" / name, b"x")
    cells = [CellRow("uploads/1.png"), CellRow("other/2.png"), CellRow("./uploads/1.png")]
    root, found = located(cells, [tmp_path / "images"], "p.csv")
    assert root == tmp_path / "images"
    assert all((root / cell.path).is_file() for cell in found)
    assert not any(cell.path.startswith("uploads/") for cell in found)


def test_a_path_that_is_longer_than_paths_can_be_is_missing(tmp_path: Path) -> None:
    write_bytes(tmp_path / "1.png", b"x")
    cells = [CellRow("x" * 5000), CellRow("1.png")]
    root, found = located(cells, [tmp_path], "p.csv")
    assert root == tmp_path
    assert [cell.taken is None for cell in found] == [True, False]
