"""The report as one file of HTML, and the plots of a comparison: what is kept or printed."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Any

from naturalize.base.errors import unknown
from naturalize.base.plots import INK, LIGHT, figure, inline_svg
from naturalize.review.pages.render import STATIC_FOLDER, environment
from naturalize.review.service.deliver import pdf

#: The plots of a class.
PLOTS = ("passing-bablok", "bland-altman")

#: Presentation attributes of SVG that matplotlib writes into styles; other properties it writes
#: (font sizes in ``px``) are such attributes too.
_STYLE = re.compile(r'\sstyle="([^"]*)"')


#: matplotlib's settings are one for the process, and a page asks for two plots at once.
_DRAWING = threading.Lock()


def contents(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the templates of a report need, from `exports.report`."""
    return {
        "report": report,
        "facts": pdf.facts(report),
        "table": pdf.rows(report),
        "signed": pdf.signed(report["reading"]),
        "remark": pdf.REMARK,
    }


def html(report: Mapping[str, Any]) -> bytes:
    """Return a report as one file of HTML that needs no other."""
    styles = "".join((STATIC_FOLDER / name).read_text() for name in ("style.css", "out.css"))
    template = environment().get_template("report_file.html.j2")
    return template.render(**contents(report), styles=styles).encode()


def comparison_plot(comparison: Mapping[str, Any], code: str, kind: str) -> str:
    """Return a plot of `comparison.compare` as an SVG element without styles of its own.

    Colours are the page's variables. ``SettingsError`` for a class that is not compared, or a
    ``kind`` outside `PLOTS`.
    """
    rows = {row["code"]: row for row in comparison["regression"]}
    if code not in rows:
        raise unknown("class", code, list(rows))
    if kind not in PLOTS:
        raise unknown("plot", kind, list(PLOTS))
    draw = _scatter if kind == "passing-bablok" else _differences
    with _DRAWING:
        svg = inline_svg(draw(rows[code]), f"{kind} of {code}, model against person")
    return _without_styles(svg)


def _scatter(row: Mapping[str, Any]) -> Any:
    fig, ax = figure(4.6, 4.0)
    x, y, line = row["person"], row["model"], row["passing_bablok"]
    top = 1.06 * max(*x, *y, 1)
    ax.plot([0, top], [0, top], color=LIGHT["quiet"], linewidth=1.0, linestyle=(0, (3, 3)))
    if line is not None:
        ends = [line["intercept"] + line["slope"] * at for at in (0, top)]
        ax.plot([0, top], ends, color=LIGHT["accent"], linewidth=1.6)
    ax.plot(x, y, "o", color=LIGHT["accent"], markersize=4, alpha=0.7)
    ax.set_xlim(0, top)
    ax.set_ylim(0, top)
    # the name of a class is no mathematics, whatever is in it
    ax.set_xlabel(f"{row['code']} by person, % of white cells", color=INK, parse_math=False)
    ax.set_ylabel("by model, %", color=INK)
    return fig


def _differences(row: Mapping[str, Any]) -> Any:
    fig, ax = figure(4.6, 4.0)
    pairs = list(zip(row["person"], row["model"], strict=True))
    ax.plot(
        [(x + y) / 2 for x, y in pairs],
        [y - x for x, y in pairs],
        "o",
        color=LIGHT["accent"],
        markersize=4,
        alpha=0.7,
    )
    if found := row["bland_altman"]:
        for name, (low, high) in (
            ("bias", found["bias_interval"]),
            ("lower", found["lower_interval"]),
            ("upper", found["upper_interval"]),
        ):
            colour = LIGHT["accent"] if name == "bias" else LIGHT["alert"]
            ax.axhspan(low, high, color=colour, alpha=0.12, linewidth=0)
            ax.axhline((low + high) / 2, color=colour, linewidth=1.3)
    ax.axhline(0, color=LIGHT["quiet"], linewidth=1.0, linestyle=(0, (3, 3)))
    ax.set_xlabel(f"{row['code']}, mean of person and model, %", color=INK, parse_math=False)
    ax.set_ylabel("model − person, percentage points", color=INK)
    return fig


def _without_styles(svg: str) -> str:
    """Return SVG whose styles are attributes: the pages' security policy forbids styles in it."""

    def attributes(found: re.Match[str]) -> str:
        pairs = (part.split(":", 1) for part in found[1].split(";") if ":" in part)
        kept = ((name.strip(), value.strip()) for name, value in pairs)
        return "".join(f' {name}="{value}"' for name, value in kept if name != "max-width")

    return _STYLE.sub(attributes, re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL))
