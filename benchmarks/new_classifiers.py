"""How a new classifier starts: its first loss, and what it reaches in a few epochs.

timm's own start beside the package's, in the same run, from the same backbone, images and seeds.
The loss of equal probabilities is log(classes). Few images and few epochs, as in a first try.

    python -m benchmarks.new_classifiers [--data ../shared/data/pbc] [--images 220] [--seeds 3]
        [--models tf_efficientnet_lite0] [--epochs 4] [--input-size 128]
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.families import subset
from naturalize.base.process import ready_for_networks
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split
from naturalize.evaluation.evaluate import evaluate, read_metrics
from naturalize.inputs.labelled import part_items
from naturalize.models.folder import save_model
from naturalize.models.names import CURATED
from naturalize.models.predictor import Predictor
from naturalize.models.preprocess import batch, normalise
from naturalize.models.torchvision_compat import ensure
from naturalize.models.zoo import Network, build
from naturalize.training.fit import train
from naturalize.training.settings import TrainSettings

#: The least side that a network takes, where that is more than 64 pixels.
LEAST = {"inception_v3": 96}


def main() -> None:
    """Print both tables."""
    ready_for_networks()
    data = Path(os.environ.get("NATURALIZE_DATA", "../shared/data"))
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, default=data / "pbc")
    parser.add_argument("--images", type=int, default=220, help="about how many, of all classes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=["tf_efficientnet_lite0"])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--input-size", type=int, default=128)
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data}: no such folder; name real images with --data")
    with tempfile.TemporaryDirectory(prefix="naturalize-heads-") as folder:
        work = Path(folder)
        catalog = subset(options.data, options.images, "pbc11", work / "images")
        split = Split.build(catalog, fractions=(0.55, 0.15, 0.3), seed=0, conflicts="drop")
        show_losses(catalog, split)
        for name in options.models:
            show_training(name, catalog, split, options, work)


def started(name: str, classes: list[str], size: int, seed: int, *, timms: bool) -> Network:
    """Build a network; with ``timms``, its classifier starts as timm's does."""
    ensure()
    import timm

    torch.manual_seed(seed)
    network = build(name, classes, input_size=size)
    if timms:
        torch.manual_seed(seed)
        theirs = timm.create_model(name, num_classes=len(classes)).get_classifier()
        module: Any = network.module
        module.get_classifier().load_state_dict(theirs.state_dict())
    return network


def show_losses(catalog: Catalog, split: Split) -> None:
    """Print the first training loss of each family."""
    items = part_items(catalog, split, "train")[::3]
    images = [catalog.read(item.image_id) for item in items]
    classes = list(catalog.labels)
    target = torch.tensor([classes.index(item.label) for item in items])
    print("| network | timm's start ÷ log(classes) | ours ÷ log(classes) |\n|---|--:|--:|")
    for name in CURATED:
        found = []
        for timms in (True, False):
            network = started(name, classes, LEAST.get(name, 64), 0, timms=timms)
            config = network.config
            x = normalise(torch.from_numpy(batch(images, config.view)), config.mean, config.std)
            with torch.no_grad():
                logits = network.module.train()(x)
            found.append(float(torch.nn.functional.cross_entropy(logits, target)))
        first, second = (value / math.log(len(classes)) for value in found)
        print(f"| {name} | {first:.2f} | {second:.2f} |", flush=True)


def show_training(
    name: str, catalog: Catalog, split: Split, options: argparse.Namespace, work: Path
) -> None:
    """Print what both starts reach on the test images, seed by seed."""
    print(f"\n{name}, {options.input_size} px, {options.epochs} epochs, ", end="")
    print(f"{len(split.ids('train'))} images trained on, {len(split.ids('test'))} held out\n")
    print("| seed | timm's start | ours | ours ÷ timm's |\n|---|--:|--:|--:|")
    ratios = []
    for seed in range(options.seeds):
        reached = []
        for timms in (True, False):
            network = started(name, list(catalog.labels), options.input_size, seed, timms=timms)
            start = save_model(work / "start", network.module, network.config)
            settings = TrainSettings(
                model=name,
                weights=str(start),
                input_size=options.input_size,
                epochs=options.epochs,
                seed=seed,
                device="cpu",
            )
            path = train(settings, catalog, split, out=work / "model")
            held = part_items(catalog, split, "test")
            evaluate(Predictor.load(path), held, catalog.root, work / "scores")
            reached.append(read_metrics(work / "scores")["accuracy"])
        ratios.append(reached[1] / reached[0])
        print(f"| {seed} | {reached[0]:.3f} | {reached[1]:.3f} | {ratios[-1]:.2f} |", flush=True)
    print(f"\nmedian ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
