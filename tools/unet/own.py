"""Teach from a bank: the network's own masks of training images, where their outlines are good.

Trained on these under other stains and cameras (a noisy student, Xie 2020), the network learns to
see there what it sees in its own laboratory. Nothing is said of cells whose outline a bank refuses.

    python -m tools.unet.own BANK --images 600 --out own.npz
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.console import say, track
from naturalize.base.rng import rng
from naturalize.cells import choose
from naturalize.cells.bank import CellBank
from naturalize.imaging.runlength import decode
from naturalize.imaging.slide import slide_colour
from tools.unet.data import Example, save_labels
from tools.unet.labels import CYTOPLASM, IGNORE, NUCLEUS, PLATELET, RED, SOME_CELL
from tools.unet.teach import in_turn

#: Reasons for which a bank refuses a cell whose outline is good all the same.
_FINE = {None, choose.BORDER, choose.CROWDED, choose.NOT_TARGET, choose.HIDDEN}


def taught(image: np.ndarray, rows: list[dict[str, Any]]) -> Example:
    """Return an image with what is known of its cells; ``rows``: of a bank's table."""
    classes, instances = np.zeros((2, *image.shape[:2]), np.uint8)
    order = ("rbc", "wbc", "platelet")
    for number, row in enumerate(sorted(rows, key=lambda r: order.index(r["kind"])), 1):
        size = (row["y1"] - row["y0"], row["x1"] - row["x0"])
        here = np.s_[row["y0"] : row["y1"], row["x0"] : row["x1"]]
        mask = decode(np.array(row["mask"]), size)
        if row["reason"] not in _FINE and row["reason"] != choose.JOINED:
            classes[here][mask] = IGNORE
            instances[here][mask] = 0
            continue
        classes[here][mask] = {"rbc": RED, "wbc": CYTOPLASM, "platelet": PLATELET}[row["kind"]]
        if row["nucleus"]:
            classes[here][decode(np.array(row["nucleus"]), size) & mask] = NUCLEUS
        single = row["reason"] != choose.JOINED and number < SOME_CELL
        instances[here][mask] = number if single else SOME_CELL
    return Example(image, classes, instances, slide_colour(image))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bank", type=Path, help="of the train part")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--leave", type=Path, help="file of image ids that are kept for measuring")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    bank = CellBank.load(asked.bank)
    leave = set(asked.leave.read_text().split()) if asked.leave else set()
    of_image: dict[str, list[int]] = defaultdict(list)
    by_label: dict[str, list[str]] = defaultdict(list)
    columns = (bank.table[name].to_pylist() for name in ("image_id", "target", "label"))
    for i, (image_id, target, label) in enumerate(zip(*columns, strict=True)):
        of_image[image_id].append(i)
        if target and image_id not in leave:
            by_label[label].append(image_id)
    for label, ids in by_label.items():
        order = rng(asked.seed, "teach", label).permutation(len(ids))
        by_label[label] = [sorted(ids)[i] for i in order]
    ids = [one for one, _ in zip(in_turn(by_label), range(asked.images), strict=False)]
    examples = [
        taught(bank.image(image_id), bank.table.take(of_image[image_id]).to_pylist())
        for image_id in track(ids, what="images")
    ]
    save_labels(asked.out, examples, ids)
    say(f"{len(ids):,} images, {sum(len(of_image[one]) for one in ids):,} cells: {asked.out}")


if __name__ == "__main__":
    main()
