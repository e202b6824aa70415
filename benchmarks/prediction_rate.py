"""Images a second from JPEG files on disk to a CSV table, beside a bare loop in the same run.

The reference does what most scripts do: for each file Pillow decodes and resizes, PyTorch runs the
network on that one image, and the probabilities go into a row. It gets the same weights, in the
same memory layout, and is timed without its start; the command is timed as a user runs it, in a
process of its own, and again less the time it takes for a single image. Rounds alternate; each time
is the median. Core-milliseconds are the processors' own count of what was computed: they say more
than seconds where other work runs on the same machine.

    python -m benchmarks.prediction_rate [IMAGES] [--model MODEL] [--take 512] [-- --standardise …]

Without images a phantom is made; without a model an untrained EfficientNet-Lite0 is, with its graph
if the package onnx is there. What follows ``--`` goes to ``naturalize predict`` as it is.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from naturalize.base.artifacts import write_bytes
from naturalize.base.images import read_image
from naturalize.base.process import keep_memory, use_threads, wait_passively
from naturalize.base.walk import find_images
from naturalize.models.onnx_predictor import INPUT, OUTPUT, OnnxPredictor
from naturalize.models.predictor import NetworkPredictor, Predictor
from naturalize.models.preprocess import batch as prepare
from naturalize.models.preprocess import normalise
from naturalize.models.shipped import find
from naturalize.prediction.files import Prediction
from naturalize.prediction.standardise import Standardiser
from naturalize.prediction.table import to_csv

#: Times are the median of so many rounds.
ROUNDS = 3

#: What the command does with an image, in order.
STAGES = ("decode", "look", "prepare", "network", "write")


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock, and by the processors' count."""

    seconds: float
    cores: float

    @classmethod
    def since(cls, begun: Cost, whose: int = resource.RUSAGE_SELF) -> Cost:
        """Return what was spent since ``begun``, by this process or (``whose``) by its children."""
        now = cls.now(whose)
        return cls(now.seconds - begun.seconds, now.cores - begun.cores)

    @classmethod
    def now(cls, whose: int = resource.RUSAGE_SELF) -> Cost:
        """Return what both clocks show."""
        used = resource.getrusage(whose)
        return cls(time.perf_counter(), used.ru_utime + used.ru_stime)


@dataclass(frozen=True)
class Rates:
    """What all images cost, and what one does.

    Attributes
    ----------
    n
        Images.
    bare
        The loop, without its start.
    command
        The command, its start included.
    start
        The command for one image.
    """

    n: int
    bare: Cost
    command: Cost
    start: Cost

    def rows(self) -> list[tuple[str, float, float, float]]:
        """Return (what, images a second, × the loop, core-milliseconds an image) of each."""
        seconds = self.command.seconds - self.start.seconds
        rest = Cost(seconds, self.command.cores - self.start.cores)
        costs = {
            "bare loop: Pillow, resize, network, one by one": self.bare,
            "`naturalize predict`, from start to end": self.command,
            "the same, less what one image takes": rest,
        }
        counts = [self.n, self.n, self.n - 1]
        return [
            (
                what,
                n / cost.seconds,
                n * self.bare.seconds / (self.n * cost.seconds),
                1000 * cost.cores / n,
            )
            for n, (what, cost) in zip(counts, costs.items(), strict=True)
        ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("images", type=Path, nargs="?", help="a folder; a phantom by default")
    parser.add_argument("--model", help="a folder or a name; an untrained Lite0 by default")
    parser.add_argument("--take", type=int, default=512, help="images, from all over the folder")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(words[:cut])
    with tempfile.TemporaryDirectory(prefix="naturalize-bench-") as folder:
        work = Path(folder)
        images = options.images or phantom(work / "phantom", options.take)
        model = find(options.model) if options.model else untrained(work / "model")
        files = linked(find_images([images]), work / "images", options.take)
        for file in files:
            file.read_bytes()  # all read from the disk's cache, in every round
        more = [*words[cut + 1 :], "--batch", str(options.batch)]
        rates = measure(files, model, work, options.rounds, more)
        stages = stage_seconds(files, Predictor.load(model), work, options.batch)
    show(rates, stages)


def phantom(folder: Path, n: int) -> Path:
    """Write a phantom of about ``n`` images."""
    from naturalize.dataset.phantom import write_phantom

    write_phantom(folder, per_class=-(-n // 11), backend="processes")
    return folder / "images"


def untrained(folder: Path) -> Path:
    """Write an EfficientNet-Lite0 of the eleven classes: as fast as a trained one."""
    from naturalize.dataset.schemes import SCHEMES
    from naturalize.models.folder import save_model
    from naturalize.models.zoo import build

    classes = SCHEMES["pbc11"].labels or ()
    made = build("tf_efficientnet_lite0", classes, weights="none", input_size=192)
    save_model(folder, made.module, made.config)
    if importlib.util.find_spec("onnx"):
        from naturalize.models.export import export_model

        export_model(folder)
    return folder


def linked(files: Sequence[Path], folder: Path, n: int) -> list[Path]:
    """Return links to ``n`` of the files, from all over the list, in a folder of their own."""
    folder.mkdir(parents=True)
    chosen = [
        files[i] for i in np.linspace(0, len(files) - 1, min(n, len(files))).round().astype(int)
    ]
    made = []
    for number, file in enumerate(dict.fromkeys(chosen)):
        link = folder / f"{number:06d}{file.suffix}"
        link.symlink_to(file.resolve())
        made.append(link)
    return made


def measure(
    files: Sequence[Path], model: Path, work: Path, rounds: int, more: Sequence[str]
) -> Rates:
    """Time the loop and the command in turn."""
    keep_memory()  # the loop gets the settings of the process that the command gives itself
    use_threads()
    predictor = Predictor.load(model, engine="torch")
    bare_loop(files[:8], predictor)
    bare, command, start = [], [], []
    for _ in range(rounds):
        bare.append(bare_loop(files, predictor)[0])
        command.append(run_command(files[0].parent, model, work / "all.csv", more))
        start.append(run_command(files[0], model, work / "one.csv", more))
    with (work / "all.csv").open(newline="") as table:
        n = sum(1 for _ in csv.DictReader(table))
    if n != len(files):
        sys.exit(f"the command wrote {n} rows for {len(files)} images; nothing is measured")
    return Rates(len(files), *map(median, (bare, command, start)))


def median(costs: Sequence[Cost]) -> Cost:
    """Return the median of either clock."""
    return Cost(
        statistics.median(cost.seconds for cost in costs),
        statistics.median(cost.cores for cost in costs),
    )


def bare_loop(files: Sequence[Path], predictor: NetworkPredictor) -> tuple[Cost, str]:
    """Return what a plain script costs, and its table as CSV."""
    import torch
    from PIL import Image

    config, module = predictor.config, predictor.module
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (config.mean, config.std))
    side = config.input_size
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["path", "label", *config.classes])
    start = Cost.now()
    for file in files:
        image = Image.open(file).convert("RGB").resize((side, side))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            (row,) = torch.softmax(module((pixels - mean) / std), dim=1).tolist()
        label = config.classes[max(range(len(row)), key=row.__getitem__)]
        writer.writerow([file, label, *(f"{value:.6f}" for value in row)])
    return Cost.since(start), text.getvalue()


def run_command(images: Path, model: Path, table: Path, more: Sequence[str]) -> Cost:
    """Return what ``naturalize predict`` costs, its start included."""
    command = [sys.executable, "-m", "naturalize", "-q", "predict", str(images)]
    command += ["--model", str(model), "-o", str(table), "--overwrite", *more]
    start = Cost.now(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    cost = Cost.since(start, resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return cost


def stage_seconds(
    files: Sequence[Path], predictor: NetworkPredictor, work: Path, batch: int
) -> dict[str, float]:
    """Return the core-seconds an image of each of the command's stages, one after the other.

    Images are taken as they are: what standardising foreign ones costs is not in here.
    """
    spent = dict.fromkeys(STAGES, 0.0)

    def timed(stage: str, work: Callable[[], Any]) -> Any:
        begun = time.process_time()
        made = work()
        spent[stage] += time.process_time() - begun
        return made

    standardiser = Standardiser(predictor.config.standard)
    rows: list[Prediction] = []
    for begin in range(0, len(files), batch):
        part = files[begin : begin + batch]
        images = timed("decode", lambda part=part: [read_image(file) for file in part])
        timed("look", lambda images=images: [standardiser.usual(image) for image in images])
        seen = timed("prepare", lambda images=images: prepare(images, predictor.config.view))
        shares = timed("network", lambda seen=seen: _network(predictor, seen))
        tops = shares.argmax(axis=1)
        for file, row, top in zip(part, shares, tops, strict=True):
            rows.append(Prediction(file, predictor.classes[top], float(row[top]), row))
    table = work / "stages.csv"
    timed("write", lambda: write_bytes(table, to_csv(predictor.classes, rows).encode()))
    return {name: seconds / len(files) for name, seconds in spent.items()}


def _network(predictor: NetworkPredictor, pixels: np.ndarray) -> np.ndarray:
    """Return the probabilities for images that are prepared already."""
    temperature = predictor.config.temperature
    if isinstance(predictor, OnnxPredictor):
        run = predictor.session.run
        found = [run([OUTPUT], {INPUT: pixels[i : i + 1]})[0] for i in range(len(pixels))]
        return softmax(np.concatenate(found) / temperature, axis=1)
    import torch

    config = predictor.config
    with torch.inference_mode():
        x = normalise(torch.from_numpy(pixels), config.mean, config.std)
        return softmax(predictor.module(x).numpy() / temperature, axis=1)


def show(rates: Rates, stages: dict[str, float]) -> None:
    """Print Markdown."""
    print(f"{rates.n:,} images, {os.cpu_count()} processors\n")
    print("| from JPEG to CSV | images/s | × bare loop | core-ms an image |\n|---|--:|--:|--:|")
    for what, rate, ratio, cores in rates.rows():
        print(f"| {what} | {rate:.0f} | {ratio:.2f} | {cores:.1f} |")
    total = sum(stages.values())
    print("\n| stage, one after the other | core-ms an image | share |\n|---|--:|--:|")
    for name, seconds in stages.items():
        print(f"| {name} | {1000 * seconds:.2f} | {100 * seconds / total:.0f} % |")


if __name__ == "__main__":
    wait_passively()
    main()
