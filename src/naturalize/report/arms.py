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
NAMES = {
    "macro_f1": "macro-F1",
    "weak_f1": "mean F1 of the weak classes",
    "elsewhere": "balanced accuracy in other laboratories",
}


def write_page(folder: Path, result: Mapping[str, Any]) -> Path:
    """Write ``report.html`` of a grid from its ``arms.json``, and its curves as SVG files."""
    for score in result["scores"]:
        plots.save_figure(curve_figure(result, score), folder / f"{score}.svg")
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
    """Say of each arm whether it differs from the one beside it, at home and elsewhere."""
    if not result["differences"]:
        return f"One arm, {result['arms'][0]}."
    scores = [score for score in ("macro_f1", "elsewhere") if score in result["scores"]]
    return " ".join(_verdict(result, score) for score in scores)


def _verdict(result: Mapping[str, Any], score: str) -> str:
    """Say it of one score, over the sizes of each arm, by intervals."""
    base, said, chance = result["arms"][0], [], []
    for name, each in result["differences"].items():
        other = base_of(result, name)
        arm = name if other == base else f"{name} (beside {other})"
        gains = {n: its[score] for n, its in each.items()}
        better = [n for n, its in gains.items() if its["interval"][0] > 0]
        worse = [n for n, its in gains.items() if its["interval"][1] < 0]
        mean = result["mean_differences"][name][score]
        whole = f"{form.difference(mean['value'])} ({form.signed_span(mean['interval'])})"
        over = f"{whole} over {form.count(len(gains), 'size')}"
        if not better and not worse:
            chance.append((arm, f"{arm} {whole}"))
            continue
        parts = [
            f"{word} at {form.listed(where)} images a class"
            for word, where in (("better", better), ("worse", worse))
            if where
        ]
        said.append(f"{arm}: {over}; {' and '.join(parts)}")
    if chance:
        few = len(chance) <= len(plots.MARKERS)  # more are names, whose figures the table has
        said.append(f"At each size it may be chance: {form.listed([a[few] for a in chance])}")
    return f"{capital(NAMES[score])} beside {base}. {'. '.join(said)}."


def capital(text: str) -> str:
    """Return a text with a capital at its beginning, as a heading has it."""
    return text[:1].upper() + text[1:]


def _scores(result: Mapping[str, Any], score: str) -> Section:
    name = NAMES[score]
    sizes = sorted({int(n) for each in result["curves"].values() for n in each})
    numbers = {arm: number for panel in _panels(result) for arm, number in panel}
    label = f"{name} over training images a class, one line an arm; the numbers follow as a table"
    rows = [
        {
            "key": figures.key(numbers[arm]),
            "arm": arm,
            "beside": base_of(result, arm) if arm in result["differences"] else "",
            "sizes": [_cell(result, arm, n, score) for n in sizes],
        }
        for arm in result["arms"]
        if arm in result["curves"]
    ]
    takeaway = (
        f"{capital(name)} {images_of(result, score)} by training images a class, and what each "
        "arm gains over the one beside it."
    )
    data = {
        "curve": Markup(plots.inline_svg(curve_figure(result, score), label)),
        "sizes": [form.number(n) for n in sizes],
        "rows": rows,
        "method": method_of(result, score).replace(" %", f"{form.NBSP}%"),
        "weak": form.listed(result["weak"]) if score == "weak_f1" else "",
    }
    return Section(score, capital(name), takeaway, "arms.html.j2", data)


def method_of(result: Mapping[str, Any], score: str) -> str:
    """Say what the intervals of a score are."""
    return result["method_elsewhere" if score == "elsewhere" else "method"]


def images_of(result: Mapping[str, Any], score: str) -> str:
    """Say what images a score is of."""
    if score != "elsewhere":
        return f"on {form.count(result['test_images'], 'test image')}"
    each = [f"{name} ({form.count(n, 'image')})" for name, n in result["laboratories"].items()]
    return f"(mean of {form.listed(each)})"


def curve_figure(result: Mapping[str, Any], score: str) -> Any:
    """Return a figure: a score over the number of images, one line an arm, and intervals.

    More arms than there are markers stand in several panels: one of those that others are compared
    with, and one for each of these with the arms beside it.
    """
    shown = _panels(result)
    sizes = sorted({int(n) for each in result["curves"].values() for n in each})
    columns = min(2, len(shown))
    fig, axes = plots.panels(len(shown), columns, 3.2 + 3.2 * columns, 4.1 * -(-len(shown) // 2))
    for ax, panel in zip(axes, shown, strict=True):
        for place, (arm, number) in enumerate(panel):
            if its := result["curves"].get(arm):
                shift = 1.012 ** (place - (len(panel) - 1) / 2)
                _draw(ax, arm, number, {int(n) * shift: each[score] for n, each in its.items()})
        ax.set_xscale("log")
        ax.set_xticks(sizes, [f"{n:,}" for n in sizes])
        ax.minorticks_off()
        ax.tick_params(colors=plots.LIGHT["quiet"])
        if len(shown) > 1:
            ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2,
                      fontsize=9, labelcolor=plots.INK)  # fmt: skip
    for ax in axes[-columns:]:
        ax.set_xlabel("training images a class", color=plots.LIGHT["quiet"])
    for ax in axes[::columns]:
        ax.set_ylabel(NAMES[score], color=plots.LIGHT["quiet"])
    if len(shown) == 1:
        plots.legend_below(fig, axes[0])
    return fig


def _draw(ax: Any, arm: str, number: int, at: Mapping[float, Mapping[str, Any]]) -> None:
    """Draw an arm's values and intervals at their places along the axis."""
    colour, marker = plots.run_style(number)
    values = [each["value"] for each in at.values()]
    ax.plot(list(at), values, marker=marker, color=colour, markersize=5, linewidth=1.6, label=arm)
    ends = zip(*(each["interval"] for each in at.values()), strict=True)
    ax.vlines(list(at), *ends, color=colour, linewidth=1.6, alpha=0.5)


def _panels(result: Mapping[str, Any]) -> list[list[tuple[str, int]]]:
    """Return the arms of each panel, each with the number that gives it colour and marker."""
    arms = list(result["arms"])
    if len(arms) <= len(plots.MARKERS):
        return [[(arm, number) for number, arm in enumerate(arms)]]
    bases = list(dict.fromkeys(base_of(result, arm) for arm in arms))
    found = [[(base, number) for number, base in enumerate(bases)]]
    for first, base in enumerate(bases):
        beside = [arm for arm in arms if base_of(result, arm) == base and arm not in bases]
        panel = enumerate([base, *beside], start=first)
        found += [[(arm, number) for number, arm in panel]] if beside else []
    return found


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
