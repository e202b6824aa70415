"""Traces of coding and of pixel arithmetic: the grid of JPEG blocks, flat runs, gaps in histograms.

A decoded JPEG has most fine cosine coefficients of its 8 × 8 blocks at zero. Pixels that were
moved, turned, mixed or re-coloured have not, or have them on another grid.
"""

from __future__ import annotations

import numpy as np

from naturalize.imaging.jpeg.codec import BLOCK, tiles, waves
from naturalize.realism.areas import Areas

#: Fine frequencies of a block: row + column of 6 or more.
_FINE = np.add.outer(np.arange(BLOCK), np.arange(BLOCK)).ravel() >= 6

#: A coefficient below this (grey levels) was zero before the pixels were rounded.
_ZERO = 0.75


def blocks(areas: Areas) -> dict[str, float]:
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
    return (np.abs(found) < _ZERO).mean(axis=-1)


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
