"""Small images of drawn cells whose every mask is known, and a bank of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from naturalize.base.artifacts import write_table, writing
from naturalize.base.images import content_hash, encode_image
from naturalize.base.rng import rng
from naturalize.cells.bank import CellBank
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.cells.tables import CELLS, IMAGES, OUTCOMES, image_row
from naturalize.dataset.catalog import Catalog

SIDE = 160
SLIDE = (250, 228, 205)
LABELS = ("LY", "SNE")

#: Kind, colour, centre, half axes; the second red cell is cut by the border, nothing overlaps.
_DRAWN = [
    ("wbc", (120, 80, 150), (80, 80), (30, 26)),
    ("rbc", (215, 165, 170), (26, 26), (17, 15)),
    ("rbc", (210, 160, 165), (150, 26), (16, 16)),
    ("rbc", (212, 168, 170), (28, 130), (16, 15)),
    ("platelet", (150, 100, 165), (132, 132), (7, 6)),
]


def draw(seed: int, *, overlap: bool = False) -> tuple[np.ndarray, list[Cell]]:
    """Return an image and its cells; with ``overlap``, a red cell reaches under the white one."""
    generator = rng(seed, "drawn")
    image = np.full((SIDE, SIDE + 7, 3), SLIDE, np.uint8)
    cells = []
    for kind, colour, (x, y), axes in _DRAWN:
        mask = np.zeros(image.shape[:2], np.uint8)
        moved = (x + 22, y + 22) if overlap and (x, y) == (26, 26) else (x, y)
        cv2.ellipse(mask, moved, axes, float(generator.uniform(0, 180)), 0, 360, 1, cv2.FILLED)
        grain = generator.integers(-12, 13, size=image.shape)
        image[mask > 0] = np.clip(np.array(colour) + grain, 0, 255).astype(np.uint8)[mask > 0]
        nucleus = None
        if kind == "wbc":
            nucleus = np.zeros_like(mask)
            cv2.circle(nucleus, (x, y), 15, 1, cv2.FILLED)
            dark = np.array((75, 40, 120)) + grain
            image[nucleus > 0] = np.clip(dark, 0, 255).astype(np.uint8)[nucleus > 0]
            nucleus = nucleus > 0
        cells.append(Cell.from_mask(kind, mask > 0, score=0.875, nucleus=nucleus))
    return image, cells


def write_images(
    root: Path, per_class: int = 2, *, overlap: bool = False
) -> dict[str, tuple[np.ndarray, list[Cell]]]:
    """Write ``<class>/<n>.png`` below ``root``; return path → image and cells."""
    made = {}
    for i, label in enumerate(LABELS):
        for number in range(per_class):
            path = f"{label}/{label.lower()}{number}.png"
            made[path] = draw(10 * i + number, overlap=overlap)
            (root / label).mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(encode_image(made[path][0], "png"))
    return made


def write_cells(root: Path, made: dict[str, tuple[np.ndarray, list[Cell]]], out: Path) -> Path:
    """Write the ``cells`` artifact that a perfect segmenter would."""
    rows = []
    for path, (image, cells) in sorted(made.items()):
        image_id = content_hash((root / path).read_bytes())
        slide = tuple(float(c) for c in SLIDE)
        found = Segmentation(image.shape[:2], tuple(cells), slide)
        rows.append(image_row(image_id, path, image, found))
    images = pa.Table.from_pylist(rows, schema=IMAGES)
    with writing(out, "cells") as folder:
        flat = images["cells"].combine_chunks().flatten()
        table = pa.Table.from_arrays(flat.flatten(), names=CELLS.names).cast(CELLS)
        write_table(folder / "cells.parquet", table)
        write_table(folder / "outcomes.parquet", images.select(OUTCOMES.names))
    return out


def drawn_bank(folder: Path, per_class: int = 2, *, overlap: bool = False) -> CellBank:
    """Return a bank of drawn cells; its images lie in ``folder/images``."""
    root = folder / "images"
    made = write_images(root, per_class, overlap=overlap)
    cells = write_cells(root, made, folder / "cells")
    return CellBank.build(cells, Catalog.build(root, scheme="folders"))
