"""Score-CAM beside the package grad-cam: how much faster, how alike, how much memory.

    pip install grad-cam==1.5.7
    python -m benchmarks.score_cam [--model pbc11] [--images 3] [--data ../shared/data/pbc]

``--model``: a model folder or a shipped model (at its own input size), or a timm name at ``--size``
with ``--weights``. Both packages explain the predicted class of the same images by the same layer,
on one thread, in turn, image by image. grad-cam is given the network as timm makes it; ours has its
weights with channels last, as the package keeps them. *exact* has one mask a channel (those that
show nothing share a pass), *0.99* the channels that carry 99 % of the energy, *32* the default:
similar channels joined to 32 masks. A ratio is the CPU time of grad-cam divided by ours, the median
over images. The correlation is Pearson's, of maps enlarged to the input, with *exact*. Memory is
what the process takes at its peak beyond what it held before the call, each measured in a process
of its own after one pass of the network.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import torch

from naturalize.base.errors import NaturalizeError
from naturalize.base.images import read_image
from naturalize.base.rng import rng
from naturalize.base.walk import find_images
from naturalize.explain.maps import map_layer, score_cam
from naturalize.models.names import resolve
from naturalize.models.shipped import find
from naturalize.models.torch_predictor import TorchPredictor
from naturalize.models.torchvision_compat import ensure
from naturalize.models.zoo import build

WAYS: dict[str, float | None] = {"exact": None, "0.99": 0.99, "32": 32}
REFERENCE = "grad-cam"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    data = Path(os.environ.get("NATURALIZE_DATA", "../shared/data")) / "pbc"
    parser.add_argument("--model", default="tf_efficientnetv2_b0")
    parser.add_argument("--weights", default="none", choices=("none", "imagenet"))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--memory-of", choices=[*WAYS, REFERENCE], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data}: no such folder; name images with --data")
    ensure()
    try:
        import pytorch_grad_cam  # noqa: F401
    except ImportError:
        sys.exit("the reference is absent: pip install grad-cam==1.5.7")
    torch.set_num_threads(1)
    predictor = opened(options)
    files = find_images([options.data])
    drawn = rng(0, "score-cam").choice(len(files), options.images, replace=False)
    drawn = drawn[:1] if options.memory_of else drawn
    x = predictor.tensor([read_image(files[i]) for i in sorted(drawn)])
    with torch.no_grad():
        targets = predictor.module(x).argmax(dim=1)
    layer = map_layer(predictor.module, x[:1])
    runs = ways(predictor.module, layer)
    if options.memory_of:
        print(peak(lambda: runs[options.memory_of](x[:1], targets[:1])))
    else:
        show(options, *measured(runs, x, targets))


def opened(options: argparse.Namespace) -> TorchPredictor:
    """Return the network to explain."""
    try:
        return TorchPredictor.open(find(options.model))
    except NaturalizeError:  # not a model folder: a name of timm
        torch.manual_seed(0)
        classes = [f"class {i}" for i in range(11)]
        made = build(
            resolve(options.model), classes, weights=options.weights, input_size=options.size
        )
        return TorchPredictor(made.module, made.config)


def ways(module: Any, layer: Any) -> dict[str, Callable[[Any, Any], np.ndarray]]:
    """Return name → a function from one image and its class to a map (S, S)."""
    from pytorch_grad_cam import ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def ours(channels: float | None) -> Callable[[Any, Any], np.ndarray]:
        def run(x: Any, targets: Any) -> np.ndarray:
            raw = score_cam(module, x, targets, layer, channels=channels)[0].numpy()
            return cv2.resize(raw, x.shape[:1:-1], interpolation=cv2.INTER_LINEAR)

        return run

    plain = copy.deepcopy(module).to(memory_format=torch.contiguous_format)
    same = dict(plain.named_modules())[next(n for n, m in module.named_modules() if m is layer)]

    def theirs(x: Any, targets: Any) -> np.ndarray:
        with ScoreCAM(model=plain, target_layers=[same]) as cam:
            return cam(x.contiguous(), targets=[ClassifierOutputTarget(int(t)) for t in targets])[0]

    return {REFERENCE: theirs, **{name: ours(channels) for name, channels in WAYS.items()}}


def measured(
    runs: dict[str, Callable[[Any, Any], np.ndarray]], x: Any, targets: Any
) -> tuple[dict[str, list[float]], dict[str, list[np.ndarray]]]:
    """Return name → CPU seconds, and map, of each image."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    maps: dict[str, list[np.ndarray]] = {name: [] for name in runs}
    for i in range(len(x)):
        for name, run in runs.items():
            start = time.process_time()
            maps[name].append(run(x[i : i + 1], targets[i : i + 1]))
            times[name].append(time.process_time() - start)
    return times, maps


def peak(run: Callable[[], Any]) -> float:
    """Return by how many MB the process grows at most while ``run`` runs, looked at every 2 ms."""
    process, done = psutil.Process(), threading.Event()
    before = process.memory_info().rss
    most = [before]

    def look() -> None:
        while not done.wait(0.002):
            most.append(process.memory_info().rss)

    thread = threading.Thread(target=look)
    thread.start()
    run()
    done.set()
    thread.join()
    return (max(most) - before) / 2**20


def show(
    options: argparse.Namespace,
    times: dict[str, list[float]],
    maps: dict[str, list[np.ndarray]],
) -> None:
    """Print what was found."""
    print(f"{options.model} (weights {options.weights}), {options.images} images\n")
    print("| | CPU s an image | grad-cam ÷ it | correlation with exact | memory, MB |")
    print("|---|--:|--:|--:|--:|")
    for name, its in times.items():
        ratio = statistics.median(a / b for a, b in zip(times[REFERENCE], its, strict=True))
        alike = [
            float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
            for a, b in zip(maps[name], maps["exact"], strict=True)
        ]
        command = [sys.executable, "-m", "benchmarks.score_cam", *sys.argv[1:], "--memory-of", name]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        memory = float(run.stdout.split()[-1])
        print(
            f"| {name} | {statistics.mean(its):.1f} | {ratio:.2f} | "
            f"{statistics.mean(alike):.3f} (least {min(alike):.3f}) | {memory:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
