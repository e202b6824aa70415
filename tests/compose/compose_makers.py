"""Small banks of drawn cells whose every pixel is known; no segmenter, no phantom."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image

from naturalize.base.images import content_hash, encode_image, read_image
from naturalize.base.rng import rng
from naturalize.cells.bank import CellBank, Cutout
from naturalize.cells.segmentation import Cell
from naturalize.cells.tables import BACKGROUNDS, BANK, cell_row
from naturalize.compose.draw.planner import plan
from naturalize.compose.recipe.placement import KERNELS
from naturalize.compose.recipe.plan import Plan
from naturalize.compose.recipe.recipe import Background, Finish, Placement, Recipe
from naturalize.dataset.phantom import render_phantom
from naturalize.imaging.jpeg.codec import Codec

LABELS = ("BNE", "LY", "MMY", "SNE")
SLIDE = (250.0, 228.0, 205.0)
SIDE = 160

#: A peach slide, in whole numbers.
PEACH = (250, 228, 204)

#: Phantoms: classes, the codec of each one's file, their slide.
PHANTOMS = ("SNE", "LY", "EO", "MO")
PHANTOM_CODECS = (
    Codec(90, "4:4:4"), Codec(75, "4:2:0"), Codec(60, "4:4:4"), Codec(90, "4:2:0"),
)  # fmt: skip
PHANTOM_SLIDE = (253.0, 229.0, 203.0)

_COLOURS = {"wbc": (110, 60, 150), "rbc": (215, 165, 170)}
#: Kind, centre and half axes of what is drawn in every image; the first is the target.
_CELLS = [
    ("wbc", (80, 80), (30, 24)),
    ("rbc", (26, 26), (17, 15)),
    ("rbc", (132, 28), (14, 16)),
    ("rbc", (28, 130), (16, 16)),
]


def make_bank(
    folder: Path,
    per_class: int = 3,
    labels: tuple[str, ...] = LABELS,
    *,
    seed: int = 0,
    quality: int | None = None,
) -> CellBank:
    """Return a bank of ``per_class`` images a class, each with a white and three red cells.

    PNG files of hard pixels; with ``quality`` JPEG files, soft and grainy as photographs are.
    """
    rows, grounds = [], []
    for label in labels:
        for number in range(per_class):
            image, cells = _draw(seed, label, number)
            path = f"{label}/{number}.{'png' if quality is None else 'jpg'}"
            data = encode_image(image, "png") if quality is None else _photograph(image, quality)
            (folder / label).mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
            image_id = content_hash(data)
            for i, cell in enumerate(cells):
                row = cell_row(f"{image_id}-{i}", image_id, path, image, cell, SLIDE)
                target = i == 0
                more = {"label": label if target else None, "target": target}
                rows.append({**row, **more, "accepted": True, "reason": None})
            red, green, blue = SLIDE
            ground = (image_id, image_id, path, red, green, blue, 0.7)
            grounds.append(dict(zip(BACKGROUNDS.names, ground, strict=True)))
    return CellBank(
        pa.Table.from_pylist(rows, schema=BANK),
        pa.Table.from_pylist(grounds, schema=BACKGROUNDS),
        root=folder,
        labels=labels,
        inputs={"drawn": f"{seed}-{per_class}-{'-'.join(labels)}"},
    )


def phantom_bank(root: Path) -> CellBank:
    """Return a bank of four phantoms, one a class, kept as JPEG files of four codecs."""
    rows, grounds = [], []
    for number, (label, codec) in enumerate(zip(PHANTOMS, PHANTOM_CODECS, strict=True)):
        phantom = render_phantom(label, 3, number)
        buffer = io.BytesIO()
        Image.fromarray(phantom.image).save(
            buffer, "jpeg", quality=codec.quality, subsampling=codec.subsampling
        )
        (root / f"{label}.jpg").write_bytes(buffer.getvalue())
        image_id, image = content_hash(buffer.getvalue()), read_image(root / f"{label}.jpg")
        for i, one in enumerate(phantom.cells):
            cell = Cell(one.kind, one.box, one.mask, 1.0, one.nucleus)
            row = cell_row(f"{label}-{i}", image_id, f"{label}.jpg", image, cell, PHANTOM_SLIDE)
            own = one.label is not None
            more = {"label": label if own else None, "target": own, "accepted": True}
            rows.append({**row, **more, "reason": None})
        ground = (image_id, image_id, f"{label}.jpg", *PHANTOM_SLIDE, 0.7)
        grounds.append(dict(zip(BACKGROUNDS.names, ground, strict=True)))
    return CellBank(
        pa.Table.from_pylist(rows, schema=BANK),
        pa.Table.from_pylist(grounds, schema=BACKGROUNDS),
        root=root,
        labels=PHANTOMS,
        inputs={"phantom": "scenes"},
    )


def _photograph(image: np.ndarray, quality: int) -> bytes:
    """Return a picture as a lens and a camera would see it: soft, with grain, a 4:4:4 JPEG file."""
    soft = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.2)
    grain = rng(0, "photograph", content_hash(image.tobytes())).normal(0, 1.5, image.shape)
    seen = np.clip(np.rint(soft + grain), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(seen).save(buffer, "jpeg", quality=quality, subsampling="4:4:4")
    return buffer.getvalue()


def _draw(seed: int, label: str, number: int) -> tuple[np.ndarray, list[Cell]]:
    generator = rng(seed, "cells", label, number)
    image = np.full((SIDE, SIDE, 3), SLIDE, np.uint8)
    cells = []
    for kind, centre, axes in _CELLS:
        mask = np.zeros((SIDE, SIDE), np.uint8)
        tilt = float(generator.uniform(0, 180))
        cv2.ellipse(mask, centre, axes, tilt, 0, 360, 1, cv2.FILLED)
        grain = generator.integers(-30, 31, size=(SIDE, SIDE, 3))
        painted = np.clip(np.array(_COLOURS[kind]) + grain, 0, 255).astype(np.uint8)
        image[mask > 0] = painted[mask > 0]
        x0, y0, width, height = cv2.boundingRect(mask)
        box = (x0, y0, x0 + width, y0 + height)
        cells.append(Cell(kind, box, mask[y0 : y0 + height, x0 : x0 + width].astype(bool)))
    return image, cells


def varied(bank: CellBank) -> Plan:
    """Return a plan that uses everything a recipe can say."""
    generator = np.random.default_rng(3)
    recipes = []
    base = plan(bank, mode="paper", add=2, turn="any")
    image_ids = bank.backgrounds["image_id"].to_pylist()
    for i in range(len(base)):
        recipe = base.recipe(i)
        placed = []
        for p in recipe.placements:
            changes: dict[str, Any] = {
                "flip": bool(i % 3),
                "scale": float(generator.uniform(0.8, 1.2)),
                "stain": tuple(generator.uniform(-0.1, 0.1, 3)),
            }
            if i % 2:
                changes |= {
                    "blend": ("feather", "scene", "poisson")[i // 2 % 3],
                    "feather": 2.0,
                    "aspect": 1.1,
                    "elastic": 1.5,
                    "elastic_seed": int(generator.integers(2**31)),
                    "kernel": KERNELS[i // 2 % 3],
                    "blur": 0.5,
                    "grain": 0.5,
                    "stain_scale": (1.1, 0.9, 1.0),
                }
            placed.append(replace(p, **changes))
        finish = Finish("jpeg", 90) if i % 4 == 0 else Finish()
        recipes.append(replace(recipe, placements=tuple(placed), finish=finish))
    for k, name in enumerate(("", ":white", ":bare")):
        image_id = image_ids[k]
        ground = Background(SLIDE, image_id + name, image_id, 2 * k + 1, k, 5)
        recipes.append(replace(recipes[k], background=ground, width=120, height=110))
    return Plan.of(recipes, bank=bank.fingerprint)


def split_of(bank, leaked: int = 0):
    """A split that has all images in train but the first ``leaked`` ones."""
    ids = sorted(set(bank.table["image_id"].to_pylist()))
    parts = {image_id: "test" if i < leaked else "train" for i, image_id in enumerate(ids)}
    counts = {"train": dict.fromkeys(bank.labels, 3)}
    return SimpleNamespace(part_of=lambda: parts, counts=lambda: counts, hash="0" * 16)


def compose_settings(**more: object) -> dict[str, Any]:
    """The compose part of a study."""
    nothing = {"name": None, "per_class": None, "balance": False, "classes": None}
    return {"mode": "paper", **nothing, "add": 4, "settings": {}, "seed": 0, **more}


class OneCell:
    """A source with one cell, for pixels that are to be followed by hand."""

    corner = (0, 0)

    def __init__(self, rgb: np.ndarray, mask: np.ndarray) -> None:
        self.rgb, self.mask = rgb, mask

    def cutout(self, cell_id: str, *, margin: int = 0) -> OneCell:
        """Return itself."""
        return self

    def image(self, image_id: str) -> np.ndarray:
        """Return a black image."""
        return np.zeros((64, 64, 3), np.uint8)


def one_cell_recipe(
    size: tuple[int, int], colour: tuple[float, float, float] = (0, 0, 0), **placement: object
) -> Recipe:
    """Return a recipe with one cell on a flat canvas of ``size`` (width, height)."""
    values = {"cx": size[0] / 2, "cy": size[1] / 2, **placement}
    placed = Placement("c", "i", "wbc", **values)
    return Recipe("SNE", "paper", *size, Background(colour), (placed,))


class Slide:
    """A source with one soft-edged cell on a slide, a neighbour close to it."""

    def __init__(self, slide: tuple[int, int, int], *, neighbour: bool = False) -> None:
        side = 100
        y, x = np.mgrid[:side, :side] + 0.5
        away = np.hypot(x - 48, y - 52)
        # density of the cell: 0.4 inside, falling over four pixels as optics would blur it
        density = 0.4 * np.clip((31 - away) / 4, 0, 1)[:, :, None] * (0.6, 1.0, 0.5)
        if neighbour:
            far = np.hypot(x - 90, y - 52)
            density += 0.2 * np.clip((10 - far) / 2, 0, 1)[:, :, None] * (0.5, 1.0, 0.8)
        self.image = np.rint(np.array(slide) * 10.0**-density).astype(np.uint8)
        self.mask = away < 29
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        self.box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)

    def cutout(self, cell_id: str, *, margin: int = 0) -> Cutout:
        """Return the cell."""
        x0, y0, x1, y1 = self.box
        left, top = max(x0 - margin, 0), max(y0 - margin, 0)
        part = np.s_[top : y1 + margin, left : x1 + margin]
        return Cutout(self.image[part].copy(), self.mask[part], (left, top))
