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
    """Return the ``n`` most confident wrong rows of ``predictions.parquet``, the most so first.

    Equally confident ones are in the order of their paths.
    """
    wrong = predictions.filter(pc.not_equal(predictions["label"], predictions["predicted"]))
    return wrong.sort_by([("confidence", "descending"), ("path", "ascending")]).slice(0, n)


def pick_for_explanation(
    predictions: pa.Table, per_class: int = 1, mistakes: int = 8, seed: int = 0
) -> pa.Table:
    """Return the rows of ``predictions.parquet`` to explain, with a column ``reason``.

    First the ``example`` rows: of each class that occurs, ``per_class`` right predictions (or those
    there are), drawn at random by ``seed``: what usually happens, not the best case. Then the
    ``mistake`` rows, as of `worst_mistakes`.
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
    """Return the folder that all paths start from, and image files as picks without labels.

    Folders are searched; of more than ``limit`` images the first are taken, and a remark says so.
    ``InputError`` if a path does not exist, or there is no image.
    """
    files = [file.parent.resolve() / file.name for file in find_images(paths)]
    kept = files[:limit]
    if len(kept) < len(files):
        say(f"explaining the first {len(kept)} of {len(files):,} images (--limit)")
    root = Path(os.path.commonpath([file.parent for file in kept]))
    return root, [
        Pick(content_hash(file.read_bytes()), file.relative_to(root).as_posix()) for file in kept
    ]
