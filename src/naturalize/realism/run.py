"""``naturalize realism``: probe a plan and its baselines, and write what was found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from naturalize.base.artifacts import check_place, write_json, write_table, writing
from naturalize.base.console import warn
from naturalize.base.images import write_image
from naturalize.base.rng import rng
from naturalize.base.settings import validated
from naturalize.realism.baselines import Ingredients, Rival, make
from naturalize.realism.classifiers import grouped_folds, units_of
from naturalize.realism.describe import Described, common_shape, describe, frozen_features
from naturalize.realism.history import History, paint
from naturalize.realism.probing import ProbeResult, Side, judge
from naturalize.realism.report import (
    auc_picture,
    distinguishing_picture,
    found,
    scores_sheet,
    scores_table,
)
from naturalize.realism.sample import Sample, choose, main_parents
from naturalize.realism.settings import COPIES, RealismSettings

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan

#: What is noted where the files of both sides were not written alike.
_UNLIKE = (
    "real images and parents of composites are files of different encoders, so a probe may detect "
    "the encoder and not the composite"
)


@dataclass(frozen=True)
class Realism:
    """What was found: ``report`` is ``realism.json``, ``results`` set → probe result."""

    report: dict[str, Any]
    results: dict[str, ProbeResult]


def realism(
    plan: Plan,
    bank: CellBank,
    out: str | Path,
    *,
    backend: str = "serial",
    workers: int | None = None,
    **settings: Any,
) -> Realism:
    """Probe how well composites of a plan can be distinguished from real images; write it.

    ``bank`` is the one that the plan was drawn from, ``out`` the ``realism`` artifact, ``settings``
    are those of :class:`~naturalize.realism.settings.RealismSettings`; the engine does not change
    the result. Raises as :func:`~naturalize.realism.sample.choose` and
    :func:`~naturalize.realism.probing.judge` do.
    """
    asked = validated(RealismSettings, settings, what="realism")
    plan.check_about_one("realism")
    check_place(Path(out))
    run = {"backend": backend, "workers": workers}
    sample = choose(plan, bank, asked, spare=bool(asked.baselines), **run)
    _check_folds(sample, asked)
    past = History.of(asked.history, sample.recipes, asked.size)
    history = past.report(sample.recipes, sample.encoders)
    notes = [*sample.notes] if history["alike"] else [*sample.notes, _UNLIKE]
    for note in notes:
        warn(note)
    table = _Table(Ingredients(sample, bank, past, asked.seed, run), asked)
    own = f"this plan ({plan.mode})"
    table.add_plan(own)
    for name in asked.baselines:
        table.add_baseline(name)
    kept = {**asked.model_dump(mode="json"), "history": asdict(past)}
    del kept["size"]  # in the history
    report = {
        "mode": plan.mode,
        "settings": kept,
        "history": history,
        "size": {"width": table.shape[1], "height": table.shape[0]},
        "kept_together": table.reach,
        "notes": notes,
        "absent_baselines": table.absent,
        **found(table.results),
    }
    inputs = {"plan": plan.fingerprint, "bank": bank.fingerprint}
    with writing(out, "realism", settings=kept, inputs=inputs) as folder:
        write_json(folder / "realism.json", report)
        table.write(folder, own)
    return Realism(report, table.results)


def _check_folds(sample: Sample, asked: RealismSettings) -> None:
    """Raise ``InputError`` before anything is painted if there are too few images for the folds."""
    labels = [label for _, label in sample.real] + [one.label for one in sample.recipes]
    origins = [*sample.real_origins(sample.real), *sample.recipe_origins(sample.recipes)[0]]
    composite = np.arange(len(labels)) >= len(sample.real)
    grouped_folds(labels, composite, units_of(origins), folds=asked.folds, seed=asked.seed)


class _Table:
    """The sets that are probed against the same real images, which are looked at once."""

    def __init__(self, given: Ingredients, asked: RealismSettings) -> None:
        self.given = given
        self.settings = asked.model_dump(include={"folds", "seed", "resamples"})
        sample, bank, past = given.sample, given.bank, given.history
        self.real = [past.image(bank.image(one)) for one, _ in sample.real]
        self.fake = paint(sample.recipes, bank, past, **given.run)
        self.shape = common_shape(
            self.real, self.fake, (bank.image(one) for one, _ in sample.spare)
        )
        self.eyes: dict[str, Any] = {"probes": asked.probes, "seed": asked.seed, **given.run}
        self.seen = describe(self.real, self.shape, what="real images", **self.eyes)
        for name, reason in self.seen.absent.items():
            warn(f"probe {name} is left out: {reason}")
        self.results: dict[str, ProbeResult] = {}
        self.names: dict[str, list[str]] = {}
        self.absent: dict[str, str] = {}
        self.reach = ""

    def add_plan(self, name: str) -> None:
        recipes = self.given.sample.recipes
        self.reach = self.given.sample.recipe_origins(recipes)[1]
        made = describe(self.fake, self.shape, what="composites", **self.eyes)
        to_parent = _to_parents(self.given, self.shape, made)
        self._judge(self.given.rival(name, recipes, self.fake), made, to_parent=to_parent)

    def add_baseline(self, name: str) -> None:
        rival = make(name, self.given)
        rival = _cut(rival, self.shape) if isinstance(rival, Rival) else rival
        if isinstance(rival, str):
            self.absent[name] = rival
            warn(f"baseline {name} is left out: {rival}")
            return
        made = describe(rival.images, self.shape, what=rival.name, **self.eyes)
        self._judge(rival, made, families=False)

    def _judge(self, rival: Rival, made: Described, **more: Any) -> None:
        real = self.given.sample.real
        side = Side(self.seen, [label for _, label in real], self.given.sample.real_origins(real))
        fake = Side(made, rival.labels, rival.origins)
        self.results[rival.name] = judge(side, fake, **more, **self.settings)
        self.names[rival.name] = rival.names

    def write(self, folder: Path, own: str) -> None:
        """Write the scores of all sets, and what the set ``own`` gives away by."""
        real = [image_id for image_id, _ in self.given.sample.real]
        tables = [scores_table(k, one, real + self.names[k]) for k, one in self.results.items()]
        write_table(folder / "scores.parquet", pa.concat_tables(tables))
        result = self.results[own]
        write_image(folder / "sheet.jpg", scores_sheet(result, self.real, self.fake), quality=92)
        auc_picture({name: one.auc for name, one in self.results.items()}, folder / "auc.svg")
        distinguishing_picture(result.distinguishing, folder / "distinguishing.svg")


def _to_parents(given: Ingredients, shape: tuple[int, int], made: Described) -> np.ndarray | None:
    """Return the distance of some composites to the nearest image of their scene or target."""
    if made.features is None:
        return None
    sample, bank = given.sample, given.bank
    order = rng(given.seed, "realism", "copies").permutation(len(sample.recipes))[:COPIES]
    parents = {i: main_parents(sample.recipes[i], sample.targets) for i in order.tolist()}
    ids = sorted(set().union(*parents.values()))
    images = {one: given.history.image(bank.image(one)) for one in ids}
    ids = [one for one in ids if _covers(images[one], shape)]
    if not ids:
        return None
    shown = [images[one] for one in ids]
    pooled = frozen_features(shown, shape, what="frozen features of parents").pooled
    where = dict(zip(ids, pooled.astype(np.float64), strict=True))
    away = [
        [np.linalg.norm(where[one] - made.features.pooled[i]) for one in own if one in where]
        for i, own in parents.items()
    ]
    return np.array([min(own) for own in away if own])


def _covers(image: np.ndarray, shape: tuple[int, int]) -> bool:
    return image.shape[0] >= shape[0] and image.shape[1] >= shape[1]


def _cut(rival: Rival, shape: tuple[int, int]) -> Rival | str:
    """Leave out images smaller than what all others are cut to."""
    fits = [i for i, image in enumerate(rival.images) if _covers(image, shape)]
    if {rival.labels[i] for i in fits} != set(rival.labels):
        return "its images are smaller than the real ones"
    columns: tuple[list[Any], ...] = (rival.images, rival.labels, rival.origins, rival.names)
    return Rival(rival.name, *([column[i] for i in fits] for column in columns))
