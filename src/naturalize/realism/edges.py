"""Edges and what surrounds the target: steepness, halos, leftover stain, neighbours cut away."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from naturalize.cells.segmentation import LEVELS
from naturalize.realism.areas import Areas, mean_in

#: Upper limits of gradient classes, grey levels a pixel.
_STEPS = (1, 2, 4, 8, 16, 32)

#: Distances (pixels) to the target's outline whose brightness is followed.
_PROFILE = (-8, -4, -2, 0, 2, 4, 7, 11, 16, 24)


def edges(areas: Areas) -> dict[str, float]:
    """Return the statistics of edges, name → value."""
    dx = cv2.Sobel(areas.luma, cv2.CV_32F, 1, 0, scale=1 / 8)
    dy = cv2.Sobel(areas.luma, cv2.CV_32F, 0, 1, scale=1 / 8)
    slope = np.sqrt(dx * dx + dy * dy)  # cv2.magnitude depends on where its input lies in memory
    rim = np.abs(areas.beyond) <= 2
    places = {
        "the image": np.ones(slope.shape, bool),
        "the target's border": rim,
        "red cells' borders": areas.red_rims,
    }
    out: dict[str, float] = {}
    for place, area in places.items():
        out.update(_histogram(slope, area, place))
    out.update(_ring(areas))
    out.update(_steepness(areas, slope, rim))
    return out


def _histogram(slope: np.ndarray, area: np.ndarray, place: str) -> dict[str, float]:
    picked = slope[area]
    classes = np.bincount(np.digitize(picked, _STEPS), minlength=len(_STEPS) + 1)
    out = {f"mean gradient, {place}": mean_in(slope, area)}
    for i, count in enumerate(classes):
        low = _STEPS[i - 1] if i else 0
        name = f"{low}–{_STEPS[i]}" if i < len(_STEPS) else f"over {low}"
        out[f"gradients of {name}, {place}"] = (
            float(count / len(picked)) if len(picked) >= 30 else float("nan")
        )
    return out


def _ring(areas: Areas) -> dict[str, float]:
    """Follow brightness, colour and neighbours outwards from the target's outline."""
    bare = areas.kinds == 0
    slide = mean_in(areas.luma, areas.slide & (areas.beyond > 24))
    red, blue = areas.chroma
    tint = red - blue
    slide_tint = mean_in(tint, areas.slide & (areas.beyond > 24))
    out: dict[str, float] = {}
    for low, high in pairwise(_PROFILE):
        band = (areas.beyond > low) & (areas.beyond <= high)
        if low >= 0:
            band &= bare
        where = f"{low}…{high} px from the target's border".replace("-", "−")
        out[f"brightness {where}"] = mean_in(areas.luma, band) - slide
        if low >= 0:
            out[f"tint {where}"] = mean_in(tint, band) - slide_tint
    cells = (areas.kinds != 0).astype(np.float32)
    for low, high in ((1, 4), (4, 10), (10, 20), (20, 40), (40, 80)):
        band = (areas.beyond > low) & (areas.beyond <= high)
        out[f"covered by cells {low}–{high} px from the target"] = mean_in(cells, band)
    return out


def _steepness(areas: Areas, slope: np.ndarray, rim: np.ndarray) -> dict[str, float]:
    """Relate the slope at the target's border to the contrast across it, and its unevenness."""
    within = mean_in(areas.luma, (areas.beyond > -8) & (areas.beyond <= -3))
    without = mean_in(areas.luma, (areas.beyond > 3) & (areas.beyond <= 8) & (areas.kinds == 0))
    contrast = without - within
    thin = np.abs(areas.beyond) <= 1
    steep = mean_in(slope, thin)
    red = mean_in(slope, areas.red_rims)
    inner = areas.kinds == LEVELS["rbc"]
    red_contrast = mean_in(areas.luma, areas.slide) - mean_in(areas.luma, inner)
    picked = slope[rim]
    return {
        "steepness of the target's border": steep / contrast if contrast > 1 else float("nan"),
        "steepness of red cells' borders": red / red_contrast if red_contrast > 1 else float("nan"),
        "unevenness of the target's border": (
            float(picked.std() / max(picked.mean(), 1e-3)) if len(picked) >= 30 else float("nan")
        ),
    }
