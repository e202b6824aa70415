"""Small inline SVG charts without fixed colours: the style sheet paints them, light or dark.

Elements are built by the standard library's XML writer, so that no class or file name can break
out of its text. Bars and dots use percentages instead of a view box: their texts keep their size
on a telephone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.etree import ElementTree as ET

from markupsafe import Markup

from naturalize.report import words

#: Shapes that tell runs apart without colour; the style sheet has as many ``run-<i>`` colours.
MARKERS = (
    "M-4.5,0 A4.5,4.5 0 1 0 4.5,0 A4.5,4.5 0 1 0 -4.5,0 Z",
    "M0,-5.2 5.2,0 0,5.2 -5.2,0 Z",
    "M-4,-4 4,-4 4,4 -4,4 Z",
    "M0,-5 5,4 -5,4 Z",
    "M0,5 5,-4 -5,-4 Z",
    "M-2,-5 2,-5 2,-2 5,-2 5,2 2,2 2,5 -2,5 -2,2 -5,2 -5,-2 -2,-2 Z",
)


@dataclass(frozen=True)
class Point:
    """A score with its interval, of run number ``run``."""

    value: float
    interval: Sequence[float] | None
    run: int
    title: str


@dataclass(frozen=True)
class Series:
    """A named line of a chart: one ``(x, y)`` an epoch."""

    name: str
    points: Sequence[tuple[float, float]]


def _svg(label: str | None, **attributes: str) -> ET.Element:
    """Return an empty SVG: an image with a name for readers, or decoration without one."""
    says = {"role": "img", "aria-label": label} if label else {"aria-hidden": "true"}
    return ET.Element("svg", {**attributes, **says})


def _add(parent: ET.Element, tag: str, text: str | None = None, **attributes: object) -> ET.Element:
    named = {k.rstrip("_").replace("_", "-"): str(v) for k, v in attributes.items()}
    child = ET.SubElement(parent, tag, named)
    child.text = text
    return child


def _markup(svg: ET.Element) -> Markup:
    return Markup(ET.tostring(svg, encoding="unicode"))


def _pct(share: float) -> str:
    return f"{100 * share:.2f}%"


def bar(parts: Sequence[tuple[float, str, str]], *, mark: float | None = None) -> Markup:
    """Return a bar of ``(share of the whole width, style class, what it is)`` parts.

    ``mark`` is the share where a thin upright line stands, such as chance. The numbers stand beside
    a bar in its table, so it is decoration for a screen reader.
    """
    svg = _svg(None, **{"class": "bar", "width": "100%", "height": "16"})
    at = 0.0
    for share, style, title in parts:
        width = max(0.0, min(share, 1.0 - at))
        rect = _add(svg, "rect", class_=style, x=_pct(at), y=2, width=_pct(width), height=12)
        _add(rect, "title", title)
        at += width
    if mark is not None:
        _add(svg, "line", class_="mark", x1=_pct(mark), x2=_pct(mark), y1=0, y2=16)
    return _markup(svg)


def low_end(values: Sequence[float]) -> float:
    """Return where an axis of scores up to 1 may begin: a tenth, with some air under the lowest."""
    return max(0.0, math.floor((min(values, default=0.0) - 0.02) * 10) / 10)


def dots(points: Sequence[Point], *, low: float) -> Markup:
    """Return the scores of a class as dots with interval whiskers, on an axis from ``low`` to 1."""
    lane, pad = 13, 3
    height = lane * max(1, len(points)) + 2 * pad
    svg = _svg(None, **{"class": "dots", "width": "100%", "height": str(height)})

    def x(value: float) -> str:
        return _pct(min(1.0, max(0.0, (value - low) / (1 - low))))

    for tick in _tenths(low):
        _add(svg, "line", class_="grid", x1=x(tick), x2=x(tick), y1=0, y2=height)
    for i, point in enumerate(points):
        y = pad + lane * i + lane / 2
        group = _add(svg, "g", class_=f"run-{point.run % len(MARKERS)}")
        _add(group, "title", point.title)
        if point.interval is not None:
            a, b = point.interval
            _add(group, "line", class_="whisker", x1=x(a), x2=x(b), y1=y, y2=y)
        place = _add(group, "svg", x=x(point.value), y=y, overflow="visible")
        _add(place, "path", class_="dot", d=MARKERS[point.run % len(MARKERS)])
    return _markup(svg)


def dots_axis(low: float) -> Markup:
    """Return the axis that belongs over rows of :func:`dots`."""
    svg = _svg(None, **{"class": "dots axis", "width": "100%", "height": "16"})
    ticks = _tenths(low)
    every = 2 if len(ticks) > 6 else 1
    for i, tick in enumerate(reversed(ticks)):
        if i % every == 0:
            anchor = "end" if i == 0 else "start" if i == len(ticks) - 1 else "middle"
            share = (tick - low) / (1 - low)
            _add(svg, "text", f"{tick:.1f}", x=_pct(share), y=12, text_anchor=anchor)
    return _markup(svg)


def marker(run: int) -> Markup:
    """Return the marker of run number ``run``, for a legend or a table."""
    svg = _svg(None, **{"class": f"key run-{run % len(MARKERS)}", "width": "14", "height": "14"})
    svg.set("viewBox", "-7 -7 14 14")
    _add(svg, "path", class_="dot", d=MARKERS[run % len(MARKERS)])
    return _markup(svg)


def _tenths(low: float) -> list[float]:
    return [round(t / 10, 1) for t in range(round(low * 10), 11)]


def confusion(labels: Sequence[str], matrix: Sequence[Sequence[int]], label: str) -> Markup:
    """Return a confusion matrix: rows true, columns predicted, counts in the cells.

    The shade is the share of the true class: right calls in the accent, mistakes in the alert
    colour and by the square root, so that a few per cent can be seen. Long names stand upright
    over their columns.
    """
    side, right, n = 46, 62, len(labels)
    names = [_shortened(text) for text in labels]
    longest = max((len(text) for text in names), default=0)
    left = 36 + 8.6 * longest
    upright = longest > 5
    top = 32 + (8.2 * longest if upright else 20)
    width, height = left + side * n + right, top + side * n + 8
    svg = _svg(label, **{"class": "confusion", "viewBox": f"0 0 {width:g} {height:g}"})
    svg.set("style", f"min-width:{min(width, 560):g}px;max-width:{width * 1.1:g}px")
    middle, end = top + side * n / 2, left + side * n + 34
    _add(svg, "text", "called", class_="axis-name", x=left + side * n / 2, y=16)
    name = _add(svg, "text", "truly", class_="axis-name", x=12, y=middle)
    name.set("transform", f"rotate(-90 12 {middle:g})")
    _add(svg, "text", "recall", class_="axis-name", x=end, y=top - 10)
    for i, text in enumerate(names):
        at = side * i + side / 2
        _add(svg, "text", text, class_="row-label", x=left - 8, y=top + at + 4)
        column = _add(svg, "text", text, class_="column-label", x=left + at, y=top - 10)
        if upright:
            column.set("class", "column-label upright")
            column.set("transform", f"rotate(-90 {left + at + 4:g} {top - 10:g})")
    for i, row in enumerate(matrix):
        total = sum(row)
        for j, value in enumerate(row):
            share = value / total if total else 0.0
            _cell(svg, left + side * j, top + side * i, side, value, share, i == j)
            if value:
                text = f"{value} of {total} {labels[i]} called {labels[j]} ({words.percent(share)})"
                _add(svg[-1], "title", text)
        recall = words.percent(row[i] / total) if total else words.ABSENT
        _add(svg, "text", recall, class_="recall", x=end, y=top + side * (i + 0.5) + 4)
    return _markup(svg)


def _shortened(text: str, most: int = 18) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _cell(
    svg: ET.Element, x: float, y: float, side: float, value: int, share: float, right: bool
) -> None:
    strength = share if right else math.sqrt(share)
    group = _add(svg, "g", class_="right" if right else "wrong")
    _add(group, "rect", class_="ground", x=x + 1, y=y + 1, width=side - 2, height=side - 2, rx=4)
    if value:
        _add(
            group, "rect", class_="shade", x=x + 1, y=y + 1, width=side - 2, height=side - 2, rx=4,
            fill_opacity=f"{0.06 + 0.94 * strength:.3f}",
        )  # fmt: skip
        style = "on-dark" if strength > 0.52 else "on-light"
        _add(group, "text", str(value), class_=style, x=x + side / 2, y=y + side / 2 + 4)


def lines(
    series: Sequence[Series], *, label: str, best: float | None = None, top: float | None = None
) -> Markup:
    """Return a line chart over epochs; names stand at the lines' ends, ``best`` is marked.

    ``top`` fixes the upper end of the axis, such as 1 for scores.
    """
    width, height, left, right, head, foot = 380, 200, 38, 74, 12, 30
    xs = [x for s in series for x, _ in s.points]
    ys = [y for s in series for _, y in s.points]
    svg = _svg(label, **{"class": "lines", "viewBox": f"0 0 {width} {height}"})
    if not xs:
        return _markup(svg)
    ticks = nice_ticks(min(ys), max(ys) if top is None else top)
    low, high = ticks[0], ticks[-1]
    first, last = min(xs), max(xs)

    def px(x: float) -> float:
        share = (x - first) / (last - first) if last > first else 0.5
        return round(left + share * (width - left - right), 1)

    def py(y: float) -> float:
        return round(height - foot - (y - low) / (high - low) * (height - head - foot), 1)

    for tick in ticks:
        _add(svg, "line", class_="grid", x1=left, x2=width - right, y1=py(tick), y2=py(tick))
        _add(svg, "text", f"{tick:g}", class_="tick-y", x=left - 6, y=py(tick) + 4)
    for tick in sorted({first, last}):
        _add(svg, "text", f"{tick:g}", class_="tick-x", x=px(tick), y=height - 12)
    _add(svg, "text", "epoch", class_="axis-name", x=(left + width - right) / 2, y=height - 12)
    if best is not None and first <= best <= last:
        _add(svg, "line", class_="best", x1=px(best), x2=px(best), y1=head, y2=height - foot)
    ends = _apart([py(s.points[-1][1]) for s in series], 13)
    for i, (s, end) in enumerate(zip(series, ends, strict=True)):
        group = _add(svg, "g", class_=f"line-{i}")
        path = " ".join(f"{px(x)},{py(y)}" for x, y in s.points)
        _add(group, "polyline", points=path)
        for x, y in s.points if len(s.points) == 1 else ():
            _add(group, "circle", cx=px(x), cy=py(y), r=3)
        _add(group, "text", s.name, x=px(s.points[-1][0]) + 7, y=end + 4)
    return _markup(svg)


def nice_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round numbers that enclose ``low`` … ``high``, about ``about`` steps apart."""
    if high - low <= 1e-9 * max(1.0, abs(low), abs(high)):
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / about
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= raw * 0.999)
    start, stop = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(start, stop + 1)]


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """Move labels down until each is ``gap`` pixels from the one above."""
    moved = list(places)
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    for above, below in pairwise(order):
        moved[below] = max(moved[below], moved[above] + gap)
    return moved
