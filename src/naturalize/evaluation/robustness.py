"""How a model does under what microscopes do: the same images, ten corruptions, five strengths.

The mean corruption score is the mean of a score over all corruptions and strengths; relative to
that of the images as they are, it says how much of the score stays (after Hendrycks & Dietterich,
ICLR 2019, without their reference network). All intervals are of the same resampled images, so a
difference from the images as they are is paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base import artifacts
from naturalize.base.engine import prefetched
from naturalize.base.errors import SettingsError
from naturalize.base.images import read_image
from naturalize.base.rng import rng
from naturalize.base.shards import resumable_rows
from naturalize.base.table import csv_text
from naturalize.evaluation import metrics, mixes
from naturalize.evaluation.merge import Merge
from naturalize.evaluation.mixes import Answers
from naturalize.evaluation.predictions import answers, possible_answers
from naturalize.imaging.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from naturalize.models.predictor import Predictor
from naturalize.prediction.standardise import NO_CELL

#: The scores that are given; the first is the one that is drawn.
SCORES = ("macro_f1", "balanced_accuracy", "accuracy", "ece")

#: Images a piece; each is predicted under all corruptions.
_PIECE = 4

_SHARD = pa.schema([("row", pa.int64()), ("probabilities", pa.list_(pa.float32()))])


@dataclass(frozen=True)
class Robustness:
    """All answers, a row for each image and corruption, and the content of ``robustness.json``."""

    table: pa.Table
    result: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write the table, the scores as JSON and CSV, and the picture into ``folder``."""
        from naturalize.evaluation.pictures import robustness_picture

        artifacts.write_table(folder / "robustness.parquet", self.table)
        artifacts.write_json(folder / "robustness.json", self.result)
        artifacts.write_bytes(folder / "robustness.csv", _csv(self.result))
        robustness_picture(self.result, folder / "robustness.svg")


def score_robustness(
    model: Predictor,
    clean: pa.Table,
    root: Path,
    work: Path,
    key: str,
    *,
    per_class: int,
    merge: Merge,
    resamples: int,
    seed: int,
) -> Robustness:
    """Predict a sample of evaluated images under every corruption, and score the answers.

    Parameters
    ----------
    model
        What gave the answers in ``clean``.
    clean
        Predictions of the images as they are, as in ``predictions.parquet``.
    root, work, key
        Where the images are; a folder for finished pieces, and what names their settings.
    per_class
        Images of each class, at most; drawn by ``seed``.
    merge
        Which of the model's classes make up one of the images'.
    resamples, seed
        Of the bootstrap, which draws images within their class, or whole groups.

    Raises
    ------
    SettingsError
        If ``per_class`` is not positive, or there are fewer than 100 resamples.
    """
    if per_class < 1:
        raise SettingsError(f"robustness: expected 1 image a class or more, got {per_class}")
    clean = clean.take(sampled(clean["label"].to_pylist(), per_class, seed))
    conditions = [(name, strength) for name in CORRUPTIONS for strength in STRENGTHS]

    def rows(piece: Sequence[int]) -> Iterator[dict[str, Any]]:
        paths = [root / clean["path"][i].as_py() for i in piece]
        jobs = [
            (read_image(path), name, strength, clean["image_id"][i].as_py())
            for i, path in zip(piece, paths, strict=True)
            for name, strength in conditions
        ]
        found = model.probabilities(prefetched(partial(_corrupted, seed=seed), jobs))
        for place, row in enumerate(np.asarray(found, np.float32)):
            yield {"row": piece[place // len(conditions)], "probabilities": row}

    said = [f"{name} {one.amounts}" for name, one in CORRUPTIONS.items()]
    key = f"{key} {clean['image_id'].to_pylist()} {seed} {said}"
    places = range(clean.num_rows)
    made = resumable_rows(work, key, places, rows, _SHARD, piece=_PIECE, what="corruptions")
    table = _table(made, clean, conditions, model, merge)
    return Robustness(table, robustness_scores(table, per_class, resamples, seed))


def sampled(labels: Sequence[str], per_class: int, seed: int) -> list[int]:
    """Return the places of up to ``per_class`` of each label, drawn by ``seed``, in order.

    Examples
    --------
    >>> places = sampled(["EO", "LY", "LY", "LY"], 2, 0)
    >>> len(places), places[0]
    (3, 0)
    """
    found: list[int] = []
    for label in dict.fromkeys(labels):
        there = [i for i, other in enumerate(labels) if other == label]
        order = rng(seed, "robustness", label).permutation(len(there))[:per_class]
        found += [there[i] for i in order.tolist()]
    return sorted(found)


def read_robustness(path: str | Path) -> dict[str, Any] | None:
    """Read ``robustness.json`` of the evaluation folder ``path``; null where it has none."""
    artifacts.read_manifest(path, "evaluation")
    name = "robustness.json"
    return artifacts.read_written(Path(path), name) if (Path(path) / name).is_file() else None


def _corrupted(job: tuple[np.ndarray, str, int, str], *, seed: int) -> np.ndarray:
    image, name, strength, key = job
    return corrupt(image, name, strength, seed=seed, key=key)


def _table(
    made: pa.Table,
    clean: pa.Table,
    conditions: Sequence[tuple[str, int]],
    model: Predictor,
    merge: Merge,
) -> pa.Table:
    """Return the answers under all corruptions, after those to the images as they are."""
    images = clean.take(made["row"])
    n = clean.num_rows
    columns: dict[str, Any] = {name: images[name] for name in ("image_id", "path", "label")}
    columns |= answers(
        made["probabilities"], model.classes, merge, may_be_empty=model.prepared is not None
    )
    corrupted = pa.table({**columns, "group": images["group"]}, schema=clean.schema)
    names = [None] * n + [name for _ in range(n) for name, _ in conditions]
    strengths = [0] * n + [strength for _ in range(n) for _, strength in conditions]
    whole = pa.concat_tables([clean, corrupted]).combine_chunks()
    whole = whole.append_column("corruption", pa.array(names, pa.string()))
    return whole.append_column("strength", pa.array(strengths, pa.int8()))


def robustness_scores(table: pa.Table, per_class: int, resamples: int, seed: int) -> dict[str, Any]:
    """Return the content of ``robustness.json`` for its table (see ``docs/formats.md``)."""
    labels = possible_answers(table)
    names, strengths = np.array(table["corruption"].to_pylist()), table["strength"].to_numpy()

    def given(here: np.ndarray) -> Answers:
        # in the order of the images as they are: a resample is the same images everywhere
        part = table.filter(pa.array(here))
        predicted = part["predicted"].to_pylist()
        confidence = part["confidence"].to_numpy().astype(np.float64)
        return Answers(
            labels,
            metrics.label_indices(labels, part["label"].to_pylist(), what="label"),
            metrics.label_indices(labels, predicted, what="predicted"),
            np.where(np.array(predicted) == NO_CELL, np.nan, confidence),
            part["group"].to_pylist(),
        )

    as_is = given(strengths == 0)
    weights = mixes.resampled(as_is, resamples, seed, "robustness")
    clean = _of(mixes.drawn_scores(as_is, weights, None))
    each: dict[str, Any] = {}
    means: list[dict[str, np.ndarray]] = []
    for name, one in CORRUPTIONS.items():
        drawn = [
            _of(mixes.drawn_scores(given((names == name) & (strengths == s)), weights, None))
            for s in STRENGTHS
        ]
        means.append({score: np.mean([d[score] for d in drawn], axis=0) for score in SCORES})
        each[name] = {
            "what": one.what,
            "amount": one.amount,
            "strengths": [
                {"strength": s, "amount": a, **mixes.with_intervals(d)}
                for s, a, d in zip(STRENGTHS, one.amounts, drawn, strict=True)
            ],
            "mean": mixes.with_intervals(means[-1]),
            "change": mixes.with_intervals(_less(means[-1], clean)),
        }
    mean = {score: np.mean([m[score] for m in means], axis=0) for score in SCORES}
    kept = {s: mean[s] / np.where(clean[s] > 0, clean[s], 1) for s in SCORES if s != "ece"}
    how = "whole groups" if as_is.grouped else "images within their class"
    return {
        "n": len(as_is.true),
        "per_class": per_class,
        "images": as_is.counts,
        "clean": mixes.with_intervals(clean),
        "corruptions": each,
        "mean_corruption_score": mixes.with_intervals(mean),
        "relative_robustness": mixes.with_intervals(kept),
        "change": mixes.with_intervals(_less(mean, clean)),
        "convention": metrics.CONVENTION,
        "interval_method": f"percentile bootstrap over {how}, the same for every corruption, "
        f"{resamples:,} resamples, 95 %, seed {seed}",
        "seed": seed,
    }


def _of(drawn: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {score: drawn[score] for score in SCORES}


def _less(drawn: Mapping[str, np.ndarray], clean: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the differences of scores; not of the calibration error, whose bias is no shift."""
    return {score: drawn[score] - clean[score] for score in SCORES if score != "ece"}


def _csv(result: Mapping[str, Any]) -> bytes:
    """Return ``robustness.csv``: a row for the images as they are, and each corruption's."""
    ends = [f"{score}{end}" for score in SCORES for end in ("", "_low", "_high")]
    rows: list[tuple[Any, ...]] = [("none", 0, "", result["clean"])]
    for name, each in result["corruptions"].items():
        rows += [(name, one["strength"], one["amount"], one) for one in each["strengths"]]
        rows.append((name, "mean", "", each["mean"]))
    rows.append(("all", "mean", "", result["mean_corruption_score"]))
    lines = [
        [*place, *(f"{v:.6f}" for s in SCORES for v in (its[s]["value"], *its[s]["interval"]))]
        for *place, its in rows
    ]
    return csv_text(["corruption", "strength", "amount", *ends], lines).encode()
