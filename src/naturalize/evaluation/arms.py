"""Arms of a study at several sizes and seeds: learning curves, differences, multipliers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base.display import rows_of
from naturalize.base.errors import InputError
from naturalize.base.rng import rng
from naturalize.base.table import csv_text
from naturalize.evaluation import metrics, mixes
from naturalize.evaluation.intervals import drawn_from, group_numbers
from naturalize.evaluation.labscores import answers_of

#: Resamples of images and seeds together: 95 % limits wobble by a few per cent of their width.
RESAMPLES = 1000


@dataclass(frozen=True)
class Answered:
    """What one training of an arm answered on the test images, which all of them share."""

    arm: str
    n: int  #: Training images a class.
    seed: int
    labels: tuple[str, ...]
    table: pa.Table  #: ``predictions.parquet`` of its evaluation.
    seconds: float = 0.0
    fingerprint: str = ""
    #: Laboratory → its answers there, a predictions table of a `labs` artifact.
    elsewhere: Mapping[str, pa.Table] = field(default_factory=dict)


def compared(
    answered: Sequence[Answered],
    arms: Sequence[str],
    *,
    beside: Mapping[str, str] | None = None,
    weak: Sequence[str] = (),
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Return the content of ``arms.json``: scores of each training, curves, and what arms gain.

    ``beside`` names the arm that one is compared with, by default the first of ``arms``; it is done
    at each size by the seeds that both have. Intervals are percentile bootstraps (95 %) over the
    test images, or groups of them, and over seeds. The draws are the same for all arms, so that
    differences are paired. An arm's *multiplier* at n images is n′/n, where the arm beside it
    reaches the same score with n′ images: its mean curve, made monotone, is interpolated linearly
    in log n. Null is beyond the curve's largest size, 0 below its smallest. A mean difference is
    that of the sizes which both arms have.

    ``weak`` are classes whose mean F1 is a second score. The mean of the balanced accuracies in
    other laboratories is a third, where there are any; there, images are drawn within their class
    and laboratory. ``InputError`` if the trainings did not answer for the same images, or a class
    is none of theirs.
    """
    base_of = {arm: (beside or {}).get(arm, arms[0]) for arm in arms}
    first = answered[0]
    (true, units), labels = _truth(answered), first.labels
    unknown = sorted(set(weak) - set(labels))
    if unknown:
        raise InputError(f"weak: {', '.join(unknown)} is no class; there are {', '.join(labels)}")
    counts = _counts_elsewhere(answered)
    scores = ["macro_f1", *(["weak_f1"] if weak else []), *(["elsewhere"] if counts else [])]
    places = [labels.index(label) for label in weak]
    n_units = int(units.max()) + 1
    draw = rng(seed, "arms")
    drawn_units = draw.multinomial(n_units, np.full(n_units, 1 / n_units), size=resamples)
    weights = np.vstack([np.ones(len(true), np.int64), drawn_units[:, units]]).astype(np.float32)
    found: dict[tuple[str, int], dict[int, np.ndarray]] = defaultdict(dict)
    rows = []
    for one in answered:
        drawn = _scores(one, true, weights, places)
        if counts:
            drawn = np.vstack([drawn, _score_elsewhere(one, resamples, seed)])
        found[one.arm, one.n][one.seed] = drawn
        plain = dict(zip(scores, drawn[:, 0].tolist(), strict=True))
        rows.append({"arm": one.arm, "images_per_class": one.n, "seed": one.seed, **plain,
                     "seconds": round(one.seconds, 1), "model": one.fingerprint})  # fmt: skip
    means = _over_seeds(found, base_of, seed, resamples)
    seeds = [len(its) for _, its in means.values()]
    return {
        "arms": list(arms),
        "beside": {arm: base for arm, base in base_of.items() if arm != base},
        "scores": scores,
        "weak": list(weak),
        "test_images": len(true),
        "laboratories": counts,
        "method": _method(
            drawn_from(units).replace("images", "test images"), seeds, resamples, seed
        ),
        "method_elsewhere": _method(
            "the images of each laboratory and class", seeds, resamples, seed
        )
        if counts
        else None,
        "convention": metrics.CONVENTION,
        "cells": rows,
        **_gains(means, base_of, scores),
    }


def _gains(
    means: Mapping[tuple[str, int], tuple[Mapping[str, np.ndarray], list[int]]],
    base_of: Mapping[str, str],
    scores: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """Return curves, differences, their means and multipliers, of what `_over_seeds` gives."""
    names = ("curves", "differences", "mean_differences", "multipliers")
    result: dict[str, dict[str, Any]] = {name: {} for name in names}
    gains: dict[str, list[np.ndarray]] = defaultdict(list)
    for (arm, n), (by_arm, _) in sorted(means.items(), key=lambda item: item[0][1]):
        own, base = by_arm[arm], base_of[arm]
        result["curves"].setdefault(arm, {})[str(n)] = _stated(own, scores)
        if arm != base and base in by_arm:
            gain = own - by_arm[base]
            gains[arm].append(gain)
            result["differences"].setdefault(arm, {})[str(n)] = _stated(gain, scores)
            sizes = sorted(size for other, size in means if other == base)
            if len(sizes) > 1:
                curve = np.stack([means[base, size][0][base] for size in sizes], axis=-1)
                times = _needed(own, curve, sizes) / n
                result["multipliers"].setdefault(arm, {})[str(n)] = _stated(times, scores)
    for arm, each in gains.items():
        result["mean_differences"][arm] = _stated(np.mean(each, axis=0), scores)
    return result


def _method(drawn: str, seeds: Sequence[int], resamples: int, seed: int) -> str:
    """Say what intervals are; ``drawn``: what was drawn, ``seeds``: how many, for each mean."""
    return (
        f"percentile bootstrap over {drawn}{_seeds_said(seeds)}, {resamples:,} resamples, 95 %, "
        f"seed {seed}"
    )


def _seeds_said(counts: Sequence[int]) -> str:
    """Say how many seeds an interval is over; one seed says nothing of what training varies."""
    if max(counts) == 1:
        return " (one seed: what another training would change is not in the interval)"
    few = min(counts)
    return f" and {few if few == max(counts) else f'{few} to {max(counts)}'} seeds"


def _truth(answered: Sequence[Answered]) -> tuple[np.ndarray, np.ndarray]:
    """Return class and group of each test image, int64 (N,) both, in the order of their ids."""
    first = answered[0]
    facts = [sorted(rows_of(one.table, "image_id", "label")) for one in answered]
    for one, its in zip(answered, facts, strict=True):
        if its != facts[0] or one.labels != first.labels:
            raise InputError(
                f"{one.arm}, {one.n} images, seed {one.seed}: answered for other test images or "
                f"classes than {first.arm}, {first.n} images, seed {first.seed}"
            )
    groups: list[str | None] | None = None
    if "group" in first.table.column_names:
        group_of = dict(rows_of(first.table, "image_id", "group"))
        groups = [group_of[image_id] for image_id, _ in facts[0]]
    true = metrics.label_indices(first.labels, [label for _, label in facts[0]])
    return true, group_numbers(groups, len(true))


def _scores(
    one: Answered, true: np.ndarray, weights: np.ndarray, places: Sequence[int]
) -> np.ndarray:
    """Return (scores, 1 + B): of the images as they are, and of each resample of them."""
    from scipy.sparse import coo_array

    order = np.argsort(one.table["image_id"].to_numpy(zero_copy_only=False).astype(str))
    said = metrics.label_indices(one.labels, one.table["predicted"].to_pylist(), what="predicted")
    n = len(one.labels)
    cells = true * n + said[order]
    member = coo_array((np.ones(len(true)), (np.arange(len(true)), cells)), (len(true), n * n))
    counts = (member.T.tocsr() @ weights.T).T.reshape(len(weights), n, n)
    f1 = metrics.f1(counts)
    found = [metrics.macro(f1, counts)]
    if places:
        found.append(f1[:, list(places)].mean(axis=1))
    return np.stack(found)


def _counts_elsewhere(answered: Sequence[Answered]) -> dict[str, int]:
    """Return laboratory → number of images; ``InputError`` if trainings answered for others."""
    first = answered[0]
    images = [
        {lab: sorted(rows_of(table, "image_id", "label")) for lab, table in one.elsewhere.items()}
        for one in answered
    ]
    for one, its in zip(answered, images, strict=True):
        if its != images[0]:
            raise InputError(
                f"{one.arm}, {one.n} images, seed {one.seed}: answered for other images of other "
                f"laboratories than {first.arm}, {first.n} images, seed {first.seed}"
            )
    return {lab: len(rows) for lab, rows in images[0].items()}


def _score_elsewhere(one: Answered, resamples: int, seed: int) -> np.ndarray:
    """Return the mean over laboratories of balanced accuracy, (1 + B,)."""
    drawn = []
    for lab, table in one.elsewhere.items():
        answers = answers_of(table.sort_by("image_id"))
        weights = mixes.resampled(answers, resamples, seed, lab)
        drawn.append(mixes.drawn_scores(answers, weights, None)["balanced_accuracy"])
    return np.mean(drawn, axis=0)


def _over_seeds(
    found: Mapping[tuple[str, int], Mapping[int, np.ndarray]],
    base_of: Mapping[str, str],
    seed: int,
    resamples: int,
) -> dict[tuple[str, int], tuple[dict[str, np.ndarray], list[int]]]:
    """Return means over seeds, drawn anew in each resample, the same ones for all arms and sizes.

    (arm, n) → {arm: (scores, 1 + B), the arm beside it: the same over common seeds}, those seeds.
    """
    made = {}
    for (arm, n), own in found.items():
        other = found.get((base_of[arm], n), {})
        common = sorted(set(own) & set(other)) or sorted(own)
        draw = rng(seed, "seeds", len(common))
        places = draw.integers(len(common), size=(resamples, len(common)))
        counts = np.stack([(places == i).sum(axis=1) for i in range(len(common))])
        shares = np.c_[np.full(len(common), 1 / len(common)), counts / len(common)]
        both = {base_of[arm]: other, arm: own}
        made[arm, n] = (
            {
                name: np.einsum("ksb,kb->sb", np.stack([each[s] for s in common]), shares)
                for name, each in both.items()
                if set(common) <= set(each)
            },
            common,
        )
    return made


def _needed(scores: np.ndarray, curve: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Return how many images an arm needs for ``scores`` (S, B); its curve is (S, B, n)."""
    rising, logs = np.maximum.accumulate(curve, axis=-1), np.log(sizes)
    found = np.empty_like(scores)
    for place in np.ndindex(scores.shape):
        first = np.diff(rising[place], prepend=-np.inf) > 0  # of sizes that are as good, the least
        points = rising[place][first], logs[first]
        found[place] = np.exp(np.interp(scores[place], *points, -np.inf, np.inf))
    return found


def _stated(drawn: np.ndarray, scores: Sequence[str]) -> dict[str, Any]:
    """Return value and interval of each score, out of (scores, 1 + B); infinity is null."""

    def plain(value: float) -> float | None:
        return round(float(value), 4) if np.isfinite(value) else None

    return {
        score: {
            "value": plain(row[0]),
            "interval": [
                plain(v) for v in np.quantile(row[1:], [0.025, 0.975], method="inverted_cdf")
            ],
        }
        for score, row in zip(scores, drawn, strict=True)
    }


def written(result: Mapping[str, Any]) -> bytes:
    """Return the cells of ``arms.json`` as CSV."""
    cells = result["cells"]
    return csv_text(list(cells[0]), (cell.values() for cell in cells)).encode()
