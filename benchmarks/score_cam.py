"""Score-CAM beside the package grad-cam: how much faster, how alike, how much memory.

    pip install grad-cam==1.5.7
    python -m benchmarks.score_cam [--model pbc11] [--images 3] [--data ../shared/data/pbc]

``--model``: a model folder or a shipped model (at its own input size), or a timm name at ``--size``
with ``--weights``. Both packages explain the predicted class of the same images by the same layer,
on one thread, in turn, image by image, each time in a process of its own after one pass of the
network. grad-cam is given the network as timm makes it; ours has its weights with channels last, as
the package keeps them, and keeps freed memory, as ``naturalize explain`` does. *grad-cam, memory
kept* is grad-cam under that setting too. *exact* has one mask a channel (those that show nothing
share a pass), *0.99* the channels that carry 99 % of the energy, *32* the default: similar channels
joined to 32 masks. A ratio is the CPU time of grad-cam divided by ours, the median over images. The
correlation is Pearson's, of maps enlarged to the input, with *exact*. Memory is what the process
takes at its peak beyond what it held before the call.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
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
from naturalize.base.process import keep_memory
from naturalize.base.rng import rng
from naturalize.base.walk import find_images
from naturalize.explain.maps import map_layer, score_cam
from naturalize.models.names import resolve
from naturalize.models.shipped import find
from naturalize.models.torch_predictor import TorchPredictor
from naturalize.models.torchvision_compat import ensure
from naturalize.models.zoo import build

WAYS: dict[str, float | None] = {"exact": None, "0.99": 0.99, "32": 32}
REFERENCE, REFERENCE_KEPT = "grad-cam", "grad-cam, memory kept"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    data = Path(os.environ.get("NATURALIZE_DATA", "../shared/data")) / "pbc"
    parser.add_argument("--model", default="tf_efficientnetv2_b0")
    parser.add_argument("--weights", default="none", choices=("none", "imagenet"))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--maps", type=int, help="use the layer's first maps only, to be quick")
    parser.add_argument(
        "--only", choices=[*WAYS, REFERENCE, REFERENCE_KEPT], help=argparse.SUPPRESS
    )
    parser.add_argument("--image", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--keep", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data}: no such folder; name images with --data")
    if options.only:
        one(options)
        return
    found: dict[str, list[Any]] = {name: [] for name in (REFERENCE, REFERENCE_KEPT, *WAYS)}
    with tempfile.TemporaryDirectory(prefix="naturalize-bench-") as folder:
        for image, name in itertools.product(range(options.images), found):
            file = Path(folder) / f"{image}-{name}.npz"
            asked = ["--only", name, "--image", str(image), "--keep", str(file)]
            command = [sys.executable, "-m", "benchmarks.score_cam", *sys.argv[1:], *asked]
            subprocess.run(command, check=True)
            with np.load(file) as kept:
                found[name].append({key: kept[key] for key in kept.files})
    show(options, found)


def one(options: argparse.Namespace) -> None:
    """Explain one image one way, and write its CPU seconds, its memory and its map."""
    ensure()
    try:
        import pytorch_grad_cam  # noqa: F401
    except ImportError:
        sys.exit("the reference is absent: pip install grad-cam==1.5.7")
    torch.set_num_threads(1)
    if options.only != REFERENCE:
        keep_memory()
    predictor = opened(options)
    files = find_images([options.data])
    drawn = rng(0, "score-cam").choice(len(files), options.images, replace=False)
    x = predictor.tensor([read_image(files[drawn[options.image]])])
    layer = first_maps(map_layer(predictor.module, x), options.maps)
    run = ways(predictor.module, layer)[options.only]
    with torch.no_grad():
        targets = predictor.module(x).argmax(dim=1)
    start = time.process_time()
    made, memory = with_peak(lambda: run(x, targets))
    np.savez(options.keep, map=made, memory=memory, seconds=time.process_time() - start)


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


def first_maps(layer: Any, n: int | None) -> Any:
    """Return what gives the first ``n`` maps of a layer, called whenever that is; all if null."""
    if n is None:
        return layer
    part = torch.nn.Identity()
    layer.add_module("first_maps", part)

    def pass_on(_layer: Any, _given: Any, maps: torch.Tensor) -> None:
        part(maps[:, :n])

    layer.register_forward_hook(pass_on)
    return part


def ways(module: Any, layer: Any) -> dict[str, Callable[[Any, Any], np.ndarray]]:
    """Return name → a function from one image and its class to a map (S, S)."""
    from pytorch_grad_cam import ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def ours(channels: float | None) -> Callable[[Any, Any], np.ndarray]:
        def run(x: Any, targets: Any) -> np.ndarray:
            raw = score_cam(module, x, targets, layer, channels=channels)[0].numpy()
            return cv2.resize(raw, x.shape[:1:-1], interpolation=cv2.INTER_LINEAR)

        return run

    def theirs(x: Any, targets: Any) -> np.ndarray:
        plain = module.to(memory_format=torch.contiguous_format)
        with ScoreCAM(model=plain, target_layers=[layer]) as cam:
            return cam(x.contiguous(), targets=[ClassifierOutputTarget(int(t)) for t in targets])[0]

    both = dict.fromkeys((REFERENCE, REFERENCE_KEPT), theirs)
    return {**both, **{name: ours(channels) for name, channels in WAYS.items()}}


def with_peak(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result, and by how many MB the process grew at most, looked at every 5 ms."""
    process, done = psutil.Process(), threading.Event()
    before = process.memory_info().rss
    most = [before]

    def look() -> None:
        while not done.wait(0.005):
            most.append(process.memory_info().rss)

    thread = threading.Thread(target=look)
    thread.start()
    made = run()
    done.set()
    thread.join()
    return made, (max(most) - before) / 2**20


def show(options: argparse.Namespace, found: dict[str, list[Any]]) -> None:
    """Print what was found."""
    print(f"{options.model} (weights {options.weights}), {options.images} images\n")
    print("| | CPU s an image | grad-cam ÷ it | correlation with exact (least) | memory, MB |")
    print("|---|--:|--:|--:|--:|")
    for name, its in found.items():
        pairs = zip(found[REFERENCE], its, strict=True)
        ratio = statistics.median(float(a["seconds"] / b["seconds"]) for a, b in pairs)
        alike = [
            float(np.corrcoef(a["map"].ravel(), b["map"].ravel())[0, 1])
            for a, b in zip(its, found["exact"], strict=True)
        ]
        seconds = statistics.mean(float(each["seconds"]) for each in its)
        memory = max(float(each["memory"]) for each in its)
        print(
            f"| {name} | {seconds:.1f} | {ratio:.2f} | {statistics.mean(alike):.3f} "
            f"({min(alike):.3f}) | {memory:.0f} |"
        )


if __name__ == "__main__":
    main()
