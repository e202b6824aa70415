"""The areas of an image that are measured separately, and the traces of texture in them.

Real and composite images are divided by the same segmenter, from their pixels alone; what a recipe
says is not used, so that neither side is measured more exactly than the other. Two kinds of texture
are measured. *Grain*: restored areas are too smooth, resampled cells have lost their finest grain,
warping makes neighbours alike, pasted pixels bring the grain of another place. *Coding*: a decoded
JPEG has most fine cosine coefficients of its 8 × 8 blocks at zero; pixels that were moved, turned,
mixed or re-coloured have not, or have them on another grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import cv2
import numpy as np

from naturalize.cells.segmentation import LEVELS, Cell, Segmentation, target_of
from naturalize.imaging.jpeg.codec import BLOCK, tiles, waves
from naturalize.realism import settings as tuned
from naturalize.restoration.masks import covered

#: Names of the bands between ``tuned.SIGMAS``.
_BANDS = ("finest", "fine", "middle", "coarse")

#: Fine frequencies of a block: row + column of 6 or more.
_FINE = np.add.outer(np.arange(BLOCK), np.arange(BLOCK)).ravel() >= 6


@dataclass(frozen=True, eq=False)
class Areas:
    """An image, RGB uint8 (H, W, 3), with its cells."""

    image: np.ndarray
    found: Segmentation

    @cached_property
    def luma(self) -> np.ndarray:
        """Luminance as JPEG has it, float32 (H, W), 0–255."""
        return self._ycc[0]

    @cached_property
    def chroma(self) -> tuple[np.ndarray, np.ndarray]:
        """Red and blue chroma as JPEG has them, float32 (H, W)."""
        return self._ycc[1], self._ycc[2]

    @cached_property
    def _ycc(self) -> tuple[np.ndarray, ...]:
        return tuple(cv2.split(cv2.cvtColor(self.image.astype(np.float32), cv2.COLOR_RGB2YCrCb)))

    @cached_property
    def kinds(self) -> np.ndarray:
        """Uint8 (H, W): 0 bare slide, 1 white cells, 2 red cells, 3 platelets."""
        return self.found.label_image()

    @cached_property
    def target(self) -> Cell | None:
        """The cell that the image was taken of: a white cell, else a platelet, as in the bank."""
        white, platelets = self.found.of("wbc"), self.found.of("platelet")
        return target_of(white or platelets, self.found.shape)

    @cached_property
    def beyond(self) -> np.ndarray:
        """Distance to the target's outline, float32 (H, W): negative inside; ∞ without a target."""
        if self.target is None:
            return np.full(self.found.shape, np.inf, np.float32)
        inside = covered(self.found.shape, [self.target]).astype(np.uint8)
        depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5)
        away = cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_5)
        return np.where(inside > 0, 0.5 - depth, away - 0.5).astype(np.float32)

    @cached_property
    def slide(self) -> np.ndarray:
        """Bare slide, a margin away from any cell, bool (H, W)."""
        return _shrunk(self.kinds == 0)

    @cached_property
    def red(self) -> np.ndarray:
        """Insides of red cells, bool (H, W)."""
        return _shrunk(self.kinds == LEVELS["rbc"])

    @cached_property
    def inside(self) -> np.ndarray:
        """Inside of the target, bool (H, W)."""
        return self.beyond < -tuned.MARGIN

    @cached_property
    def around(self) -> np.ndarray:
        """Bare slide 2–14 pixels outside the target: where an old cell's traces would be."""
        return (self.kinds == 0) & (self.beyond > 2) & (self.beyond <= 14)

    @cached_property
    def red_rims(self) -> np.ndarray:
        """A band of two pixels on both sides of red cells' outlines, bool (H, W)."""
        red = (self.kinds == LEVELS["rbc"]).astype(np.uint8)
        band = cv2.morphologyEx(red, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
        return band & (self.beyond > 4)


def _shrunk(mask: np.ndarray) -> np.ndarray:
    size = 2 * tuned.MARGIN + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return cv2.erode(mask.astype(np.uint8), kernel) > 0


def mean_in(values: np.ndarray, area: np.ndarray, *, least: int = 30) -> float:
    """Return the mean of ``values`` in ``area``; NaN where it has fewer than ``least`` pixels."""
    picked = values[area]
    return float(picked.mean(dtype=np.float64)) if len(picked) >= least else float("nan")


def grain(areas: Areas) -> dict[str, float]:
    """Return the statistics of grain, name → value."""
    places = {
        "bare slide": areas.slide,
        "red cells": areas.red,
        "the target cell": areas.inside,
        "the ring around the target": areas.around,
    }
    out: dict[str, float] = {}
    bands = _bands(areas.luma)
    for place, area in places.items():
        for name, band in zip(_BANDS, bands, strict=True):
            out[f"{name} grain of {place}"] = mean_in(np.abs(band), area)
        finest, fine = (out[f"{name} grain of {place}"] for name in ("finest", "fine"))
        out[f"finest against fine grain of {place}"] = _ratio(finest, fine)
    for name in ("finest", "fine"):
        ring, slide = (out[f"{name} grain of {p}"] for p in (list(places)[3], "bare slide"))
        out[f"{name} grain of the ring against bare slide"] = _ratio(ring, slide)
    for plane, chroma in zip(("red", "blue"), areas.chroma, strict=True):
        fine_chroma = np.abs(chroma - cv2.GaussianBlur(chroma, (0, 0), 1.4))
        for place in ("bare slide", "the target cell"):
            out[f"{plane} colour grain of {place}"] = mean_in(fine_chroma, places[place])
    out.update(_evenness(np.abs(bands[0]), areas.slide))
    residual = areas.luma - cv2.GaussianBlur(areas.luma, (0, 0), 2.0)
    for place in ("bare slide", "the target cell", "red cells"):
        out.update(_alike(residual, places[place], place))
    return out


def _bands(luma: np.ndarray) -> list[np.ndarray]:
    levels = [luma, *(cv2.GaussianBlur(luma, (0, 0), sigma) for sigma in tuned.SIGMAS)]
    return [a - b for a, b in pairwise(levels)]


def _ratio(a: float, b: float) -> float:
    return a / b if b > 1e-6 else float("nan")


def _evenness(finest: np.ndarray, slide: np.ndarray) -> dict[str, float]:
    """Compare the grain of small blocks of bare slide: patches of another origin stand out."""
    share = cv2.blur(slide.astype(np.float32), (BLOCK, BLOCK))
    strength = cv2.blur(finest, (BLOCK, BLOCK))
    picked = strength[::4, ::4][share[::4, ::4] > 0.99]
    names = ("smoothest spots of bare slide", "grainiest spots of bare slide")
    if len(picked) < 20:
        return dict.fromkeys((*names, "spread of grain over bare slide"), float("nan"))
    low, middle, high = np.quantile(picked, [0.03, 0.5, 0.97])
    middle = max(float(middle), 1e-3)
    return {
        names[0]: float(low) / middle,
        names[1]: float(high) / middle,
        "spread of grain over bare slide": float(picked.std()) / middle,
    }


def _alike(residual: np.ndarray, area: np.ndarray, place: str) -> dict[str, float]:
    """Return the correlation of grain with itself some pixels on, along rows and columns."""
    out = {}
    for lag in tuned.LAGS:
        for axis, name in ((1, "rows"), (0, "columns")):
            a, b = _shifted(residual, lag, axis)
            m, n = _shifted(area, lag, axis)
            both = m & n
            x, y = a[both].astype(np.float64), b[both].astype(np.float64)
            power = np.sqrt((x @ x) * (y @ y))
            enough = len(x) >= 100 and power > 1e-6
            key = f"likeness of grain {lag} px on along {name}, {place}"
            out[key] = float(x @ y / power) if enough else float("nan")
    return out


def _shifted(plane: np.ndarray, lag: int, axis: int) -> tuple[np.ndarray, np.ndarray]:
    if axis:
        return plane[:, :-lag], plane[:, lag:]
    return plane[:-lag], plane[lag:]


def coding(areas: Areas) -> dict[str, float]:
    """Return the statistics of coding, name → value."""
    places = {
        "the image": np.ones(areas.luma.shape, bool),
        "bare slide": areas.slide,
        "the target cell": areas.inside,
        "the ring around the target": areas.around,
    }
    out: dict[str, float] = {}
    steps = {
        "columns": np.abs(np.diff(areas.luma, axis=1)),
        "rows": np.abs(np.diff(areas.luma, axis=0)),
    }
    grids = {"on the grid": 0, "off the grid": BLOCK // 2}
    zeros = {grid: _zeros(areas.luma, start) for grid, start in grids.items()}
    for place, area in places.items():
        for name, step in steps.items():
            inner = area[:, :-1] if name == "columns" else area[:-1]
            out.update(_phases(step, inner, name, place))
        for grid, start in grids.items():
            whole = tiles(area[start:, start:, None]).mean(axis=(2, 3, 4)) > 0.6
            zero = zeros[grid][whole]
            out[f"zero fine JPEG coefficients {grid}, {place}"] = _mean(zero)
            if place in ("the image", "bare slide"):
                out[f"spread of zero coefficients {grid}, {place}"] = _std(zero)
    for kind, plane in zip(("red", "blue"), areas.chroma, strict=True):
        out[f"zero fine JPEG coefficients of {kind} colour"] = _mean(_zeros(plane, 0))
    out.update(_arithmetic(areas))
    return out


def _phases(step: np.ndarray, area: np.ndarray, name: str, place: str) -> dict[str, float]:
    """Compare steps across the borders of JPEG blocks with steps inside them."""
    axis = 1 if name == "columns" else 0
    other = 1 - axis
    total = np.where(area, step, 0).sum(axis=other, dtype=np.float64)
    count = area.sum(axis=other)
    phase = np.arange(len(total)) % BLOCK
    sums, counts = np.bincount(phase, total, BLOCK), np.bincount(phase, count, BLOCK)
    border, spread = f"block borders between {name}, {place}", f"steps by phase of {name}, {place}"
    means = sums / np.maximum(counts, 1)
    inner = means[:-1].mean()
    if counts.min() < 30 or inner < 1e-3:  # too little, or flat
        return {border: float("nan"), spread: float("nan")}
    return {border: float(means[-1] / inner), spread: float(means.std() / means.mean())}


def _zeros(plane: np.ndarray, start: int) -> np.ndarray:
    """Return each block's share of fine cosine coefficients that are about zero."""
    blocks = np.ascontiguousarray(tiles(plane[start:, start:, None])[..., 0])
    found = blocks.reshape(*blocks.shape[:2], BLOCK * BLOCK) @ waves()[_FINE].T
    return (np.abs(found) < tuned.ZERO).mean(axis=-1)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def _std(values: np.ndarray) -> float:
    return float(values.std()) if len(values) > 1 else float("nan")


def _arithmetic(areas: Areas) -> dict[str, float]:
    """Return flat runs, distinct colours, clipped values, and levels that no pixel has."""
    image = areas.image
    packed = image.astype(np.int32) @ np.array([65536, 256, 1])
    out = {
        "pixels equal to their neighbour": float((packed[:, 1:] == packed[:, :-1]).mean()),
        "distinct colours per pixel": len(np.unique(packed)) / packed.size,
        "pixels at full white": float((image == 255).any(axis=2).mean()),
    }
    for place, area in (("the target cell", areas.inside), ("red cells", areas.red)):
        out[f"unused colour levels of {place}"] = _gaps(image[area])
    return out


def _gaps(pixels: np.ndarray) -> float:
    """Return the share of levels between a channel's 10th and 90th percentile that never occur."""
    if len(pixels) < 500:
        return float("nan")
    shares = []
    for channel in range(3):
        low, high = np.quantile(pixels[:, channel], [0.1, 0.9]).astype(int)
        counts = np.bincount(pixels[:, channel], minlength=256)[low : high + 1]
        shares.append(float((counts == 0).mean()))
    return float(np.mean(shares))
