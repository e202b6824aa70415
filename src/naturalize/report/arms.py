"""The page of a grid of studies: learning curves, differences and multipliers of its arms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from naturalize.base import plots
from naturalize.base.artifacts import write_bytes
from naturalize.report import figures
from naturalize.report import formatting as form
from naturalize.report.page import template
from naturalize.report.section import Section

#: What the scores are called in texts.
NAMES = {"macro_f1": "macro-F1", "weak_f1": "mean F1 of the weak classes"}


def write_page(folder: Path, result: Mapping[str, Any]) -> Path:
    """Write ``report.html`` of a grid from its ``arms.json``, and its curves as SVG files."""
    for score in result["scores"]:
        plots.save_figure(curve_figure(result, score)[0], folder / f"{score}.svg")
    sections = [_scores(result, score) for score in result["scores"]]
    head = {"name": result["name"], "verdict": verdict(result), "banners": [], "cards": []}
    page = template().render(
        palette=plots.PALETTE, head=head, sections=[*sections, _trainings(result)], left_out=""
    )
    file = folder / "report.html"
    write_bytes(file, page.encode())
    return file


def base_of(result: Mapping[str, Any], arm: str) -> str:
    """Return the arm that another is compared with."""
    return result.get("beside", {}).get(arm, result["arms"][0])


def verdict(result: Mapping[str, Any]) -> str:
    """Say of each arm whether it differs from the one beside it, over its sizes, by intervals."""
    base, said = result["arms"][0], []
    for name, each in result["differences"].items():
        other = base_of(result, name)
        arm = name if other == base else f"{name} (beside {other})"
        gains = {n: its["macro_f1"] for n, its in each.items()}
        better = [n for n, its in gains.items() if its["interval"][0] > 0]
        worse = [n for n, its in gains.items() if its["interval"][1] < 0]
        mean = result["mean_differences"][name]["macro_f1"]
        whole = f"{form.difference(mean['value'])} ({form.signed_span(mean['interval'])})"
        over = f"{whole} over {form.count(len(gains), 'size')}"
        if not better and not worse:
            said.append(f"{arm}: {over}; at each size it may be chance")
            continue
        parts = [
            f"{word} at {form.listed(where)} images a class"
            for word, where in (("better", better), ("worse", worse))
            if where
        ]
        said.append(f"{arm}: {over}; {' and '.join(parts)}")
    if not said:
        return f"One arm, {base}."
    return f"Macro-F1 beside {base}. {'. '.join(said)}."


def _scores(result: Mapping[str, Any], score: str) -> Section:
    name = NAMES[score]
    sizes = sorted({int(n) for each in result["curves"].values() for n in each})
    label = f"{name} over training images a class, one line an arm; the numbers follow as a table"
    rows = [
        {
            "key": figures.key(number),
            "arm": arm,
            "beside": base_of(result, arm) if arm in result["differences"] else "",
            "sizes": [_cell(result, arm, n, score) for n in sizes],
        }
        for number, arm in enumerate(result["arms"])
        if arm in result["curves"]
    ]
    takeaway = (
        f"{name[:1].upper()}{name[1:]} on {form.count(result['test_images'], 'test image')} by "
        "training images a class, and what each arm gains over the one beside it."
    )
    data = {
        "curve": Markup(plots.inline_svg(curve_figure(result, score)[0], label)),
        "sizes": [form.number(n) for n in sizes],
        "rows": rows,
        "method": result["method"].replace(" %", f"{form.NBSP}%"),
        "weak": form.listed(result["weak"]) if score == "weak_f1" else "",
    }
    return Section(score, name[:1].upper() + name[1:], takeaway, "arms.html.j2", data)


def curve_figure(result: Mapping[str, Any], score: str) -> tuple[Any, Any]:
    """Return figure and axes: a score over the number of images, one line an arm, and intervals."""
    fig, ax = plots.figure(6.4, 4.0)
    sizes = sorted({int(n) for each in result["curves"].values() for n in each})
    for number, arm in enumerate(result["arms"]):
        its = result["curves"].get(arm)
        if not its:
            continue
        colour, marker = plots.run_style(number)
        shift = 1.012 ** (number - (len(result["arms"]) - 1) / 2)
        at = [int(n) * shift for n in its]
        values = [each[score]["value"] for each in its.values()]
        ax.plot(at, values, marker=marker, color=colour, markersize=5, linewidth=1.6, label=arm)
        ax.vlines(at, *zip(*(e[score]["interval"] for e in its.values()), strict=True),
                  color=colour, linewidth=1.6, alpha=0.5)  # fmt: skip
    ax.set_xscale("log")
    ax.set_xticks(sizes, [f"{n:,}" for n in sizes])
    ax.minorticks_off()
    ax.set_xlabel("training images a class")
    ax.set_ylabel(NAMES[score])
    ax.tick_params(colors=plots.LIGHT["quiet"])
    for text in (ax.xaxis.label, ax.yaxis.label):
        text.set_color(plots.LIGHT["quiet"])
    ax.legend(frameon=False, loc="lower right", labelcolor=plots.LIGHT["ink"])
    return fig, ax


def _cell(result: Mapping[str, Any], arm: str, n: int, score: str) -> dict[str, str] | None:
    found = result["curves"][arm].get(str(n))
    if found is None:
        return None
    its = {
        "value": form.score(found[score]["value"]),
        "interval": form.span(found[score]["interval"]),
    }
    gain = result["differences"].get(arm, {}).get(str(n))
    times = result["multipliers"].get(arm, {}).get(str(n))
    return {
        **its,
        "gain": form.difference(gain[score]["value"]) if gain else "",
        "gain_interval": form.signed_span(gain[score]["interval"]) if gain else "",
        "times": form.multiplier(times[score]) if times else "",
    }


def _trainings(result: Mapping[str, Any]) -> Section:
    rows = [
        {
            **cell,
            "macro_f1": form.score(cell["macro_f1"]),
            "seconds": form.duration(cell["seconds"]),
        }
        for cell in result["cells"]
    ]
    n, failed = len(rows), result["failed"]
    takeaway = f"{form.count(n, 'training')} stand behind these figures."
    if failed:
        takeaway += f" {form.count(len(failed), 'training')} failed."
    return Section("trainings", "Trainings", takeaway, "trainings.html.j2",
                   {"rows": rows, "failed": failed})  # fmt: skip
