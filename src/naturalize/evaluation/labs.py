"""One model, or several, over the labelled images of several laboratories: the `labs` artifact.

``predictions/<model>/<laboratory>.parquet`` hold every answer, ``labs.json`` all scores that follow
from them. Prediction goes in pieces, so a killed run goes on where it stopped.
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base import artifacts
from naturalize.base.console import warn
from naturalize.base.errors import InputError
from naturalize.base.images import content_hash
from naturalize.base.shards import resumable_rows
from naturalize.base.table import csv_text
from naturalize.evaluation import intervals, metrics
from naturalize.evaluation.laboratory import Laboratory
from naturalize.evaluation.labscores import SCORES, Scored, of_model, scored
from naturalize.evaluation.merge import Merge
from naturalize.evaluation.mixes import MIXES
from naturalize.evaluation.predictions import PIECE, SHARD, Item, model_hash
from naturalize.models.predictor import NetworkPredictor
from naturalize.prediction.files import Prediction, predict_files
from naturalize.prediction.standardise import Standardiser

_SHARD = SHARD.append(pa.field("answer", pa.string())).append(pa.field("flags", pa.string()))


def score_labs(
    models: Mapping[str, NetworkPredictor],
    laboratories: Sequence[Laboratory],
    out: str | Path,
    *,
    standardise: str = "auto",
    more_mixes: Mapping[str, Mapping[str, float]] | None = None,
    resamples: int = intervals.RESAMPLES,
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
) -> Path:
    """Predict each laboratory's images with each model, and write a `labs` artifact to ``out``.

    Each laboratory's images are standardised by what is measured of them, as `predict` does.

    Parameters
    ----------
    models
        Name → model; the first is the one that is asked about, the others stand beside it.
    laboratories
        What to score on; see `naturalize.inputs.labs.open_labs`.
    standardise
        ``auto``, ``always`` or ``never``.
    more_mixes
        Name → class → share, besides `naturalize.evaluation.mixes.MIXES`.
    resamples, seed
        Of the bootstrap.
    facts, inputs
        What else ``labs.json`` shall say, and the fingerprints of what was read.

    Raises
    ------
    InputError
        If a laboratory has no image that can be read.
    SettingsError
        If ``standardise`` is no mode, or there are fewer than 100 resamples.
    """
    out, all_mixes = Path(out), {**MIXES, **(more_mixes or {})}
    artifacts.check_place(out, "labs", inputs)
    settings = {
        "models": {name: model_hash(model) for name, model in models.items()},
        "laboratories": {lab.name: _digest(lab) for lab in laboratories},
        "standardise": standardise,
        "mixes": all_mixes,
        "resamples": resamples,
        "seed": seed,
    }
    work = out.with_name(f".{out.name}.work")
    found: dict[str, dict[str, Scored]] = {name: {} for name in models}
    for lab in laboratories:
        standardiser: Standardiser | None = None
        for name, model in models.items():
            standardiser = _standardiser(model, lab, standardise, standardiser)
            place = work / f"{file_name(name)}-{file_name(lab.name)}"
            rows = _predicted(model, lab, standardiser, place, f"{lab.name}: {name}")
            table = _table(rows, model.classes, lab.merges[name])
            found[name][lab.name] = scored(table, lab, name, all_mixes, resamples, seed)
    result = {
        **dict(facts or {}),
        "standardise": standardise,
        "mixes": {name: dict(shares) for name, shares in all_mixes.items()},
        "convention": metrics.CONVENTION,
        "interval_method": _method(found, resamples, seed),
        "laboratories": {lab.name: lab.described() for lab in laboratories},
        "models": {name: of_model(each) for name, each in found.items()},
    }
    with artifacts.writing(out, "labs", settings=settings, inputs=inputs) as folder:
        for name, each in found.items():
            for lab_name, one in each.items():
                file = folder / "predictions" / file_name(name) / f"{file_name(lab_name)}.parquet"
                artifacts.write_table(file, one.table)
                artifacts.write_bytes(file.with_suffix(".csv"), _csv_of(one.table))
        artifacts.write_json(folder / "labs.json", result)
        artifacts.write_bytes(folder / "labs.csv", _csv_rows(result))
        _draw(folder, result)
    shutil.rmtree(work, ignore_errors=True)
    return out


def _standardiser(
    model: NetworkPredictor, lab: Laboratory, mode: str, before: Standardiser | None
) -> Standardiser:
    """Return what standardises a laboratory's images for a model, measured no more than once.

    What is measured does not depend on whether a network also learnt isolated cells.
    """
    standard = model.config.standard
    known = before.standard if before is not None else None
    if known and standard and replace(known, alone=standard.alone) == standard:
        assert before is not None
        return Standardiser(standard, mode, before.profile)
    paths = [lab.root / item.path for item in lab.items]
    return Standardiser(standard, mode).learn(paths, lab.name)


def read_labs(path: str | Path) -> dict[str, Any]:
    """Read ``labs.json`` of the `labs` artifact ``path``; ``ArtifactError`` if changed."""
    artifacts.read_manifest(path, "labs")
    return artifacts.read_written(Path(path), "labs.json")


def file_name(name: str) -> str:
    """Return a name as a file may be called.

    Examples
    --------
    >>> file_name("resnet18, k-NN")
    'resnet18-k-NN'
    """
    return re.sub(r"[^\w.]+", "-", name).strip("-.") or "unnamed"


def _digest(lab: Laboratory) -> str:
    lines = [f"{i.image_id}\t{i.path}\t{i.label}\t{i.group}" for i in lab.items]
    lines += [f"{name}\t{merge.described()}" for name, merge in lab.merges.items()]
    return content_hash("\n".join(lines).encode())


def _predicted(
    model: NetworkPredictor, lab: Laboratory, standardiser: Standardiser, work: Path, what: str
) -> pa.Table:
    """Return a row an image: the model's answer and probabilities, or why it cannot be read."""

    def rows(piece: Sequence[Item]) -> Iterator[dict[str, Any]]:
        paths = [lab.root / item.path for item in piece]
        answers = predict_files(model, paths, standardiser=standardiser, whole=True)
        for item, answer in zip(piece, answers, strict=True):
            yield {**asdict(item), **_row(answer)}

    key = f"{model_hash(model)} {_digest(lab)} {standardiser.mode}: {standardiser.profile}"
    found = resumable_rows(work, key, lab.items, rows, _SHARD, piece=PIECE, what=what)
    bad = found.filter(pc.is_valid(found["problem"])).to_pylist()
    if len(bad) == found.num_rows:
        why = f": {bad[0]['path']}: {bad[0]['problem']}" if bad else ""
        raise InputError(f"{lab.root}: none of {len(bad)} images can be read{why}")
    if bad:
        first = f"{bad[0]['path']}: {bad[0]['problem']}"
        warn(f"{lab.name}: {len(bad)} images cannot be read, the first: {first}")
    return found.filter(pc.is_null(found["problem"]))


def _row(answer: Prediction) -> dict[str, Any]:
    return {
        "answer": answer.label,
        "flags": "; ".join(answer.flags),
        "problem": answer.error,
        "probabilities": answer.probabilities,
    }


def _table(rows: pa.Table, model_classes: Sequence[str], merge: Merge) -> pa.Table:
    """Return the predictions table of a laboratory, over its own classes."""
    classes = merge.names(model_classes)
    asked = pc.is_valid(rows["probabilities"]).to_numpy()
    values = np.full((rows.num_rows, len(classes)), np.nan, np.float32)
    if asked.any():
        given = rows["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        values[asked] = merge.apply(given.reshape(-1, len(model_classes)), model_classes)
    best = np.where(asked, np.nan_to_num(values).argmax(axis=1), -1)
    answers = rows["answer"].to_pylist()
    columns: dict[str, Any] = {name: rows[name] for name in ("image_id", "path", "label")}
    columns["predicted"] = [
        classes[i] if i >= 0 else answer for i, answer in zip(best, answers, strict=True)
    ]
    columns["confidence"] = pa.array(np.nan_to_num(values).max(axis=1), mask=~asked)
    for i, name in enumerate(classes):
        columns[f"prob_{name}"] = pa.array(values[:, i], mask=~asked)
    return pa.table({**columns, "group": rows["group"], "flag": rows["flags"]})


def _method(found: Mapping[str, Mapping[str, Scored]], resamples: int, seed: int) -> str:
    grouped = [name for name, one in next(iter(found.values())).items() if one.grouped]
    drawn = "images within their class"
    if grouped:
        drawn += f", whole groups in {', '.join(grouped)}"
    return f"percentile bootstrap over {drawn}, {resamples:,} resamples, 95 %, seed {seed}"


def _csv_of(table: pa.Table) -> bytes:
    from pyarrow.csv import write_csv

    buffer = io.BytesIO()
    write_csv(table, buffer)
    return buffer.getvalue()


def _csv_rows(result: Mapping[str, Any]) -> bytes:
    """Return ``labs.csv``: a row for each model, laboratory and mix, and for the mean of all."""
    ends = [f"{score}{end}" for score in SCORES for end in ("", "_low", "_high")]
    rows: list[list[Any]] = []
    for model, found in result["models"].items():
        each = [
            (name, mix, entry["n"], of_mix["scores"])
            for name, entry in found["laboratories"].items()
            for mix, of_mix in entry["mixes"].items()
        ]
        each += [("mean", mix, found["n"], over["mean"]) for mix, over in found["overall"].items()]
        for name, mix, n, scores in each:
            numbers = [
                f"{value:.6f}"
                for score in SCORES
                for value in (scores[score]["value"], *scores[score]["interval"])
            ]
            rows.append([model, name, mix, n, *numbers])
    return csv_text(["model", "laboratory", "mix", "n", *ends], rows).encode()


def _draw(folder: Path, result: Mapping[str, Any]) -> None:
    from naturalize.evaluation import pictures

    pictures.forest_picture(result, folder / "balanced_accuracy.svg")
    pictures.risk_picture(result, folder / "risk_coverage.svg")
    first = next(iter(result["models"].values()))
    for name, entry in first["laboratories"].items():
        if entry["calibration"]:
            file = folder / f"reliability-{file_name(name)}.svg"
            pictures.reliability_picture(entry, file, title=name)
