"""What is written of a probe: ``realism.json``, ``scores.parquet``, its figures and its sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base.plots import ACCENT, GREY, INK, LIGHT, figure, save_figure
from naturalize.base.sheets import labelled_rows
from naturalize.realism.measures import Auc
from naturalize.realism.probing import Distinguishing, ProbeResult, varied
from naturalize.realism.settings import GOAL, KEPT, ON_SHEET, PROBES
from naturalize.realism.statistics import FAMILIES

_FAMILY_COLOURS = dict(
    zip(FAMILIES, ("#6b3fa0", "#0f766e", "#c2410c", "#2563eb", "#db2777"), strict=True)
)
_PROBE_COLOURS = {"statistics": ACCENT, "features": "#0f766e", "patches": "#c2410c"}

#: Columns of ``scores.parquet``, as in ``docs/formats.md``.
SCORES = pa.schema(
    [
        ("set", pa.string()),
        ("image", pa.string()),
        ("label", pa.string()),
        ("composite", pa.bool_()),
        ("fold", pa.int32()),
        *((name, pa.float32()) for name in PROBES),
    ]
)


def found(results: dict[str, ProbeResult]) -> dict[str, Any]:
    """Return the part of ``realism.json`` that the probes found; the plan's set comes first."""
    first = next(iter(results.values()))
    return {
        "absent_probes": first.absent,
        "goal": GOAL,
        "sets": {name: summary(one) for name, one in results.items()},
        "families": {k: _auc(one.value, one.low, one.high) for k, one in first.families.items()},
        "distinguishing": [
            {"family": one.family, "name": one.name, "auc": one.auc, "words": str(one)}
            for one in first.distinguishing[:KEPT]
        ],
    }


def _auc(value: float, low: float, high: float) -> dict[str, Any]:
    return {"auc": value, "interval": [low, high]}


def summary(result: ProbeResult) -> dict[str, Any]:
    """Return what ``realism.json`` says of one set."""
    composite = np.array(result.labels)[result.composite].tolist()
    real = np.array(result.labels)[~result.composite].tolist()
    return {
        "counts": {
            label: {"real": real.count(label), "composite": composite.count(label)}
            for label in dict.fromkeys(composite)
        },
        "units": int(result.units.max()) + 1,
        "probes": {
            name: {
                **_auc(one.value, one.low, one.high),
                "per_class": {label: _auc(*found) for label, found in one.per_class.items()},
            }
            for name, one in result.auc.items()
        },
        "space": result.space,
        "kid": {"value": result.kid.value, "interval": [result.kid.low, result.kid.high]},
        "nearest": {
            "real_to_real": result.nearest.real_to_real,
            "composite_to_real": result.nearest.composite_to_real,
            "ratio": result.nearest.ratio.value,
            "ratio_interval": [result.nearest.ratio.low, result.nearest.ratio.high],
            "composite_to_parent": result.nearest.composite_to_parent,
            "parent_ratio": result.nearest.parent_ratio,
        },
    }


def scores_table(name: str, result: ProbeResult, ids: Sequence[str]) -> pa.Table:
    """Return the rows of ``scores.parquet`` of one set; ``ids`` name its images in order."""
    n = len(ids)
    columns: dict[str, Any] = {
        "set": [name] * n,
        "image": list(ids),
        "label": list(result.labels),
        "composite": result.composite,
        "fold": result.fold.astype(np.int32),
    }
    for probe in PROBES:
        scores = result.scores.get(probe)
        columns[probe] = [None] * n if scores is None else scores.astype(np.float32)
    return pa.table(columns, schema=SCORES)


def lines(report: dict[str, Any]) -> list[str]:
    """Return the content of ``realism.json`` as lines: a table, then what stands out."""
    names = list(next(iter(report["sets"].values()))["probes"])
    rows = [["AUC, 95 % interval", *names, "KID", "nearest"]]
    for name, row in report["sets"].items():
        found = {
            probe: "{:.2f} ({:.2f}–{:.2f})".format(one["auc"], *one["interval"])
            for probe, one in row["probes"].items()
        }
        aucs = [found.get(probe, "–") for probe in names]
        kid, near = f"{row['kid']['value']:.3g}", f"{row['nearest']['ratio']:.2f}"
        rows.append([name, *aucs, kid, near])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    out = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    out = [line.rstrip() for line in out]
    out.append(f"history: {report['history']['used']}; kept together: {report['kept_together']}")
    if report["families"]:
        alone = (f"{name} {one['auc']:.2f}" for name, one in report["families"].items())
        out.append(f"families of statistics: {', '.join(alone)}")
    best = [
        Distinguishing(one["family"], one["name"], one["auc"]) for one in report["distinguishing"]
    ]
    for one in varied(best, most=len(best), each=2):
        out.append(f"distinguishing: {one} (AUC {0.5 + one.strength:.2f} alone)")
    return out


def auc_picture(rows: Mapping[str, Mapping[str, Auc]], path: Path) -> None:
    """Draw the AUC of every probe on every set with its interval: set → probe → AUC."""
    lines = sum(len(probes) for probes in rows.values())
    fig, ax = figure(6.8, 1.3 + 0.27 * lines + 0.12 * len(rows))
    lowest = min((auc.low for probes in rows.values() for auc in probes.values()), default=0.5)
    left = min(0.4, lowest - 0.02)
    ax.axvspan(left, GOAL, color="#e9f5ee", zorder=0)
    ax.axvline(0.5, color=GREY, linestyle="--", linewidth=1)
    y, middles = 0.0, []
    for probes in rows.values():
        first = y
        for name, auc in probes.items():
            colour = _PROBE_COLOURS[name]
            ax.plot([auc.low, auc.high], [y, y], color=colour, linewidth=2, solid_capstyle="round")
            ax.plot(auc.value, y, "o", color=colour, markersize=6)
            ax.annotate(
                f"{auc.value:.2f}", (auc.high, y), (5, 0), textcoords="offset points",
                va="center", fontsize=8, color=INK,
            )  # fmt: skip
            y += 1
        middles.append((first + y - 1) / 2)
        y += 0.6
    ax.set_yticks(middles, list(rows))
    ax.tick_params(left=False)
    ax.grid(visible=False)
    ax.set_ylim(y - 0.4, -0.8)
    ax.set_xlim(left, 1.06)
    ax.set_xticks([0.5, 0.65, 0.8, 0.9, 1.0], ["0.5\nchance", "0.65\ngoal", "0.8", "0.9", "1"])
    ax.set_xlabel("AUC, real against composite within class (95 % interval)")
    shown = dict.fromkeys(name for probes in rows.values() for name in probes)
    handles = [ax.plot([], [], "o-", color=_PROBE_COLOURS[name], label=name)[0] for name in shown]
    _legend(fig, handles)
    save_figure(fig, path)


def _legend(fig: Any, handles: Sequence[Any]) -> None:
    place = "outside upper right"
    fig.legend(handles=handles, loc=place, ncols=len(handles), frameon=False, fontsize=9)


def distinguishing_picture(found: Sequence[Distinguishing], path: Path) -> None:
    """Draw the statistics that distinguish best as bars from 0.5, six of a family at most."""
    shown = varied(found, most=20, each=6)
    fig, ax = figure(8.2, 1.2 + 0.27 * len(shown))
    values = [one.auc - 0.5 for one in shown]
    colours = [_FAMILY_COLOURS[one.family] for one in shown]
    ax.barh([one.name for one in shown], values, left=0.5, color=colours, height=0.7)
    ax.axvline(0.5, color=INK, linewidth=1)
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ends = ("1\nalways lower", "0.75", "0.5\nchance", "0.75", "1\nalways higher")
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ends)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color=LIGHT["line"], linewidth=0.8)
    ax.tick_params(left=False, labelsize=8.5)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("AUC of the statistic alone, composites against real images")
    there = {one.family for one in shown}
    used = {name: colour for name, colour in _FAMILY_COLOURS.items() if name in there}
    _legend(fig, [ax.plot([], [], "s", color=c, label=name)[0] for name, c in used.items()])
    save_figure(fig, path)


def scores_sheet(
    result: ProbeResult, real: Sequence[np.ndarray], fake: Sequence[np.ndarray]
) -> np.ndarray:
    """Return, for each probe, the composites that it detects most and least surely.

    With one row of real images for the eye; RGB uint8.
    """
    labels = result.labels[len(real) :]
    first = _different(np.arange(len(real)), result.labels[: len(real)])
    rows = {"real images": [real[i] for i in first]}
    for name, scores in result.scores.items():
        own = _within(scores, result)[len(real) :]
        order = np.argsort(-own, kind="stable")
        rows[f"{name}: surest"] = [fake[i] for i in _different(order, labels)]
        rows[f"{name}: least sure"] = [fake[i] for i in _different(order[::-1], labels)]
    title = "Composites that each probe detects most surely and least surely"
    return labelled_rows(rows, tile=190, title=title)


def _within(scores: np.ndarray, result: ProbeResult) -> np.ndarray:
    """Return the share of real images of class and fold that each image's score exceeds."""
    names = np.array(result.labels)
    peers = (names[:, None] == names) & (result.fold[:, None] == result.fold) & ~result.composite
    np.fill_diagonal(peers, val=False)
    n = peers.sum(axis=1)
    below = (peers & (scores < scores[:, None])).sum(axis=1) / np.maximum(n, 1)
    # the score itself decides between equals
    return np.where(n, below, 0.5) + 1e-3 * np.tanh(scores)


def _different(order: np.ndarray, labels: Sequence[str]) -> list[int]:
    """Return the first of an order, no class more than its share of the row."""
    most = max(1, -(-ON_SHEET // len(set(labels))))
    picked: list[int] = []
    for i in order.tolist():
        if sum(labels[j] == labels[i] for j in picked) < most:
            picked.append(i)
        if len(picked) == ON_SHEET:
            break
    return picked
