"""The page as a whole: well formed, self-contained, accessible, the same every time."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from report_study import Page, page_of

from naturalize.report import write_report
from naturalize.report.folder import open_study
from naturalize.report.page import PBC_LINK, render
from naturalize.report.section import SHEET, Pictures


@pytest.fixture(scope="module")
def html(built_study: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "report.html"
    return write_report(built_study, out).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_tags_are_balanced_and_the_document_is_whole(html: str, page: Page) -> None:
    assert html.startswith("<!doctype html>")
    assert html.rstrip().endswith("</html>")
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    assert page.all("main")


def test_nothing_is_loaded_and_nothing_runs(html: str, page: Page) -> None:
    assert {attrs["src"].split(",")[0] for attrs in page.all("img")} <= {
        "data:image/jpeg;base64",
        "data:image/svg+xml;base64",
    }
    outside = [a["href"] for a in page.all("a") if not a["href"].startswith("#")]
    assert outside == [PBC_LINK]
    for tag in ("script", "link", "iframe", "object", "embed", "form", "base"):
        assert not page.all(tag)
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none'")


def test_every_picture_and_chart_is_named_or_marked_as_decoration(page: Page) -> None:
    assert len(page.all("img")) > 20
    assert all(attrs["alt"].strip() for attrs in page.all("img"))
    drawn = page.all("svg")
    # two charts a run, the scores by class, a confusion matrix a run, confidence, tests of maps
    assert len(drawn) == 11
    for attrs in drawn:
        assert attrs["role"] == "img"
        assert attrs["aria-label"].strip()
    bars = [a for a in page.all("span") if a.get("class") == "bar"]
    assert len(bars) > 10
    assert all(attrs["aria-hidden"] == "true" for attrs in bars)


def test_bars_stay_in_their_place(html: str) -> None:
    for bar in re.findall(r'<span class="bar".*?</span>', html, re.DOTALL):
        assert sum(map(float, re.findall(r"width:([\d.]+)%", bar))) <= 100.02


def test_a_phone_and_paper_have_rules_of_their_own(html: str) -> None:
    style = html[html.index("<style>") : html.index("</style>")]
    paper = style[style.index("@media print") :]
    assert "details::details-content" in paper  # what is folded on the screen is open on paper
    assert "break-inside: avoid" in paper
    assert "@media screen and (max-width: 40rem)" in style


def test_tables_have_headers_with_a_scope(html: str, page: Page) -> None:
    assert all(attrs.get("scope") in ("col", "row") for attrs in page.all("th"))
    for table in re.findall(r"<table.*?</table>", html, re.DOTALL):
        assert '<th scope="col"' in table
        heads = len(re.findall(r"<th scope=\"col\"", table))
        for row in re.findall(r"<tbody>.*</tbody>", table, re.DOTALL)[0].split("</tr>")[:-1]:
            assert len(re.findall(r"<t[hd][ >]", row)) == heads, row


def test_the_contents_lead_to_every_section_and_ids_are_unique(page: Page) -> None:
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    sections = [attrs["id"] for attrs in page.all("section")]
    linked = [a["href"][1:] for a in page.all("a") if a["href"].startswith("#")]
    assert linked == ["main", *sections]
    assert sections == [
        "inputs", "audit", "cells", "composites", "training", "scores", "explanations", "making",
    ]  # fmt: skip


def test_every_section_says_what_to_take_away_in_one_sentence(html: str) -> None:
    said = re.findall(r'<p class="takeaway">(.*?)</p>', html)
    assert len(said) == 8
    for sentence in said:
        assert sentence.endswith(".")
        assert re.search(r"\d", sentence), f"no number in: {sentence}"


def test_the_same_study_gives_the_same_bytes(built_study: Path, tmp_path: Path) -> None:
    first = write_report(built_study, tmp_path / "a.html").read_bytes()
    assert write_report(built_study, tmp_path / "b.html").read_bytes() == first


def test_the_report_stands_in_the_study_folder_by_default(study: Path) -> None:
    assert write_report(study) == study / "report.html"
    assert not list(study.glob(".report*"))


def test_a_missing_folder_for_the_report_is_made(built_study: Path, tmp_path: Path) -> None:
    assert write_report(built_study, tmp_path / "deep" / "er" / "x.html").is_file()


def test_pictures_stop_at_the_budget_and_are_counted(built_study: Path) -> None:
    sheet = built_study / "plan" / "sheet.jpg"
    alone = Pictures()
    assert alone.embed(sheet, "x", size=SHEET) is not None
    tight = Pictures(budget=alone.spent)
    assert tight.embed(sheet, "x", size=SHEET) is not None
    assert tight.embed(sheet, "x", size=SHEET) is None
    assert (tight.left_out, tight.spent) == (1, alone.spent)


def test_wide_sheets_are_made_smaller_and_small_ones_are_left(built_study: Path) -> None:
    wide = Pictures().embed(built_study / "plan/sheet.jpg", "1800 × 400", size=SHEET)
    small = Pictures().embed(built_study / "bank/sheet.jpg", "900 × 300", size=SHEET)
    assert wide is not None
    assert small is not None
    assert (wide.width, wide.height) == (1400, 311)
    assert (small.width, small.height) == (900, 300)


def test_a_damaged_picture_is_left_out_and_the_page_says_so(study: Path) -> None:
    (study / "plan" / "sheet.jpg").write_bytes(b"no picture")
    page = page_of(study)
    assert "1 picture could not be shown" in page.text


def test_images_that_have_moved_away_do_not_stop_the_report(study: Path, edit_json) -> None:
    edit_json(study / "catalog" / "catalog.json", root="/nowhere/at/all")
    html = write_report(study).read_text(encoding="utf-8")
    assert "Examples, drawn at random" not in html
    assert open_study(study).is_pbc


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_its_ground(html: str, mode: int) -> None:
    palettes = [
        dict(re.findall(r"--([a-z0-9-]+):\s*(#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", html, re.DOTALL)
    ]
    colours = palettes[mode]
    pairs = [(ink, "paper") for ink in ("ink", "quiet", "accent", "alert", "good")]
    pairs += [(f"run-{i}", "paper") for i in range(6)]
    pairs += [("alert", "alert-soft"), ("accent", "accent-soft"), ("good", "good-soft")]
    pairs += [("ink", "accent-soft"), ("quiet", "track"), ("on-accent", "accent")]
    for ink, ground in pairs:
        a, b = sorted((luminance(colours[ink]), luminance(colours[ground])))
        assert (b + 0.05) / (a + 0.05) >= 4.5, f"{ink} on {ground}"


def test_scores_beside_the_usual_ones_and_the_label_audit_have_their_place(study: Path) -> None:
    from naturalize.base.artifacts import write_json, writing
    from naturalize.base.images import write_image

    with writing(study / "labels", "label-audit") as folder:
        classes = {"BNE": {"n": 30, "doubtful": 4}, "SNE": {"n": 30, "doubtful": 0}}
        pairs = [{"label": "BNE", "likelier": "SNE", "n": 4}]
        found = {"n": 60, "n_doubtful": 4, "by_class": classes, "confused": pairs}
        write_json(folder / "labels.json", found)
        write_image(folder / "doubtful.jpg", np.zeros((40, 80, 3), np.uint8))
    text = render(open_study(study))
    for said in ("Further scores", "kappa", "top 2 accuracy", "macro auc"):
        assert said in text
    assert "4 (7\u00a0%) are contradicted by like images" in text
    assert "BNE, likelier SNE (4)" in text
    assert "The most doubtful labels" in text
