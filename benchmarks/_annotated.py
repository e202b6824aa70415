"""Real images annotated by hand, for measuring only: white cells' masks, boxes of all cells."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

import naturalize
from naturalize.base.images import content_hash, read_bytes
from naturalize.base.rng import rng

#: Ids of the images that ``unet`` was trained on, one a line; shipped beside its weights.
TRAINED_ON = Path(naturalize.__file__).parent / "cells/segmenters/unet/training_images.txt"

Boxes = dict[str, list[list[float]]]


def trained_on(file: Path = TRAINED_ON) -> set[str]:
    """Return the image ids that the project's own network was trained on; none without a list."""
    return set(file.read_text().split()) if file.is_file() else set()


def pbc_truth(
    data: Path, n: int, seed: int, *, without: set[str] | None = None
) -> list[tuple[str, Boxes]]:
    """Return (path below ``pbc/``, kind → relative boxes) of ``n`` annotated images, drawn.

    Fewer are the first of more: the draw is an order of all images.

    Parameters
    ----------
    data
        Folder with ``pbc/`` and ``pbc_boxes.csv.gz``.
    n, seed
        How many, and which.
    without
        Ids of images that are passed over.
    """
    files = {p.name: f"{p.parent.name}/{p.name}" for p in (data / "pbc").glob("*/*.jpg")}
    truth: dict[str, Boxes] = defaultdict(lambda: defaultdict(list))
    with gzip.open(data / "pbc_boxes.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            if row["file"] in files:
                kind = {"RBC": "rbc", "PLATELET": "platelet"}.get(row["class"], "wbc")
                cx, cy, w, h = (float(row[key]) for key in ("cx", "cy", "w", "h"))
                box = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
                truth[row["file"]][kind].append(np.clip(box, 0, 1).tolist())
    names = sorted(truth)
    drawn: list[tuple[str, Boxes]] = []
    for i in rng(seed, "segmentation quality").permutation(len(names)):
        if len(drawn) == n:
            break
        path = files[names[i]]
        if not without or content_hash(read_bytes(data / "pbc" / path)) not in without:
            drawn.append((path, truth[names[i]]))
    return drawn


#: Fields that were named when it was reported that their white cells are missed.
_REPORTED = ("BloodImage_00344", "BloodImage_00352", "BloodImage_00353")


def field_truth(data: Path) -> dict[str, dict[Path, dict[str, np.ndarray]]]:
    """Return the whole fields with hand-drawn boxes: half → image → kind → boxes (n, 4) in pixels.

    The half ``development`` was looked at while the segmenter was bettered; ``report`` was not.
    Fields that were known to fail are all in the first.
    """
    images = sorted((data / "fields/cbc").glob("*.jpg"))
    others = [path for path in images if path.stem not in _REPORTED]
    order = rng(1, "fields in halves").permutation(len(others))
    n = max(0, len(images) // 2 - (len(images) - len(others)))
    report = {others[i] for i in order[n:]}
    halves: dict[str, dict[Path, dict[str, np.ndarray]]] = {"development": {}, "report": {}}
    for path in images:
        boxes: dict[str, list[list[float]]] = {"wbc": [], "rbc": [], "platelet": []}
        for drawn in ElementTree.parse(path.with_suffix(".xml")).getroot().iter("object"):
            kind = {"WBC": "wbc", "RBC": "rbc", "Platelets": "platelet"}[drawn.findtext("name", "")]
            corners = ("xmin", "ymin", "xmax", "ymax")
            boxes[kind].append([float(drawn.findtext(f"bndbox/{c}", "")) for c in corners])
        of_kind = {kind: np.array(rows, float).reshape(-1, 4) for kind, rows in boxes.items()}
        halves["report" if path in report else "development"][path] = of_kind
    return halves


def in_pixels(boxes: Boxes, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return kind → boxes (n, 4) in pixels of an image of (height, width)."""
    height, width = shape
    size = np.array([width, height, width, height], float)
    return {kind: np.array(rows, float).reshape(-1, 4) * size for kind, rows in boxes.items()}


def mask_pairs(data: Path, n: int | None = None) -> dict[str, list[tuple[Path, Path]]]:
    """Return image and mask files of each set; ``n`` of each, evenly from all, if given."""
    krd = sorted((data / "masks/krd_wbc").glob("*_mask.jpg"))
    seg = sorted((data / "masks/seg_wbc").glob("*_mask.png"))
    sets = {
        "krd_wbc": [(p.with_name(p.name.replace("_mask", "")), p) for p in krd],
        "seg_wbc": [(p.with_name(p.name.replace("_mask.png", ".bmp")), p) for p in seg],
    }
    return {name: _spread(pairs, n) for name, pairs in sets.items()}


def _spread(pairs: list[tuple[Path, Path]], n: int | None) -> list[tuple[Path, Path]]:
    if n is None or n >= len(pairs):
        return pairs
    return [pairs[i * len(pairs) // n] for i in range(n)]


def read_mask(path: Path) -> np.ndarray:
    """Return the white cell's mask, bool (H, W)."""
    # the set with nuclei marks cytoplasm grey; the other is a JPEG of black and white
    return np.asarray(Image.open(path).convert("L")) >= (128 if path.suffix == ".jpg" else 40)
