"""What lies where, and in which colours: counts, sizes, places, light, stain."""

from __future__ import annotations

import numpy as np

from naturalize.cells.segmentation import LEVELS, Cell
from naturalize.imaging.stain import optical_density
from naturalize.realism.areas import Areas, mean_in

_RINGS = 5


def scene(areas: Areas) -> dict[str, float]:
    """Return the statistics of composition, name → value; counts are per 100,000 pixels."""
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
    ring = np.minimum((far * _RINGS / np.sqrt(2)).astype(int), _RINGS - 1)
    bare, red = areas.slide, areas.kinds == LEVELS["rbc"]
    out: dict[str, float] = {}
    for i in range(_RINGS):
        here = ring == i
        out[f"red cells in ring {i + 1} of {_RINGS}"] = float(red[here].mean())
    slide = mean_in(areas.luma, bare)
    for i in range(1, _RINGS):
        out[f"light of bare slide in ring {i + 1} of {_RINGS}"] = (
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
