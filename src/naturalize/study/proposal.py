"""``propose``: a study sized to a folder of images, and how long it takes on this machine."""

from __future__ import annotations

import json
import os
import re
import statistics
import time
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from math import ceil
from pathlib import Path

from naturalize.base.engine import available_cpus
from naturalize.base.process import ready_for_networks
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.readers.files import prefix_of
from naturalize.dataset.schemes import scheme as scheme_named

# -- what a study is sized by; chosen so that one on two cores takes minutes to an hour -----------

#: Network, its input in pixels, and its batch.
MODEL, INPUT_SIZE, BATCH = "tf_efficientnet_lite0", 128, 32

#: Images that a run draws in all, the most an epoch, and the range of epochs.
DRAWS, MOST_AN_EPOCH, EPOCHS = 24_000, 6_000, (4, 30)

#: Parts of the split: usual, and where the smallest class has fewer than 20 images.
USUAL, FEW, FEW_IMAGES = (0.7, 0.1, 0.2), (0.6, 0.2, 0.2), 20

#: Composites of each class at most, and of the cell of one training image: as in
#: ``studies/few-images.yaml``, where they help classes of few images.
COMPOSITES, REUSE = 100, 10

#: A class with fewer training images is rare. Where others are not, rare ones alone are composed:
#: in ``studies/weak-classes.yaml`` that does as well as composites of all classes, or better.
RARE = 100

#: Training images below which a class is too small to be composed from.
TOO_FEW_CELLS = 5

#: Decoding and augmenting, as a factor on a step of training (benchmarks/training_rate.py: 1.2-1.4)
LOADING = 1.3


@dataclass(frozen=True)
class Proposal:
    """A study as YAML text, what was found in the images, and what needs a decision."""

    text: str
    found: str
    estimate: str
    remarks: tuple[str, ...]


def propose(
    root: Path, *, scheme: str | None = None, reader: str = "auto", workers: int | None = None
) -> Proposal:
    """Return a study for the images at ``root``, ready for ``naturalize run``.

    Parameters
    ----------
    root
        A folder of images, a CSV table or a MedMNIST archive.
    scheme
        Classes; by default ``pbc11`` where most files are named like PBC's, else as they are found.
    reader, workers
        As for :meth:`naturalize.dataset.catalog.Catalog.build`.

    Raises
    ------
    InputError
        If there is no image with a class.
    """

    def catalog_of(scheme: str) -> Catalog:
        return Catalog.build(
            root, scheme=scheme, reader=reader, backend="processes", workers=workers
        )

    catalog = catalog_of(scheme or "folders")
    if scheme is None and _like_pbc(catalog):
        catalog = catalog_of("pbc11")
    ready_for_networks()  # as training does, so that the estimate is of the same
    return _proposal(root, reader, catalog)


def _like_pbc(catalog: Catalog) -> bool:
    prefixes = scheme_named("pbc11").prefixes
    paths = catalog.table["path"].to_pylist()
    return sum(prefix_of(path) in prefixes for path in paths) * 2 > len(paths)


@dataclass(frozen=True)
class _Plan:
    """The numbers of a study."""

    counts: dict[str, int]
    fractions: tuple[float, float, float]
    composed: tuple[str, ...]
    add: int
    input_size: int
    batch: int
    draws: int
    epochs: int
    mistakes: int = 8

    @property
    def composites(self) -> int:
        return self.add * len(self.composed)

    @property
    def share(self) -> float:
        """Of the images drawn: composites are half of those of their classes."""
        return round(len(self.composed) / len(self.counts) / 2, 3)


def _sized(counts: dict[str, int], side: int) -> _Plan:
    """Return the numbers that suit classes of ``counts`` images of about ``side`` pixels."""
    fractions = FEW if min(counts.values()) < FEW_IMAGES else USUAL
    train = {label: round(n * fractions[0]) for label, n in counts.items()}
    enough = {label: n for label, n in train.items() if n >= TOO_FEW_CELLS}
    rare = {label: n for label, n in enough.items() if n < RARE}
    if rare and max(train.values()) >= RARE:
        enough = rare
    add = min([COMPOSITES, *(REUSE * n for n in enough.values())]) if enough else 0
    total = sum(train.values()) + add * len(enough)
    batch = BATCH if total >= 10 * BATCH else BATCH // 2
    draws = min(MOST_AN_EPOCH, max(batch * 4, ceil(total / batch) * batch))
    epochs = min(EPOCHS[1], max(EPOCHS[0], round(DRAWS / draws)))
    size = min(INPUT_SIZE, max(32, side // 32 * 32))
    return _Plan(counts, fractions, tuple(enough), add, size, batch, draws, epochs)


def _proposal(root: Path, reader: str, catalog: Catalog) -> Proposal:
    table = catalog.usable()
    counts = {label: n for label, n in catalog.counts().items() if n}
    sides = [min(row["width"], row["height"]) for row in table.to_pylist()]
    groups = set(table["group"].to_pylist()) - {None}
    given = Counter(table["source_part"].to_pylist())
    parts = None not in given and set(given) >= {"train", "test"}
    conflicts = any("label_conflict" in flags for flags in catalog.table["flags"].to_pylist())
    plan = _sized(counts, round(statistics.median(sides)))
    remarks = [
        f"class {label!r} has {n} image(s), too few for three parts: add images, or take it out"
        for label, n in counts.items()
        if n < 3
    ]
    if len(counts) < 2:
        remarks.append("one class only: a classifier needs two or more")
    if unreadable := len(catalog.unreadable()):
        remarks.append(f"{unreadable} image(s) cannot be read and are left out")
    if not groups:
        remarks.append(
            "no patient or slide is known: if you know them, name them in a CSV table "
            "(path,label,group), or the scores are too good for new patients"
        )
    low, high = min(counts.values()), max(counts.values())
    each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    found = f"{table.num_rows:,} images in {len(counts)} classes, {each} each"
    estimate = _estimate(plan, catalog)
    kinds = {"scheme": catalog.scheme, "reader": reader}
    text = _yaml(plan, root, kinds, (found, estimate), conflicts=conflicts, parts=parts)
    return Proposal(text, found, estimate, tuple(remarks))


def _yaml(
    plan: _Plan, root: Path, kinds: dict[str, str], remarks: tuple[str, str],
    *, conflicts: bool, parts: bool,
) -> str:  # fmt: skip
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", root.resolve().stem).strip("-._") or "study"
    classes = ", ".join(f"{label} {n}" for label, n in plan.counts.items())
    every = len(plan.composed) == len(plan.counts)
    classes_key = "" if every else f"  classes: {json.dumps(plan.composed, ensure_ascii=False)}\n"
    train = sum(round(n * plan.fractions[0]) for n in plan.counts.values())
    seen = plan.draws * plan.epochs / max(1, train)
    composed = f"""\
# On PBC, composites helped a little with 10 to 50 training images a class, and not with 100.
compose:
  mode: varied                  # cells turned, in scenes of any class (or: scene, layout, paper)
  add: {plan.add:<24d} # composites of each class, at most {REUSE} from one cell
{classes_key}"""
    real_only = f"""\
    model: {MODEL}
    input_size: {plan.input_size:<15d} # pixels; larger sees more and takes longer
    epochs: {plan.epochs}
    batch_size: {plan.batch}
    samples_per_epoch: {plan.draws:<8d} # the same for all runs, so that they compare
    sampler: balanced           # each class as often as another
    augment: varied             # what composites vary, for real images too
"""
    with_composites = f"""\
{real_only}\
    composites: true
    composite_share: {plan.share:<10} # of the images drawn: half of those of the composed classes
"""
    described = f"  real-only:\n{real_only}"
    if plan.composites:
        described += f"  with-composites:\n{with_composites}"
    return f"""# {remarks[0]}.
# {classes}
# {remarks[1]}
# Each training image is drawn about {seen:.0f} times by a run. Run it with
#
#   naturalize run THIS_FILE
version: 1
name: {json.dumps(name)}
seed: 1
data:
  root: {json.dumps(str(root.resolve()), ensure_ascii=False)}
  scheme: {kinds["scheme"]}
  reader: {kinds["reader"]}
split:
  fractions: {list(plan.fractions)}  # train, validation, test
  conflicts: {"drop  # some pictures have two labels; they are left out" if conflicts else "refuse"}
  use: {"given  # the source says which image is in which part" if parts else "random"}
segment:
  segmenter: unet
{composed if plan.composites else ""}\
runs:                           # compared with each other on the same test images
{described}\
explain:
  per_class: 1
  mistakes: {plan.mistakes}
"""


def _estimate(plan: _Plan, catalog: Catalog) -> str:
    """Return how long the study takes here, measured on two images and two steps of training."""
    n, cores = sum(plan.counts.values()), available_cpus()
    cutting = _seconds_per_image(catalog) * n / cores
    if find_spec("timm") is None:
        return f"Finding cells takes about {_minutes(cutting)} here; PyTorch is not installed."
    step = _seconds_per_step(plan, len(plan.counts))
    runs = 2 if plan.composites else 1
    training = step * LOADING * runs * plan.epochs * plan.draws / plan.batch
    # a forward pass is about a third of a step; Score-CAM and the tests of two maps take some 100
    # of them for one image, the features of the training images 100 for each class
    explained = 2 * len(plan.counts) + plan.mistakes
    testing = step / 3 / plan.batch * (runs * n * plan.fractions[2] + 100 * explained)
    total = _minutes(cutting + training + testing)
    busy = ", busy with other work now" if os.getloadavg()[0] > cores else ""
    return (
        f"Takes about {total} on this machine ({cores} processors{busy}): "
        f"{_minutes(cutting)} to find cells, {_minutes(training)} to train."
    )


def _seconds_per_image(catalog: Catalog) -> float:
    from naturalize.cells.segmenters import segmenter

    found = segmenter()
    ids = catalog.usable()["image_id"].to_pylist()
    images = [catalog.read(image_id) for image_id in ids[:: max(1, len(ids) // 3)][:3]]
    found.segment(images[0])  # loads the network
    begin = time.perf_counter()
    for image in images:
        found.segment(image)
    return (time.perf_counter() - begin) / len(images)


def _seconds_per_step(plan: _Plan, n_classes: int) -> float:
    import torch

    from naturalize.models.zoo import build, channels_last

    network = build(MODEL, max(2, n_classes), weights="none", input_size=plan.input_size)
    module = channels_last(network.module).train()
    side = plan.input_size
    images = torch.rand(plan.batch, 3, side, side, generator=torch.Generator().manual_seed(0))
    images = images.to(memory_format=torch.channels_last)
    taken = []
    for _ in range(3):
        begin = time.perf_counter()
        module(images).logsumexp(1).sum().backward()
        taken.append(time.perf_counter() - begin)
    return min(taken[1:])


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds / 10)) * 10} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
