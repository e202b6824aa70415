"""Peak memory of ``naturalize predict`` on a whole field, beside a process that only imports it.

    python -m benchmarks.field_memory [IMAGES] [--height 2920] [--width 2952]

The field is made of images side by side: those of the folder IMAGES, or a phantom's.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.prediction_rate import phantom
from naturalize.base.images import read_image, write_image
from naturalize.base.walk import find_images

_IMPORTS = "import naturalize.prediction.files, naturalize.cells.segmenters.unet"


def field(images: Path, height: int, width: int, path: Path) -> None:
    """Write a field of so many pixels, of images in rows; all are cut to the size of the first."""
    files = find_images([images])
    first = read_image(files[0])
    rows, columns = -(-height // len(first)), -(-width // first.shape[1])
    chosen = np.linspace(0, len(files) - 1, rows * columns).round().astype(int)
    tiles = [np.resize(read_image(files[i]), first.shape) for i in chosen]
    lines = [np.hstack(tiles[row * columns : (row + 1) * columns]) for row in range(rows)]
    write_image(path, np.ascontiguousarray(np.vstack(lines)[:height, :width]))


def peak(command: list[str]) -> tuple[float, float]:
    """Return the most memory (MB) that a command took, and its seconds."""
    begun = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    return used.ru_maxrss / 1024, time.monotonic() - begun


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("images", type=Path, nargs="?")
    parser.add_argument("--height", type=int, default=2920)
    parser.add_argument("--width", type=int, default=2952)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        images = options.images or phantom(work / "phantom", 99)
        field(images, options.height, options.width, work / "field.png")
        table = work / "p.csv"
        predict = ["-m", "naturalize", "-q", "predict", str(work / "field.png"), "-o", str(table)]
        bare, _ = peak([sys.executable, "-c", _IMPORTS])
        most, seconds = peak([sys.executable, *predict])
        cells = sum(row["cell"] != "" for row in csv.DictReader(table.open(newline="")))
    print("| | peak memory (MB) | × import only |\n|---|--:|--:|")
    print(f"| import only | {bare:.0f} | 1 |")
    what = f"predict, {options.height} × {options.width}, {cells} white cells, {seconds:.0f} s"
    print(f"| {what} | {most:.0f} | {most / bare:.1f} |")


if __name__ == "__main__":
    main()
