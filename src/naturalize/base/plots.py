"""The one place for the look of plots: colours, fonts, and files that are the same every time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: House colours: ink of a haematology slide on paper.
ACCENT, ALERT, GREY, INK, PAPER = "#6b3fa0", "#c2410c", "#8a8f98", "#1f2430", "#ffffff"

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


def figure(width: float = 6.4, height: float = 4.0) -> tuple[Any, Any]:
    """Return a new figure (inches) and its axes in the house style; close it by `save_figure`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(fig)
    ax = fig.add_subplot()
    style(ax)
    return fig, ax


def style(ax: Any) -> None:
    """Give axes the house style: no box, quiet ticks, grid lines behind."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(GREY)
    ax.tick_params(colors=INK, labelsize=9)
    ax.set_axisbelow(True)
    ax.grid(axis="y", color="#e5e7eb", linewidth=0.8)


def save_figure(fig: Any, path: str | Path) -> None:
    """Write a figure as SVG or PNG (by suffix), with the same bytes for the same figure."""
    import matplotlib as mpl

    from naturalize.base.artifacts import write_bytes

    path = Path(path)
    kind = path.suffix.lstrip(".")
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with mpl.rc_context({"svg.hashsalt": "naturalize", "svg.fonttype": "none"}):
        fig.savefig(buffer, format=kind, dpi=144, metadata=metadata)
    write_bytes(path, buffer.getvalue())
