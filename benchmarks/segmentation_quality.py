"""Segmenters side by side on real images annotated by hand: masks, boxes, speed and memory.

For each method, in a process of its own: mean and 5th-percentile Dice and IoU of the white cell's
mask on two public sets (300 images); white cells found in 60 whole fields of another camera;
precision, recall and F1 at IoU 0.5 against hand-drawn boxes
on PBC images that ``unet`` was not trained on; seconds an image (decoded already, loading of
models left out) and peak memory. Then ``naturalize segment`` itself with two workers, JPEG decoding
and writing of tables included. The annotations are for measuring only; some boxes are wrong or
missing, and are taken as they are.

    python -m benchmarks.segmentation_quality --data ../shared/data \\
        --markdown docs/reference/segmentation.md --json quality.json

A method is a segmenter, ``sam:MODE``, or ``unet:FILE`` with other weights. One that is not there,
or lacks its weights, is said to be not available.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._annotated import (
    field_truth,
    in_pixels,
    mask_pairs,
    pbc_truth,
    read_mask,
    trained_on,
)
from benchmarks._boxes import counts, overlap, summary
from naturalize.base.engine import available_cpus
from naturalize.base.errors import NaturalizeError
from naturalize.base.images import read_image
from naturalize.cells.segmentation import KINDS, UNSURE, Segmentation
from naturalize.cells.segmenters import Segmenter, segmenter
from naturalize.cells.tiling import Tiled

METHODS = ("classical", "unet", "sam:boxes", "sam:everything")

#: What all others' speed is told against.
REFERENCE = "sam:everything"

#: Groups of cells in the table of boxes.
GROUPS = {
    "wbc": "white cells",
    "rbc": "red cells",
    "rbc whole": "– whole",
    "rbc cut": "– cut by the border",
    "platelet": "platelets",
}

#: Where a table is put into a page that has these lines.
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def main() -> None:
    asked = _arguments()
    if asked.measure:
        result = measure(asked.measure, asked.data, asked.images, asked.masks, asked.seed)
        asked.json.write_text(json.dumps(result))
        return
    if not (asked.data / "pbc_boxes.csv.gz").is_file():
        sys.exit(f"{asked.data}: no annotated images; name their folder with --data")
    results = {}
    for method in asked.methods:
        print(f"{method} …", file=sys.stderr, flush=True)
        images, masks = _sizes(asked, method)
        results[method] = _in_own_process(method, asked, images, masks)
        if "unavailable" not in results[method]:
            results[method]["stream"] = stream(method, asked, results[method])
    text = "\n".join(markdown(results, asked.seed, asked.workers))
    print(text)
    if asked.markdown:
        put_into(asked.markdown, text)
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("NATURALIZE_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--images", type=int, default=500, help="PBC images")
    parser.add_argument("--masks", type=int, help="images of each mask set; all by default")
    parser.add_argument("--sam-images", type=int, default=100, help="at most, for prompted SAM")
    parser.add_argument("--everything-images", type=int, default=20, help="at most, for that mode")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="of `naturalize segment`")
    parser.add_argument("--markdown", type=Path, help="page to put the tables into, or a new file")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser.parse_args()


def _sizes(asked: argparse.Namespace, method: str) -> tuple[int, int | None]:
    """Return how many PBC images and images of each mask set a method is measured on."""
    if not method.startswith("sam"):
        return asked.images, asked.masks
    limit = asked.everything_images if method == REFERENCE else asked.sam_images
    return min(asked.images, limit), min(asked.masks or limit, max(1, limit // 2))


def _in_own_process(
    method: str, asked: argparse.Namespace, images: int, masks: int | None
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="naturalize-bench-") as folder:
        out = Path(folder) / "result.json"
        command = [sys.executable, "-m", "benchmarks.segmentation_quality", "--measure", method]
        command += ["--data", asked.data, "--images", str(images), "--seed", str(asked.seed)]
        command += ["--masks", str(masks)] if masks else []
        subprocess.run([*command, "--json", out], check=True)
        return json.loads(out.read_text())


# -- one method, in its own process ---------------------------------------------------------------


def made(method: str) -> Segmenter:
    """Return the segmenter of a method."""
    name, _, given = method.partition(":")
    return segmenter(name, **({"weights" if name == "unet" else "mode": given} if given else {}))


def measure(method: str, data: Path, n: int, n_masks: int | None, seed: int) -> dict[str, Any]:
    """Return all figures of one method but those of the stream; or why it is not available."""
    before = _peak_mb()
    truth = pbc_truth(data, n, seed, without=trained_on())
    try:
        find = made(method)
        find.segment(read_image(data / "pbc" / truth[0][0]))  # what it loads, it loads now
    except NaturalizeError as error:
        return {"unavailable": str(error)}
    masks = {
        name: [_mask(find, *pair) for pair in pairs]
        for name, pairs in mask_pairs(data, n_masks).items()
    }
    fields = {
        half: _of_fields(find, images)
        for half, images in field_truth(data).items()
        if images and n_masks is None  # measured whole, or not at all
    }
    boxes, seconds = [], []
    for path, true in truth:
        image = read_image(data / "pbc" / path)
        found, took = _timed(find, image)
        seconds.append(took)
        boxes.append(counts(in_pixels(true, found.shape), boxes_of(found), found.shape))
    return {
        "settings": find.settings,
        "masks": {name: _of_masks(rows) for name, rows in masks.items()},
        "boxes": summary(boxes),
        "fields": fields,
        "images": [path for path, _ in truth],
        "seconds": seconds,
        "peak_mb": _peak_mb(),
        "before_mb": before,
    }


def _timed(find: Segmenter, image: np.ndarray) -> tuple[Segmentation, float]:
    start = time.perf_counter()
    found = find.segment(image)
    return found, time.perf_counter() - start


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 if sys.platform != "darwin" else 1024**2)


def boxes_of(segmentation: Segmentation) -> dict[str, np.ndarray]:
    """Return kind → boxes (n, 4)."""
    return {
        kind: np.array([cell.box for cell in segmentation.of(kind)], float).reshape(-1, 4)
        for kind in KINDS
    }


def _mask(find: Segmenter, image: Path, mask: Path) -> tuple[str, float, float, float]:
    """Return name, Dice and IoU of the best white cell with the one that was drawn, and seconds."""
    truth = read_mask(mask)
    found, seconds = _timed(find, read_image(image))
    best = (0.0, 0.0)
    for cell in found.of("wbc"):
        whole = np.zeros(truth.shape, bool)
        x0, y0, x1, y1 = cell.box
        whole[y0:y1, x0:x1] = cell.mask
        best = max(best, overlap(whole, truth))
    return image.name, *best, seconds


def _of_fields(find: Segmenter, images: dict[Path, dict[str, np.ndarray]]) -> dict[str, Any]:
    """Return the scores of boxes in whole fields, and in how many white cells are uncertain."""
    rows, unsure = [], 0
    for path, true in images.items():
        found = Tiled(find).segment(read_image(path))
        rows.append(counts(true, boxes_of(found), found.shape))
        unsure += found.outcome == UNSURE
    return {"n": len(rows), "boxes": summary(rows), "unsure": unsure, "each": rows}


def _of_masks(rows: list[tuple[str, float, float, float]]) -> dict[str, Any]:
    values = np.array([row[1:] for row in rows])
    (dice, iou, seconds), (low_dice, low_iou, _) = values.mean(axis=0), np.quantile(values, 0.05, 0)
    return {
        "n": len(rows),
        "dice": float(dice),
        "dice_5": float(low_dice),
        "iou": float(iou),
        "iou_5": float(low_iou),
        "seconds": float(seconds),
        "each": rows,
    }


# -- the command itself ---------------------------------------------------------------------------


def stream(method: str, asked: argparse.Namespace, result: dict[str, Any]) -> dict[str, float]:
    """Return images a second of ``naturalize segment`` with workers, and what starting costs.

    Two runs, the second on five times the images: their difference is free of the start.
    """
    about_a_minute = 60 * asked.workers / np.mean(result["seconds"])
    n = int(np.clip(about_a_minute, 4, len(result["images"])))
    few = max(1, n // 5)
    took = {size: _run_command(method, asked, result["images"][:size]) for size in sorted({few, n})}
    each = (took[n] - took[few]) / max(1, n - few)
    if each <= 0 or n == few:  # too few images to tell them apart
        each = took[n] / n
    return {
        "n": n,
        "workers": asked.workers,
        "images_per_second": 1 / each,
        "start_seconds": max(0.0, took[n] - n * each),
    }


def _run_command(method: str, asked: argparse.Namespace, images: Iterable[str]) -> float:
    name, _, _ = method.partition(":")
    given = made(method).model_dump(include={"mode", "weights"}, exclude_none=True)
    settings = [f"--set={key}={json.dumps(value)}" for key, value in given.items()]
    with tempfile.TemporaryDirectory(prefix="naturalize-bench-") as folder:
        root = Path(folder) / "images"
        for path in images:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(asked.data / "pbc" / path, root / path)
        command = [sys.executable, "-m", "naturalize", "-q", "segment", root, "-s", name, *settings]
        command += ["-o", root.with_name("cells"), "--workers", str(asked.workers)]
        start = time.perf_counter()
        subprocess.run(command, check=True)
        return time.perf_counter() - start


# -- tables ---------------------------------------------------------------------------------------


def markdown(results: dict[str, dict[str, Any]], seed: int, workers: int) -> list[str]:
    """Return the lines of the tables."""
    there = {name: one for name, one in results.items() if "unavailable" not in one}
    lines = [
        f"{platform.machine()}, {available_cpus()} processors. PBC images drawn with seed {seed}"
        + (f", {len(trained_on()):,} training images of `unet` left out." if trained_on() else "."),
        "",
        *(
            f"`{name}`: not available ({one['unavailable']})."
            for name, one in results.items()
            if "unavailable" in one
        ),
        "",
        "| white-cell mask | method | n | mean Dice | 5th percentile | mean IoU | 5th percentile |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for name in ("krd_wbc", "seg_wbc"):
        for method, one in there.items():
            row = one["masks"][name]
            figures = " | ".join(f"{row[key]:.3f}" for key in ("dice", "dice_5", "iou", "iou_5"))
            lines.append(f"| {name} | {method} | {row['n']} | {figures} |")
    lines += _of_fields_lines(there)
    lines += [
        "",
        "| boxes at IoU 0.5 | method | images | boxes | precision | recall | F1 (95 % interval) |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for group, title in GROUPS.items():
        for method, one in there.items():
            row = one["boxes"][group]
            low, high = row["f1_interval"]
            lines.append(
                f"| {title} | {method} | {len(one['images'])} | {row['n']:,} | "
                f"{row['precision']:.3f} | {row['recall']:.3f} | "
                f"{row['f1']:.3f} ({low:.3f}–{high:.3f}) |"
            )
    lines += [
        "",
        f"| cost | s an image | times faster than {REFERENCE} | images/s, {workers} workers | "
        "start, s | peak MB |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for method, one in there.items():
        flow = one["stream"]
        lines.append(
            f"| {method} | {np.mean(one['seconds']):.3f} | {_times_faster(one, there)} | "
            f"{flow['images_per_second']:.2f} | {flow['start_seconds']:.1f} | "
            f"{one['peak_mb']:.0f} |"
        )
    return lines


def _of_fields_lines(there: dict[str, dict[str, Any]]) -> list[str]:
    """Return the table of white cells in whole fields, where a method was measured on them."""
    lines = []
    for half in ("development", "report"):
        for method, one in there.items():
            if (found := one["fields"].get(half)) is None:
                continue
            columns = []
            for group in ("wbc", "wbc whole", "wbc cut"):
                hits, missed, _ = np.sum([row[group] for row in found["each"]], axis=0)
                columns.append(f"{hits} of {hits + missed}")
            extra = sum(row["wbc"][2] for row in found["each"])
            low, high = found["boxes"]["wbc"]["f1_interval"]
            lines.append(
                f"| {half} | {method} | {found['n']} | {' | '.join(columns)} | {extra} | "
                f"{found['boxes']['wbc']['f1']:.3f} ({low:.3f}–{high:.3f}) | {found['unsure']} |"
            )
    if not lines:
        return []
    return [
        "",
        "| white cells in fields of another camera, IoU 0.5 | method | fields | found | whole | "
        "cut by the border | extra | F1 (95 % interval) | fields called uncertain |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
        *lines,
    ]


def _times_faster(one: dict[str, Any], there: dict[str, dict[str, Any]]) -> str:
    """Return how many times faster than the reference a method is, on the images of both."""
    if REFERENCE not in there:
        return "–"
    n = min(len(one["seconds"]), len(there[REFERENCE]["seconds"]))
    return f"{sum(there[REFERENCE]['seconds'][:n]) / sum(one['seconds'][:n]):,.0f}"


def put_into(page: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Write tables to a new file, or between the two marks of a page that has them."""
    if not page.exists():
        page.write_text(f"{begin}\n{text}\n{end}\n")
        return
    before, begun, rest = page.read_text().partition(f"{begin}\n")
    _, ended, after = rest.partition(end)
    if not (begun and ended):
        sys.exit(f"{page}: has no lines {begin} and {end} to put the tables between")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")


if __name__ == "__main__":
    main()
