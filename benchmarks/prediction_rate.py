"""Images a second from JPEG files on disk to a CSV table, beside a bare loop in the same run.

The reference does what most scripts do: for each file Pillow decodes and resizes, PyTorch runs the
network on that one image, and the probabilities go into a row. It gets the same weights, in the
same memory layout, and is timed without its start; the command is timed as a user runs it, in a
process of its own, and again less the time it takes for a single image. Rounds alternate; each time
is the median.

    python -m benchmarks.prediction_rate [IMAGES] [--model MODEL] [--take 512] [-- --standardise …]

Without images a phantom is made; without a model an untrained EfficientNet-Lite0 is. What follows
``--`` goes to ``naturalize predict`` as it is.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from naturalize.base.artifacts import write_bytes
from naturalize.base.images import read_image
from naturalize.models.predictor import Predictor
from naturalize.models.shipped import find
from naturalize.prediction.files import Prediction, find_images, to_csv
from naturalize.training.speed import keep_memory, use_threads, wait_calmly

#: Times are the median of so many rounds.
ROUNDS = 3

#: What the command does with an image, in order.
STAGES = ("decode", "prepare", "network", "write")


@dataclass(frozen=True)
class Rates:
    """Seconds for all images, and for one.

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
    bare: float
    command: float
    start: float

    def rows(self) -> list[tuple[str, float, float]]:
        """Return (what, images a second, × the loop) of each."""
        seconds = {
            "bare loop: Pillow, resize, network, one by one": self.bare,
            "`naturalize predict`, from start to end": self.command,
            "the same, less what one image takes": self.command - self.start,
        }
        counts = [self.n, self.n, self.n - 1]
        return [
            (what, n / spent, n * self.bare / (self.n * spent))
            for n, (what, spent) in zip(counts, seconds.items(), strict=True)
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
    return save_model(folder, made.module, made.config)


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
    predictor = Predictor.load(model)
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
    return Rates(len(files), *map(statistics.median, (bare, command, start)))


def bare_loop(files: Sequence[Path], predictor: Predictor) -> tuple[float, str]:
    """Return the seconds that a plain script takes, and its table as CSV."""
    import torch
    from PIL import Image

    config, module = predictor.config, predictor.module
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (config.mean, config.std))
    side = config.input_size
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["path", "label", *config.classes])
    start = time.perf_counter()
    for file in files:
        image = Image.open(file).convert("RGB").resize((side, side))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            (row,) = torch.softmax(module((pixels - mean) / std), dim=1).tolist()
        label = config.classes[max(range(len(row)), key=row.__getitem__)]
        writer.writerow([file, label, *(f"{value:.6f}" for value in row)])
    return time.perf_counter() - start, text.getvalue()


def run_command(images: Path, model: Path, table: Path, more: Sequence[str]) -> float:
    """Return the seconds that ``naturalize predict`` takes, its start included."""
    command = [sys.executable, "-m", "naturalize", "-q", "predict", str(images)]
    command += ["--model", str(model), "-o", str(table), *more]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return seconds


def stage_seconds(
    files: Sequence[Path], predictor: Predictor, work: Path, batch: int
) -> dict[str, float]:
    """Return the seconds of each of the command's stages, one after the other, in one thread.

    The command reads ahead in threads while the network computes, so the sum is more than it takes.
    Images are taken as they are: what standardising foreign ones costs is not in here.
    """
    import torch

    spent = dict.fromkeys(STAGES, 0.0)
    rows: list[Prediction] = []
    for begin in range(0, len(files), batch):
        part = files[begin : begin + batch]
        marks = [time.perf_counter()]
        images = [read_image(file) for file in part]
        marks.append(time.perf_counter())
        seen = predictor.tensor(images)
        marks.append(time.perf_counter())
        with torch.inference_mode():
            logits = predictor.module(seen) / predictor.config.temperature
            shares = torch.softmax(logits, dim=1).numpy()
        marks.append(time.perf_counter())
        for name, one, other in zip(STAGES, marks, marks[1:], strict=False):
            spent[name] += other - one
        tops = shares.argmax(axis=1)
        for file, row, top in zip(part, shares, tops, strict=True):
            rows.append(Prediction(file, predictor.classes[top], float(row[top]), row))
    begin_write = time.perf_counter()
    write_bytes(work / "stages.csv", to_csv(predictor.classes, rows).encode())
    spent["write"] = time.perf_counter() - begin_write
    return {name: seconds / len(files) for name, seconds in spent.items()}


def show(rates: Rates, stages: dict[str, float]) -> None:
    """Print Markdown."""
    print(f"{rates.n:,} images, {os.cpu_count()} processors\n")
    print("| from JPEG to CSV | images/s | × bare loop |\n|---|--:|--:|")
    for what, rate, ratio in rates.rows():
        print(f"| {what} | {rate:.0f} | {ratio:.2f} |")
    total = sum(stages.values())
    print("\n| stage, one after the other | ms an image | share |\n|---|--:|--:|")
    for name, seconds in stages.items():
        print(f"| {name} | {1000 * seconds:.2f} | {100 * seconds / total:.0f} % |")


if __name__ == "__main__":
    wait_calmly()
    main()
