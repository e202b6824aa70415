"""All named statistics of an image, by family; their names are what reports show."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np

from naturalize.cells.segmentation import LEVELS, Cell, Segmentation
from naturalize.imaging.stain import optical_density
from naturalize.realism import settings as tuned
from naturalize.realism.texture import Areas, coding, grain, mean_in


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
    classes = np.bincount(np.digitize(picked, tuned.STEPS), minlength=len(tuned.STEPS) + 1)
    out = {f"mean gradient, {place}": mean_in(slope, area)}
    for i, count in enumerate(classes):
        low = tuned.STEPS[i - 1] if i else 0
        name = f"{low}–{tuned.STEPS[i]}" if i < len(tuned.STEPS) else f"over {low}"
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
    for low, high in pairwise(tuned.PROFILE):
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


def arrangement(areas: Areas) -> dict[str, float]:
    """Return the statistics of what lies where, name → value; counts are per 100,000 pixels."""
    height, width = areas.found.shape
    unit = height * width / 1e5
    red = areas.found.of("rbc")
    cut = [cell.touches((height, width)) for cell in red]
    sizes = np.array([cell.area for cell, at_edge in zip(red, cut, strict=True) if not at_edge])
    out = {
        "red cells": len(red) / unit,
        "whole red cells": (len(red) - sum(cut)) / unit,
        "share of red cells cut by the border": sum(cut) / len(red) if red else float("nan"),
        "size of red cells": float(sizes.mean()) if len(sizes) else float("nan"),
        "spread of red cells' sizes": (
            float(sizes.std() / sizes.mean()) if len(sizes) > 2 else float("nan")
        ),
        "platelets": len(areas.found.of("platelet")) / unit,
        "white cells": len(areas.found.of("wbc")) / unit,
    }
    for kind, level in LEVELS.items():
        out[f"area of {kind}"] = float((areas.kinds == level).mean())
    out.update(_of_target(areas.target, height, width))
    out.update(_rings(areas))
    return out


def _of_target(cell: Cell | None, height: int, width: int) -> dict[str, float]:
    names = ("size of the target", "target's distance off centre", "target cut by the border")
    if cell is None:
        return dict.fromkeys(names, float("nan"))
    x0, y0, x1, y1 = cell.box
    off = np.hypot((x0 + x1 - width) / 2, (y0 + y1 - height) / 2)
    cut = float(cell.touches((height, width)))
    return dict(zip(names, (float(cell.area), float(off), cut), strict=True))


def _rings(areas: Areas) -> dict[str, float]:
    """Compare rings around the image's middle, out to the corners."""
    height, width = areas.found.shape
    y, x = np.mgrid[:height, :width]
    far = np.hypot((x + 0.5) / width - 0.5, (y + 0.5) / height - 0.5) * 2
    ring = np.minimum((far * tuned.RINGS / np.sqrt(2)).astype(int), tuned.RINGS - 1)
    bare, red = areas.slide, areas.kinds == LEVELS["rbc"]
    out: dict[str, float] = {}
    for i in range(tuned.RINGS):
        here = ring == i
        out[f"red cells in ring {i + 1} of {tuned.RINGS}"] = float(red[here].mean())
    slide = mean_in(areas.luma, bare)
    for i in range(1, tuned.RINGS):
        out[f"light of bare slide in ring {i + 1} of {tuned.RINGS}"] = (
            mean_in(areas.luma, bare & (ring == i)) - slide
        )
    left, top = x < width / 2, y < height / 2
    for name, half in (("left to right", left), ("top to bottom", top)):
        out[f"fall of light from {name}"] = mean_in(areas.luma, bare & half) - mean_in(
            areas.luma, bare & ~half
        )
    return out


def colour(areas: Areas) -> dict[str, float]:
    """Return the statistics of colour and stain, name → value."""
    out: dict[str, float] = {}
    pixels = areas.image.reshape(-1, 3).astype(np.float32)
    for i, name in enumerate(("red", "green", "blue")):
        plane = pixels[:, i]
        mean, sd = float(plane.mean()), float(plane.std())
        out[f"mean {name}"], out[f"spread of {name}"] = mean, sd
        out[f"skewness of {name}"] = float((((plane - mean) / max(sd, 1e-3)) ** 3).mean())
        out[f"{name} of bare slide"] = mean_in(areas.image[:, :, i], areas.slide)
        out[f"unevenness of bare slide in {name}"] = _std(areas.image[:, :, i][areas.slide])
    levels = np.percentile(areas.luma, (1, 10, 50, 90, 99))
    for name, value in zip(
        ("darkest", "dark", "middle", "bright", "brightest"), levels, strict=True
    ):
        out[f"brightness of the {name} pixels"] = float(value)
    density = optical_density(areas.image, areas.found.background)
    for i, name in enumerate(("red", "green", "blue")):
        cell, rest = mean_in(density[:, :, i], areas.inside), mean_in(density[:, :, i], areas.red)
        out[f"stain of the target in {name}"] = cell
        out[f"stain of red cells in {name}"] = rest
        out[f"stain of the target against red cells in {name}"] = cell - rest
        out[f"unevenness of the target's stain in {name}"] = _std(density[:, :, i][areas.inside])
        out[f"spread of stain over red cells in {name}"] = _std(density[:, :, i][areas.red])
    return out


def _std(values: np.ndarray) -> float:
    return float(values.std(dtype=np.float64)) if len(values) >= 30 else float("nan")


#: Family → what measures it.
FAMILIES: dict[str, Callable[[Areas], dict[str, float]]] = {
    "grain": grain,
    "coding": coding,
    "edges": edges,
    "arrangement": arrangement,
    "colour": colour,
}


def statistics(areas: Areas) -> np.ndarray:
    """Return the statistics of an image in the order of :func:`names`, float32; NaN where absent.

    A statistic is absent where the image has no such part: no red cell, no target, no bare slide.
    """
    values = [value for measure in FAMILIES.values() for value in measure(areas).values()]
    return np.array(values, np.float32)


@lru_cache(maxsize=1)
def names() -> tuple[tuple[str, str], ...]:
    """Return ``(family, name)`` of every statistic."""
    empty = Areas(np.zeros((64, 64, 3), np.uint8), Segmentation((64, 64), (), (255, 255, 255)))
    return tuple((family, name) for family, measure in FAMILIES.items() for name in measure(empty))


#: All statistics that a change of encoding, or a shift by a pixel, does not give away.
BUT_CODING = "all but coding"


def family_columns(family: str) -> np.ndarray:
    """Return the positions of the statistics of a family, or of :data:`BUT_CODING`, int64."""
    if family == BUT_CODING:
        return np.flatnonzero([found != "coding" for found, _ in names()])
    return np.flatnonzero([found == family for found, _ in names()])
