"""How real images look, measure by measure, and the range a composite has to keep to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from naturalize.base import engine
from naturalize.base.errors import InputError
from naturalize.base.rng import rng
from naturalize.compose.draw import constants as tuned
from naturalize.imaging.stain import optical_density

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank


@dataclass(frozen=True)
class Appearance:
    """How an image with its white cell appears, in numbers."""

    #: Mean optical density of the cell.
    red: float
    green: float
    blue: float
    #: Mean gradient of brightness across its outline, over the step from inside to outside.
    steepness: float
    fullness: float  # share of the rest of the image that is not bare slide


#: Measure → what is wrong with a composite outside its range.
REASONS = {
    "red": "colour unlike that of real cells",
    "green": "colour unlike that of real cells",
    "blue": "colour unlike that of real cells",
    "steepness": "edge unlike that of real cells",
    "fullness": "scene emptier or fuller than real ones",
}

#: Class → measure → (least, largest).
Limits = Mapping[str, Mapping[str, tuple[float, float]]]


def appearance(image: np.ndarray, mask: np.ndarray, light: Sequence[float]) -> Appearance:
    """Measure an image.

    ``image``: RGB uint8 (H, W, 3); ``mask``: bool (H, W): its white cell, at least one pixel;
    ``light``: RGB of the bare slide.
    """
    density = optical_density(image, tuple(light))
    red, green, blue = density[mask].mean(axis=0, dtype=np.float64)
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    slope = np.hypot(
        cv2.Sobel(luma, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(luma, cv2.CV_32F, 0, 1, scale=1 / 8),
    )
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    rim = (inside <= 1.5) & (away <= 1.5)
    bare = (away > 4) & (away < 12) & (density[..., 1] < tuned.STAINED)
    step = float(luma[bare].mean() - luma[(inside > 3) & (inside < 8)].mean()) if bare.any() else 0
    beyond = away > tuned.EDGE_REACH
    return Appearance(
        float(red),
        float(green),
        float(blue),
        float(slope[rim].mean() / step) if step > 5 else float("nan"),
        float((density[..., 1][beyond] > tuned.STAINED).mean()) if beyond.any() else float("nan"),
    )


def real_limits(
    bank: CellBank, *, seed: int = 0, backend: str = "serial", workers: int | None = None
) -> Limits:
    """Return the range of each measure in real images, by class.

    From up to 48 images of a class whose own cell is accepted. A class with fewer than 12 has the
    range of all images of its kind.

    ``InputError`` if the bank has no whole images to measure.
    """
    rows = bank.cells(target=True).sort_by("cell_id").select(["cell_id", "kind", "label"])
    of_class: dict[str, list[dict[str, Any]]] = {}
    for row in rows.to_pylist():
        of_class.setdefault(row["label"], []).append(row)
    chosen = [
        own[i]
        for label, own in sorted(of_class.items())
        for i in rng(seed, "gate", "real", label).permutation(len(own))[: tuned.REAL].tolist()
    ]
    if bank.holds == "crops" or not chosen:
        raise InputError(
            f"{bank.root}: the gate compares with real images, and this bank has none; leave the "
            "gate out, or use a bank that has its source images"
        )
    found_all = engine.map(
        partial(_appearance_in, bank),
        [row["cell_id"] for row in chosen],
        backend=backend,
        workers=workers,
        chunk=16,
        what="measure real images",
        name=cell_name,
    )
    found = [(row["kind"], row["label"], one) for row, one in zip(chosen, found_all, strict=True)]
    limits = {}
    for label in of_class:
        own = [one for _, name, one in found if name == label]
        kind = next(kind for kind, name, _ in found if name == label)
        alike = own if len(own) >= tuned.ENOUGH_REAL else [one for k, _, one in found if k == kind]
        limits[label] = {measure: _range(alike, measure) for measure in REASONS}
    return limits


def _range(found: Sequence[Appearance], measure: str) -> tuple[float, float]:
    values = np.array([getattr(one, measure) for one in found])
    values = values[np.isfinite(values)]
    if not len(values):
        return -np.inf, np.inf
    low, high = np.quantile(values, tuned.QUANTILES)
    more = tuned.WIDER * (high - low) + tuned.AT_LEAST
    return float(low - more), float(high + more)


def _appearance_in(bank: CellBank, cell_id: str) -> Appearance:
    row = bank.row(cell_id)
    image = bank.image(row["image_id"])
    mask = np.zeros(image.shape[:2], bool)
    mask[row["y0"] : row["y1"], row["x0"] : row["x1"]] = bank.mask(cell_id)
    return appearance(image, mask, light_of(bank)[row["image_id"]])


def light_of(bank: CellBank) -> dict[str, tuple[float, float, float]]:
    """Return image → RGB of its bare slide."""
    names = ("image_id", "r", "g", "b")
    columns = (bank.backgrounds[name].to_pylist() for name in names)
    return {i: (r, g, b) for i, r, g, b in zip(*columns, strict=True)}


def cell_name(cell_id: str) -> str:
    """Return what messages call a cell."""
    return f"cell {cell_id}"
