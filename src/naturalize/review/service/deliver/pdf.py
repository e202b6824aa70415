"""The report of a reading as PDF: what is signed, by whom, and the differential."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from naturalize.base.errors import MissingExtraError
from naturalize.base.plots import LIGHT

#: Points: the margins of a page, the text, and the watermark.
_MARGIN, _TEXT, _MARK = 48, 9, 84

#: What stands below every report.
REMARK = (
    "Intervals are exact binomial 95 % ones (Clopper and Pearson 1934): what chance does to a "
    "count, not how often a person or the model is wrong. For research: not a medical device."
)

#: What stands across the pages of a report that nobody signed.
NOT_SIGNED = "not signed"


def percent(share: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return a share and its interval in per cent, or two empty texts.

    Examples
    --------
    >>> percent({"share": 0.125, "low": 0.1, "high": 0.2})
    ('12.5', '10.0–20.0')
    """
    if not share or share["share"] is None:
        return "", ""
    value, low, high = (f"{100 * share[key]:.1f}" for key in ("share", "low", "high"))
    return value, f"{low}–{high}"


def when(at: str) -> str:
    """Return a time of the database (ISO 8601, UTC) for people.

    Examples
    --------
    >>> when("2026-11-28T16:30:05+00:00")
    '2026-11-28 16:30 UTC'
    """
    return f"{at[:10]} {at[11:16]} UTC"


def signed(reading: Mapping[str, Any]) -> str:
    """Return who signed a reading and when (UTC), or that nobody did."""
    if not reading["signed_at"]:
        return NOT_SIGNED
    return f"{reading['signed_by']}, {when(reading['signed_at'])}"


def facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a report says beside its table: name and value."""
    d, reading = report["differential"], report["reading"]
    agrees, progress = report["model_agrees"], report["progress"]
    red = d["erythroblasts_per_100"]
    found = [
        ("Sample", report["name"]),
        ("Reading", _reading(reading)),
        ("Signed", signed(reading)),
        (
            "Cells",
            f"{d['white_cells']} white cells, {d['confirmed_white_cells']} confirmed; "
            f"target {d['target']}",
        ),
        ("Not counted", f"{d['unidentified']} unidentified, {d['cut']} cut by the edge of a field"),
        ("Not yet seen", f"{progress['unseen']} of {progress['total']}"),
        (
            "Erythroblasts per 100 white cells",
            "{value:.1f} ({low:.1f}–{high:.1f})".format(**red) if red else "–",
        ),
        ("Platelets", str(d["platelets"])),
    ]
    names = {
        "bands": "Bands of neutrophils",
        "immature_granulocytes": "Immature granulocytes of neutrophils",
        "immature_to_total": "Immature / total neutrophils",
    }
    for key, name in names.items():
        value, interval = percent(d["left_shift"][key])
        found.append((name, f"{value} % ({interval})" if value else "–"))
    value, interval = percent(agrees)
    said = f"{agrees['n']} of {agrees['of']}, {value} % ({interval})" if value else "–"
    found.append(("Model and person agree", said))
    if second := report["second"]:
        kappa = "–" if second["kappa"] is None else f"{second['kappa']:.3f}"
        if second["interval"] is not None and second["kappa"] is not None:
            kappa += " ({:.3f}–{:.3f})".format(*second["interval"])
        readers = " and ".join(str(name) for name in second["readers"])
        found.append(
            (
                "Two readers",
                f"{readers}: {second['same']} of {second['cells']} alike, kappa {kappa}",
            )
        )
    model = f"{report['model']} ({report['weights_hash'] or 'weights unknown'})"
    return [
        *found,
        ("Model", model),
        ("Made", f"{when(report['generated'])}, naturalize {report['version']}"),
    ]


def _reading(reading: Mapping[str, Any]) -> str:
    name = {1: "first", 2: "second", 3: "adjudicated"}[reading["number"]]
    return f"{name}, blind" if reading["blind"] else name


def rows(report: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of the differential: a header, and a row for each class."""
    target = report["differential"]["target"]
    found = [["Class", "", "Cells", "% of white", "95 %", f"95 % at {target}", "% of nucleated"]]
    for row in report["differential"]["rows"]:
        value, interval = percent(row["white"])
        at = row["at_target"]
        expected = f"{100 * at[0]:.1f}–{100 * at[1]:.1f}" if at else ""
        nucleated, _ = percent(row["nucleated"])
        found.append(
            [row["code"], row["name"], str(row["n"]), value, interval, expected, nucleated]
        )
    return found


def pages(report: Mapping[str, Any]) -> bytes:
    """Return the report as PDF, A4; ``MissingExtraError`` without reportlab."""
    try:
        from reportlab.lib import colors
        from reportlab.lib.pagesizes import A4
        from reportlab.lib.styles import ParagraphStyle
        from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer, Table
    except ImportError as error:
        raise MissingExtraError("reportlab", "review") from error
    from xml.sax.saxutils import escape

    regular, bold = _fonts()
    text = ParagraphStyle("text", fontName=regular, fontSize=_TEXT, leading=1.35 * _TEXT)
    strong = ParagraphStyle("strong", parent=text, fontName=bold)
    title = ParagraphStyle("title", parent=strong, fontSize=18, leading=24)
    head = ParagraphStyle("head", parent=strong, fontSize=11, leading=20, spaceBefore=10)
    line, quiet = colors.HexColor(LIGHT["line"]), colors.HexColor(LIGHT["quiet"])

    def cells(table: Sequence[Sequence[str]]) -> list[list[Paragraph]]:
        return [[Paragraph(escape(value), text) for value in row] for row in table]

    under = [("LINEBELOW", (0, 0), (-1, -1), 0.5, line), ("VALIGN", (0, 0), (-1, -1), "TOP")]
    first, *others = rows(report)
    body = [[Paragraph(escape(name), strong) for name in first], *cells(others)]
    flags = [[flag["rule"], flag["said"]] for flag in report["differential"]["flags"]]
    story = [
        Paragraph("Differential of blood cells", title),
        Table(cells(facts(report)), [170, 329], style=under),
        Paragraph("Differential", head),
        Table(body, [42, 120, 45, 62, 75, 85, 70], style=under, repeatRows=1),
    ]
    if flags:
        story += [Paragraph("Flags", head), Table(cells(flags), [170, 329], style=under)]
    story += [
        Spacer(1, 12),
        Paragraph(REMARK, ParagraphStyle("quiet", parent=text, textColor=quiet)),
    ]

    def frame(canvas: Any, document: Any) -> None:
        _draw_frame(canvas, document.page, A4, report)

    file = io.BytesIO()
    document = SimpleDocTemplate(
        file,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN,
        title=f"Differential: {report['name']}",
        author=report["reading"]["signed_by"] or NOT_SIGNED,
        subject="Differential of blood cells",
        invariant=1,
    )
    document.build(story, onFirstPage=frame, onLaterPages=frame)
    return file.getvalue()


def _draw_frame(
    canvas: Any, page: int, size: tuple[float, float], report: Mapping[str, Any]
) -> None:
    """Draw what stands on every page: the sample, who signed, the number, or that nobody did."""
    (regular, bold), (width, height) = _fonts(), size
    canvas.saveState()
    canvas.setFont(regular, 8)
    canvas.setFillColor(LIGHT["quiet"])
    by = signed(report["reading"])
    canvas.drawString(_MARGIN, height - 30, f"{report['name'][:80]} · {by}")
    canvas.drawRightString(width - _MARGIN, 26, f"page {page}")
    if by == NOT_SIGNED:
        canvas.setFillColor(LIGHT["alert"], alpha=0.16)
        canvas.setFont(bold, _MARK)
        canvas.translate(width / 2, height / 2)
        canvas.rotate(50)
        canvas.drawCentredString(0, 0, NOT_SIGNED)
    canvas.restoreState()


def _fonts() -> tuple[str, str]:
    """Register matplotlib's DejaVu Sans: a PDF's own fonts lack most of the world's letters."""
    from pathlib import Path

    import matplotlib as mpl
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    names = ("DejaVuSans", "DejaVuSans-Bold")
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    for name in names:
        if name not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(TTFont(name, folder / f"{name}.ttf"))
    return names
