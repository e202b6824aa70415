"""Which images may give cells, which cell an image's label names, and which are good enough."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base.artifacts import read_manifest, read_table
from naturalize.base.console import warn
from naturalize.base.display import rows_of
from naturalize.base.errors import InputError, unknown
from naturalize.base.statistics import robust_spread
from naturalize.cells.outline import odd_outlines
from naturalize.cells.tables import BACKGROUNDS, BANK, CELLS, OUTCOMES
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.readers.levels import PARTS
from naturalize.dataset.split import Split
from naturalize.imaging.shape import off_target

#: Labels of images that show a platelet, lower case; all others show a nucleated cell.
PLATELET_LABELS = frozenset({"plt", "platelet", "platelets", "thrombocyte", "thrombocytes"})

#: Why a cell may not be composed, in the order of the checks.
BORDER = "touches the image border"
CROWDED = "several nucleated cells in the image"
NOT_TARGET = "not the cell its image is labelled for"
UNCERTAIN = "low score"
SMALL, LARGE = "too small for its kind", "too large for its kind"
RAGGED, JOINED = "ragged outline", "two cells in one outline"
APPENDED = "something else hangs on it"
HIDDEN = "overlaps its neighbours"
BLURRED = "out of focus"
PALE = "mostly background"

# Limits without a measurement on record: what they accept and reject is seen on a bank's sheets.

#: Least score that a segmenter gives to a cell; doubtful ones have less.
_LEAST_SCORE = 0.5

#: Whole cells of a class from which its own range of sizes is taken.
_ENOUGH = 12

#: Robust deviations of the log area beyond which a cell is an outlier, and their least size.
_DEVIATIONS, _LEAST_SPREAD = 3, 0.15

#: Two red cells that overlap by half: area in medians of the kind, and largest solidity.
_OVERLAPPING = (1.2, 0.97)

#: Density and sharpness, in medians of the kind, below which a cell is pale or blurred.
_PALE, _BLURRED = 0.35, 0.15

#: Least share of its convex hull that an acceptable cell fills.
_SOLID = {"wbc": 0.93, "rbc": 0.95, "platelet": 0.88}

#: Largest share of its outline that may lie against other cells: what is under them is not seen.
_CONTACT = {"wbc": 0.8, "rbc": 0.12, "platelet": 0.35}

#: A share of the central cell's area from which another white cell makes the label ambiguous.
_RIVAL = 0.35


def choose(cells: Path, catalog: Catalog, split: Split | None, part: str | None) -> dict[str, Any]:
    """Return what a bank of a ``cells`` artifact is made of; see ``CellBank.build``.

    Raises ``InputError`` if the catalog lists other images than those that were segmented.
    """
    manifest = read_manifest(cells, "cells")
    part = part if split is not None else None
    if part is not None and part not in PARTS:
        raise unknown("part", part, list(PARTS))
    labels = _labels(catalog, split, part)
    inputs = {"cells": manifest.fingerprint, "catalog": catalog.fingerprint}
    if split is not None:
        inputs["split"] = split.fingerprint
    _check_catalog(cells, catalog, labels)
    of_part = pc.field("image_id").isin(pa.array(list(labels), pa.string()))
    outcomes, found = (
        _where_it_is(read_table(cells / name, schema).filter(of_part), catalog)
        for name, schema in (("outcomes.parquet", OUTCOMES), ("cells.parquet", CELLS))
    )
    if not found.num_rows:
        where = f"part {part!r}" if part else "the catalog"
        raise InputError(
            f"{cells}: none of its cells is in an image of {where}; "
            "segment the images that the catalog lists"
        )
    return {
        "table": judge(found, catalog, labels),
        "backgrounds": backgrounds(outcomes),
        "root": catalog.root,
        "labels": catalog.labels,
        "part": part,
        "inputs": inputs,
    }


def _check_catalog(cells: Path, catalog: Catalog, labels: Mapping[str, str]) -> None:
    """Raise if the catalog is of other images; warn of those that were not segmented."""
    segmented = set(read_table(cells / "outcomes.parquet", OUTCOMES)["image_id"].to_pylist())
    listed = set(catalog.table["image_id"].to_pylist())
    both = len(segmented & listed)
    if 0 < 2 * both < min(len(segmented), len(listed)):
        raise InputError(
            f"{cells}: {both:,} of its {len(segmented):,} images are among the {len(listed):,} of "
            "this catalog; name the catalog of the images that were segmented"
        )
    missing = [image_id for image_id in labels if image_id not in segmented]
    if both and missing:
        classes = ", ".join(sorted({labels[image_id] for image_id in missing}))
        warn(
            f"{len(missing):,} of {len(labels):,} images of the catalog have not been segmented "
            f"({classes}); they give no cells"
        )


def backgrounds(outcomes: pa.Table) -> pa.Table:
    """Return the ``BACKGROUNDS`` table of ``OUTCOMES`` rows: the readable images, each once."""
    readable = outcomes.filter(pc.is_valid(outcomes["background_r"]))
    ids = readable["image_id"].to_pylist()
    first = sorted({image_id: i for i, image_id in reversed(list(enumerate(ids)))}.values())
    readable = readable.take(pa.array(first, pa.int64()))
    columns = [
        "image_id", "image_id", "path", "background_r", "background_g", "background_b",
        "background_share",
    ]  # fmt: skip
    arrays = [readable[name] for name in columns]
    return pa.Table.from_arrays(arrays, names=BACKGROUNDS.names).cast(BACKGROUNDS)


def _labels(catalog: Catalog, split: Split | None, part: str | None) -> dict[str, str]:
    """Return image id → label of the images that may give cells."""
    if split is None:
        usable = rows_of(catalog.usable(), "image_id", "label", "flags")
        return {image_id: label for image_id, label, f in usable if "label_conflict" not in f}
    rows = rows_of(split.table, "image_id", "label", "part")
    return {image_id: label for image_id, label, its in rows if part in (None, its)}


def _where_it_is(table: pa.Table, catalog: Catalog) -> pa.Table:
    """Return the table with paths below the catalog's root.

    Cells may have been found in (or imported with) the same images under another folder.
    """
    pairs = set(rows_of(catalog.table, "image_id", "path"))
    path_of = {image_id: path for image_id, path in sorted(pairs, reverse=True) if image_id}
    rows = rows_of(table, "image_id", "path")
    paths = [path if (image_id, path) in pairs else path_of[image_id] for image_id, path in rows]
    return table.set_column(table.column_names.index("path"), "path", pa.array(paths, pa.string()))


def judge(cells: pa.Table, catalog: Catalog, labels: Mapping[str, str]) -> pa.Table:
    """Return the ``BANK`` table of ``CELLS`` rows: targets labelled, each cell accepted or not.

    ``catalog`` gives the images' sizes, ``labels`` the class of each image id.
    """
    facts = _facts(cells)
    target, crowded = _targets(facts, _sizes(catalog), labels)
    of_image = zip(facts["image_id"], target, strict=True)
    named = [labels[image_id] if is_target else None for image_id, is_target in of_image]
    return _judged(cells, facts, named, crowded)


def judge_named(cells: pa.Table, labels: Sequence[str | None]) -> pa.Table:
    """Return the ``BANK`` table of ``CELLS`` rows of which each has its own class.

    ``labels``: class of each cell; those with one are the targets, however many an image has.
    """
    facts = _facts(cells)
    return _judged(cells, facts, labels, np.zeros(cells.num_rows, bool))


def accept_all(table: pa.Table) -> pa.Table:
    """Return a ``BANK`` table with every cell accepted, for cells that somebody chose by hand."""
    n = table.num_rows
    for name, column in (("accepted", pa.repeat(True, n)), ("reason", pa.nulls(n, pa.string()))):
        table = table.set_column(table.column_names.index(name), name, column)
    return table.cast(BANK)


def _facts(cells: pa.Table) -> dict[str, np.ndarray]:
    names = (
        "image_id", "kind", "x0", "y0", "x1", "y1", "area", "touches_border", "focus", "od_g",
        "score", "solidity", "waist", "contact",
    )  # fmt: skip
    return {name: np.asarray(cells[name].to_pylist()) for name in names}


def _judged(
    cells: pa.Table,
    facts: dict[str, np.ndarray],
    named: Sequence[str | None],
    crowded: np.ndarray,
) -> pa.Table:
    facts["label"] = np.array([name or "" for name in named])
    target = np.array([name is not None for name in named], bool)
    odd = odd_outlines(cells, facts, target)
    reasons = _reasons(facts, target, crowded, odd)
    added = {
        "label": pa.array(list(named), pa.string()),
        "target": pa.array(target),
        "accepted": pa.array([reason is None for reason in reasons]),
        "reason": pa.array(reasons, pa.string()),
    }
    table = cells
    for name, column in added.items():
        table = table.append_column(name, column)
    return table.select(BANK.names).cast(BANK)


def _sizes(catalog: Catalog) -> dict[str, tuple[int, int]]:
    rows = rows_of(catalog.table, "image_id", "width", "height")
    return {i: (w, h) for i, w, h in rows if w is not None}


def _targets(
    facts: Mapping[str, np.ndarray],
    sizes: Mapping[str, tuple[int, int]],
    labels: Mapping[str, str],
) -> tuple[np.ndarray, np.ndarray]:
    """Return which cells are their images' targets, and which of these have a rival.

    The target is the cell of the label's kind that :func:`off_target` puts first.
    """
    of_image: dict[str, list[int]] = defaultdict(list)
    for i, image_id in enumerate(facts["image_id"]):
        of_image[str(image_id)].append(i)
    target, crowded = np.zeros((2, len(facts["image_id"])), bool)
    for image_id, rows in of_image.items():
        platelet = labels[image_id].lower() in PLATELET_LABELS
        kind = "platelet" if platelet else "wbc"
        index = np.array([i for i in rows if facts["kind"][i] == kind], int)
        if not len(index) or image_id not in sizes:
            continue
        width, height = sizes[image_id]
        area = facts["area"][index]
        boxes = np.stack([facts[name][index] for name in ("x0", "y0", "x1", "y1")], axis=1)
        best = index[int(off_target(boxes, area, (height, width)).argmin())]
        target[best] = True
        rivals = (area >= _RIVAL * facts["area"][best]) & ~facts["touches_border"][index]
        crowded[best] = not platelet and np.count_nonzero(rivals | (index == best)) > 1
    return target, crowded


def _reasons(
    facts: Mapping[str, np.ndarray],
    target: np.ndarray,
    crowded: np.ndarray,
    odd: tuple[np.ndarray, np.ndarray],
) -> list[str | None]:
    """Return why each cell may not be composed, ``None`` where it may.

    ``odd``: which cells are two in one outline, and which have something hanging on them.
    """
    joined, appended = odd
    reasons = np.full(len(target), None, object)
    border = facts["touches_border"].astype(bool)
    for kind, of_target in product(("wbc", "rbc", "platelet"), (True, False)):
        group = (facts["kind"] == kind) & (target == of_target)
        # ranges of sizes come from whole cells; an image's own platelet is larger than stray ones
        whole = group & ~border
        if not whole.any():
            reasons[group] = BORDER
            continue
        low, high = _sizes_of(facts, group, whole)
        sharp = np.median(facts["focus"][whole])
        density = np.median(facts["od_g"][whole])
        checks = [
            (border, BORDER),
            (crowded, CROWDED),
            (np.full(len(target), kind == "wbc" and not of_target), NOT_TARGET),
            (facts["score"] < _LEAST_SCORE, UNCERTAIN),
            (facts["area"] < low, SMALL),
            (facts["area"] > high, LARGE),
            (facts["waist"].astype(bool) | joined, JOINED),
            # larger than one, and not quite convex
            (
                (kind == "rbc")
                & (facts["area"] > _OVERLAPPING[0] * np.median(facts["area"][whole]))
                & (facts["solidity"] < _OVERLAPPING[1]),
                JOINED,
            ),
            (appended, APPENDED),
            (facts["solidity"] < _SOLID[kind], RAGGED),
            (facts["contact"] > _CONTACT[kind], HIDDEN),
            (facts["od_g"] < _PALE * density, PALE),
            (facts["focus"] < _BLURRED * sharp, BLURRED),
        ]
        for failed, reason in reversed(checks):
            reasons[group & failed] = reason
    return reasons.tolist()


def _sizes_of(
    facts: Mapping[str, np.ndarray], group: np.ndarray, whole: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return for every cell the least and the largest usual area of its group.

    Where a class has enough whole cells its own range counts: a lymphocyte twice as large as the
    others is two cells, even if monocytes are as large.
    """
    low, high = np.empty((2, len(group)))
    low[:], high[:] = _robust_range(facts["area"][whole])
    for name in np.unique(facts["label"][group]):
        of_class = facts["label"] == name
        if np.count_nonzero(whole & of_class) >= _ENOUGH:
            low[of_class], high[of_class] = _robust_range(facts["area"][whole & of_class])
    return low, high


def _robust_range(area: np.ndarray) -> tuple[float, float]:
    """Return areas beyond which a cell is an outlier, by robust deviations of the log area."""
    logs = np.log(area)
    middle = float(np.median(logs))
    spread = _DEVIATIONS * max(robust_spread(logs), _LEAST_SPREAD)
    return float(np.exp(middle - spread)), float(np.exp(middle + spread))
