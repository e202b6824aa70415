"""Words and charts, the small parts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturalize.base.images import read_image
from naturalize.report import charts, words
from naturalize.report.folder import open_study
from naturalize.report.outlines import outlined

finite = st.floats(-1e6, 1e6, allow_nan=False)
share = st.floats(0, 1)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (words.count(1, "image"), "1 image"),
        (words.count(16891, "image"), "16,891 images"),
        (words.count(2, "class", "classes"), "2 classes"),
        (words.score(0.91249), "0.912"),
        (words.score(None), "–"),
        (words.span([0.8, 0.95]), "0.800–0.950"),
        (words.span(None), "–"),
        (words.difference(-0.0213), "−0.021"),
        (words.signed_span([-0.01, 0.02]), "−0.010 to +0.020"),
        (words.percent(0.5), "50 %"),
        (words.percent(0.0), "0 %"),
        (words.percent(0.001), "< 1 %"),
        (words.percent(0.999), "> 99 %"),
        (words.percent(1.0), "100 %"),
        (words.p_value(0.0004), "p < 0.001"),
        (words.p_value(0.0312), "p = 0.031"),
        (words.duration(4.21), "4.2 s"),
        (words.duration(192), "3 min 12 s"),
        (words.duration(3840), "1 h 04 min"),
        (words.duration(59.99), "60.0 s"),
        (words.duration(None), "–"),
        (words.memory(812.4), "812 MB"),
        (words.memory(1420), "1.4 GB"),
        (words.listed([]), ""),
        (words.listed(["a"]), "a"),
        (words.listed(["a", "b", "c"]), "a, b and c"),
    ],
)
def test_numbers_are_written_as_a_person_would(made: str, expected: str) -> None:
    assert made.replace("\u00a0", " ") == expected


@given(finite, finite)
def test_ticks_enclose_the_values_and_are_few(a: float, b: float) -> None:
    low, high = sorted((a, b))
    ticks = charts.nice_ticks(low, high)
    room = 1e-6 * max(1.0, abs(low), abs(high))
    assert ticks[0] <= low + room
    assert ticks[-1] >= high - room
    assert 2 <= len(ticks) <= 8
    assert ticks == sorted(set(ticks))


@given(st.lists(st.tuples(share, st.text(max_size=5)), max_size=6))
def test_the_parts_of_a_bar_never_leave_it(parts: list[tuple[float, str]]) -> None:
    drawn = ET.fromstring(charts.bar([(s, "plain", "title") for s, _ in parts], mark=0.5))
    ends = [
        float(rect.attrib["x"][:-1]) + float(rect.attrib["width"][:-1])
        for rect in drawn.iter("rect")
    ]
    assert all(0 <= end <= 100.02 for end in ends)
    assert all(b >= a - 0.02 for a, b in pairwise(ends))


@given(share, st.lists(share, min_size=1, max_size=8))
def test_dots_stand_at_their_score_on_the_axis(low: float, scores: list[float]) -> None:
    low = min(low, 0.9)
    points = [
        charts.Point(s, [max(0, s - 0.1), min(1, s + 0.1)], i, "t") for i, s in enumerate(scores)
    ]
    svg = ET.fromstring(charts.dots(points, low=low))
    places = [float(inner.attrib["x"][:-1]) for inner in svg.iter("svg") if "x" in inner.attrib]
    for place, score in zip(places, scores, strict=True):
        assert place == pytest.approx(100 * max(0.0, (score - low) / (1 - low)), abs=0.01)


@given(st.lists(share, min_size=1))
def test_the_axis_begins_at_a_tenth_below_all_scores(scores: list[float]) -> None:
    low = charts.low_end(scores)
    assert 0 <= low <= min(scores)
    assert low == pytest.approx(round(low, 1))
    assert ET.fromstring(charts.dots_axis(low)) is not None


def test_a_title_cannot_break_out_of_a_chart() -> None:
    svg = charts.bar([(0.5, 'x" onload="y', "</svg><script>1</script>")])
    root = ET.fromstring(svg)
    assert "<script" not in svg
    assert [e.tag for e in root.iter()] == ["svg", "rect", "title"]


@pytest.mark.parametrize("n", [1, 2, 30])
def test_lines_go_through_their_points_from_left_to_right(n: int) -> None:
    points = [(float(e), 1.0 / e) for e in range(1, n + 1)]
    svg = ET.fromstring(charts.lines([charts.Series("loss", points)], label="x", best=float(n)))
    drawn = [
        tuple(map(float, p.split(","))) for p in next(svg.iter("polyline")).attrib["points"].split()
    ]
    assert len(drawn) == n
    assert [x for x, _ in drawn] == sorted(x for x, _ in drawn)
    assert [y for _, y in drawn] == sorted(y for _, y in drawn)  # a falling loss falls on the page
    assert len(list(svg.iter("circle"))) == (1 if n == 1 else 0)


def test_names_at_the_ends_of_lines_do_not_overlap() -> None:
    series = [charts.Series(name, [(1.0, 0.5), (2.0, 0.7)]) for name in "abc"]
    svg = ET.fromstring(charts.lines(series, label="x", top=1.0))
    ys = sorted(float(t.attrib["y"]) for g in svg.iter("g") for t in g.iter("text"))
    assert all(b - a >= 13 for a, b in pairwise(ys))


def test_a_confusion_matrix_holds_every_count_and_the_recall() -> None:
    matrix = [[8, 2, 0], [0, 5, 0], [0, 0, 0]]
    svg = ET.fromstring(charts.confusion(["A", "B", "C"], matrix, "x"))
    texts = [t.text for t in svg.iter("text")]
    for count in ("8", "2", "5"):
        assert texts.count(count) == 1
    assert {"80\u00a0%", "100\u00a0%", "–"} <= set(texts)
    titles = [t.text for t in svg.iter("title")]
    assert "2 of 10 A called B (20\u00a0%)" in titles
    assert "0" not in texts


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
