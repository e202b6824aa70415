"""The figures of the report: scores by class, confusion matrix and learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from naturalize.base.plots import LIGHT, MARKERS, figure, forest, inline_svg, run_style
from naturalize.report import formatting as form

#: Sizes of text in points; a figure is at most a third larger or smaller on a page.
_TEXT, _SMALL = 9, 8


@dataclass(frozen=True)
class Point:
    """A score with its interval, of run number ``run`` and class number ``row``."""

    row: int
    run: int
    value: float
    interval: Sequence[float] | None


def key(run: int) -> Markup:
    """Return the marker of run number ``run``, for a legend or a table."""
    number = run % len(MARKERS)
    return Markup(f'<span class="key run-{number}" aria-hidden="true">{MARKERS[number][1]}</span>')


def low_end(values: Sequence[float]) -> float:
    """Return where an axis of scores up to 1 may begin: a tenth, with some air under the lowest."""
    return max(0.0, math.floor((min(values, default=0.0) - 0.02) * 10) / 10)


def scores_by_class(
    labels: Sequence[str],
    points: Sequence[Point],
    n_runs: int,
    label: str = "F1 of each class with its interval; the numbers follow as a table",
) -> Markup:
    """Return the F1 of each class as dots with intervals, the runs of a class below each other."""
    low = low_end([v for p in points for v in (p.value, *(p.interval or ()))])
    fig, ax = figure(5.4, 0.55 + len(labels) * (0.16 + 0.13 * n_runs))
    step = 0.7 / max(1, n_runs)
    for point in points:
        y = point.row + (point.run - (n_runs - 1) / 2) * step
        colour, marker = run_style(point.run)
        if point.interval is not None:
            ax.hlines(y, *point.interval, color=colour, linewidth=1.6, alpha=0.5)
        ax.plot([point.value], [y], marker, color=colour, markersize=5, clip_on=False)
    ax.set_xlim(low, 1)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.set_yticks(range(len(labels)), [_shortened(label) for label in labels])
    ax.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    ax.grid(axis="x", color=LIGHT["line"], linewidth=0.8)
    for y in range(1, len(labels)):
        ax.axhline(y - 0.5, color=LIGHT["line"], linewidth=0.8)
    return _page(fig, ax, label)


def differences(rows: Sequence[tuple[str, float, Sequence[float]]], across: str) -> Markup:
    """Return a forest plot of ``rows``: name, difference and interval."""
    fig, ax = forest(
        [(_shortened(name, 40), value, span, ()) for name, value, span in rows], across
    )
    return _page(fig, ax, f"{across}, one row each; the numbers follow as a list")


def confusion(labels: Sequence[str], matrix: Sequence[Sequence[int]], label: str) -> Markup:
    """Return a confusion matrix: rows true, columns predicted, counts in the cells.

    The shade is the share of the true class: right calls in the accent, mistakes in the alert
    colour and by the square root, so that a few per cent can be seen.
    """
    names = [_shortened(text) for text in labels]
    n, longest = len(names), max((len(text) for text in names), default=0)
    side, margin = 0.42, 0.085 * longest
    fig, ax = figure(n * side + margin + 1.0, n * side + 0.6 + (margin if longest > 5 else 0))
    for i, row in enumerate(matrix):
        total = sum(row)
        for j, value in enumerate(row):
            share = value / total if total else 0.0
            _cell(ax, i, j, value, share if i == j else math.sqrt(share))
        recall = form.percent(row[i] / total) if total else form.ABSENT
        ax.text(n - 0.3, i, recall, color=LIGHT["quiet"], fontsize=_SMALL, va="center")
    ax.text(n - 0.3, -0.8, "recall", color=LIGHT["quiet"], fontsize=_SMALL, va="center")
    ax.set_xlim(-0.5, n + 0.7)
    ax.set_ylim(n - 0.5, -0.5)
    ax.set_aspect("equal")
    ax.set_xticks(range(n), names, rotation=90 if longest > 5 else 0)
    ax.set_yticks(range(n), names)
    ax.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    ax.xaxis.set_label_position("top")
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return _page(fig, ax, label)


def _cell(ax: Any, row: int, column: int, value: int, strength: float) -> None:
    from matplotlib.patches import Rectangle

    def shade(colour: str, alpha: float) -> None:
        corner = (column - 0.47, row - 0.47)
        ax.add_patch(Rectangle(corner, 0.94, 0.94, facecolor=colour, alpha=alpha, linewidth=0))

    shade(LIGHT["track"], 0.55)
    if value:
        shade(LIGHT["accent" if row == column else "alert"], 0.06 + 0.94 * strength)
        ink = LIGHT["on-accent" if strength > 0.52 else "ink"]
        ax.text(column, row, str(value), color=ink, fontsize=_TEXT, ha="center", va="center")


def reliability(bins: Sequence[Mapping[str, float]], label: str) -> Markup:
    """Return the share of right answers against confidence, a dot for each bin with images."""
    fig, ax = figure(4.3, 2.6)
    ax.plot([0, 1], [0, 1], color=LIGHT["quiet"], linewidth=0.9, linestyle=(0, (2, 3)))
    most = max(row["n"] for row in bins)
    for row in bins:
        at, share = row["confidence"], row["accuracy"]
        ax.plot([at, at], [at, share], color=LIGHT["alert"], linewidth=1.2)
        size = 3 + 7 * math.sqrt(row["n"] / most)
        ax.plot([at], [share], "o", color=LIGHT["accent"], markersize=size, clip_on=False)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.grid(axis="y", color=LIGHT["line"], linewidth=0.8)
    ax.set_xlabel("confidence")
    ax.set_ylabel("share right")
    return _page(fig, ax, label)


@dataclass(frozen=True)
class Curve:
    """A named line over epochs."""

    name: str
    epochs: Sequence[float]
    values: Sequence[float]


def curves(
    drawn: Sequence[Curve],
    *,
    limits: tuple[tuple[float, float], tuple[float, float]],
    best: float | None,
    label: str,
    across: str = "epoch",
) -> Markup:
    """Return curves over epochs; names stand at the lines' ends, ``best`` is marked.

    ``limits``: ends of the axes, epochs (or what ``across`` names) and values, the same for all
    runs of a study.
    """
    from matplotlib.ticker import MaxNLocator

    fig, ax = figure(4.3, 2.2)
    (first, last), (low, high) = limits
    room = (last - first) * 0.03 or 0.5
    ax.set_xlim(first - room, last + room)
    air = (high - low or 1) * 0.05
    ax.set_ylim(low - air, high + air)
    if best is not None:
        ax.axvline(best, color=LIGHT["quiet"], linewidth=0.9, linestyle=(0, (2, 3)))
    colours = [LIGHT["accent"], *(LIGHT[f"run-{i}"] for i in range(1, 6))]
    ends = _apart([curve.values[-1] for curve in drawn], (high - low or 1) * 0.11)
    for i, (curve, end) in enumerate(zip(drawn, ends, strict=True)):
        colour = colours[i % len(colours)]
        one = {"marker": "o", "markersize": 4} if len(curve.epochs) == 1 else {}
        ax.plot(curve.epochs, curve.values, color=colour, linewidth=1.6, **one)
        beside = {"x": 1.02, "y": end, "transform": ax.get_yaxis_transform()}
        ax.text(**beside, s=curve.name, color=colour, fontsize=_TEXT, va="center")
    if across == "epoch":
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.grid(axis="y", color=LIGHT["line"], linewidth=0.8)
    ax.set_xlabel(across)
    return _page(fig, ax, label)


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """Move labels down until each is ``gap`` below the one above."""
    moved = list(places)
    order = sorted(range(len(places)), key=lambda i: (-places[i], i))
    for above, below in pairwise(order):
        moved[below] = min(moved[below], moved[above] - gap)
    return moved


def _shortened(text: str, most: int = 18) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _page(fig: Any, ax: Any, label: str) -> Markup:
    """Return a figure for the page, its texts and axes in the page's colours."""
    for side in ("left", "bottom"):
        ax.spines[side].set_color(LIGHT["line"])
    ax.tick_params(colors=LIGHT["quiet"], labelsize=_TEXT)
    for name in (ax.xaxis.label, ax.yaxis.label):
        name.set(color=LIGHT["quiet"], fontsize=_TEXT)
    return Markup(inline_svg(fig, label))
