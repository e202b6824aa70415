"""Labelled images to a table of answers: ``predictions.parquet`` of the `evaluation` artifact.

One row an image, all probabilities. Prediction goes in pieces, so a killed run goes on where it
stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base import artifacts
from naturalize.base.engine import prefetched
from naturalize.base.errors import ImageReadError, InputError, unknown
from naturalize.base.images import content_hash, read_image
from naturalize.base.shards import resumable_rows
from naturalize.evaluation import metrics
from naturalize.evaluation.calibration import check_probabilities
from naturalize.evaluation.merge import Merge
from naturalize.models.predictor import Predictor
from naturalize.prediction.standardise import NO_CELL

#: What to do with images whose label the model does not know.
UNKNOWN = ("refuse", "drop")

#: Images a piece of an evaluation that is under way, and the columns of such a piece.
PIECE = 64
SHARD = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
        ("problem", pa.string()),
        ("probabilities", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True)
class Item:
    """One labelled image.

    ``path`` is relative to the root; images of one ``group`` (patient, slide, duplicates) are not
    independent, and the bootstrap draws them together.
    """

    image_id: str
    path: str
    label: str
    group: str | None = None


def predictions_schema(classes: Sequence[str]) -> pa.Schema:
    """Return the schema of ``predictions.parquet`` for these classes."""
    fixed: list[tuple[str, pa.DataType]] = [
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("label", pa.string()),
        ("predicted", pa.string()),
        ("confidence", pa.float32()),
    ]
    probabilities = [(f"prob_{name}", pa.float32()) for name in classes]
    return pa.schema([*fixed, *probabilities, ("group", pa.string())])


def known_items(
    items: Sequence[Item], classes: Sequence[str], *, unknown_labels: str = "refuse"
) -> tuple[list[Item], dict[str, int]]:
    """Return the items of classes that the model knows, and how many there are of each other.

    ``InputError`` if there are no items, one has no label, or there are unknown classes and they
    are not to be dropped, or nothing is left.
    """
    if unknown_labels not in UNKNOWN:
        raise unknown("unknown_labels", unknown_labels, list(UNKNOWN))
    if not items:
        raise InputError("nothing to evaluate: no labelled image was given")
    for item in items:
        if not item.label:
            raise InputError(f"{item.path}: has no label, so it cannot be scored; leave it out")
    others = Counter(item.label for item in items if item.label not in set(classes))
    known = [item for item in items if item.label not in others]
    named = ", ".join(f"{label} ({n})" for label, n in sorted(others.items()))
    if others and unknown_labels == "refuse":
        raise InputError(
            f"{others.total()} of {len(items)} images are of classes that the model does not know: "
            f"{named}; it knows {', '.join(classes)}; name the scheme it was trained with "
            "(--scheme), say which of its classes these are (--map), or leave these images out "
            "(--drop-unknown)"
        )
    if not known:
        raise InputError(
            f"none of the images is of a class that the model knows: found {named}; it knows "
            f"{', '.join(classes)}; check --scheme, or say which are which with --map"
        )
    return known, dict(sorted(others.items()))


def classes_of(table: pa.Table) -> list[str]:
    """Return the model's classes, in order, from the columns of a predictions table."""
    classes = [n.removeprefix("prob_") for n in table.column_names if n.startswith("prob_")]
    if not classes:
        raise InputError("predictions: expected columns prob_<class>, found none")
    return classes


def possible_answers(table: pa.Table) -> list[str]:
    """Return what a predictions table may answer: the classes, and `NO_CELL` where it occurs."""
    return [*classes_of(table), *([NO_CELL] if NO_CELL in table["predicted"].to_pylist() else [])]


def read_predictions(path: str | Path) -> pa.Table:
    """Read ``predictions.parquet`` of the evaluation ``path``.

    ``ArtifactError`` if it is damaged; ``InputError`` if it holds what no evaluation writes: no
    row, a label or an answer that is no class, probabilities that are none, or an answer that is
    not the most probable class.
    """
    artifacts.read_manifest(path, "evaluation")
    file = Path(path) / "predictions.parquet"
    classes = classes_of(artifacts.read_table(file))
    table = artifacts.read_table(file, predictions_schema(classes))
    if not table.num_rows:
        raise InputError(f"{file}: has no row; evaluate the model again")
    metrics.label_indices(classes, table["label"].to_pylist(), what=f"{file}: label")
    given = metrics.label_indices(
        [*classes, NO_CELL], table["predicted"].to_pylist(), what=f"{file}: predicted"
    )
    values = np.column_stack([table[f"prob_{name}"].to_numpy() for name in classes])
    check_probabilities(values, str(file), advice="evaluate the model again")
    asked = np.flatnonzero(given < len(classes))
    less = asked[values[asked, given[asked]] < values[asked].max(axis=1)]
    if less.size:
        raise InputError(
            f"{file}: in {less.size:,} of {len(values):,} rows, the first {less[0]}, another class "
            "than the predicted one is the most probable; evaluate the model again"
        )
    return table


def model_hash(predictor: Predictor) -> str:
    """Return 16 hex digits naming a predictor: its classes, and its ``weights_hash`` if any."""
    text = f"{list(predictor.classes)} {predictor.weights_hash}"
    if predictor.elsewhere is not None:
        text += f" {predictor.elsewhere.weights_hash}"
    return content_hash(text.encode())


def items_hash(items: Sequence[Item]) -> str:
    """Return what names these images, their labels and groups."""
    lines = "\n".join(f"{i.image_id}\t{i.path}\t{i.label}\t{i.group}" for i in items)
    return content_hash(lines.encode())


def predicted(
    predictor: Predictor, items: list[Item], root: Path, work: Path, strict: bool, merge: Merge
) -> tuple[pa.Table, list[dict[str, str]]]:
    """Return the predictions table of ``items``, and which images were skipped and why.

    Finished pieces are kept in ``work``. ``InputError`` if no image can be read, or the model gives
    no probabilities; ``ImageReadError``, if ``strict``, at the first that cannot be read.
    """
    read = partial(read_item, root=root)

    def rows(piece: Sequence[Item]) -> Iterator[dict[str, Any]]:
        problems: dict[int, str] = {}

        def readable() -> Iterator[np.ndarray]:
            for i, image in enumerate(prefetched(read, piece)):
                if not isinstance(image, ImageReadError):
                    yield image
                elif strict:
                    raise image
                else:
                    problems[i] = image.reason

        found = iter(np.asarray(predictor.probabilities(readable()), np.float32))
        for i, item in enumerate(piece):
            yield {
                **asdict(item),
                "problem": problems.get(i),
                "probabilities": None if i in problems else next(found),
            }

    prepared = predictor.prepared
    key = f"{model_hash(predictor)} {items_hash(items)}"
    key += f" {prepared}" if prepared is not None else ""
    made = resumable_rows(work, key, items, rows, SHARD, piece=PIECE, what="evaluate")
    table, skipped = _tables(made, predictor.classes, merge, may_be_empty=prepared is not None)
    if not table.num_rows:
        raise InputError(
            f"{root}: none of {len(items)} images could be read; the first, {skipped[0]['path']}: "
            f"{skipped[0]['reason']}"
        )
    return table, skipped


def read_item(item: Item, *, root: Path) -> np.ndarray | ImageReadError:
    """Return an image, or why it cannot be read."""
    try:
        return read_image(root / item.path)
    except ImageReadError as error:
        return error


def _tables(
    rows: pa.Table, model_classes: Sequence[str], merge: Merge, *, may_be_empty: bool
) -> tuple[pa.Table, list[dict[str, str]]]:
    """Split the shards' rows into the predictions table and the list of skipped images."""
    unreadable = rows.filter(pc.is_valid(rows["problem"])).select(["path", "problem"])
    skipped = [{"path": r["path"], "reason": r["problem"]} for r in unreadable.to_pylist()]
    rows = rows.filter(pc.is_null(rows["problem"]))
    columns: dict[str, Any] = {name: rows[name] for name in ("image_id", "path", "label")}
    columns |= answers(rows["probabilities"], model_classes, merge, may_be_empty=may_be_empty)
    columns["group"] = rows["group"]
    return pa.table(columns, schema=predictions_schema(merge.names(model_classes))), skipped


def answers(
    probabilities: pa.ChunkedArray,
    model_classes: Sequence[str],
    merge: Merge,
    *,
    may_be_empty: bool,
) -> dict[str, Any]:
    """Return the columns ``predicted``, ``confidence`` and ``prob_<class>``.

    ``may_be_empty``: equal probabilities for all classes say that an image shows no cell (see
    `naturalize.prediction.predictor.in_kind`), whatever classes are merged. ``InputError`` if the
    lists of N times C ``probabilities`` are none.
    """
    flat = probabilities.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    values = flat.reshape(-1, len(model_classes))
    if not np.isfinite(values).all():
        raise InputError(
            "the model gives probabilities that are no numbers (NaN or infinite); its weights are "
            "damaged or its training diverged; train it again with a smaller learning rate"
        )
    check_probabilities(values, "the model")
    empty = np.ptp(values, axis=1) == 0 if may_be_empty else np.zeros(len(values), bool)
    classes, values = merge.names(model_classes), merge.apply(values, model_classes)
    best = values.argmax(axis=1)
    return {
        "predicted": [NO_CELL if none else classes[i] for i, none in zip(best, empty, strict=True)],
        "confidence": values[np.arange(len(best)), best],
        **{f"prob_{name}": values[:, i] for i, name in enumerate(classes)},
    }
