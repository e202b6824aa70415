"""Evaluate a classifier on labelled images: the `evaluation` artifact.

Two files decide everything: ``predictions.parquet`` (one row an image, all probabilities) and
``metrics.json`` (all scores, their intervals and what was left out). The pictures are drawn from
these two.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base import artifacts
from naturalize.base.console import warn
from naturalize.base.errors import InputError, SettingsError, unknown
from naturalize.base.images import content_hash
from naturalize.evaluation import intervals, metrics, ranks, stages
from naturalize.evaluation.agreement import confirmed
from naturalize.evaluation.calibration import brier, calibration
from naturalize.evaluation.merge import Merge
from naturalize.evaluation.predictions import (
    Item,
    classes_of,
    items_hash,
    known_items,
    model_hash,
    possible_answers,
    predicted,
)
from naturalize.evaluation.risk import selective
from naturalize.evaluation.robustness import score_robustness
from naturalize.evaluation.sets import score_sets
from naturalize.evaluation.shortcuts import hidden_scores
from naturalize.models.predictor import Predictor, as_predictor
from naturalize.prediction.predictor import StandardisingPredictor
from naturalize.prediction.standardise import NO_CELL

#: Protocols of DESIGN §6: real held-out images, or the published pool-augment-split.
PROTOCOLS = ("honest", "paper")


def evaluate(
    predictor: Any,
    items: Sequence[Item],
    root: str | Path,
    out: str | Path,
    *,
    protocol: str = "honest",
    merge: Merge | None = None,
    unknown_labels: str = "refuse",
    leave_out_training: bool = False,
    strict: bool = False,
    robustness: int = 0,
    shortcuts: bool = False,
    agreed: Mapping[str, bool] | None = None,
    resamples: int = intervals.RESAMPLES,
    seed: int = 0,
    work: str | Path | None = None,
    inputs: Mapping[str, str] | None = None,
    left_out: Mapping[str, Any] | None = None,
) -> Path:
    """Predict ``items``, score the predictions, and write an `evaluation` artifact to ``out``.

    Images that the model was trained on, as far as it lists them, are counted and named in a
    warning: scores on them say nothing of new images.

    Parameters
    ----------
    predictor
        The model: a `naturalize.models.predictor.Predictor`, or whatever has ``classes`` and
        ``probabilities(images, batch=…)``.
    items, root
        The labelled images, and the folder that their paths start from.
    protocol
        ``"honest"`` (real images that the model has never seen) or ``"paper"``; written down.
    merge
        Which of the model's classes make up one of the images'; by default they are the same.
    unknown_labels
        ``"refuse"`` or ``"drop"`` images of classes that the model does not know.
    leave_out_training
        Leave out the images that the model was trained on.
    strict
        Stop at an unreadable image, which is otherwise listed, counted and skipped.
    robustness
        Images of each class that are scored under corruptions too; 0: none. See
        `naturalize.evaluation.robustness.score_robustness`.
    shortcuts
        Also score the model on images without their cells (`naturalize.evaluation.shortcuts`).
    agreed
        Image → whether another source confirms its label (`agreement.read_agreed`): images that
        are confirmed are scored once more, by themselves.
    resamples, seed
        Of the bootstrap; ``seed`` also draws that sample and its corruptions.
    work
        Folder for finished pieces, removed at the end; ``.<name>.work`` beside ``out`` by default.
    inputs, left_out
        Name → fingerprint of the artifacts behind this, and what is known of files that are not
        among ``items``: ``dropped_labels``, ``n_copies``, ``passed_over`` of ``metrics.json``.

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
    if shortcuts and merge.classes:
        raise SettingsError("--shortcuts: scores the model's own classes; leave out --map")
    artifacts.check_place(out, "evaluation", inputs)
    model = as_predictor(predictor)
    known, dropped = known_items(items, merge.names(model.classes), unknown_labels=unknown_labels)
    known, n_trained_on = _seen_in_training(known, model, leave_out_training)
    how: dict[str, Any] = {"protocol": protocol, "resamples": resamples, "seed": seed}
    settings = {
        **how,
        "unknown_labels": unknown_labels,
        "classes": list(model.classes),
        "model": model_hash(model),
        "items": items_hash(items),
    }
    asked = {
        "merged": merge.described() if merge.classes else None,
        "prepared": model.prepared,
        "leave_out_training": leave_out_training,
        "robustness": robustness,
        "shortcuts": shortcuts,
        "agreed": content_hash(repr(sorted(agreed.items())).encode()) if agreed else None,
    }
    settings |= {name: value for name, value in asked.items() if value not in (None, False, 0)}
    work = Path(work) if work is not None else out.with_name(f".{out.name}.work")
    table, skipped = predicted(model, known, root, work, strict, merge)
    facts = {
        "model": model.config.architecture if model.config is not None else "custom",
        "model_hash": settings["model"],
        "merged": merge.described(),
        "prepared": model.prepared,
        "n_trained_on": 0 if leave_out_training else n_trained_on,
        "n_left_out_training": n_trained_on if leave_out_training else 0,
        "n_no_cell": table["predicted"].to_pylist().count(NO_CELL),
        **_not_scored(skipped, dropped, left_out or {}),
    }
    result = score_table(table, **how) | facts
    if agreed:
        result["agreed"] = score_table(table.filter(pa.array(confirmed(table, agreed))), **how)
    doubt = model.config.doubt if model.config is not None and not merge.classes else None
    result["sets"] = None if doubt is None else score_sets(doubt, table)
    plain = model.predictor if isinstance(model, StandardisingPredictor) else model
    result["shortcuts"] = hidden_scores(plain, known, root, seed=seed) if shortcuts else None
    _say_left_out(result)
    tested = None
    if robustness:
        key = f"{settings['model']} {model.prepared}"
        some = {"per_class": robustness, "resamples": resamples, "seed": seed}
        tested = score_robustness(model, table, root, work / "robustness", key, merge=merge, **some)
    with artifacts.writing(out, "evaluation", settings=settings, inputs=inputs) as folder:
        artifacts.write_table(folder / "predictions.parquet", table)
        artifacts.write_json(folder / "metrics.json", result)
        _draw(folder, result)
        if tested:
            tested.write(folder)
    shutil.rmtree(work, ignore_errors=True)
    return out


def _seen_in_training(
    items: list[Item], model: Predictor, leave_out: bool
) -> tuple[list[Item], int]:
    """Return the items to score, and on how many of ``items`` the model was trained."""
    left = [item for item in items if item.image_id not in model.training_images]
    n = len(items) - len(left)
    if n and not leave_out:
        warn(
            f"the model was trained on {n:,} of these {len(items):,} images: scores on them say "
            "nothing of new images; leave them out with --leave-out-training"
        )
    if leave_out and not left:
        raise InputError(
            f"the model was trained on all of these {n:,} images; nothing is left to score "
            "without them"
        )
    return (left if leave_out else items), n


def _not_scored(
    skipped: list[dict[str, str]], dropped: Mapping[str, int], before: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what ``metrics.json`` says of files that were not scored."""
    return {
        "skipped": skipped,
        "n_skipped": len(skipped),
        "dropped_labels": {**before.get("dropped_labels", {}), **dropped},
        "n_copies": before.get("n_copies", 0),
        "n_contradicting": before.get("n_contradicting", 0),
        "passed_over": before.get("passed_over", []),
    }


def score_table(
    table: pa.Table, *, protocol: str, resamples: int = intervals.RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """Return the content of ``metrics.json`` for a predictions table (see ``docs/formats.md``)."""
    classes, labels = classes_of(table), possible_answers(table)
    true, predicted = table["label"].to_pylist(), table["predicted"].to_pylist()
    groups = table["group"].to_pylist() if "group" in table.column_names else None
    how: dict[str, Any] = {"groups": groups, "resamples": resamples, "seed": seed}
    values = np.column_stack([table[f"prob_{label}"].to_numpy() for label in classes])
    ranked = ranks.bootstrap(classes, true, values, **how)
    sure = intervals.bootstrap(labels, true, predicted, **how)
    found = metrics.scores(labels, true, predicted)
    for label, more in ranked["per_class"].items():
        found["per_class"][label] |= more
        sure["per_class"][label] |= ranked["per_class_intervals"][label]
    whole = stages.summary(np.array(found["confusion"]), labels)
    right = np.array([t == p for t, p in zip(true, predicted, strict=True)])
    confidence = table["confidence"].to_numpy()
    return {
        **found,
        **{name: float(value) for name, value in whole.items()},
        **ranked["scores"],
        "convention": metrics.CONVENTION,
        "intervals": sure["intervals"] | ranked["intervals"],
        "per_class_intervals": sure["per_class"],
        "accuracy_wilson": sure["accuracy_wilson"],
        "interval_method": sure["method"],
        "calibration": calibration(confidence, right),
        "brier": brier(values, metrics.label_indices(classes, true)),
        "risk_coverage": selective(confidence, right),
        "protocol": protocol,
    }


def read_metrics(path: str | Path) -> dict[str, Any]:
    """Read ``metrics.json`` of the evaluation folder ``path``; ``ArtifactError`` if changed."""
    artifacts.read_manifest(path, "evaluation")
    return artifacts.read_written(Path(path), "metrics.json")


def _say_left_out(result: dict[str, Any]) -> None:
    for key, what in (("passed_over", "passed over"), ("skipped", "skipped: cannot be read")):
        if found := result[key]:
            warn(
                f"{len(found)} file(s) {what}, the first: {found[0]['path']}: "
                f"{found[0]['reason']}; all are listed in metrics.json"
            )
    if dropped := result["dropped_labels"]:
        named = ", ".join(f"{label} ({n})" for label, n in dropped.items())
        warn(f"images of classes that the model does not know were left out: {named}")
    if n := result["n_left_out_training"]:
        warn(f"{n:,} image(s) that the model was trained on were left out")
    if n := result["n_contradicting"]:
        warn(f"{n} file(s) show a picture that has two classes; none of them is scored")
    if n := result["n_no_cell"]:
        warn(f"{n} image(s) show no cell; such an answer is wrong")
    if n := result["n_copies"]:
        warn(f"{n} file(s) show a picture that another one shows; each is scored once")


def _draw(folder: Path, result: dict[str, Any]) -> None:
    from naturalize.evaluation import pictures

    pictures.confusion_picture(result, folder / "confusion.svg")
    pictures.per_class_picture(result, folder / "per_class_f1.svg")
    pictures.reliability_picture(result, folder / "reliability.svg")
