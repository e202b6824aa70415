"""Training images a second beside a bare PyTorch loop, and what the loader adds to a step.

All in one run, block by block in turn, so that noise of the machine meets all alike:

- ``bare``: the same network, optimiser and batch size in a loop of five lines, one float batch in
  memory;
- ``memory``: the package's own training, one batch in memory;
- ``seen``: the same, its batches from the real loader, each image met before: read from the store,
  augmented;
- ``new``: likewise, but each composite is met for the first time, so it is rendered on the fly.

    python -m benchmarks.training_rate --images ../shared/data/pbc
    python -m benchmarks.training_rate --phantom --model custom_cnn --size 64
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base import process as speed

PHASES = ("bare", "memory", "seen", "new")


def main() -> None:
    """Print the tables."""
    data = Path(os.environ.get("NATURALIZE_DATA", "../shared/data"))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, default=data / "pbc", help="labelled real images")
    parser.add_argument("--scheme", default="pbc11")
    parser.add_argument("--phantom", action="store_true", help="procedural images instead")
    parser.add_argument("--take", type=int, default=16, help="images of each class")
    parser.add_argument("--mode", default="scene", help="how composites are made")
    parser.add_argument("--model", default="tf_efficientnetv2_b0")
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--block", type=int, default=3, help="steps of one sort in a row")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--threads", type=int, help="of torch; all processors by default")
    options = parser.parse_args()
    if not options.phantom and not options.images.is_dir():
        sys.exit(f"{options.images}: no such folder; name real images with --images, or --phantom")
    speed.keep_memory()
    speed.wait_passively()
    speed.use_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="naturalize-bench-") as folder:
        show(options, *run(options, Path(folder)))


def run(options: argparse.Namespace, work: Path) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return phase → seconds a step of each round, and loader alone → seconds a batch."""
    from naturalize.models.zoo import build, channels_last
    from naturalize.training.learner import Learner
    from naturalize.training.settings import TrainSettings

    draws = options.rounds * (options.block + 1) * options.batch
    images = phantom(work, options) if options.phantom else taken(work, options)
    settings = TrainSettings(
        model=options.model,
        weights="none",
        input_size=options.size,
        batch_size=options.batch,
        samples_per_epoch=draws,
        composites=True,
        device="cpu",
    )
    classes, make = rows(images, work, settings, options, draws)
    network = build(options.model, classes, weights="none", input_size=options.size)
    new, seen = make(work / "new", network.config.view), make(work / "seen", network.config.view)
    alone = {"new": drain(seen.train_dataloader()), "seen": drain(seen.train_dataloader())}
    channels_last(network.module)
    learner = Learner(network, settings, steps=new.steps, names=new.train.names)
    learner.begin(0)
    turns = Turns(options, seen, new, bare_loop(options, len(classes), seen))
    for batch in turns:
        learner.step(batch)
        turns.done = time.perf_counter()
    return turns.times, alone


class Turns:
    """Batches of one sort after the other, and the time that each block of steps took."""

    def __init__(
        self, options: argparse.Namespace, seen: Any, new: Any, bare: Callable[[], None]
    ) -> None:
        self.block, self.rounds, self.bare = options.block, options.rounds, bare
        self.loaders = {"seen": seen, "new": new}
        self.times: dict[str, list[float]] = {phase: [] for phase in PHASES}
        self.done = 0.0

    def __iter__(self) -> Iterator[Any]:
        ready = {name: iter(data.train_dataloader()) for name, data in self.loaders.items()}
        fixed = next(iter(self.loaders["seen"].train_dataloader()))
        for number in range(self.rounds):
            first = number % len(PHASES)
            for phase in PHASES[first:] + PHASES[:first]:
                if phase == "bare":
                    self.bare()  # the first step of a block pays for the change, and is not timed
                    start = time.perf_counter()
                    for _ in range(self.block):
                        self.bare()
                    self.times[phase].append((time.perf_counter() - start) / self.block)
                    continue
                for step in range(self.block + 1):
                    if step == 1:
                        start = self.done
                    yield fixed if phase == "memory" else next(ready[phase])
                # control comes back after the last step, when the next batch is asked for
                self.times[phase].append((self.done - start) / self.block)
        yield fixed


def bare_loop(options: argparse.Namespace, n_classes: int, data: Any) -> Callable[[], None]:
    """Return one step of a plain loop on one batch in memory."""
    import torch

    from naturalize.models.preprocess import normalise
    from naturalize.models.zoo import build, channels_last

    module: Any = channels_last(
        build(options.model, n_classes, weights="none", input_size=options.size).module
    ).train()
    adam = torch.optim.AdamW(module.parameters(), lr=1e-3)
    batch = next(iter(data.train_dataloader()))
    x, target = normalise(batch["pixels"], (0.5,) * 3, (0.5,) * 3), batch["target"]

    def step() -> None:
        adam.zero_grad()
        torch.nn.functional.cross_entropy(module(x), target).backward()
        adam.step()

    return step


def drain(loader: Any) -> float:
    """Return the seconds a batch that the loader alone takes."""
    start, n = time.perf_counter(), 0
    for _ in loader:
        n += 1
    return (time.perf_counter() - start) / n


def rows(
    images: Path, work: Path, settings: Any, options: argparse.Namespace, draws: int
) -> tuple[tuple[str, ...], Callable[[Path, Any], Any]]:
    """Return the classes, and what opens the rows of a folder: as many as will be drawn."""
    from naturalize.cells.bank import CellBank
    from naturalize.cells.segment import segment_images
    from naturalize.cells.segmenters import segmenter
    from naturalize.compose.draw.planner import plan
    from naturalize.dataset.catalog import Catalog
    from naturalize.dataset.split import Split
    from naturalize.training.data import CellImages, classes_of

    scheme = "folders" if options.phantom else options.scheme
    catalog = Catalog.build(images, scheme=scheme)
    split = Split.build(catalog, fractions=(0.8, 0.1, 0.1), conflicts="drop", seed=0)
    ids = split.ids("train")
    where = [(i, str(catalog.path_of(i).relative_to(catalog.root))) for i in ids]
    segment_images(where, catalog.root, segmenter("unet"), work / "cells")
    bank = CellBank.build(work / "cells", catalog, split, part="train")
    classes = classes_of(catalog, split)
    able = [label for label in classes if bank.counts()["targets"].get(label)]
    missing = max(draws // 2, draws - len(ids))
    made = plan(bank, mode=options.mode, add=-(-missing // len(able)), classes=able, seed=0)

    def opened(folder: Path, view: Any) -> CellImages:
        data = CellImages(
            settings, catalog, split, classes=classes, view=view, work=folder, plan=made, bank=bank
        )
        data.decode()
        return data

    return classes, opened


def taken(work: Path, options: argparse.Namespace) -> Path:
    """Copy some images of each class, the same ones every time."""
    by_prefix = defaultdict(list)
    for file in sorted(options.images.rglob("*.jpg")):
        by_prefix[file.name.rsplit("_", 1)[0]].append(file)
    draw = random.Random(0)
    for prefix, files in sorted(by_prefix.items()):
        if prefix in ("IG", "NEUTROPHIL"):
            continue
        for file in draw.sample(files, min(options.take, len(files))):
            place = work / "images" / file.relative_to(options.images)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, place)
    return work / "images"


def phantom(work: Path, options: argparse.Namespace) -> Path:
    """Make procedural images."""
    from naturalize.dataset.phantom import write_phantom

    write_phantom(work / "phantom", per_class=options.take, seed=0)
    return work / "phantom" / "images"


def show(
    options: argparse.Namespace, times: dict[str, list[float]], alone: dict[str, float]
) -> None:
    """Print what was found; ratios are medians of those of each round."""

    def ratio(a: str, b: str) -> str:
        found = [x / y for x, y in zip(times[a], times[b], strict=True)]
        low, high = np.quantile(found, (0.25, 0.75))
        return f"{statistics.median(found):.3f} ({low:.2f}–{high:.2f})"

    rate = {phase: options.batch / statistics.median(times[phase]) for phase in PHASES}
    print(f"{options.model}, {options.size} px, batches of {options.batch}\n")
    print("| steps on | images a second | time ÷ that of | ratio (quartiles of rounds) |")
    print("|---|--:|---|--:|")
    pairs = itertools.zip_longest(PHASES, (None, "bare", "memory", "memory"))
    for phase, other in pairs:
        beside = "– | –" if other is None else f"{other} | {ratio(phase, other)}"
        print(f"| {phase} | {rate[phase]:.1f} | {beside} |")
    print("\n| the loader alone | ms an image |\n|---|--:|")
    for name, seconds in alone.items():
        print(f"| {name} | {1000 * seconds / options.batch:.2f} |")


if __name__ == "__main__":
    main()
