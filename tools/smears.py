"""Measures ``src/naturalize/compose/draw/smears.json`` on the images of a bank.

    python -m tools.smears BANK -o src/naturalize/compose/draw/smears.json \
        --source "PBC (Acevedo et al. 2020, doi 10.17632/snkd93bnjr.1, CC BY 4.0), training images"

What is measured: see :func:`measure`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.artifacts import write_json
from naturalize.base.errors import InputError
from naturalize.base.statistics import robust_spread
from naturalize.cells.bank import CellBank
from naturalize.compose.draw.materials import Images
from naturalize.compose.draw.modes.sites import LEVELS

#: Images from which a domain of its own is measured.
_ENOUGH = 40


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bank", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--source", required=True, help="the images, and their terms")
    parser.add_argument("--segmenter", default="classical", help="what found the cells")
    options = parser.parse_args()
    bank = CellBank.load(options.bank)
    content = {
        "source": options.source,
        "method": f"segmenter {options.segmenter}; python -m tools.smears. "
        "Distributions are their values at the shares "
        "given as levels (0.01 and 0.99 at the ends); counts are for 100,000 pixels, diameters are "
        "pixels, "
        "distances are over the sum of the radii (1 touches)",
        "levels": LEVELS.round(3).tolist(),
        **measure(bank),
    }
    write_json(options.out, content)
    for domain in content["domains"]:
        print(domain["name"], domain["n_images"])


def measure(bank: CellBank) -> dict[str, Any]:
    """Measure the smears of a bank: ``domains``, and the spread within its classes.

    A domain is what one encoder wrote; of fewer than 40 images nothing is said. Distances between
    red cells are those from the middle of a whole cell to the middle of the nearest other one, over
    the sum of their radii (of discs of the same area): 1 touches.

    Raises
    ------
    InputError
        If no domain has enough images.
    """
    images = Images.of(bank)
    table = bank.table
    place = {image_id: i for i, image_id in enumerate(images.ids)}
    owner = np.array([place.get(i, -1) for i in table["image_id"].to_pylist()])
    of_image: dict[int, list[int]] = {}
    for row, i in enumerate(owner.tolist()):
        of_image.setdefault(i, []).append(row)
    cells = {
        "kind": np.array(table["kind"].to_pylist()),
        "cut": table["touches_border"].to_numpy(zero_copy_only=False),
        "target": table["target"].to_numpy(zero_copy_only=False),
        "x": (table["x0"].to_numpy() + table["x1"].to_numpy()) / 2,
        "y": (table["y0"].to_numpy() + table["y1"].to_numpy()) / 2,
        "radius": np.sqrt(table["area"].to_numpy() / np.pi),
    }
    frames, found = images.frames, []
    for code in np.unique(frames.encoder).tolist():
        members = np.flatnonzero((frames.encoder == code) & (images.label != ""))
        if len(members) >= _ENOUGH:
            found.append(_domain(bank, images, members, of_image, cells))
    if not found:
        raise InputError(f"{bank.root}: no domain of {_ENOUGH} images or more to measure")
    return {
        "target_spread_within_class": _class_spread(bank),
        "domains": sorted(found, key=lambda one: -int(one["n_images"])),
    }


def _domain(
    bank: CellBank,
    images: Any,
    members: np.ndarray,
    of_image: Mapping[int, Sequence[int]],
    cells: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    sizes = images.frames.size[members]
    unit = 1e5 / sizes.prod(axis=1)
    facts = [_facts(np.array(of_image.get(i, []), int), cells) for i in members.tolist()]
    red = np.concatenate([one["diameter"] for one in facts])
    usual = np.median(sizes, axis=0).astype(int)
    spread = [one["diameter"].std() / one["diameter"].mean() for one in facts
              if len(one["diameter"]) > 2]  # fmt: skip
    counted = images.counts["rbc"][members]
    centre = sizes / 2
    off = np.array([one["target"] for one in facts]) - centre
    return {
        "name": f"{usual[0]} × {usual[1]} pixels, {'lilac' if _lilac(images, members) else 'peach'}"
        " slide",
        "n_images": len(members),
        "size": usual.tolist(),
        "light": np.median(images.light[members], axis=0).round(1).tolist(),
        "red_cells_per_100k": _levels(counted * unit),
        "platelets_per_100k": _levels(
            np.array([one["platelets"] for one in facts], np.float64) * unit
        ),
        "red_diameter": _levels(red),
        "red_diameter_spread_within_image": round(float(np.median(spread)), 3),
        "nearest_red_cells": _levels(np.concatenate([one["nearest"] for one in facts])),
        "nearest_to_target": _levels(np.concatenate([one["to_target"] for one in facts])),
        "red_cells_cut": round(float(sum(one["cut"] for one in facts) / max(counted.sum(), 1)), 3),
        "target_off_centre": _levels(np.hypot(*off[np.isfinite(off).all(axis=1)].T)),
    }


def _lilac(images: Any, members: np.ndarray) -> bool:
    red, _, blue = np.median(images.light[members], axis=0)
    return bool(red - blue < 30)


def _facts(rows: np.ndarray, cells: Mapping[str, np.ndarray]) -> dict[str, Any]:
    kind, cut, target = (cells[name][rows] for name in ("kind", "cut", "target"))
    middle = np.column_stack([cells["x"][rows], cells["y"][rows]])
    radius = cells["radius"][rows]
    whole, own = (kind == "rbc") & ~cut, np.flatnonzero(target)
    place = middle[own[0]] if len(own) else np.full(2, np.nan)
    ratio = np.zeros(0)
    beside = np.zeros(0)
    if whole.sum() > 1:
        apart = np.hypot(*(middle[whole][:, None] - middle[whole][None]).transpose(2, 0, 1))
        ratio = apart / (radius[whole][:, None] + radius[whole][None])
        np.fill_diagonal(ratio, np.inf)
        ratio = ratio.min(axis=1)
    if len(own) and whole.any():
        apart = np.hypot(*(middle[whole] - place).T)
        beside = np.array([(apart / (radius[whole] + radius[own[0]])).min()])
    return {
        "diameter": 2 * radius[whole],
        "nearest": ratio,
        "to_target": beside,
        "cut": int(((kind == "rbc") & cut).sum()),
        "platelets": int(((kind == "platelet") & ~target).sum()),
        "target": place,
    }


def _levels(values: np.ndarray) -> list[float]:
    good = values[np.isfinite(values)]
    # the outermost hundredth is mostly mistakes of the segmenter
    levels = np.clip(LEVELS, 0.01, 0.99)
    return np.quantile(good, levels).round(3).tolist() if len(good) else [0.0] * len(LEVELS)


def _class_spread(bank: CellBank) -> dict[str, float]:
    """Return the median over classes of robust spreads: diameter, optical density (green)."""
    rows = bank.cells(target=True).select(["label", "area", "od_g"])
    label = np.array(rows["label"].to_pylist())
    out: dict[str, list[float]] = {"diameter": [], "density": []}
    for name in sorted(set(label.tolist())):
        own = label == name
        if own.sum() < 12:
            continue
        for key, column, power in (("diameter", "area", 0.5), ("density", "od_g", 1.0)):
            logs = power * np.log(np.maximum(rows[column].to_numpy()[own], 1e-3))
            out[key].append(robust_spread(logs))
    return {key: round(float(np.median(all_)), 3) for key, all_ in out.items() if all_}


if __name__ == "__main__":
    main()
