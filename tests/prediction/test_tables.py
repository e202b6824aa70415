"""Tables of predictions in every kind of file, differentials, and laboratory profiles."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from naturalize.base.errors import ArtifactError, NaturalizeError, SettingsError
from naturalize.base.images import write_image
from naturalize.cli.app import run_app
from naturalize.models.folder import read_config
from naturalize.models.shipped import find
from naturalize.prediction.files import Prediction
from naturalize.prediction.profile import Profile
from naturalize.prediction.standardise import Standardiser
from naturalize.prediction.table import check_ending, differential, write_predictions

CLASSES = ("ERB", "LY", "SNE")


def rows() -> list[Prediction]:
    probabilities = np.array([0.1, 0.2, 0.7], np.float32)
    sure = Prediction(Path("a, b.jpg"), "SNE", 0.7, probabilities)
    return [
        sure,
        replace(sure, path=Path("=1+1.png"), flags=("standardised", "unsure")),
        Prediction(Path("field.png"), "LY", 0.5, probabilities, number=2, box=(1, 2, 30, 40)),
        Prediction(Path("empty.png"), "no cell"),
        Prediction(Path("bad.png"), error="empty file (0 bytes)"),
    ]


def _read(path: Path) -> list[dict[str, object]]:
    """The records in a table, read by other means."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".json":
        return json.loads(path.read_text())
    if path.suffix == ".xlsx":
        from openpyxl import load_workbook

        head, *body = load_workbook(path).active.iter_rows(values_only=True)
        return [dict(zip(head, row, strict=True)) for row in body]
    delimiter = "\t" if path.suffix == ".tsv" else ","
    return list(csv.DictReader(path.open(newline=""), delimiter=delimiter))


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".xlsx", ".parquet", ".json", ".CSV"])
def test_each_ending_holds_the_same_table(tmp_path, ending):
    path = tmp_path / f"table{ending}"
    write_predictions(path, CLASSES, rows())
    found = _read(path.rename(path.with_suffix(ending.lower())))
    columns = ["path", "label", "confidence", "prob_ERB", "prob_LY", "prob_SNE", "flag"]
    assert list(found[0]) == [*columns, "cell", "x0", "y0", "x1", "y1"]
    assert [row["path"] for row in found] == [row.path.as_posix() for row in rows()]
    assert [row["label"] or None for row in found] == ["SNE", "SNE", "LY", "no cell", None]
    assert float(found[0]["prob_SNE"]) == pytest.approx(0.7)
    assert not found[3]["confidence"]
    assert [int(found[2][name]) for name in ("cell", "x0", "y0", "x1", "y1")] == [2, 1, 2, 30, 40]
    assert found[1]["flag"] == "standardised; unsure"
    assert found[4]["flag"] == "error: empty file (0 bytes)"


def test_a_table_without_fields_has_no_columns_for_them(tmp_path):
    write_predictions(tmp_path / "t.csv", CLASSES, rows()[:2])
    assert list(_read(tmp_path / "t.csv")[0])[-1] == "flag"


@pytest.mark.parametrize("name", ["t.xls", "t", "t.docx"])
def test_other_endings_are_refused_before_any_work(name, tmp_path, capsys):
    with pytest.raises(SettingsError, match=r"choose from: .csv, .tsv, .xlsx"):
        check_ending(Path(name))
    with pytest.raises(SystemExit) as stopped:
        run_app(["predict", "nowhere", "-o", str(tmp_path / name)])
    assert stopped.value.code == 2
    assert "unknown kind of table" in capsys.readouterr().err


def test_a_differential_counts_leukocytes_with_wilsons_interval():
    n = {"SNE": 60, "LY": 39, "ERB": 7}
    flags = {"LY": ("unsure",)}
    found = differential(
        CLASSES,
        [
            Prediction(Path(f"{label}{i}"), label, 0.9, np.ones(3), flags=flags.get(label, ()))
            for label, many in n.items()
            for i in range(many)
        ]
        + rows()[3:],
    )
    by_code = {row.code: row for row in found}
    assert {code: by_code[code].n for code in n} == n
    assert by_code["SNE"].name == "segmented neutrophil"
    assert by_code["LY"].flagged == 39
    assert by_code["ERB"].share is None
    # Wilson's limits by hand: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)
    p, total, z = 60 / 99, 99, 1.959963984540054
    middle, half = p + z**2 / (2 * total), z * np.sqrt(p * (1 - p) / total + z**2 / 4 / total**2)
    limits = np.array([middle - half, middle + half]) / (1 + z**2 / total)
    assert by_code["SNE"].share == pytest.approx(p)
    np.testing.assert_allclose([by_code["SNE"].low, by_code["SNE"].high], limits, rtol=1e-9)
    assert (by_code["no cell"].n, by_code["unreadable"].n) == (1, 1)


# -- laboratory profiles ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def standard():
    return read_config(find("pbc11")).standard


def test_a_profile_is_read_as_it_was_written(standard, tmp_path):
    lab = Profile(None, 150.25, (0.2, 0.35, 0.01), None, 0.5, images=31, name="Tübingen")
    lab.save(tmp_path / "lab.json", standard)
    assert Profile.load(tmp_path / "lab.json", standard) == lab
    other = replace(standard, red_cell=standard.red_cell + 1)
    with pytest.raises(ArtifactError, match="another standard"):
        Profile.load(tmp_path / "lab.json", other)
    (tmp_path / "no.json").write_text("[1]")
    with pytest.raises(ArtifactError, match=r"no laboratory profile.*--save-profile"):
        Profile.load(tmp_path / "no.json", standard)
    damaged = json.loads((tmp_path / "lab.json").read_text()) | {"red_stain": "red"}
    (tmp_path / "no.json").write_text(json.dumps(damaged))
    with pytest.raises(ArtifactError, match="damaged"):
        Profile.load(tmp_path / "no.json", standard)


def test_a_model_without_a_standard_has_no_use_for_a_profile():
    with pytest.raises(NaturalizeError, match="does not say what its training images looked like"):
        Standardiser(None, profile=Profile(None, None, None, None))


@pytest.mark.real
def test_with_a_profile_an_image_gets_one_answer_whatever_lies_beside_it(
    real_data, tmp_path, capsys
):
    crops = sorted((real_data / "external" / "bccd_crops").rglob("*.jpg"))[::25]
    few, lab = crops[:3], tmp_path / "lab.json"

    def predicted(name: str, images: list[Path], *more: str) -> list[dict[str, str]]:
        out = tmp_path / name
        with pytest.raises(SystemExit, match="0"):
            run_app(["predict", *map(str, images), "-o", str(out), *more])
        return list(csv.DictReader(out.open()))

    predicted("few.csv", few)
    assert "image(s) from elsewhere are too few" in capsys.readouterr().err
    many = predicted("many.csv", crops, "--save-profile", str(lab))
    out = capsys.readouterr().out
    assert f"profile of {len(crops)} images: {lab}" in out
    assert "95 % interval" in out
    again = predicted("again.csv", few, "--profile", str(lab))
    assert again == many[:3]
    assert "too few" not in capsys.readouterr().err
    assert predicted("one.csv", few[1:2], "--profile", str(lab)) == many[1:2]


def test_images_like_the_training_images_give_no_profile(real_data, tmp_path, capsys):
    image = next((real_data / "pbc" / "lymphocyte").glob("*.jpg"))
    with pytest.raises(SystemExit) as stopped:
        run_app(["predict", str(image), "-o", str(tmp_path / "p.csv"),
                 "--save-profile", str(tmp_path / "lab.json")])  # fmt: skip
    assert stopped.value.code == 2
    assert "no profile is needed" in capsys.readouterr().err
    assert not (tmp_path / "lab.json").exists()


def test_an_empty_slide_is_named_on_standard_output(tmp_path, capsys):
    write_image(tmp_path / "slide.png", np.full((363, 360, 3), (250, 228, 203), np.uint8))
    with pytest.raises(SystemExit, match="0"):
        run_app(["predict", str(tmp_path / "slide.png"), "-o", str(tmp_path / "p.csv"),
                 "--sheet", str(tmp_path / "p.jpg")])  # fmt: skip
    assert "no cell" in capsys.readouterr().out
    (row,) = csv.DictReader((tmp_path / "p.csv").open())
    assert row["label"] == "no cell"


@pytest.mark.real
def test_predict_from_python_does_what_the_command_does(real_data, tmp_path):
    import naturalize as nz

    paths = sorted((real_data / "pbc" / "monocyte").glob("*.jpg"))[:3]
    with pytest.raises(SystemExit, match="0"):
        run_app(["predict", *map(str, paths), "-o", str(tmp_path / "p.csv")])
    found = nz.predict(paths)
    assert [row.label for row in found] == [row["label"] for row in _read(tmp_path / "p.csv")]
    assert nz.predict(paths[0])[0].path == paths[0]
