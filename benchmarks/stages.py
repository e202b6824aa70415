"""Time and peak memory of every stage of a study, on 500 and on 2,000 images.

Times are multiples of a reference measured in the same run: decoding all the images once with
Pillow, in one process. Memory is flat if the two columns of megabytes are alike.

    python -m benchmarks.stages [--images ../shared/data/pbc] [--sizes 500 2000]
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import yaml
from PIL import Image

from naturalize.base.artifacts import read_json

RUN = {"model": "custom_cnn", "input_size": 96, "epochs": 1, "weights": "none"}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    data = Path(os.environ.get("NATURALIZE_DATA", "../shared/data"))
    parser.add_argument("--images", type=Path, default=data / "pbc")
    parser.add_argument("--sizes", type=int, nargs=2, default=(500, 2000))
    options = parser.parse_args()
    if not options.images.is_dir():
        sys.exit(f"{options.images}: no such folder; name real images with --images")
    with tempfile.TemporaryDirectory(prefix="naturalize-bench-") as folder:
        results = [measure(options.images, n, Path(folder) / str(n)) for n in options.sizes]
    show(results, options.sizes)


def measure(images: Path, n: int, work: Path) -> tuple[float, dict[str, dict[str, float]]]:
    """Return the reference's seconds and what each stage cost on ``n`` images."""
    root = work / "images"
    files = sample(images, n)
    for file in files:
        place = root / file.relative_to(images)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, place)
    study = {
        "name": "bench",
        "data": {"root": str(root), "scheme": "pbc11"},
        "split": {"conflicts": "drop"},
        "compose": {"mode": "paper", "add": n // 10},
        "runs": {"composites": {**RUN, "composites": True, "samples_per_epoch": n}},
        "explain": {"methods": ["grad-cam"], "per_class": 1, "mistakes": 4},
    }
    (work / "study.yaml").write_text(yaml.safe_dump(study))
    start = time.perf_counter()
    for file in files:
        with Image.open(file) as image:
            image.convert("RGB").load()
    reference = time.perf_counter() - start
    command = [sys.executable, "-m", "naturalize", "-q", "run", work / "study.yaml"]
    subprocess.run([*command, "-o", work / "run"], check=True)
    return reference, read_json(work / "run" / "study.json")["stages"]


def sample(images: Path, n: int) -> list[Path]:
    """Return ``n`` images, the same ones every time, in the same proportions of prefixes."""
    by_prefix = defaultdict(list)
    for file in sorted(images.rglob("*.jpg")):
        by_prefix[file.name.rsplit("_", 1)[0]].append(file)
    for dropped in ("IG", "NEUTROPHIL"):
        by_prefix.pop(dropped, None)
    total = sum(map(len, by_prefix.values()))
    draw = random.Random(0)
    return [
        file
        for files in by_prefix.values()
        for file in draw.sample(files, max(6, round(n * len(files) / total)))
    ]


def show(results: list[tuple[float, dict[str, dict[str, float]]]], sizes: list[int]) -> None:
    """Print Markdown: a row a stage, two columns a size."""
    head = " | ".join(f"{n:,} images: × decode | peak MB" for n in sizes)
    print(f"| stage | {head} | memory ratio |")
    print("|---" + "|---:" * (2 * len(sizes) + 1) + "|")
    for stage in results[0][1]:
        costs = [stages[stage] for _, stages in results]
        cells = [
            f"{cost['seconds'] / reference:.2f} | {cost['peak_mb']:.0f}"
            for cost, (reference, _) in zip(costs, results, strict=True)
        ]
        print(
            f"| {stage} | {' | '.join(cells)} | {costs[1]['peak_mb'] / costs[0]['peak_mb']:.2f} |"
        )
    for n, (reference, _) in zip(sizes, results, strict=True):
        print(f"\nreference for {n:,} images: decoding them with Pillow took {reference:.2f} s")


if __name__ == "__main__":
    main()
