"""The section on whole fields: its numbers, alone and within a study."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import beta

from naturalize.base.artifacts import writing
from naturalize.base.errors import ArtifactError
from naturalize.base.images import write_image
from naturalize.fields.summary import write_summary
from naturalize.fields.tables import named_schema
from naturalize.report import write_report

CLASSES = ("EO", "LY", "ERB")


def row(field: str, outcome: str, labels: list[str], flags: list[str]) -> pa.Table:
    """What is known of a field whose white cells have these classes, beside 40 red cells."""
    cells = [
        {"field": field, "cell": n, "kind": "wbc", "label": label, "flag": flag}
        for n, (label, flag) in enumerate(zip(labels, flags, strict=True), 1)
    ]
    known = {
        "field": field,
        "folder": str(Path(field).parent),
        "outcome": outcome,
        "width": 640,
        "height": 480,
        "n_wbc": len(labels),
        "n_rbc": 40,
        "n_platelet": 2,
        "red_cell": 40.0,
        "cells": cells,
    }
    return pa.Table.from_pylist([known], schema=named_schema(CLASSES))


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    """A reading of two folders: 3 leukocytes, an erythroblast, a cut cell; a blurred field."""
    named = [
        row(
            "<b>one</b>/a.png",
            "ok",
            ["EO", "LY", "LY", "ERB", "EO"],
            ["", "unsure: low confidence", "", "", "cut by the edge"],
        ),
        row("<b>one</b>/b.png", "out of focus", ["LY"], ["unsure: out of focus"]),
        row("two/c.png", "no white cell", [], []),
    ]
    with writing(tmp_path / "fields", "fields") as folder:
        write_summary(folder, named, CLASSES)
        for name in ("one/a", "one/b", "two/c", "two/d", "two/e", "two/f"):
            picture = np.full((480, 640, 3), 200, np.uint8)
            write_image(folder / "overlays" / f"{name}.jpg", picture)
    return tmp_path / "fields"


def cells_of(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    return [
        [re.sub(r"<.*?>|\s+", " ", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", one)]
        for one in rows
    ]


def page_of(folder: Path) -> str:
    return write_report(folder).read_text().replace("\u00a0", " ")


def test_of_the_artifact_alone_the_page_has_that_section_only(fields: Path) -> None:
    page = page_of(fields)
    assert re.findall(r'<section id="(\w+)"', page) == ["fields"]
    assert "6 white cells, 120 red cells and 6 platelets were found in 3 fields" in page
    assert "the differential counts 4 white cells" in page
    assert "&lt;b&gt;one&lt;/b&gt;" in page
    assert "left out: 1 field (out of focus) and 1 cell cut by the edge" in page


def test_the_differential_has_shares_of_leukocytes_and_exact_intervals(fields: Path) -> None:
    page = page_of(fields)
    table = re.search(r'<table class="bars">(.*?)</table>', page, re.DOTALL)
    assert table is not None
    rows = {cells[0]: cells[2:] for cells in cells_of(table[1])[1:]}
    low, high = beta.ppf(0.025, 2, 2), beta.ppf(0.975, 3, 1)
    assert rows["LY lymphocyte"] == ["2", "66.7", f"{100 * low:.1f}–{100 * high:.1f}", "1"]
    assert rows["EO eosinophil"][:2] == ["1", "33.3"]
    assert rows["ERB erythroblast"][0] == "1"
    assert "66.7" not in rows["ERB erythroblast"]
    assert "Erythroblasts per 100 leukocytes: 33.3" in page


def test_a_study_has_the_section_if_fields_were_read_into_it(fields: Path, study: Path) -> None:
    assert 'id="fields"' not in write_report(study).read_text()
    fields.rename(study / "fields")
    page = page_of(study)
    sections = re.findall(r'<section id="(\w+)"', page)
    assert sections.index("fields") == sections.index("scores") + 1
    assert 'href="#fields"' in page
    section = page[page.index('<section id="fields"') :]
    section = section[: section.index("</section>")]
    assert section.count("<img") <= 4
    assert section.count("<img") >= 3
    assert "left out: 1 field (no white cell)" in section


def test_a_damaged_reading_is_an_error_with_its_name(fields: Path) -> None:
    (fields / "fields.parquet").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match=r"fields\.parquet"):
        write_report(fields)
