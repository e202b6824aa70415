"""Which predictions to explain: one of each class, and the worst mistakes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base.console import say
from naturalize.base.images import content_hash
from naturalize.base.rng import rng
from naturalize.base.walk import find_images


@dataclass(frozen=True)
class Pick:
    """One image to explain; what is not known is None, and the model says what it predicts."""

    image_id: str
    path: str
    label: str | None = None
    predicted: str | None = None
    confidence: float | None = None
    reason: str | None = None


def worst_mistakes(predictions: pa.Table, n: int) -> pa.Table:
    """Return the ``n`` most confident wrong predictions, the most confident first.

    Parameters
    ----------
    predictions
        As in ``predictions.parquet``: at least ``path``, ``label``, ``predicted``, ``confidence``.
    n
        How many at most.

    Returns
    -------
    pyarrow.Table
        Rows of ``predictions``; equally confident ones in the order of their paths.
    """
    wrong = predictions.filter(pc.not_equal(predictions["label"], predictions["predicted"]))
    return wrong.sort_by([("confidence", "descending"), ("path", "ascending")]).slice(0, n)


def pick_for_explanation(
    predictions: pa.Table, per_class: int = 1, mistakes: int = 8, seed: int = 0
) -> pa.Table:
    """Return the predictions to explain.

    Parameters
    ----------
    predictions
        As in ``predictions.parquet``.
    per_class
        Right predictions of each class that occurs, drawn at random: what usually happens, not the
        best case. A class with too few of them gives those it has.
    mistakes
        Most confident wrong predictions, as `worst_mistakes`.
    seed
        Of the draw.

    Returns
    -------
    pyarrow.Table
        Rows of ``predictions`` with a column ``reason``: first the ``example`` rows by class, then
        the ``mistake`` rows.
    """
    predictions = predictions.sort_by("path")
    right = predictions.filter(pc.equal(predictions["label"], predictions["predicted"]))
    picked = []
    for label in sorted(set(predictions["label"].to_pylist())):
        rows = right.filter(pc.equal(right["label"], label))
        order = rng(seed, "explain", label).permutation(rows.num_rows)[:per_class]
        picked.append(rows.take(pa.array(sorted(order.tolist()), pa.int64())))
    return pa.concat_tables(
        [
            _with_reason(pa.concat_tables([*picked, right.schema.empty_table()]), "example"),
            _with_reason(worst_mistakes(predictions, mistakes), "mistake"),
        ]
    )


def _with_reason(rows: pa.Table, reason: str) -> pa.Table:
    return rows.append_column("reason", pa.array([reason] * rows.num_rows, pa.string()))


def picks_of_files(paths: Sequence[str | Path], *, limit: int = 100) -> tuple[Path, list[Pick]]:
    """Return image files, and those in folders, as picks without labels.

    Parameters
    ----------
    paths
        Files, or folders that are searched through.
    limit
        Most images to take, in order of path; what is left out is said.

    Returns
    -------
    tuple
        The folder that all paths start from, and the picks.

    Raises
    ------
    InputError
        If a path does not exist, or there is no image.
    """
    files = [file.parent.resolve() / file.name for file in find_images(paths)]
    kept = files[:limit]
    if len(kept) < len(files):
        say(f"explaining the first {len(kept)} of {len(files):,} images (--limit)")
    root = Path(os.path.commonpath([file.parent for file in kept]))
    return root, [
        Pick(content_hash(file.read_bytes()), file.relative_to(root).as_posix()) for file in kept
    ]
