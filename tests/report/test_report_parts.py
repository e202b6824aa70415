"""Numbers as text, and figures: the small parts."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturalize.base.images import read_image
from naturalize.report import figures
from naturalize.report import formatting as form
from naturalize.report.cells import outlined
from naturalize.report.folder import open_study

share = st.floats(0, 1)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (form.count(1, "image"), "1 image"),
        (form.count(16891, "image"), "16,891 images"),
        (form.count(2, "class", "classes"), "2 classes"),
        (form.score(0.91249), "0.912"),
        (form.score(None), "–"),
        (form.span([0.8, 0.95]), "0.800–0.950"),
        (form.span(None), "–"),
        (form.difference(-0.0213), "−0.021"),
        (form.difference(0.0), "0.000"),
        (form.difference(-0.0002), "−< 0.001"),
        (form.magnitude(-0.0213), "0.021"),
        (form.magnitude(0.0002), "less than 0.001"),
        (form.magnitude(0.0), "0.000"),
        (form.signed_span([-0.01, 0.02]), "−0.010 to +0.020"),
        (form.percent(0.5), "50 %"),
        (form.percent(0.0), "0 %"),
        (form.percent(0.001), "< 1 %"),
        (form.percent(0.999), "> 99 %"),
        (form.percent(1.0), "100 %"),
        (form.p_value(0.0004), "p < 0.001"),
        (form.p_value(0.0312), "p = 0.031"),
        (form.duration(4.21), "4.2 s"),
        (form.duration(192), "3 min 12 s"),
        (form.duration(3840), "1 h 04 min"),
        (form.duration(59.99), "60.0 s"),
        (form.duration(None), "–"),
        (form.memory(812.4), "812 MB"),
        (form.memory(1420), "1.4 GB"),
        (form.listed([]), ""),
        (form.listed(["a"]), "a"),
        (form.listed(["a", "b", "c"]), "a, b and c"),
    ],
)
def test_numbers_are_written_as_a_person_would(made: str, expected: str) -> None:
    assert made.replace("\u00a0", " ") == expected


def texts(svg: str) -> list[str]:
    return ["".join(t.itertext()) for t in ET.fromstring(svg).iter() if t.tag.endswith("}text")]


def height_of(svg: str, text: str) -> float:
    """Vertical place of a text of a figure, as matplotlib writes it."""
    for t in ET.fromstring(svg).iter():
        if t.tag.endswith("}text") and "".join(t.itertext()) == text:
            place = re.search(r"translate\([\d.]+ ([\d.]+)\)", t.attrib.get("transform", ""))
            return float(place[1] if place else t.attrib["y"])
    raise AssertionError(f"no text {text!r}")


@given(st.lists(share, min_size=1))
def test_the_axis_of_scores_begins_at_a_tenth_below_all_of_them(scores: list[float]) -> None:
    low = figures.low_end(scores)
    assert 0 <= low <= min(scores)
    assert low == pytest.approx(round(low, 1))


def test_the_same_figure_is_the_same_text_and_leaves_its_look_to_the_page() -> None:
    drawn = [figures.confusion(["A", "B"], [[8, 2], [0, 5]], "named") for _ in range(2)]
    assert drawn[0] == drawn[1]
    svg = ET.fromstring(drawn[0])
    assert (svg.attrib["role"], svg.attrib["aria-label"]) == ("img", "named")
    assert "fill: var(--accent)" in drawn[0]
    assert not re.search(r"fill: #(?!000000)[0-9a-f]{6}", drawn[0])
    assert "font-family" not in drawn[0]


def test_a_name_cannot_break_out_of_a_figure() -> None:
    name = "</svg><script>1</script>"
    svg = figures.confusion([name, 'x" onload="y'], [[1, 0], [0, 1]], name)
    assert "<script" not in svg
    assert not [e for e in ET.fromstring(svg).iter() if "onload" in e.attrib]


def test_the_curves_of_all_runs_have_the_same_axes() -> None:
    limits = ((1.0, 8.0), (0.2, 1.4))
    short = figures.Curve("loss", [1, 2, 3], [0.5, 0.4, 0.3])
    long = figures.Curve("loss", list(range(1, 9)), [1.4, 1, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2])
    drawn = [
        figures.curves([curve], limits=limits, best=None, label="x") for curve in (short, long)
    ]
    ticks = [[text for text in texts(svg) if text != "loss"] for svg in drawn]
    assert ticks[0] == ticks[1]
    assert len({height_of(svg, ticks[0][-1]) for svg in drawn}) == 1


def test_names_at_the_ends_of_curves_do_not_overlap() -> None:
    curves = [figures.Curve(name, [1.0, 2.0], [0.5, 0.7]) for name in ("one", "two", "three")]
    svg = figures.curves(curves, limits=((1, 2), (0, 1)), best=1.0, label="x")
    heights = sorted(height_of(svg, name) for name in ("one", "two", "three"))
    assert all(b - a >= 9 for a, b in pairwise(heights))  # texts are 9 points high


@pytest.mark.parametrize("n", [1, 2, 30])
def test_a_run_of_any_length_has_a_curve(n: int) -> None:
    curve = figures.Curve("loss", list(range(1, n + 1)), [1 / e for e in range(1, n + 1)])
    svg = figures.curves([curve], limits=((1, n), (1 / n, 1)), best=float(n), label="x")
    assert "epoch" in texts(svg)


def test_a_confusion_matrix_holds_every_count_and_the_recall() -> None:
    matrix = [[8, 2, 0], [0, 5, 0], [0, 0, 0]]
    shown = texts(figures.confusion(["A", "B", "C"], matrix, "x"))
    for count in ("8", "2", "5"):
        assert shown.count(count) == 1
    assert {"80\u00a0%", "100\u00a0%", "–"} <= set(shown)
    assert "0" not in shown


@pytest.mark.parametrize("labels", [["BA", "BNE"], ["a long name of a cell", "another long name"]])
def test_long_class_names_stand_upright(labels: list[str]) -> None:
    svg = figures.confusion(labels, [[1, 0], [0, 1]], "x")
    assert ("rotate(-90)" in svg.replace("-90.0", "-90").split("predicted")[0]) == (
        max(map(len, labels)) > 5
    )


def test_outlines_are_drawn_around_the_cells_of_one_image_a_class(built_study: Path) -> None:
    study = open_study(built_study)
    drawn = outlined(study, study.artifacts["cells"], 4)
    assert sorted(Path(path).name.split("_")[0] for path, _ in drawn) == ["BA", "BNE", "EO", "SNE"]
    assert study.root is not None
    for path, image in drawn:
        changed = (image != read_image(study.root / path)).any(axis=2)
        assert changed[40, 30:50].all()  # the upper edge of the cell
        assert not changed[45:55, 35:45].any()  # the cell itself stays as it is
        assert not changed[:35].any()
