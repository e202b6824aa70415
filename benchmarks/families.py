"""Every family of networks on the same small set of images: what it reaches, and what it costs.

Each is trained alike on the same split of real images and scored on the held-out part. Which
weights it started from is in the table: a family without ImageNet weights on this machine starts
from scratch, and what it reaches then says little about the family. Times are prediction in
batches of 32, and multiples of what ResNet-18 at 224 px takes right after.

    python -m benchmarks.families --images 1100 --epochs 8 [--data ../shared/data/pbc]
        [--input-size 192] [--models tf_efficientnet_lite0 custom_cnn] [--keep families.csv]
        [--set lr=0.0005]

With --keep, finished rows are written to a file and not made again.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.stages import sample
from naturalize.base.errors import NaturalizeError
from naturalize.base.process import ready_for_networks
from naturalize.cli.train import with_overrides
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split
from naturalize.evaluation.evaluate import evaluate, read_metrics
from naturalize.inputs.labelled import part_items
from naturalize.models.folder import describe
from naturalize.models.names import SPOKEN, names, resolve
from naturalize.models.predictor import Predictor
from naturalize.models.torch_predictor import TorchPredictor
from naturalize.models.zoo import build
from naturalize.training.fit import train
from naturalize.training.settings import TrainSettings

COLUMNS = (
    "model", "started from", "px", "parameters", "accuracy", "macro-F1", "95 % interval",
    "ms an image", "× ResNet-18", "epochs",
)  # fmt: skip

REFERENCE = ("resnet18", 224)


def main() -> None:
    """Print the table."""
    ready_for_networks()
    options = _options()
    if not options.data.is_dir():
        sys.exit(f"{options.data}: no such folder; name real images with --data")
    with tempfile.TemporaryDirectory(prefix="naturalize-families-") as folder:
        work = Path(folder)
        catalog = subset(options.data, options.images, options.scheme, work / "images")
        split = Split.build(catalog, fractions=(0.6, 0.15, 0.25), seed=0, conflicts="drop")
        held = part_items(catalog, split, "test")
        images = [catalog.read(item.image_id) for item in held[:64]]
        reference = _reference()
        rows = _kept(options.keep)
        for name in map(resolve, options.models):
            if name not in [row["model"] for row in rows]:
                try:
                    path = train(_settings(name, options), catalog, split, out=work / "model")
                except NaturalizeError as error:
                    print(f"{name}: {error}", file=sys.stderr)
                    continue
                evaluate(Predictor.load(path), held, catalog.root, work / "scores")
                row = _row(name, path, read_metrics(work / "scores"), images, reference)
                rows.append(row)
                _keep(options.keep, rows)
    _show(rows, len(held), split)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    data = Path(os.environ.get("NATURALIZE_DATA", "../shared/data"))
    parser.add_argument("--images", type=int, default=1100, help="about how many, of all classes")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--data", type=Path, default=data / "pbc")
    parser.add_argument("--scheme", default="pbc11")
    parser.add_argument("--models", nargs="+", default=names())
    parser.add_argument("--input-size", type=int, help="of all of them; by default their own")
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--keep", type=Path, help="CSV file of finished rows")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


def _settings(name: str, options: argparse.Namespace) -> TrainSettings:
    values: dict[str, Any] = {
        "model": name,
        # there are none for our own networks, which is no reason to warn
        "weights": "none" if name.startswith("custom_cnn") else options.weights,
        "epochs": options.epochs,
        "input_size": options.input_size,
        "lr": 5e-4,
    }
    return TrainSettings.parse(with_overrides(values, options.set))


def subset(data: Path, n: int, scheme: str, place: Path) -> Catalog:
    """Copy about ``n`` images of all classes to ``place``, and list them."""
    for file in sample(data, n):
        copy = place / file.relative_to(data)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
    return Catalog.build(place, scheme=scheme)


def _reference() -> Predictor:
    name, size = REFERENCE
    network = build(name, 11, weights="none", input_size=size)
    return TorchPredictor(network.module, network.config)


def _milliseconds(predictor: Predictor, images: list[np.ndarray]) -> float:
    """Return milliseconds an image, the best of three passes over ``images``."""
    predictor.probabilities(images[:8])
    times = []
    for _ in range(3):
        start = time.perf_counter()
        predictor.probabilities(images)
        times.append(time.perf_counter() - start)
    return 1000 * min(times) / len(images)


def _row(
    name: str, path: Path, found: dict[str, Any], images: list[np.ndarray], reference: Predictor
) -> dict[str, str]:
    about, spent = describe(path), _milliseconds(Predictor.load(path), images)
    beside = _milliseconds(reference, images)
    low, high = found["intervals"]["macro_f1"]
    values = (
        name,
        about["weights_source"],
        about["input_size"],
        f"{about['parameters'] / 1e6:.1f} M",
        f"{found['accuracy']:.3f}",
        f"{found['macro_f1']:.3f}",
        f"{low:.3f} – {high:.3f}",
        f"{spent:.1f}",
        f"{spent / beside:.2g}",
        f"{about['training']['best_epoch']} of {about['training']['epochs_run']}",
    )
    return dict(zip(COLUMNS, map(str, values), strict=True))


def _kept(file: Path | None) -> list[dict[str, str]]:
    if file is None or not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def _keep(file: Path | None, rows: list[dict[str, str]]) -> None:
    if file is not None:
        with file.open("w", encoding="utf-8", newline="") as text:
            writer = csv.DictWriter(text, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)


def _show(rows: list[dict[str, str]], n_test: int, split: Split) -> None:
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---|---" + "|---:" * (len(COLUMNS) - 2) + "|")
    spoken = {full: said for said, full in reversed(SPOKEN.items())}
    for row in rows:
        first = spoken.get(row["model"], row["model"])
        print(f"| {first} | {' | '.join(row[column] for column in COLUMNS[1:])} |")
    print(f"\n{len(split.ids('train'))} images trained on, {n_test} held out")


if __name__ == "__main__":
    main()
