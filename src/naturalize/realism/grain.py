"""Grain: how strong fine texture is at several scales, how it hangs together, where it is missing.

What betrays: restored areas are too smooth, resampled cells have lost their finest grain, warping
makes neighbours alike, and pasted pixels bring the grain of another place.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from naturalize.realism.areas import Areas, mean_in

#: Blurs (Gaussian sigma, pixels) between which the bands of grain lie.
_SIGMAS = (0.7, 1.4, 2.8, 5.6)
_BANDS = ("finest", "fine", "middle", "coarse")
_LAGS = (1, 2, 3, 4, 8)
_BLOCK = 8


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
    levels = [luma, *(cv2.GaussianBlur(luma, (0, 0), sigma) for sigma in _SIGMAS)]
    return [a - b for a, b in pairwise(levels)]


def _ratio(a: float, b: float) -> float:
    return a / b if b > 1e-6 else float("nan")


def _evenness(finest: np.ndarray, slide: np.ndarray) -> dict[str, float]:
    """Compare the grain of small blocks of bare slide: patches of another origin stand out."""
    share = cv2.blur(slide.astype(np.float32), (_BLOCK, _BLOCK))
    strength = cv2.blur(finest, (_BLOCK, _BLOCK))
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
    for lag in _LAGS:
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
