"""The pictures of an evaluation, drawn from ``metrics.json`` (or ``labs.json``) alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base import plots


def confusion_picture(result: dict[str, Any], path: str | Path) -> None:
    """Draw the confusion matrix: colour is the share of the true class, numbers are counts.

    Classes that are not in the data have no row, and a column, the last ones and their names grey,
    only if an image was taken for one.
    """
    counts, rows, labels = _drawn(result)
    support = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
    side, height = 1.9 + 0.44 * len(labels), 1.9 + 0.44 * len(rows)
    short = _short([*labels, *rows])
    margin = 0.0 if short else 0.08 * max(map(len, [*labels, *rows]))
    fig, ax = plots.figure(side + 1.1 + margin, height + 0.7 * margin)
    fig.set_layout_engine("compressed")  # the one that minds axes of a fixed aspect
    image = ax.imshow(share, cmap=plots.SEQUENTIAL, vmin=0, vmax=1)
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    # white lines between the cells: a matrix is read by its cells, not as a surface
    ax.set_xticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    ax.grid(which="minor", color=plots.PAPER, linewidth=1.6)
    ax.tick_params(which="both", length=0)
    slanted = {} if short else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(range(len(labels)), labels, **slanted)
    ax.set_yticks(range(len(rows)), _with_support(rows, support[:, 0]))
    ax.set_xlabel("predicted", color=plots.INK)
    ax.set_ylabel("true (images)", color=plots.INK)
    _set_apart(ax, len(rows), len(labels))
    _write_counts(ax, counts, share)
    bar = fig.colorbar(
        image, ax=ax, fraction=0.04, pad=0.02, format=lambda v, _: f"{100 * v:.0f} %"
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8, colors=plots.INK)
    bar.set_label("share of the true class", color=plots.INK, fontsize=9)
    facts = [f"macro-F1 {result['macro_f1']:.3f}", f"accuracy {result['accuracy']:.3f}"]
    facts.append(f"{result['n']:,} images")
    title = (" · " if len(labels) > 7 else "\n").join(facts)
    ax.set_title(title, fontsize=10, color=plots.INK, loc="left")
    plots.save_figure(fig, path)


def _drawn(result: dict[str, Any]) -> tuple[np.ndarray, list[str], list[str]]:
    """Return the counts that are shown, and the names of their rows and columns."""
    counts = np.array(result["confusion"])
    rows = np.flatnonzero(counts.sum(axis=1))
    others = np.flatnonzero((counts.sum(axis=0) > 0) & (counts.sum(axis=1) == 0))
    columns = np.concatenate([rows, others])
    names = result["labels"]
    return counts[np.ix_(rows, columns)], [names[i] for i in rows], [names[i] for i in columns]


def _set_apart(ax: Any, n_present: int, n_drawn: int) -> None:
    """Show which columns are of classes that are not in the data: no answer there is right."""
    if n_present == n_drawn:
        return
    ax.axvline(n_present - 0.5, color=plots.GREY, linewidth=1.6)
    for tick in ax.get_xticklabels()[n_present:]:
        tick.set_color(plots.GREY)
    ax.set_xlabel("predicted (grey: not in the data)", color=plots.INK)


def _write_counts(ax: Any, counts: np.ndarray, share: np.ndarray) -> None:
    size = 9 if counts.max() < 1000 else 8
    for (row, column), n in np.ndenumerate(counts):
        if n:
            ink = plots.PAPER if share[row, column] > 0.55 else plots.INK
            weight = "bold" if row == column else "normal"
            ax.text(column, row, str(n), ha="center", va="center", color=ink, fontsize=size,
                    fontweight=weight)  # fmt: skip


def _short(labels: list[str]) -> bool:
    return max(map(len, labels)) <= 4


def _with_support(labels: list[str], support: np.ndarray) -> list[str]:
    return [f"{label}  ({n:,})" for label, n in zip(labels, support, strict=True)]


def per_class_picture(result: dict[str, Any], path: str | Path) -> None:
    """Draw each class's F1 with its interval, worst at the top; macro-F1 behind."""
    rows = {name: row for name, row in result["per_class"].items() if row["support"]}
    order = sorted(rows, key=lambda name: -rows[name]["f1"])
    places = np.arange(len(order))
    fig, ax = plots.figure(6.4, 1.3 + 0.3 * len(order))
    low, high = result["intervals"]["macro_f1"]
    ax.axvspan(low, high, color=plots.ACCENT, alpha=0.10, linewidth=0)
    ax.axvline(result["macro_f1"], color=plots.ACCENT, linewidth=1.2)
    values = np.array([rows[name]["f1"] for name in order])
    limits = np.array([result["per_class_intervals"][name]["f1"] for name in order])
    ax.hlines(places, limits[:, 0], limits[:, 1], color=plots.GREY, linewidth=2.2)
    ax.plot(values, places, "o", color=plots.INK, markersize=5.5)
    ax.set_yticks(places, _with_support(order, np.array([rows[n]["support"] for n in order])))
    ax.set_ylim(-0.6, len(order) - 0.4)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color=plots.LIGHT["line"], linewidth=0.8)
    floor = min(float(limits.min()), low)
    ax.set_xlim(max(0.0, np.floor(10 * floor - 0.2) / 10), 1.005)
    ax.set_xlabel("F1 with 95 % interval", color=plots.INK)
    ax.set_title(
        f"F1 by class (images) · line: macro-F1 {result['macro_f1']:.3f} "
        f"[{low:.3f}, {high:.3f}]",
        fontsize=10, color=plots.INK, loc="left",
    )  # fmt: skip
    plots.save_figure(fig, path)


def reliability_picture(result: dict[str, Any], path: str | Path, *, title: str = "") -> None:
    """Draw accuracy against confidence by bin; dot area is the bin's share of the images.

    ``title`` is what stands before the calibration error.
    """
    found = result["calibration"]
    rows = [row for row in found["bins"] if row["n"]]
    confidence = [row["confidence"] for row in rows]
    share = np.array([row["n"] for row in rows]) / result["n"]
    fig, ax = plots.figure(4.6, 4.4)
    ax.plot([0, 1], [0, 1], color=plots.GREY, linewidth=1, linestyle=(0, (4, 3)))
    said = "dashed: as often right as it is sure\ndots: images, by area"
    ax.text(0.98, 0.03, said, color=plots.GREY, fontsize=8, ha="right", transform=ax.transAxes)
    ax.vlines(confidence, confidence, [row["accuracy"] for row in rows], color=plots.ALERT,
              linewidth=1.4, alpha=0.7)  # fmt: skip
    ax.scatter(confidence, [row["accuracy"] for row in rows], s=18 + 420 * share,
               color=plots.ACCENT, alpha=0.85, linewidths=0, zorder=3)  # fmt: skip
    ax.set_xlim(0, 1.03)
    ax.set_ylim(0, 1.03)
    ax.set_aspect("equal")
    ax.grid(axis="x", color=plots.LIGHT["line"], linewidth=0.8)
    ax.set_xlabel("confidence", color=plots.INK)
    ax.set_ylabel("share that is right", color=plots.INK)
    said = " · ".join(filter(None, [title, f"calibration error {found['ece']:.3f}"]))
    ax.set_title(said, fontsize=10, color=plots.INK, loc="left")
    plots.save_figure(fig, path)


def forest_picture(result: Mapping[str, Any], path: str | Path) -> None:
    """Draw balanced accuracy with its interval by laboratory and model; ``labs.json``."""
    models, names = result["models"], [*result["laboratories"], "mean"]
    step = 0.62 / len(models)
    fig, ax = plots.figure(6.4, 1.1 + len(names) * (0.16 + 0.17 * len(models)))
    for number, (model, found) in enumerate(models.items()):
        colour, marker = plots.run_style(number)
        each = [e["mixes"]["as found"]["scores"] for e in found["laboratories"].values()]
        each.append(found["overall"]["as found"]["mean"])
        for row, scores in enumerate(each):
            y = row + (number - (len(models) - 1) / 2) * step
            ax.hlines(y, *scores["balanced_accuracy"]["interval"], color=colour, linewidth=1.8,
                      alpha=0.55)  # fmt: skip
            ax.plot(scores["balanced_accuracy"]["value"], y, marker, color=colour, markersize=5.5,
                    label=model if row == 0 else None, clip_on=False)  # fmt: skip
    ax.axhline(len(names) - 1.5, color=plots.GREY, linewidth=0.9)
    n = {name: lab["n"] for name, lab in result["laboratories"].items()}
    ax.set_yticks(range(len(names)), [f"{m}  ({n[m]:,})" if m in n else m for m in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color=plots.LIGHT["line"], linewidth=0.8)
    ax.set_xlabel("balanced accuracy with 95 % interval", color=plots.INK)
    plots.legend_below(fig, ax)
    plots.save_figure(fig, path)


def difference_picture(result: Mapping[str, Any], names: tuple[str, str], path: Path) -> None:
    """Draw the differences of `compare.paired` with their intervals, whole scores and F1 by class.

    ``names`` are those of the first and the second. `stage_cost`, whose best is 0, is left out.
    """
    scores = {k.replace("_", " "): v for k, v in result["scores"].items() if k != "stage_cost"}
    classes = {f"F1 of {label}": row for label, row in result["classes"].items()}
    rows = [
        (name, row["difference"], row["interval"], row["by_seed"] if result["seeds"] > 1 else ())
        for name, row in (scores | classes).items()
    ]
    seeds = f", mean of {result['seeds']} seeds (dots)" if result["seeds"] > 1 else ""
    across = f"difference with 95 % interval, {result['n']:,} images{seeds}"
    fig, ax = plots.forest(rows, across, below=len(scores))
    said = f"right of 0: {names[0]} is better · left: {names[1]}"
    ax.set_title(said, fontsize=10, color=plots.INK, loc="left")
    plots.save_figure(fig, path)


def risk_picture(result: Mapping[str, Any], path: str | Path) -> None:
    """Draw the risk-coverage curve of each laboratory, a field for each model; ``labs.json``."""
    models = result["models"]
    fig, axes = plots.panels(len(models), len(models), 1.2 + 3.3 * len(models), 3.6)
    axes[0].set_ylabel("risk: share of wrong answers", color=plots.INK)
    for ax, (model, found) in zip(axes, models.items(), strict=True):
        for number, (name, entry) in enumerate(found["laboratories"].items()):
            colour, _ = plots.run_style(number)
            curve = entry["risk_coverage"]
            ax.plot(curve["coverage"], curve["risk"], color=colour, linewidth=1.7, label=name,
                    marker="o" if len(curve["risk"]) == 1 else None)  # fmt: skip
        ax.axhline(0.05, color=plots.GREY, linewidth=1, linestyle=(0, (4, 3)))
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1)
        ax.set_xlabel("coverage: share answered, the surest first", color=plots.INK)
        ax.set_title(model, fontsize=10, color=plots.INK, loc="left")
    plots.legend_below(fig, ax)
    plots.save_figure(fig, path)


def robustness_picture(result: Mapping[str, Any], path: str | Path) -> None:
    """Draw macro-F1 over the strength of each corruption; ``robustness.json``."""
    fields = {
        name: [one["macro_f1"] for one in each["strengths"]]
        for name, each in result["corruptions"].items()
    }
    fig = plots.bands(fields, result["clean"]["macro_f1"], "strength", "macro-F1")
    plots.save_figure(fig, path)
