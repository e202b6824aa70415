"""Teach from composed fields, whose every cell is known: crowds, overlaps, stacks, other cameras.

Training images give their cells; nothing here was drawn by hand.

    python -m tools.unet.composed BANK --fields 500 --out composed.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base.console import say, track
from naturalize.cells.bank import CellBank
from naturalize.compose import fields
from naturalize.imaging.slide import slide_colour
from tools.unet.data import Example, save_labels
from tools.unet.labels import IGNORE, PLATELET, RED, SOME_CELL, WHITE

#: Side of a field in pixels, and range of the scale of its cells (1: PBC's): samples change the
#: scale further. A field so wide has fewer cells than there are numbers in uint8.
SIDE, SIZES = 448, (0.7, 1.3)

#: A cell of which less than this share is seen is not asked for: its pixels say nothing.
_SEEN = 0.12

_CLASS = {"wbc": WHITE, "rbc": RED, "platelet": PLATELET}


def known(field: Any) -> Example:
    """Return a composed field as an example.

    Where red cells lie over one another the kind is taught, and not to which a pixel belongs. The
    centre of a cell is that of the whole cell, hidden parts included.
    """
    numbers = field.instances
    classes, instances = np.zeros((2, *numbers.shape), np.uint8)
    centres = np.full((SOME_CELL, 2), np.nan, np.float32)
    reds = np.zeros(numbers.shape, np.uint8)
    for k, kind in enumerate(field.kinds, 1):
        (x0, y0, x1, y1), whole = field.truth.wholes[k - 1]
        seen = numbers == k
        few = np.count_nonzero(seen) < _SEEN * max(1, np.count_nonzero(whole))
        classes[seen] = IGNORE if few else _CLASS[kind]
        if few:
            continue
        instances[seen] = k if k < SOME_CELL else SOME_CELL
        if kind == "rbc":
            reds[y0:y1, x0:x1] += whole
        inside = x0 > 0 and y0 > 0 and x1 < numbers.shape[1] and y1 < numbers.shape[0]
        if k < SOME_CELL and inside:  # of a cut cell the middle of what is seen is taught
            rows, columns = np.nonzero(whole)
            centres[k] = x0 + columns.mean(), y0 + rows.mean()
    instances[(reds > 1) & (classes == RED)] = 0
    return Example(field.image, classes, instances, slide_colour(field.image), centres)


def without(bank: CellBank, leave: Path | None) -> CellBank:
    """Return a bank without the cells of the images that a file lists, one id a line."""
    if leave is None:
        return bank
    gone = pc.is_in(bank.table["image_id"], pa.array(leave.read_text().split(), pa.string()))
    return CellBank(
        bank.table.filter(pc.invert(gone)),
        bank.backgrounds,
        root=bank.root,
        labels=bank.labels,
        part=bank.part,
        inputs=bank.inputs,
        holds=bank.holds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bank", type=Path, help="of the train part")
    parser.add_argument("--fields", type=int, default=500)
    parser.add_argument(
        "--specks", type=float, default=0, help="factor on specks of stain and dirt"
    )
    parser.add_argument("--leave", type=Path, help="file of image ids that are kept for measuring")
    parser.add_argument("--crops", type=Path, help="folder for the cells' crops")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    crops = asked.crops or asked.out.with_suffix(".crops")
    bank = without(CellBank.load(asked.bank), asked.leave)
    made = fields(
        bank,
        asked.fields,
        seed=asked.seed,
        folder=crops,
        width=SIDE,
        height=SIDE,
        sizes=SIZES,
        specks=asked.specks,
    )
    examples = [known(made[i]) for i in track(range(asked.fields), what="fields")]
    save_labels(asked.out, examples, sorted(made.plan.parents()))
    say(f"{len(examples):,} fields: {asked.out}")


if __name__ == "__main__":
    main()
