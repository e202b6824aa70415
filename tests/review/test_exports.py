from __future__ import annotations

import csv
import io
import json
import zipfile

import numpy as np
import pytest

from naturalize.base.errors import InputError, SettingsError
from naturalize.base.images import encode_image, read_image
from naturalize.review.service.deliver import exports
from naturalize.review.service.deliver.differential import answer
from naturalize.review.service.errors import NotAllowedError
from naturalize.review.service.review import Review
from naturalize.review.service.roles import Actor
from naturalize.review.store.cells import CellRow

ANNA, BEN = Actor("anna", "admin"), Actor("ben", "reviewer")
CLASSES = ["BNE", "ERB", "LY", "PMY", "SNE"]


@pytest.fixture
def review(tmp_path):
    """Twelve images of single cells and one field of three cells, one of them cut by the edge."""
    rng = np.random.default_rng(0)
    images = tmp_path / "images"
    images.mkdir()
    cells = []
    for i in range(12):
        name = f"BNE_{i}.png"  # a prefix that PBC's reader would take for the class
        pixels = rng.integers(0, 255, (40, 40, 3), np.uint8)
        (images / name).write_bytes(encode_image(pixels))
        cells.append(CellRow(name, model_label=["SNE", "LY", "BNE"][i % 3], confidence=0.8))
    field = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (100, 1, 3))
    (images / "=field.png").write_bytes(encode_image(field))
    for number, (box, flag) in enumerate(
        [((20, 20, 59, 50), ""), ((150, 40, 170, 60), ""), ((190, 0, 200, 20), "cut by the edge")]
    ):
        cells.append(
            CellRow("=field.png", "=field.png", number + 1, box, model_label="LY", flag=flag)
        )
    folder = tmp_path / "review"
    folder.mkdir()
    settings = {
        "name": "<Blood> 7", "classes": CLASSES, "root": str(images), "model": "pbc11",
        "target": 100, "rules": ["PMY > 0"], "platelets": 40,
    }  # fmt: skip
    Review.create(folder, settings, cells)
    review = Review.open(folder)
    yield review
    review.close()


def settle(review, actor=ANNA, reading=1):
    """Accept every cell, and call the second image a promyelocyte."""
    ids = list(range(1, 16))
    review.change(actor, reading, ids, [0] * 15, None, "accept")
    version = review.cell(reading, 2, actor).version
    review.change(actor, reading, [2], [version], "PMY", "label")


def rows_of(data):
    return list(csv.DictReader(io.StringIO(data.decode())))


def test_the_table_has_every_cell_and_who_confirmed_it(review):
    review.change(ANNA, 1, [2], [0], "PMY", "label")
    rows = rows_of(exports.export(review, 1, "csv", ANNA).data)
    assert len(rows) == 15
    assert rows[1]["label"] == "PMY"
    assert rows[1]["model_label"] == "LY"
    assert rows[1]["confirmed_by"] == "anna"
    assert rows[0]["confirmed_by"] == ""
    assert rows[12]["path"] == "'=field.png"  # no formula for a spreadsheet
    assert [rows[12][key] for key in ("x0", "y0", "x1", "y1")] == ["20", "20", "59", "50"]


def test_the_differential_counts_what_no_edge_cuts(review):
    settle(review)
    found = answer(review, 1, ANNA)
    rows = {row["code"]: row["n"] for row in found["rows"]}
    assert rows == {"SNE": 4, "BNE": 4, "LY": 5, "PMY": 1, "ERB": 0}
    assert found["cut"] == 1
    assert found["platelets"] == 40
    assert found["confirmed_white_cells"] == 14
    assert found["flags"][0]["fired"] is True


def test_a_report_says_who_signed_and_how_often_model_and_person_agree(review):
    settle(review)
    review.sign(ANNA, 1)
    found = exports.report(review, 1, ANNA)
    assert found["reading"]["signed_by"] == "anna"
    assert (found["model_agrees"]["n"], found["model_agrees"]["of"]) == (14, 15)
    assert found["second"] is None


def test_two_readers_stand_in_the_report(review):
    settle(review)
    review.sign(ANNA, 1)
    review.second(BEN)
    review.change(BEN, 2, list(range(1, 16)), [0] * 15, None, "accept")
    review.sign(BEN, 2)
    found = exports.report(review, 1, ANNA)["second"]
    assert (found["cells"], found["same"]) == (15, 14)
    assert found["readers"] == ["anna", "ben"]


def test_json_holds_the_report_and_the_cells(review):
    settle(review)
    found = json.loads(exports.export(review, 1, "json", ANNA).data)
    assert found["report"]["name"] == "<Blood> 7"
    assert found["cells"][1]["label"] == "PMY"
    assert found["cells"][12]["box"] == [20, 20, 59, 50]


def test_a_file_is_named_after_the_review_and_nothing_else(review):
    assert exports.export(review, 1, "csv", ANNA).name == "Blood--7-1.csv"
    assert exports.export(review, 1, "fhir", ANNA).name == "Blood--7-1-fhir.json"


def test_a_blind_reader_exports_nothing_of_the_first_reading(review):
    settle(review)
    review.sign(ANNA, 1)
    review.second(BEN)
    for format in exports.FORMATS:
        with pytest.raises(NotAllowedError):
            exports.export(review, 1, format, BEN)


def unpacked(review, tmp_path):
    found = exports.export(review, 1, "dataset.zip", ANNA)
    with zipfile.ZipFile(found.data) as archive:
        archive.extractall(tmp_path / "set")
    return tmp_path / "set"


def test_a_catalog_builds_from_the_data_set(review, tmp_path):
    from naturalize.dataset.catalog import Catalog

    settle(review)
    folder = unpacked(review, tmp_path)
    for source, scheme in ((folder / "labels.csv", "pbc11"), (folder, "pbc11")):
        found = Catalog.build(source, scheme=scheme, backend="serial")
        labels = found.table["label"].to_pylist()
        counts = {label: labels.count(label) for label in set(labels)}
        assert counts == {"SNE": 4, "BNE": 4, "LY": 5, "PMY": 1}
    rows = rows_of((folder / "labels.csv").read_bytes())
    assert {row["confirmed_by"] for row in rows} == {"anna"}
    assert [row["group"] for row in rows][-2:] == ["=field.png", "=field.png"]


def test_adapts_reader_of_labels_takes_the_data_set(review, tmp_path):
    from naturalize.inputs.labelled import labelled_data

    settle(review)
    folder = unpacked(review, tmp_path)
    found = labelled_data(folder / "labels.csv", part="all", backend="serial")
    assert sorted(found.labels) == ["BNE", "LY", "PMY", "SNE"]
    assert len(found.items) == 14


def test_an_image_of_one_cell_is_the_file_and_a_cell_of_a_field_is_cut_out(review, tmp_path):
    settle(review)
    folder = unpacked(review, tmp_path)
    rows = {row["cell"]: row for row in rows_of((folder / "labels.csv").read_bytes())}
    first = folder / rows["2"]["path"]
    assert first.read_bytes() == (tmp_path / "images" / "BNE_1.png").read_bytes()
    cut = read_image(folder / rows["13"]["path"])
    assert cut.shape == (100, 100, 3)
    # the field's levels are its columns: the middle of the box is in the middle
    assert cut[50, 50, 0] == pytest.approx((20 + 59) // 2, abs=1)


def test_an_image_that_is_gone_is_named_and_no_cell_at_all_is_refused(review, tmp_path):
    with pytest.raises(InputError, match="no confirmed cell"):
        exports.export(review, 1, "dataset.zip", ANNA)
    settle(review)
    (tmp_path / "images" / "BNE_1.png").unlink()
    folder = unpacked(review, tmp_path)
    assert len(rows_of((folder / "labels.csv").read_bytes())) == 13
    assert "BNE_1.png" in (folder / "left-out.csv").read_text()


def test_model_and_person_are_compared_on_what_a_person_saw(review):
    with pytest.raises(InputError, match="no cell is confirmed"):
        exports.export(review, 1, "comparison.json", ANNA)
    settle(review)
    found = json.loads(exports.export(review, 1, "comparison.json", ANNA).data)
    assert found["cells"] == 14
    assert found["accuracy"]["n"] == 13
    assert sorted(found["samples"]) == [".", "=field.png"]


def test_the_pdf_says_what_is_signed(review):
    settle(review)
    open_file = exports.export(review, 1, "pdf", ANNA).data
    review.sign(ANNA, 1)
    signed = exports.export(review, 1, "pdf", ANNA).data
    assert open_file.startswith(b"%PDF-")
    assert b"/Author (not signed)" in open_file
    assert b"/Author (anna)" in signed


def test_the_bundle_is_valid_and_final_once_signed(review):
    from fhir.resources.R4B.bundle import Bundle

    settle(review)
    for status in ("preliminary", "final"):
        found = json.loads(exports.export(review, 1, "fhir", ANNA).data)
        Bundle.model_validate(found)
        report, *observations = [entry["resource"] for entry in found["entry"]]
        assert report["resourceType"] == "DiagnosticReport"
        assert {o["resourceType"] for o in observations} == {"Observation"}
        assert {r["status"] for r in (report, *observations)} == {status}
        assert all("subject" not in r for r in (report, *observations))
        urls = [entry["fullUrl"] for entry in found["entry"]]
        assert [r["reference"] for r in report["result"]] == urls[1:]
        if status == "preliminary":
            assert "performer" not in report
            review.sign(ANNA, 1)
    assert report["performer"] == [{"display": "anna"}]
    codes = {o["code"]["coding"][0]["code"]: o for o in observations if "coding" in o["code"]}
    lymphocytes = codes["737-7"]
    assert lymphocytes["valueQuantity"]["code"] == "%"
    assert lymphocytes["valueQuantity"]["value"] == pytest.approx(100 * 5 / 14, abs=1e-3)
    assert lymphocytes["component"][1]["valueInteger"] == 5
    assert codes["18309-5"]["valueQuantity"]["code"] == "/100{WBCs}"


def test_a_report_that_was_signed_anew_is_amended(review):
    settle(review)
    review.sign(ANNA, 1)
    review.reopen(ANNA, 1, "cell 3 was in doubt")
    review.sign(ANNA, 1)
    found = json.loads(exports.export(review, 1, "fhir", ANNA).data)
    assert {entry["resource"]["status"] for entry in found["entry"]} == {"amended"}


@pytest.mark.parametrize(
    ("text", "stands"),
    [
        ("Patient/12", {"reference": "Patient/12"}),
        (
            "https://fhir.lab.example/r4/Patient/a-1.b",
            {"reference": "https://fhir.lab.example/r4/Patient/a-1.b"},
        ),
        (" 26-0815 ", {"type": "Patient", "identifier": {"value": "26-0815"}}),
        ("Müller, Änne", {"type": "Patient", "identifier": {"value": "Müller, Änne"}}),
        ("x" * 200, {"type": "Patient", "identifier": {"value": "x" * 200}}),
    ],
)
def test_a_patient_and_a_specimen_are_those_that_a_person_enters(review, text, stands):
    settle(review)
    more = {"patient": text, "specimen": "Specimen/7"}
    found = json.loads(exports.export(review, 1, "fhir", ANNA, **more).data)
    report, *observations = (entry["resource"] for entry in found["entry"])
    assert len(observations) > 5
    assert all(resource["subject"] == stands for resource in (report, *observations))
    assert report["specimen"] == [{"reference": "Specimen/7"}]
    assert all(each["specimen"] == {"reference": "Specimen/7"} for each in observations)
    other = json.loads(exports.export(review, 1, "fhir", ANNA, patient="another").data)
    assert not {e["fullUrl"] for e in found["entry"]} & {e["fullUrl"] for e in other["entry"]}


@pytest.mark.parametrize(
    "text",
    ["", "  ", "x" * 201, "a\nb", "a\0b", "\u202eabc", "Specimen/12", "https://x.example/Group/1"],
)
def test_a_patient_that_cannot_be_is_refused_and_not_repeated(review, text):
    with pytest.raises(SettingsError, match=r"^patient: expected") as refused:
        exports.export(review, 1, "fhir", ANNA, patient=text)
    assert not text.strip() or text not in str(refused.value)
