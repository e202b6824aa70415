from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from naturalize.base.errors import SettingsError
from naturalize.base.plots import PALETTE
from naturalize.review.pages.printed import PLOTS, comparison_plot, html
from naturalize.review.service.deliver.comparison import compare
from naturalize.review.service.deliver.differential import differential

N = {"SNE": 50, "BNE": 10, "LY": 35, "PMY": 5, "ERB": 8, "PLT": 40}


def report(signed):
    return {
        "name": "<script>alert(1)</script>",
        "created": "2026-11-28T15:00:00+00:00",
        "model": "pbc11",
        "weights_hash": "0123456789abcdef",
        "generated": "2026-11-28T16:40:00+00:00",
        "version": "0.1.0",
        "reading": {
            "number": 1,
            "blind": False,
            "signed_by": "<i>anna" if signed else None,
            "signed_at": "2026-11-28T16:30:00+00:00" if signed else None,
        },
        "progress": {"total": 148, "unidentified": 0, "unseen": 0 if signed else 12},
        "differential": differential(list(N), N, N, target=200, rules=["PMY > 0", "<b> > 1"]),
        "model_agrees": {"n": 9, "of": 10, "share": 0.9, "low": 0.55, "high": 0.99},
        "second": None,
    }


def test_a_report_is_one_file_and_names_are_text():
    page = html(report(True)).decode()
    assert "<script" not in page
    assert "<i>anna" not in page
    assert "&lt;i&gt;anna, 2026-11-28 16:30 UTC" in page
    assert not re.findall(r"(?:href|src)=", page)
    assert "--accent: light-dark(" in page  # the styles are in it


def test_not_signed_stands_across_a_report_until_it_is():
    assert 'class="watermark"' in html(report(False)).decode()
    assert 'class="watermark"' not in html(report(True)).decode()


@pytest.mark.parametrize("kind", PLOTS)
def test_a_plot_has_no_style_of_its_own_and_the_pages_colours(kind):
    labels = ["LY", "SNE", "SNE", "LY", "SNE", "LY", "LY", "LY"]
    answers = ["LY", "SNE", "LY", "LY", "SNE", "LY", "LY", "SNE"]
    found = compare(["LY", "SNE"], answers, labels, list("aabbccdd"))
    svg = comparison_plot(found, "LY", kind)
    elements = list(ET.fromstring(svg).iter())
    assert not [e for e in elements if "style" in e.attrib or e.tag.endswith("}style")]
    names = set(re.findall(r"var\(--([\w-]+)\)", svg))
    assert "accent" in names
    assert names <= set(PALETTE)
    with pytest.raises(SettingsError, match="EO"):
        comparison_plot(found, "EO", kind)


def test_a_plot_that_is_not_there_is_refused():
    found = compare(["LY", "SNE"], ["LY"], ["LY"], ["a"])
    with pytest.raises(SettingsError, match="bland-altman"):
        comparison_plot(found, "LY", "bland-atman")
