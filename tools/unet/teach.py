"""Ask the teachers about training images: proposals by colour and shape, outlines by SAM.

Only images of the train part are asked about, evenly over the classes; what was asked is kept, so a
run that was killed goes on. The result is the labels file that ``train.py`` reads and the list of
images that the package ships beside the weights.

    naturalize weights fetch mobilesam
    python -m tools.unet.teach --catalog runs/catalog --split runs/split --images 600 --out teacher
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from naturalize.base.console import say, track
from naturalize.base.images import read_image
from naturalize.base.rng import rng
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.cells.segmenters import segmenter
from naturalize.cells.segmenters.sam.load import loaded
from naturalize.cells.segmenters.sam.model import Model
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split
from tools.unet.data import Example, save_labels
from tools.unet.labels import Candidate, accepted, corrected, targets

#: Images with a longer side than this are another acquisition and are left out.
SIDE = 372

#: A mask may leave the prompt's box by this share of it and four pixels before it leaks.
_SURROUND = 0.25


def chosen(catalog: Catalog, split: Split, n: int, seed: int, leave: set[str]) -> list[str]:
    """Return the ids of ``n`` train images, one class after the other."""
    by_label: dict[str, list[str]] = defaultdict(list)
    for row in split.table.to_pylist():
        if row["part"] == "train" and row["image_id"] not in leave:
            by_label[row["label"]].append(row["image_id"])
    for label, ids in by_label.items():
        order = rng(seed, "teach", label).permutation(len(ids))
        by_label[label] = [sorted(ids)[i] for i in order]
    return [image_id for image_id, _ in zip(in_turn(by_label), range(n), strict=False)]


def in_turn(by_label: dict[str, list[str]]) -> Iterator[str]:
    """Return all ids, one of each label after the other."""
    for i in range(max(map(len, by_label.values()))):
        yield from (by_label[label][i] for label in sorted(by_label) if i < len(by_label[label]))


def candidates(image: np.ndarray, found: Segmentation, model: Model) -> list[Candidate]:
    """Return every proposal with the masks that SAM answers its box with."""
    if not found.cells:
        return []
    seen = model.encode(image)
    maps, scores = seen.masks(boxes=np.array([cell.box for cell in found.cells]))
    whole = (0, 0, image.shape[1], image.shape[0])
    out = []
    for cell, lows, ious in zip(found.cells, maps, scores, strict=True):
        masks = [seen.frame.logits(low, whole) > 0 for low in lows]
        near = _around(cell, image.shape[:2])
        leaks = [1 - np.count_nonzero(m[near]) / max(1, np.count_nonzero(m)) for m in masks]
        nucleus = None if cell.nucleus is None else _placed(cell, cell.nucleus, image.shape[:2])
        answers = tuple(zip(masks, map(float, ious), leaks, strict=True))
        own = _placed(cell, cell.mask, image.shape[:2])
        out.append(Candidate(cell.kind, own, nucleus, answers))
    return out


def _placed(cell: Cell, mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    out = np.zeros(shape, bool)
    x0, y0, x1, y1 = cell.box
    out[y0:y1, x0:x1] = mask
    return out


def _around(cell: Cell, shape: tuple[int, int]) -> tuple[slice, slice]:
    x0, y0, x1, y1 = cell.box
    dx, dy = int(_SURROUND * (x1 - x0)) + 4, int(_SURROUND * (y1 - y0)) + 4
    rows = slice(max(0, y0 - dy), min(shape[0], y1 + dy))
    return rows, slice(max(0, x0 - dx), min(shape[1], x1 + dx))


def teach(image: np.ndarray, label: str, model: Model) -> dict[str, np.ndarray] | None:
    """Return an image with its maps and counts of masks; ``None`` if it is unfit."""
    if max(image.shape[:2]) > SIDE:
        return None
    found = segmenter("classical").segment(image)
    asked = corrected(candidates(image, found, model), label.upper().startswith("PL"))
    if asked is None:
        return None
    classes, instances = targets(image.shape[:2], asked)
    verdicts = Counter((c.kind, accepted(c) is not None) for c in asked)
    return {
        "image": image,
        "classes": classes,
        "instances": instances,
        "background": np.array(found.background, np.float32),
        "accepted": np.array([verdicts[k, True] for k in ("wbc", "rbc", "platelet")]),
        "refused": np.array([verdicts[k, False] for k in ("wbc", "rbc", "platelet")]),
    }


def gathered(files: list[Path], out: Path) -> None:
    """Write the labels file of the taught images, and say how many masks were accepted."""
    examples, counts = [], np.zeros((2, 3), int)
    for file in files:
        with np.load(file) as one:
            examples.append(
                Example(one["image"], one["classes"], one["instances"], tuple(one["background"]))
            )
            counts += np.stack([one["accepted"], one["refused"]])
    ids = [file.stem for file in files]
    save_labels(out / "labels.npz", examples, ids)
    (out / "training_images.txt").write_text("".join(f"{i}\n" for i in sorted(ids)))
    for kind, yes, no in zip(("white cells", "red cells", "platelets"), *counts, strict=True):
        say(f"{kind}: {yes:,} masks accepted, {no:,} refused")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--catalog", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--leave", type=Path, help="file of image ids that are kept for measuring")
    parser.add_argument("--weights", default="mobilesam")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    catalog, split = Catalog.load(asked.catalog), Split.load(asked.split)
    leave = set(asked.leave.read_text().split()) if asked.leave else set()
    ids = chosen(catalog, split, asked.images, asked.seed, leave)
    labels = {row["image_id"]: row["label"] for row in split.table.to_pylist()}
    model = loaded(asked.weights)
    kept = asked.out / "images"
    kept.mkdir(parents=True, exist_ok=True)
    files = []
    for image_id in track(ids, what="teach"):
        file = kept / f"{image_id}.npz"
        if not file.exists():
            taught = teach(read_image(catalog.path_of(image_id)), labels[image_id], model)
            if taught is None:
                continue
            with file.with_suffix(".tmp").open("wb") as partial:
                np.savez_compressed(partial, **taught)
            file.with_suffix(".tmp").replace(file)
        files.append(file)
    gathered(files, asked.out)


if __name__ == "__main__":
    main()
