"""Evaluate a classifier on labelled images: the `evaluation` artifact.

Two files decide everything: ``predictions.parquet`` (one row an image, all probabilities) and
``metrics.json`` (all scores, their intervals and what was left out). The pictures are drawn from
these two. Prediction goes in pieces, so a killed run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base import artifacts
from naturalize.base.console import warn
from naturalize.base.errors import ImageReadError, InputError, SettingsError, unknown
from naturalize.base.images import read_image
from naturalize.base.prefetch import map_ahead
from naturalize.base.shards import resumable_rows
from naturalize.evaluation import intervals, metrics
from naturalize.evaluation.calibration import calibration
from naturalize.evaluation.merge import Merge

#: Protocols of DESIGN §6: real held-out images, or the published pool-augment-split.
PROTOCOLS = ("honest", "paper")

#: What to do with images whose label the model does not know.
UNKNOWN = ("refuse", "drop")

_PIECE = 64

_SHARD = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
        ("problem", pa.string()),
        ("probabilities", pa.list_(pa.float32())),
    ]
)


class Predictor(Protocol):
    """What is needed of a model: its classes, and probabilities for images."""

    @property
    def classes(self) -> Sequence[str]:
        """The classes, in the order of the probabilities."""

    def probabilities(self, images: Iterable[np.ndarray], *, batch: int = 32) -> np.ndarray:
        """Return float32 (N, C) for RGB uint8 (H, W, 3) images."""


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


def evaluate(
    predictor: Predictor,
    items: Sequence[Item],
    root: str | Path,
    out: str | Path,
    *,
    protocol: str = "honest",
    merge: Merge | None = None,
    unknown_labels: str = "refuse",
    strict: bool = False,
    resamples: int = intervals.RESAMPLES,
    seed: int = 0,
    work: str | Path | None = None,
    inputs: Mapping[str, str] | None = None,
    left_out: Mapping[str, Any] | None = None,
) -> Path:
    """Predict ``items``, score the predictions, and write an `evaluation` artifact to ``out``.

    Parameters
    ----------
    predictor
        The model. If it has an attribute ``prepared``, that says, with all that decides the result,
        what it does to images first; it is written down.
    items
        The labelled images.
    root
        Folder that the items' paths start from.
    out
        Where the artifact shall be.
    protocol
        ``"honest"`` (real images that the model has never seen) or ``"paper"``; written down.
    merge
        Which of the model's classes make up one of the images'; by default they are the same.
    unknown_labels
        ``"refuse"`` or ``"drop"`` images of classes that the model does not know.
    strict
        Stop at an unreadable image, which is otherwise listed, counted and skipped.
    resamples, seed
        Of the bootstrap.
    work
        Folder for finished pieces, removed at the end; ``.<name>.work`` beside ``out`` by default.
    inputs
        Name → fingerprint of the artifacts behind this (model, catalog, split).
    left_out
        What is known of files that are not among ``items``: ``dropped_labels``, ``n_copies`` and
        ``passed_over`` of ``metrics.json``.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    InputError
        If there is nothing to evaluate, an item has no label or (unless dropped) one that the
        model does not know, or no image can be read.
    ImageReadError
        With ``strict``, at the first unreadable image.
    SettingsError
        For a protocol or policy that does not exist, or a ``merge`` that does not fit the model.
    """
    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, list(PROTOCOLS))
    root, out, merge = Path(root), Path(out), merge or Merge()
    artifacts.check_place(out)
    weights = model_hash(predictor)
    classes = merge.names(predictor.classes)
    known, dropped = known_items(items, classes, unknown_labels=unknown_labels)
    settings = {
        "protocol": protocol,
        "unknown_labels": unknown_labels,
        "resamples": resamples,
        "seed": seed,
        "classes": list(predictor.classes),
        "model": weights,
        "items": _items_hash(items),
    }
    if merge.classes:
        settings["merged"] = merge.described()
    prepared = getattr(predictor, "prepared", None)
    if prepared is not None:
        settings["prepared"] = prepared
    work = Path(work) if work is not None else out.with_name(f".{out.name}.work")
    rows = _predict(predictor, known, root, work, weights, strict, prepared)
    table, skipped = _tables(rows, predictor.classes, merge)
    if not table.num_rows:
        first = skipped[0]
        raise InputError(
            f"{root}: none of {len(known)} images could be read; the first, {first['path']}: "
            f"{first['reason']}"
        )
    result = score_table(table, protocol=protocol, resamples=resamples, seed=seed)
    result["model"] = str(getattr(getattr(predictor, "config", None), "architecture", "custom"))
    result["model_hash"] = weights
    result["merged"] = merge.described()
    result["prepared"] = prepared
    before = dict(left_out or {})
    dropped = {**before.get("dropped_labels", {}), **dropped}
    result |= {"skipped": skipped, "n_skipped": len(skipped), "dropped_labels": dropped}
    result["n_copies"] = before.get("n_copies", 0)
    result["passed_over"] = before.get("passed_over", [])
    _say_left_out(result)
    with artifacts.writing(out, "evaluation", settings=settings, inputs=inputs) as folder:
        artifacts.write_table(folder / "predictions.parquet", table)
        artifacts.write_json(folder / "metrics.json", result)
        _draw(folder, result)
    shutil.rmtree(work, ignore_errors=True)
    return out


def known_items(
    items: Sequence[Item], classes: Sequence[str], *, unknown_labels: str = "refuse"
) -> tuple[list[Item], dict[str, int]]:
    """Return the items of classes that the model knows, and how many there are of each other.

    Raises
    ------
    InputError
        If there are no items, one has no label, or there are unknown classes and they are not to
        be dropped, or nothing is left.
    """
    if unknown_labels not in UNKNOWN:
        raise SettingsError(
            f"unknown_labels: expected one of {', '.join(UNKNOWN)}, got {unknown_labels!r}"
        )
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


def score_table(
    table: pa.Table, *, protocol: str, resamples: int = intervals.RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """Return the content of ``metrics.json`` for a predictions table (see ``docs/formats.md``)."""
    labels = classes_of(table)
    true, predicted = table["label"].to_pylist(), table["predicted"].to_pylist()
    groups = table["group"].to_pylist() if "group" in table.column_names else None
    sure = intervals.bootstrap(
        labels, true, predicted, groups=groups, resamples=resamples, seed=seed
    )
    right = np.array([t == p for t, p in zip(true, predicted, strict=True)])
    return {
        **metrics.scores(labels, true, predicted),
        "convention": metrics.CONVENTION,
        "intervals": sure["intervals"],
        "per_class_intervals": sure["per_class"],
        "accuracy_wilson": sure["accuracy_wilson"],
        "interval_method": sure["method"],
        "calibration": calibration(table["confidence"].to_numpy(), right),
        "protocol": protocol,
    }


def classes_of(table: pa.Table) -> list[str]:
    """Return the model's classes, in order, from the columns of a predictions table."""
    classes = [n.removeprefix("prob_") for n in table.column_names if n.startswith("prob_")]
    if not classes:
        raise InputError("predictions: expected columns prob_<class>, found none")
    return classes


def read_predictions(path: str | Path) -> pa.Table:
    """Read ``predictions.parquet`` of the evaluation ``path``; ``ArtifactError`` if damaged."""
    artifacts.read_manifest(path, "evaluation")
    file = Path(path) / "predictions.parquet"
    table = artifacts.read_table(file)
    return artifacts.read_table(file, predictions_schema(classes_of(table)))


def read_metrics(path: str | Path) -> dict[str, Any]:
    """Read ``metrics.json`` of the evaluation folder ``path``; ``ArtifactError`` if damaged."""
    artifacts.read_manifest(path, "evaluation")
    return artifacts.read_json(Path(path) / "metrics.json")


def model_hash(predictor: Any) -> str:
    """Return 16 hex digits naming a predictor: its classes, and its ``weights_hash`` if any."""
    weights = getattr(predictor, "weights_hash", "")
    return hashlib.sha256(f"{list(predictor.classes)} {weights}".encode()).hexdigest()[:16]


def _items_hash(items: Sequence[Item]) -> str:
    lines = "\n".join(f"{i.image_id}\t{i.path}\t{i.label}\t{i.group}" for i in items)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def _predict(
    predictor: Predictor,
    items: list[Item],
    root: Path,
    work: Path,
    model: str,
    strict: bool,
    prepared: str | None,
) -> pa.Table:
    """Rows of `_SHARD`, one an item; unreadable images have a problem and no probabilities."""
    look = partial(_look, root=root)

    def rows(piece: Sequence[Item]) -> Iterator[dict[str, Any]]:
        problems: dict[int, str] = {}

        def readable() -> Iterator[np.ndarray]:
            for i, seen in enumerate(map_ahead(look, piece)):
                if not isinstance(seen, ImageReadError):
                    yield seen
                elif strict:
                    raise seen
                else:
                    problems[i] = seen.reason

        found = iter(np.asarray(predictor.probabilities(readable()), np.float32))
        for i, item in enumerate(piece):
            yield {
                "image_id": item.image_id,
                "path": item.path,
                "label": item.label,
                "group": item.group,
                "problem": problems.get(i),
                "probabilities": None if i in problems else next(found),
            }

    key = f"{model} {_items_hash(items)}" + (f" {prepared}" if prepared is not None else "")
    return resumable_rows(work, key, items, rows, _SHARD, piece=_PIECE, what="evaluate")


def _look(item: Item, *, root: Path) -> np.ndarray | ImageReadError:
    """Return an image, or why it cannot be read."""
    try:
        return read_image(root / item.path)
    except ImageReadError as error:
        return error


def _tables(
    rows: pa.Table, model_classes: Sequence[str], merge: Merge
) -> tuple[pa.Table, list[dict[str, str]]]:
    """Split the shards' rows into the predictions table and the list of skipped images."""
    unreadable = rows.filter(pc.is_valid(rows["problem"]))
    skipped = [
        {"path": path, "reason": reason}
        for path, reason in zip(
            unreadable["path"].to_pylist(), unreadable["problem"].to_pylist(), strict=True
        )
    ]
    rows = rows.filter(pc.is_null(rows["problem"]))
    flat = rows["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    values = flat.reshape(-1, len(model_classes))
    if not np.isfinite(values).all():
        raise InputError(
            "the model gives probabilities that are no numbers (NaN or infinite); its weights are "
            "damaged or its training diverged; train it again with a smaller learning rate"
        )
    classes, values = merge.names(model_classes), merge.apply(values, model_classes)
    best = values.argmax(axis=1)
    columns: dict[str, Any] = {name: rows[name] for name in ("image_id", "path", "label")}
    columns["predicted"] = [classes[i] for i in best]
    columns["confidence"] = values[np.arange(len(best)), best]
    columns |= {f"prob_{name}": values[:, i] for i, name in enumerate(classes)}
    columns["group"] = rows["group"]
    return pa.table(columns, schema=predictions_schema(classes)), skipped


def _say_left_out(result: dict[str, Any]) -> None:
    skipped, dropped, passed = (result[k] for k in ("skipped", "dropped_labels", "passed_over"))
    if passed:
        warn(
            f"{len(passed)} file(s) passed over, the first: {passed[0]['path']}: "
            f"{passed[0]['reason']}; all are listed in metrics.json"
        )
    if skipped:
        warn(
            f"{len(skipped)} unreadable image(s) skipped, the first: {skipped[0]['path']}: "
            f"{skipped[0]['reason']}; all are listed in metrics.json"
        )
    if dropped:
        named = ", ".join(f"{label} ({n})" for label, n in dropped.items())
        warn(f"images of classes that the model does not know were left out: {named}")
    if n_copies := result["n_copies"]:
        warn(f"{n_copies} file(s) show a picture that another one shows; each is scored once")


def _draw(folder: Path, result: dict[str, Any]) -> None:
    from naturalize.evaluation import pictures

    pictures.confusion_picture(result, folder / "confusion.svg")
    pictures.per_class_picture(result, folder / "per_class_f1.svg")
    pictures.reliability_picture(result, folder / "reliability.svg")
