"""Training data: real images and composites from catalog, split and plan to batches."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from naturalize.base import engine
from naturalize.base.console import track, warn
from naturalize.base.engine import prefetched
from naturalize.base.errors import InputError, SettingsError
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split
from naturalize.models.preprocess import View
from naturalize.training import processes
from naturalize.training.dataset import (
    Composites,
    Draw,
    EpochSampler,
    FoundMasks,
    Rows,
    Samples,
    Source,
    TargetMasks,
    as_is,
    one_thread,
)
from naturalize.training.pixels import PixelStore
from naturalize.training.settings import AugmentSettings, TrainSettings

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan

#: Real images that a network's batch statistics are taken from, at most: enough for three digits
#: (Wu & Johnson, arXiv:2105.07576, figure 3).
_SETTLED = 1024


def classes_of(catalog: Catalog, split: Split) -> tuple[str, ...]:
    """Return the classes to learn, in the catalog's order.

    ``InputError`` if there are fewer than two, if train or val is empty, or if a class of val or
    test has no image in train.
    """
    there: dict[str, set[str]] = {"train": set(), "val": set(), "test": set()}
    columns = (split.table["part"].to_pylist(), split.table["label"].to_pylist())
    for part, label in zip(*columns, strict=True):
        there[part].add(label)
    for part in ("train", "val"):
        if not there[part]:
            raise InputError(
                f"the {part} part of the split is empty; split again with fractions that give it "
                "images, e.g. 0.7,0.1,0.2"
            )
    missing = sorted((there["val"] | there["test"]) - there["train"])
    if missing:
        raise InputError(
            f"class {', '.join(missing)} has no image in the train part of the split; split again, "
            "or add images of it"
        )
    classes = tuple(label for label in catalog.labels if label in there["train"])
    if len(classes) < 2:
        raise InputError("training needs two classes or more; found: " + ", ".join(classes))
    absent = [label for label in catalog.labels if label not in classes]
    if absent:
        warn(f"no image of {', '.join(absent)}: the model will not know of such cells")
    return classes


class CellImages:
    """Training rows (real, then composites) and validation rows (real only).

    Settings, catalog, split, plan and bank are as for :func:`naturalize.training.fit.train`;
    ``classes`` are in the order of the targets; ``view`` is what the network sees of an image;
    ``work`` is the folder for decoded pixels and crops; ``pin``: batches go to a GPU.
    """

    def __init__(
        self,
        settings: TrainSettings,
        catalog: Catalog,
        split: Split,
        *,
        classes: Sequence[str],
        view: View,
        work: Path,
        plan: Plan | None = None,
        bank: CellBank | None = None,
        laboratory: CellBank | None = None,
        pin: bool = False,
    ) -> None:
        self.settings, self.classes, self.view, self.work = settings, tuple(classes), view, work
        self.pin, self.catalog = pin, catalog
        label_of = dict(
            zip(split.table["image_id"].to_pylist(), split.table["label"].to_pylist(), strict=True)
        )
        self.val = self._real(catalog, split.ids("val"), label_of)
        self.train = self._real(catalog, split.ids("train"), label_of, plan)
        self.n_real, self.n_composites = len(self.train), 0
        if settings.augment.masks and bank is not None:
            masks = TargetMasks(bank, catalog, view)
            self.train = dataclasses.replace(self.train, masks=masks)
        if plan is not None and bank is not None:
            self.train = self._with_composites(self.train, plan, laboratory or bank)
            self.n_composites = len(self.train) - self.n_real
        wanted = settings.samples_per_epoch
        samples = self.n_real if wanted == "real" else wanted or len(self.train)
        self.steps = max(1, round(samples / settings.batch_size))

    def _real(
        self, catalog: Catalog, ids: list[str], label_of: dict[str, str], plan: Plan | None = None
    ) -> Rows:
        from naturalize.compose.deliver.dataset import RealImages, finishes_of

        paths = tuple(str(catalog.path_of(image_id)) for image_id in ids)
        labels = [label_of[image_id] for image_id in ids]
        finishes = () if plan is None else finishes_of(plan)
        source = RealImages(paths, finishes)
        return self._rows(source, labels, tuple(ids), repr(finishes) if finishes else "")

    def _with_composites(self, real: Rows, plan: Plan, bank: CellBank) -> Rows:
        from naturalize.compose.paint.crops import CropStore

        labels = plan.table["label"].to_pylist()
        unknown = sorted(set(labels) - set(self.classes))
        if unknown:
            raise InputError(
                f"the plan has composites of {', '.join(unknown)}, which the train part does not "
                f"have; it has {', '.join(self.classes)}"
            )
        ids = tuple(plan.table["recipe_id"].to_pylist())
        crops = CropStore.build(plan, bank, self.work / "crops")
        made = self._rows(Composites(plan, crops), labels, ids)
        return dataclasses.replace(
            real,
            sources=real.sources + made.sources,
            stores=real.stores + made.stores,
            targets=np.concatenate([real.targets, made.targets]),
            names=real.names + made.names,
        )

    def _rows(self, source: Source, labels: list[str], ids: tuple[str, ...], how: str = "") -> Rows:
        index = {label: i for i, label in enumerate(self.classes)}
        if (self.view.crop, self.view.balanced) != (1.0, False):
            how += repr(self.view)
        key = hashlib.sha256("\n".join([*ids, how]).encode()).hexdigest()[:16]
        size = self.view.size
        store = PixelStore(self.work / f"pixels-{size}-{key}", len(ids), size)
        targets = np.array([index[label] for label in labels], np.int64)
        return Rows((source,), (store,), targets, ids, self.view)

    def decode(self) -> None:
        """Decode and resize every real image that is not there yet, with a progress bar."""
        for rows, part in ((self.train, "train"), (self.val, "val")):
            todo = rows.stores[0].missing().tolist()
            if not todo:
                continue
            for _ in track(prefetched(rows.pixels, todo), f"decode {part}", len(todo)):
                pass

    def sampler(self) -> EpochSampler:
        """Return the order of training rows, as far as this process has a share in them."""
        share = self.settings.composite_share
        composites = (self.n_real, share) if share and self.n_composites else None
        return self._sampler(self.train.targets, self.steps, composites)

    def _sampler(
        self, targets: np.ndarray, steps: int, composites: tuple[int, float] | None = None
    ) -> EpochSampler:
        return EpochSampler(
            targets,
            steps * self.settings.batch_size,
            batch=self.settings.batch_size,
            rank=processes.rank(),
            processes=processes.size(),
            seed=self.settings.seed,
            balanced=self.settings.sampler == "balanced",
            composites=composites,
        )

    def real_batches(self, epoch: int) -> Iterator[dict[str, torch.Tensor]]:
        """Yield augmented batches of real training images for the network's batch statistics.

        A third of an epoch, of about 1,000 images at most.
        """
        size = self.settings.batch_size
        sampler = self._sampler(
            self.train.targets[: self.n_real], max(1, min(_SETTLED // size, self.steps // 3))
        )
        sampler.set_epoch(epoch)
        samples = Samples(self.train, self.settings.augment, seed=self.settings.seed)
        draws, share = list(sampler), size // processes.size()
        for start in range(0, len(draws), share):
            yield samples.__getitems__(draws[start : start + share])

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the loader of augmented training batches, all of the same size."""
        settings, several = self.settings, processes.size()
        workers = settings.workers
        if workers is None:
            workers = max(1, min(8, engine.available_cpus() // several - 1)) if self.pin else 0
        more: dict[str, Any] = {}
        if workers:
            # forkserver: a fork of a process that holds threads (torch, the bar) can deadlock
            more = {"multiprocessing_context": "forkserver", "persistent_workers": True}
        return DataLoader(
            Samples(self.train, settings.augment, seed=settings.seed),
            batch_size=settings.batch_size // several,
            sampler=self.sampler(),
            collate_fn=as_is,
            num_workers=workers,
            worker_init_fn=one_thread,
            pin_memory=self.pin,
            **more,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the loader of validation batches, as they are; each process has every n-th row."""
        several = processes.size()
        return DataLoader(
            Samples(self.val, None),
            batch_size=max(32, self.settings.batch_size // several),
            sampler=range(processes.rank(), len(self.val), several),
            collate_fn=as_is,
        )

    def elsewhere(self) -> DataLoader[Any]:
        """Return a loader of the validation images as other microscopes would show them, twice."""
        rows = dataclasses.replace(self.val, masks=FoundMasks(self.catalog, self.view))
        settings = AugmentSettings(microscopes=1.0)
        draws = [Draw(turn, row, row) for turn in range(2) for row in range(len(rows))]
        return DataLoader(
            Samples(rows, settings, seed=self.settings.seed),
            batch_size=32,
            sampler=draws,
            collate_fn=as_is,
        )


def check_composites(settings: TrainSettings, plan: object | None, bank: object | None) -> None:
    """Raise ``SettingsError`` if composites are asked for without a plan and its bank."""
    if settings.composites and (plan is None or bank is None):
        raise SettingsError("composites: training on composites needs a plan and its cell bank")
    if settings.augment.alone and bank is None:
        raise SettingsError(
            "augment.alone: showing cells alone needs their masks: name a cell bank, or set it to 0"
        )
    if settings.augment.microscopes and bank is None:
        warn(
            "augment.microscopes: without a cell bank no cell is shown alone, as images from other "
            "laboratories are"
        )
    if plan is not None and not settings.composites:
        warn("a plan was given, but composites is off: only real images are trained on")
