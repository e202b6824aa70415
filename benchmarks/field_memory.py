"""Memory and time of `predict`, `segment` and `read` on a whole field, beside a bare import.

    python -m benchmarks.field_memory [IMAGES] [--height 2920] [--width 2952]

The field is made of images side by side: those of the folder IMAGES, or a phantom's. Processor
seconds are what one core would take; `segment` and `read` work on one field with one. A field of
more pixels than are read whole is a tiled TIFF, and only `read` is measured, without overlays.
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
import tifffile

from benchmarks.prediction_rate import phantom
from naturalize.base.images import read_image, write_image
from naturalize.base.walk import find_images
from naturalize.fields.pixels import WHOLE

_IMPORTS = "import naturalize.prediction.files, naturalize.cells.segmenters.unet"


def field(images: Path, height: int, width: int, path: Path) -> None:
    """Write a field of so many pixels, of images in rows; all are cut to the size of the first."""
    files = find_images([images])
    first = read_image(files[0])
    rows, columns = -(-height // len(first)), -(-width // first.shape[1])
    chosen = np.linspace(0, len(files) - 1, rows * columns).round().astype(int)
    tiles = [np.resize(read_image(files[i]), first.shape) for i in chosen]
    lines = [np.hstack(tiles[row * columns : (row + 1) * columns]) for row in range(rows)]
    made = np.ascontiguousarray(np.vstack(lines)[:height, :width])
    if path.suffix == ".tif":
        tifffile.imwrite(path, made, photometric="rgb", tile=(256, 256), compression="zlib")
    else:
        write_image(path, made)


def peak(command: list[str]) -> tuple[float, float, float]:
    """Return the most memory (MB) that a command took, its seconds, and those of processors."""
    begun = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    return used.ru_maxrss / 1024, time.monotonic() - begun, used.ru_utime + used.ru_stime


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
        large = options.height * options.width > WHOLE
        picture = work / ("field.tif" if large else "field.png")
        field(images, options.height, options.width, picture)
        commands = {
            "predict": ["predict", picture, "-o", work / "p.csv"],
            "segment": ["segment", picture, "-o", work / "cells", "--engine", "serial"],
            "read": ["read", picture, "-o", work / "reading", "--engine", "serial"],
        }
        if large:
            commands = {"read": [*commands["read"], "--no-overlays"]}
        rows = {"import only": peak([sys.executable, "-c", _IMPORTS])}
        for name, words in commands.items():
            rows[name] = peak([sys.executable, "-m", "naturalize", "-q", *map(str, words)])
        with (work / "reading" / "counts.csv").open(newline="") as file:
            counts = next(csv.DictReader(file))
    print(
        f"{options.height} × {options.width}: {counts['white_cells']} white cells, "
        f"{counts['red_cells']} red cells, {counts['platelets']} platelets\n"
    )
    print("| | peak memory (MB) | × import only | seconds | processor seconds | × segment |")
    print("|---|--:|--:|--:|--:|--:|")
    bare, base = rows["import only"][0], None if large else rows["segment"][2]
    for name, (most, wall, own) in rows.items():
        print(
            f"| {name} | {most:.0f} | {most / bare:.1f} | {wall:.1f} | {own:.1f} "
            f"| {f'{own / base:.2f}' if base else ''} |"
        )


if __name__ == "__main__":
    main()
