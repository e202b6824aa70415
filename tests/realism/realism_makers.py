"""Small smears with grain and a codec's history, no two alike, and a bank of their cells."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from naturalize.base.images import content_hash, decode_image, encode_image
from naturalize.base.rng import rng
from naturalize.cells.bank import CellBank
from naturalize.cells.segmentation import Cell
from naturalize.cells.tables import BACKGROUNDS, BANK, cell_row

SIDE = 144
SLIDE = (250.0, 228.0, 205.0)
_COLOURS = {"wbc": (110, 60, 150), "rbc": (215, 165, 170)}


def draw_smear(*keys: str | int, seed: int = 0) -> tuple[np.ndarray, list[Cell]]:
    """Return an image, RGB uint8 (144, 144, 3), and its cells; the first is the white one."""
    draw = rng(seed, "smear", *keys)
    image = np.full((SIDE, SIDE, 3), SLIDE, np.float32) + draw.uniform(-5, 3, size=3)
    taken = np.zeros((SIDE, SIDE), np.uint8)
    cells: list[Cell] = []
    for number in range(9):
        kind = "rbc" if number else "wbc"
        middle = (
            int(v) for v in (draw.integers(58, 86, 2) if not number else draw.integers(8, 136, 2))
        )
        size = draw.integers(22, 30, 2) if not number else draw.integers(13, 17, 2)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        axes = (int(size[0]), int(size[1]))
        cv2.ellipse(mask, tuple(middle), axes, float(draw.uniform(0, 180)), 0, 360, 1, cv2.FILLED)
        if (taken & mask).any():
            continue
        taken |= cv2.dilate(mask, np.ones((7, 7), np.uint8))
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.9)[:, :, None]
        colour = np.array(_COLOURS[kind]) + draw.uniform(-12, 12, size=3)
        image = image * (1 - soft) + colour * soft
        x0, y0, width, height = cv2.boundingRect(mask)
        box = (x0, y0, x0 + width, y0 + height)
        cells.append(Cell(kind, box, mask[y0 : y0 + height, x0 : x0 + width].astype(bool)))
    grain = cv2.GaussianBlur(
        draw.normal(0, 9, size=(SIDE, SIDE, 3)).astype(np.float32), (0, 0), 0.8
    )
    return np.clip(np.rint(image + grain), 0, 255).astype(np.uint8), cells


def decoded(*keys: str | int, quality: int = 92) -> np.ndarray:
    """Return a smear as a camera's JPEG file decodes."""
    return decode_image(encode_image(draw_smear(*keys)[0], "jpeg", quality=quality))[0]


def make_smears(folder: Path, per_class: int, labels: tuple[str, ...]) -> CellBank:
    """Return a bank of JPEG files of smears, all cells accepted."""
    rows, grounds = [], []
    for label in labels:
        (folder / label).mkdir(parents=True)
        for number in range(per_class):
            path = f"{label}/{number}.jpg"
            image, cells = draw_smear(label, number)
            data = encode_image(image, "jpeg", quality=92)
            (folder / path).write_bytes(data)
            image_id = content_hash(data)
            for i, cell in enumerate(cells):
                row = cell_row(f"{image_id}-{i}", image_id, path, image, cell, SLIDE)
                more = {"label": None if i else label, "target": not i}
                rows.append({**row, **more, "accepted": True, "reason": None})
            ground = (image_id, image_id, path, *SLIDE, 0.6)
            grounds.append(dict(zip(BACKGROUNDS.names, ground, strict=True)))
    return CellBank(
        pa.Table.from_pylist(rows, schema=BANK),
        pa.Table.from_pylist(grounds, schema=BACKGROUNDS),
        root=folder,
        labels=labels,
        inputs={"smears": f"{per_class}-{'-'.join(labels)}"},
    )
