"""The probe: classifiers that try to distinguish composites from real images of their class."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from naturalize.base.console import track
from naturalize.base.errors import InputError, SettingsError
from naturalize.realism.classifiers import (
    boosted_scores,
    deviations,
    grouped_folds,
    linear_scores,
    patch_scores,
    units_of,
)
from naturalize.realism.describe import SPACE, Described, common_shape, describe
from naturalize.realism.measures import (
    Auc,
    Estimate,
    Nearest,
    auc_with_interval,
    kernel_distance,
    nearest,
    within_auc,
)
from naturalize.realism.settings import PROBES, RESAMPLES
from naturalize.realism.statistics import BUT_CODING, FAMILIES, family_columns, names

#: What distances are measured in where there are no frozen features.
STATISTICS_SPACE = "the named statistics, as deviations from the class"


@dataclass(frozen=True)
class Distinguishing:
    """One statistic alone: how well it distinguishes composites from real images of the class."""

    family: str
    name: str
    auc: float

    @property
    def strength(self) -> float:
        """Distance of the AUC from 0.5."""
        return abs(self.auc - 0.5)

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.name}: {'higher' if self.auc > 0.5 else 'lower'} in composites"


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """What the probes found on R real images and C composites, real ones first; N = R + C."""

    #: Probe → AUC within class; 0.5 is chance, 1 is always right.
    auc: dict[str, Auc]
    #: Probe → float64 (N,), from outside the training folds; higher: more like a composite.
    scores: dict[str, np.ndarray]
    #: Bool (N,).
    composite: np.ndarray
    #: Class of each image.
    labels: tuple[str, ...]
    #: Int64 (N,): where each image was left out; what it was kept together with.
    fold: np.ndarray
    units: np.ndarray
    #: Family of statistics → AUC of boosted trees that see no other; and ``all but coding``, for
    #: traces of JPEG blocks hide all others, and go when images are shrunk for training.
    families: dict[str, Auc]
    #: All statistics, those that distinguish best first.
    distinguishing: tuple[Distinguishing, ...]
    #: Kernel distance within class (Bińkowski et al. 2018).
    kid: Estimate
    #: Distances to nearest real images.
    nearest: Nearest
    #: What ``kid`` and ``nearest`` are measured in.
    space: str
    #: Probe → why it was not run.
    absent: dict[str, str]


Origins = Sequence[str | Collection[str]]


class Side(NamedTuple):
    """One side of a comparison: described images, their classes, and what each comes from."""

    seen: Described
    labels: Sequence[str]
    groups: Origins | None = None


def probe(
    real: Sequence[np.ndarray],
    fake: Sequence[np.ndarray],
    *,
    real_labels: Sequence[str],
    fake_labels: Sequence[str],
    real_groups: Origins | None = None,
    fake_groups: Origins | None = None,
    probes: Sequence[str] = tuple(PROBES),
    families: bool = True,
    folds: int = 5,
    seed: int = 0,
    resamples: int = RESAMPLES,
    backend: str = "serial",
    workers: int | None = None,
) -> ProbeResult:
    """Try to distinguish composites from real images of the same class.

    Both must have the same history of encoding; one extra JPEG is detected at once. ``InputError``
    for images that cannot be measured, and for a class with fewer independent images on a side than
    there are folds.

    Parameters
    ----------
    real, fake
        RGB uint8 (H, W, 3) images; all are cut to the size that all have.
    real_labels, fake_labels
        Their classes; both sides must have the same.
    real_groups, fake_groups
        What each image comes from: one name or several (patient, image id, ids of parents).
        Images that share a name are never on both sides of a fold, nor are equal images. By default
        each image is for itself.
    probes, folds, resamples, seed
        As for :class:`~naturalize.realism.settings.RealismSettings`.
    families
        Whether each family of statistics is also tried alone.
    backend, workers
        As for :func:`naturalize.base.engine.map`; they do not change the result.
    """
    for what, images, labels in (("real", real, real_labels), ("fake", fake, fake_labels)):
        if len(images) != len(labels):
            raise InputError(f"{what}_labels: expected {len(images)}, got {len(labels)}")
    shape = common_shape(real, fake)
    look: Any = {"probes": probes, "seed": seed, "backend": backend, "workers": workers}
    return judge(
        Side(describe(real, shape, what="real images", **look), real_labels, real_groups),
        Side(describe(fake, shape, what="composites", **look), fake_labels, fake_groups),
        families=families,
        folds=folds,
        seed=seed,
        resamples=resamples,
    )


def judge(
    real: Side,
    fake: Side,
    *,
    to_parent: np.ndarray | None = None,
    families: bool = True,
    folds: int = 5,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> ProbeResult:
    """As :func:`probe`, for images that were described before, so that real ones are only once.

    ``to_parent``: distance of composites to the nearest of their own parents (in the same space).
    """
    if folds < 2:
        raise SettingsError(f"folds: expected 2 or more, got {folds}")
    labels = (*real.labels, *fake.labels)
    if set(real.labels) != set(fake.labels):
        odd = ", ".join(sorted(set(real.labels) ^ set(fake.labels)))
        raise InputError(f"realism: class {odd} has real images only, or composites only")
    composite = np.arange(len(labels)) >= len(real.labels)
    units = units_of(_origins(real) + _origins(fake))
    fold = grouped_folds(labels, composite, units, folds=folds, seed=seed)
    both = real.seen.plus(fake.seen)
    scores = _scores(both, labels, composite, fold, seed)
    sure: Any = {"resamples": resamples, "seed": seed}

    def auc(scores: np.ndarray) -> Auc:
        return auc_with_interval(scores, composite, labels, fold, units, **sure)

    def of_family(family: str) -> Auc:
        own = both.statistics[:, family_columns(family)]
        return auc(boosted_scores(own, composite, labels, fold, seed=seed))

    space, features = _space(both, labels, composite)
    tried = [*FAMILIES, BUT_CODING] if families else []
    return ProbeResult(
        auc={name: auc(value) for name, value in scores.items()},
        scores=scores,
        composite=composite,
        labels=labels,
        fold=fold,
        units=units,
        families={name: of_family(name) for name in track(tried, "families of statistics")},
        distinguishing=distinguishing(both.statistics, composite, labels),
        kid=kernel_distance(features, composite, labels, units, **sure),
        nearest=nearest(features, composite, labels, to_parent=to_parent, **sure),
        space=space,
        absent=both.absent,
    )


def _scores(
    seen: Described, labels: Sequence[str], composite: np.ndarray, fold: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Return the scores of each probe that can be run, float64 (N,)."""
    scores = {"statistics": boosted_scores(seen.statistics, composite, labels, fold, seed=seed)}
    if seen.features is not None:
        scores["features"] = linear_scores(seen.features.stages, composite, labels, fold)
    if seen.patches is not None and "patches" not in seen.absent:
        scores["patches"] = patch_scores(seen.patches, composite, fold, seed=seed)
    return scores


def _origins(side: Side) -> list[set[str]]:
    """Return what each image comes from; its own pixels are always among it."""
    own = [{f"pixels {one}"} for one in side.seen.hashes]
    if side.groups is None:
        return own
    if len(side.groups) != len(own):
        raise InputError(
            f"groups: expected one for each of {len(own)} images, got {len(side.groups)}"
        )
    return [
        mine | ({named} if isinstance(named, str) else set(named))
        for mine, named in zip(own, side.groups, strict=True)
    ]


def _space(seen: Described, labels: Sequence[str], composite: np.ndarray) -> tuple[str, np.ndarray]:
    if seen.features is not None:
        return SPACE, seen.features.pooled
    return STATISTICS_SPACE, np.nan_to_num(deviations(seen.statistics, labels, ~composite))


def varied(found: Sequence[Distinguishing], *, most: int, each: int) -> list[Distinguishing]:
    """Return the first ``most`` of a ranking, at most ``each`` of a family."""
    seen: dict[str, int] = {}
    picked = []
    for one in found:
        seen[one.family] = seen.get(one.family, 0) + 1
        if seen[one.family] <= each:
            picked.append(one)
    return picked[:most]


def distinguishing(
    values: np.ndarray, composite: np.ndarray, labels: Sequence[str]
) -> tuple[Distinguishing, ...]:
    """Return every statistic with its own AUC within class, those that distinguish best first.

    An absent value counts as the class's middle.
    """
    centred = np.nan_to_num(deviations(values, labels, np.ones(len(values), bool)))
    strata = np.unique(np.array(labels), return_inverse=True)[1]
    found = [
        Distinguishing(family, name, within_auc(column, composite, strata))
        for (family, name), column in zip(names(), centred.T, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (-one.strength, one.name)))
