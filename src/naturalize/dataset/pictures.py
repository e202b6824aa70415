"""Pictures of a catalog: counts, sizes, tints, confounders, and sheets of the images themselves."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.console import track
from naturalize.base.display import rows_of
from naturalize.base.images import read_image, write_image
from naturalize.base.plots import ACCENT, ALERT, GREY, INK, class_colours, figure, save_figure
from naturalize.base.rng import rng
from naturalize.base.sheets import contact_sheet
from naturalize.dataset.catalog import Catalog

_ON_SHEET, _PAIRS = 24, 16


def draw_pictures(catalog: Catalog, audit: dict[str, Any], folder: Path) -> dict[str, str]:
    """Draw the pictures of an audit into ``folder``; return name → file name."""
    _class_counts(audit, folder / "class_counts.svg")
    _sizes(catalog, folder / "sizes.svg")
    _tints(catalog, folder / "tints.svg")
    found = {
        "class counts": "class_counts.svg",
        "sizes": "sizes.svg",
        "background tints": "tints.svg",
    }
    if any(entry["balanced_accuracy"] is not None for entry in audit["confounders"]):
        _confounders(audit, folder / "confounders.svg")
        found["confounders"] = "confounders.svg"
    if (sheet := _duplicates(catalog, audit)) is not None:
        write_image(folder / "duplicates.jpg", sheet, quality=88)
        found["duplicates"] = "duplicates.jpg"
    present = [label for label in catalog.labels if audit["counts"][label]]
    for i, label in enumerate(track(present, "contact sheets")):
        file = f"class-{i:02d}-{re.sub(r'[^A-Za-z0-9_-]+', '-', label)[:40]}.jpg"
        write_image(folder / file, _class_sheet(catalog, label), quality=88)
        found[f"class {label}"] = file
    return found


def _class_counts(audit: dict[str, Any], path: Path) -> None:
    labels = list(audit["counts"])
    n = [audit["counts"][label] for label in labels]
    fig, ax = figure(6.4, 0.9 + 0.27 * len(labels))
    colours = class_colours(labels)
    ax.barh(labels, n, color=[colours[label] for label in labels], height=0.72)
    _number(ax, n)
    ax.spines["left"].set_visible(False)
    ax.set_xlim(0, max([*n, 1]) * 1.1)
    ax.set_xlabel("usable images")
    save_figure(fig, path)


def _sizes(catalog: Catalog, path: Path) -> None:
    """Draw the sizes of readable images: a bar each where there are few, else a histogram."""
    sizes = Counter(size for size in rows_of(catalog.table, "width", "height") if None not in size)
    if len(sizes) > 14:
        sides = np.array([(w * h) ** 0.5 for w, h in sizes.elements()])
        fig, ax = figure(6.4, 3.2)
        ax.hist(sides, bins=40, color=ACCENT)
        ax.set_xlabel("square root of width × height (pixels)")
        ax.set_ylabel("images")
        save_figure(fig, path)
        return
    ordered = sizes.most_common()
    names = [f"{w} × {h}" for (w, h), _ in ordered]
    fig, ax = figure(6.4, 1.0 + 0.27 * len(ordered))
    ax.barh(names, [n for _, n in ordered], color=[ACCENT, *[GREY] * (len(ordered) - 1)])
    _number(ax, [n for _, n in ordered])
    ax.set_xscale("log")
    ax.set_xlim(0.7, ordered[0][1] * 2.5)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_xlabel("images of each width × height in pixels (logarithmic)")
    save_figure(fig, path)


def _number(ax: Any, values: list[int]) -> None:
    """Write its number beside each bar, and put the first bar on top."""
    for y, n in enumerate(values):
        ax.annotate(f"{n:,}", (n, y), (4, 0), textcoords="offset points", va="center", fontsize=9)
    ax.invert_yaxis()
    ax.grid(visible=False)
    ax.tick_params(left=False)


def _tints(catalog: Catalog, path: Path) -> None:
    """Draw each class as a band of its images' background colours, yellowish to lilac."""
    rows = catalog.usable()
    labels = np.array(rows["label"].to_pylist(), dtype=object)
    tints = np.stack([rows[f"background_{c}"].to_numpy() for c in "rgb"], axis=1)
    present = [label for label in catalog.labels if (labels == label).any()]
    band = np.zeros((len(present), 600, 3), np.uint8)
    for y, label in enumerate(present):
        its = tints[labels == label]
        its = its[np.argsort(its[:, 2] - its[:, 0], kind="stable")]
        band[y] = its[np.linspace(0, len(its) - 1, band.shape[1]).round().astype(int)]
    fig, ax = figure(6.4, 0.9 + 0.27 * len(present))
    ax.imshow(band, aspect="auto", interpolation="nearest", extent=(0, 100, len(present), 0))
    ax.hlines(range(1, len(present)), 0, 100, color="white", linewidth=3)
    ax.set_yticks(np.arange(len(present)) + 0.5, present)
    ax.grid(visible=False)
    ax.tick_params(left=False)
    ax.set_xlabel("images of the class, by background colour (%)")
    save_figure(fig, path)


def _confounders(audit: dict[str, Any], path: Path) -> None:
    tested = [entry for entry in audit["confounders"] if entry["balanced_accuracy"] is not None]
    fig, ax = figure(6.4, 1.1 + 0.34 * len(tested))
    for y, entry in enumerate(tested):
        strong = entry["verdict"].startswith(("predicts", "hints"))
        colour = ALERT if strong else ACCENT
        ax.plot(entry["interval"], [y, y], color=colour, linewidth=2, solid_capstyle="round")
        ax.plot(entry["balanced_accuracy"], y, "o", color=colour, markersize=6)
    chance = tested[0]["chance"]
    ax.axvline(chance, color=GREY, linestyle="--", linewidth=1)
    ax.annotate(
        "chance", (chance, 1), (4, -2), xycoords=("data", "axes fraction"), va="top",
        textcoords="offset points", fontsize=9, color=INK,
    )  # fmt: skip
    ax.set_yticks(range(len(tested)), [entry["property"] for entry in tested])
    ax.set_ylim(len(tested) - 0.4, -1.0)
    ax.set_xlim(0, 1)
    ax.set_xlabel("balanced accuracy of the class predicted from the file alone")
    save_figure(fig, path)


def _class_sheet(catalog: Catalog, label: str) -> np.ndarray:
    paths = [path for path, its in rows_of(catalog.usable(), "path", "label") if its == label]
    order = rng(0, "contact sheet", label).permutation(len(paths))[:_ON_SHEET]
    shown = [paths[i] for i in sorted(order)]
    return contact_sheet(
        [read_image(catalog.root / path) for path in shown],
        captions=[Path(path).stem[-20:] for path in shown],
        columns=min(8, len(shown)),
        title=f"{label}: {len(shown)} of {len(paths):,} images",
    )


def _duplicates(catalog: Catalog, audit: dict[str, Any]) -> np.ndarray | None:
    """Return the sheet of conflicting and near duplicates, pairs side by side."""
    sets = [entry["paths"] for entry in audit["label_conflicts"]]
    sets += [paths for paths in audit["near_duplicates"] if paths not in sets]
    sets += [paths for paths in audit["exact_duplicates"] if paths not in sets]
    pairs = [paths[:2] for paths in sets[:_PAIRS]]
    if not pairs:
        return None
    label_of = dict(rows_of(catalog.table, "path", "label"))
    shown = [path for pair in pairs for path in pair]
    return contact_sheet(
        [read_image(catalog.root / path) for path in shown],
        captions=[f"{label_of[path] or '?'}  {Path(path).stem[-16:]}" for path in shown],
        columns=4 if len(pairs) > 1 else 2,
        title="Conflicting, near and exact duplicates, in pairs",
    )
