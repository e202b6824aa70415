"""The one place for the look of plots: colours, fonts, and files that are the same every time.

A figure is drawn once, by matplotlib, in the light colours of `PALETTE`. It is saved as a file
(`save_figure`) or put into a page (`inline_svg`), where the page's style sheet decides the colours.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: Name → colour on a light and on a dark page; ``run-<i>`` are those of the runs of a study.
#: Chosen by eye; text on its ground has a contrast of 4.5 or more (WCAG 2.2, tested).
PALETTE = {
    "paper": ("#fbfaf8", "#15131a"),
    "raised": ("#ffffff", "#1d1a24"),
    "ink": ("#1f2430", "#e8e5ee"),
    "quiet": ("#5d6472", "#a49eb2"),
    "line": ("#e4e0ea", "#332e3f"),
    "track": ("#efecf3", "#2a2633"),
    "accent": ("#6b3fa0", "#bb9ceb"),
    "accent-2": ("#9c7cc4", "#8462b5"),
    "accent-3": ("#cbb9e2", "#564173"),
    "accent-soft": ("#f3eef9", "#251e32"),
    "on-accent": ("#fefefe", "#15131a"),
    "alert": ("#b4380b", "#f39a6b"),
    "alert-soft": ("#fcf0e8", "#33211a"),
    "good": ("#1e6b4a", "#7fcfa6"),
    "good-soft": ("#eaf4ee", "#19291f"),
    "run-0": ("#6a3fa0", "#bb9ceb"),
    "run-1": ("#0f766e", "#4fc3b5"),
    "run-2": ("#b45309", "#eda255"),
    "run-3": ("#2f5fa8", "#7fa8ee"),
    "run-4": ("#a8326e", "#ec83b6"),
    "run-5": ("#5c6472", "#a49eb2"),
}

#: The light colours by name, as `inline_svg` finds them again.
LIGHT = {name: light for name, (light, _) in PALETTE.items()}

#: Colours of figures that are saved as files.
ACCENT, ALERT, INK = LIGHT["accent"], LIGHT["alert"], LIGHT["ink"]
GREY, PAPER = "#8a8f98", "#ffffff"

#: Name of the sequential colour map, for matrices and heat maps of counts.
SEQUENTIAL = "BuPu"

#: RGB of each kind of cell, of nuclei and of bare slide, wherever they are drawn. Chosen so that
#: each differs from the others and from stained cells by at least 15 (CIEDE2000) for eyes without
#: red, green or blue cones too (simulated after Machado et al. 2009).
KIND_COLOURS = {
    "wbc": (0, 90, 60),
    "nucleus": (110, 255, 0),
    "rbc": (20, 105, 230),
    "platelet": (235, 95, 0),
    "background": (138, 143, 152),
}

#: The key of these colours for titles and texts beside a picture.
KIND_KEY = "white cells dark green (nucleus bright green), red cells blue, platelets orange"

#: Eleven colours that stay apart, for colour-blind eyes too (after Paul Tol, 2021).
_CLASS_COLOURS = (
    "#332288", "#88ccee", "#cc6677", "#aa4499", "#117733", "#ddaa33",
    "#44aa99", "#882255", "#999933", "#ee7733", "#4477aa",
)  # fmt: skip


def class_colours(labels: Sequence[str]) -> dict[str, str]:
    """Return a hex colour for each label, the same for the same order of labels."""
    return {label: _CLASS_COLOURS[i % len(_CLASS_COLOURS)] for i, label in enumerate(labels)}


#: Shapes that distinguish runs without colour: matplotlib's marker, and the character in tables.
MARKERS = (("o", "●"), ("D", "◆"), ("s", "■"), ("^", "▲"), ("v", "▼"), ("P", "✚"))


def run_style(number: int) -> tuple[str, str]:
    """Return the colour and the marker of a run, a model or a laboratory by its number."""
    number %= len(MARKERS)
    return LIGHT[f"run-{number}"], MARKERS[number][0]


def figure(width: float = 6.4, height: float = 4.0) -> tuple[Any, Any]:
    """Return a new figure (inches) and its axes in the house style; close it by `save_figure`."""
    fig, (ax,) = panels(1, 1, width, height)
    return fig, ax


def panels(n: int, columns: int, width: float, height: float) -> tuple[Any, list[Any]]:
    """Return a new figure (inches) and its ``n`` axes, ``columns`` a row, all of the same limits.

    It is in the house style; close it by `save_figure`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(fig)
    grid = fig.subplots(-(-n // columns), columns, sharex=True, sharey=True, squeeze=False)
    axes = list(grid.flat)
    for ax in axes[n:]:
        ax.remove()
    for place, ax in enumerate(axes[:n]):
        style(ax)
        ax.tick_params(labelbottom=place + columns >= n)
    return fig, axes[:n]


def legend_below(fig: Any, ax: Any) -> None:
    """Name what is drawn in ``ax`` below all axes, where there is more than one thing."""
    handles, names = ax.get_legend_handles_labels()
    if len(names) > 1:
        fig.legend(handles, names, loc="outside lower center", ncols=min(len(names), 4),
                   frameon=False, fontsize=9, labelcolor=INK)  # fmt: skip


def forest(
    rows: Sequence[tuple[str, float, Sequence[float], Sequence[float]]],
    across: str,
    *,
    below: int | None = None,
) -> tuple[Any, Any]:
    """Return a forest plot and its axes: a row for each difference, with its interval and 0.

    ``rows`` are name, difference, interval, and the differences of single seeds, drawn as small
    dots. What lies beyond 0 is in the accent colour. ``below``: a line after so many rows.
    """
    fig, ax = figure(6.4, 1.0 + 0.27 * len(rows))
    for y, (_, value, (low, high), seeds) in enumerate(rows):
        colour = LIGHT["accent"] if low > 0 or high < 0 else LIGHT["quiet"]
        ax.hlines(y, low, high, color=colour, linewidth=2.0, alpha=0.55)
        ax.plot(seeds, [y] * len(seeds), ".", color=colour, markersize=4, alpha=0.7)
        ax.plot([value], [y], "o", color=colour, markersize=5.5)
    ax.axvline(0, color=LIGHT["quiet"], linewidth=1.0)
    if below is not None:
        ax.axhline(below - 0.5, color=LIGHT["line"], linewidth=0.9)
    ax.set_yticks(range(len(rows)), [name for name, *_ in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.margins(x=0.08)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color=LIGHT["line"], linewidth=0.8)
    ax.set_xlabel(across, color=INK)
    return fig, ax


def style(ax: Any) -> None:
    """Give axes the house style: no box, quiet ticks, grid lines behind."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(GREY)
    ax.tick_params(colors=INK, labelsize=9)
    ax.set_axisbelow(True)
    ax.grid(axis="y", color=LIGHT["line"], linewidth=0.8)


def bands(
    fields: Mapping[str, Sequence[Mapping[str, Any]]],
    before: Mapping[str, Any],
    across: str,
    up: str,
) -> Any:
    """Return a figure of small fields: a score at 0 and its course over 1, 2, …, with intervals.

    ``fields``: name → scores, each ``value`` and ``interval``; ``before``: the score at 0 of all of
    them, dashed; ``across`` and ``up`` name the axes.
    """
    columns = min(5, len(fields))
    rows = -(-len(fields) // columns)
    fig, axes = panels(len(fields), columns, 0.6 + 1.75 * columns, 0.5 + 1.55 * rows)
    for ax, (name, scores) in zip(axes, fields.items(), strict=True):
        every = [before, *scores]
        low, high = zip(*(score["interval"] for score in every), strict=True)
        ax.fill_between(range(len(every)), low, high, color=ACCENT, alpha=0.18, linewidth=0)
        ax.axhline(before["value"], color=LIGHT["quiet"], linewidth=0.9, linestyle=(0, (3, 3)))
        values = [score["value"] for score in every]
        ax.plot(range(len(every)), values, "o-", color=ACCENT, linewidth=1.5, markersize=3)
        ax.set_title(name, fontsize=9, color=INK, loc="left")
    axes[0].set_ylim(0, 1)
    axes[0].set_xticks(range(len(every)))
    fig.supxlabel(across, fontsize=9, color=INK)
    fig.supylabel(up, fontsize=9, color=INK)
    return fig


def save_figure(fig: Any, path: str | Path) -> None:
    """Write a figure as SVG or PNG (by suffix), with the same bytes for the same figure."""
    from naturalize.base.artifacts import write_bytes

    path = Path(path)
    write_bytes(path, _drawn(fig, path.suffix.lstrip("."), "naturalize"))


def inline_svg(fig: Any, label: str) -> str:
    """Return a figure as an SVG element for a page; the same text for the same figure.

    It has no background, scales with its column, leaves the font to the page, and takes each colour
    of `PALETTE` from the page's variable of that name (``var(--accent)``). ``label`` says what it
    shows, for a screen reader; ``fig`` is drawn in colours of `LIGHT`.
    """
    from xml.etree import ElementTree as ET

    spaces = {"": "http://www.w3.org/2000/svg", "xlink": "http://www.w3.org/1999/xlink"}
    for prefix, space in spaces.items():
        ET.register_namespace(prefix, space)
    svg = ET.fromstring(_drawn(fig, "svg", label, transparent=True))
    svg.remove(next(child for child in svg if child.tag.endswith("}metadata")))
    for group in svg.iter(f"{{{spaces['']}}}g"):
        group.attrib.pop("id", None)  # matplotlib counts these anew in each figure of a page
    width = float(svg.attrib["width"].removesuffix("pt"))
    svg.attrib = {
        "class": "figure",
        "role": "img",
        "aria-label": label,
        "viewBox": svg.attrib["viewBox"],
        "style": f"max-width: {width / 12:.1f}rem",
    }
    text = ET.tostring(svg, "unicode")
    text = re.sub(r"font-family: [^;\"]*; ?", "", text)
    text = re.sub(r"font: (?:\w+ )?([\d.]+px)[^;\"]*", r"font-size: \1", text)
    for name, light in LIGHT.items():
        text = text.replace(light, f"var(--{name})")
    return text


def _drawn(fig: Any, kind: str, salt: str, **options: Any) -> bytes:
    """Return a figure as a file of ``kind``; ``salt`` makes the ids of an SVG its own."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        fig.savefig(buffer, format=kind, dpi=144, metadata=metadata, **options)
    return buffer.getvalue()
