"""What images are to each other: duplicates, label conflicts, odd sizes; as flags on rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from naturalize.base.statistics import connected
from naturalize.dataset.near import near_duplicates


def relate(rows: Sequence[dict[str, Any]], smalls: Sequence[np.ndarray | None]) -> None:
    """Add to ``rows`` (sorted by path) the flags and links that need more than one image.

    ``exact_duplicate``: same pixels as another row; ``near_duplicate``: nearly the same picture;
    ``label_conflict``: same pixels, another label; ``near_label_conflict``: likewise for near
    duplicates; ``odd_size``: not of the size that most images have.
    """
    firsts = _relate_exact(rows)
    _relate_near(rows, smalls, firsts)
    _flag_odd_sizes(rows)
    for row in rows:
        row["flags"] = sorted(set(row["flags"]))


def _relate_exact(rows: Sequence[dict[str, Any]]) -> list[int]:
    """Flag exact duplicates; return the index of the first row of each picture."""
    same: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        if row.get("pixel_hash") is not None:
            same[row["pixel_hash"]].append(i)
    for members in same.values():
        if len(members) == 1:
            continue
        conflict = _labels(rows, members) > 1
        for i in members:
            rows[i]["flags"] += ["exact_duplicate"] + ["label_conflict"] * conflict
            if i != members[0]:
                rows[i]["duplicate_of"] = rows[members[0]]["path"]
    return [members[0] for members in same.values()]


def _relate_near(
    rows: Sequence[dict[str, Any]], smalls: Sequence[np.ndarray | None], firsts: list[int]
) -> None:
    pictures = [small for i in firsts if (small := smalls[i]) is not None]
    if len(pictures) < 2:
        return
    pairs = near_duplicates(np.stack(pictures))
    sets = connected((firsts[i], firsts[j]) for i, j in pairs)
    leader = {i: members[0] for members in sets for i in members}
    paths = {rows[i]["path"]: i for i in firsts}
    for row in rows:
        first = paths.get(row.get("duplicate_of") or row["path"])
        if first in leader:
            row["flags"].append("near_duplicate")
            if (path := rows[leader[first]]["path"]) != row["path"]:
                row["near_duplicate_of"] = path
    for members in sets:
        if _labels(rows, members) > 1:
            for i in members:
                rows[i]["flags"].append("near_label_conflict")


def _labels(rows: Sequence[dict[str, Any]], members: Iterable[int]) -> int:
    return len({rows[i]["label"] for i in members} - {None})


def _flag_odd_sizes(rows: Sequence[dict[str, Any]]) -> None:
    sizes = Counter((row["width"], row["height"]) for row in rows if row.get("width"))
    if not sizes:
        return
    usual, n = sizes.most_common(1)[0]
    if n * 2 <= sizes.total():
        return  # no size is usual here, so none is odd
    for row in rows:
        if row.get("width") and (row["width"], row["height"]) != usual:
            row["flags"].append("odd_size")
