"""Is a heat map right, and what is it of: insertion and deletion, and the heat of each class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from scipy.integrate import trapezoid

from naturalize.base.rng import rng
from naturalize.cells.segmentation import LEVELS, Segmentation, target_of
from naturalize.cells.segmenters import segmenter
from naturalize.cells.tiling import Tiled
from naturalize.explain.overlay import fitted, heat_by_kind, heat_inside
from naturalize.prediction.scene import main_cell
from naturalize.restoration.masks import covered

#: Shares of the pixels after which the network is asked again: close together where a cell is.
FRACTIONS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)

#: The order of pixels that knows nothing but that the cell is in the middle: what every map must
#: do better than.
MIDDLE = "middle of the image"

#: What a removed pixel becomes: the image blurred by a Gaussian of this share of its side, so that
#: no cell is seen (by eye, on PBC images). Petsiuk et al. also insert into a blurred image.
_BLUR = 0.1

#: Longest side in pixels at which pixels are taken away: no shipped network sees more of an image.
_SIDE = 512

#: On what the heat lies: of the cell that the image is about, and of the rest.
PARTS = ("nucleus", "cytoplasm", "red cells", "other cells", "slide")


def middle(side: int) -> np.ndarray:
    """Return the heat of `MIDDLE`, float32 (side, side): 1 in the middle, 0 in the corners."""
    across = np.linspace(-1, 1, side, dtype=np.float32)
    return np.clip(1 - np.hypot(across[:, None], across) / np.sqrt(2), 0, 1).astype(np.float32)


def insertion_and_deletion(
    answers: Callable[[list[np.ndarray]], np.ndarray], image: np.ndarray, heat: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how sure a network stays while an image is built up, or taken away, by a map's order.

    Petsiuk, Das & Saenko (RISE, BMVC 2018, section 4.2 and algorithm 1): for *deletion* the hottest
    pixels are replaced first, here by a blurred image; for *insertion* they are the first to be put
    into the blurred image. A good map falls early in one and rises early in the other.

    Parameters
    ----------
    answers
        Takes images, RGB uint8 (H, W, 3), to the probability of the class explained, (N,).
    image
        RGB uint8 (H, W, 3).
    heat
        Float (h, w) in 0–1; equal pixels follow in an order drawn once and for all.

    Returns
    -------
    tuple
        Insertion and deletion, float32 (len(FRACTIONS),) each, at `FRACTIONS` of the pixels.
    """
    if max(image.shape[:2]) > _SIDE:
        scale = _SIDE / max(image.shape[:2])
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    bare = cv2.GaussianBlur(image, (0, 0), _BLUR * max(image.shape[:2]))
    flat = fitted(heat, image.shape[:2]).ravel()
    order = np.lexsort((rng(0, "equal heat").random(flat.size), -flat))
    rank = np.argsort(order).reshape(image.shape[:2])
    inner = [round(fraction * flat.size) for fraction in FRACTIONS[1:-1]]

    def seen() -> Iterator[np.ndarray]:
        yield bare
        yield image
        for n in inner:
            hot = (rank < n)[:, :, None]
            yield np.where(hot, image, bare)
            yield np.where(hot, bare, image)

    found = np.asarray(answers(list(seen())), np.float32)
    nothing, whole, rest = found[:1], found[1:2], found[2:]
    return (
        np.concatenate([nothing, rest[0::2], whole]),
        np.concatenate([whole, rest[1::2], nothing]),
    )


def area_under(curve: Sequence[float] | np.ndarray) -> float:
    """Return the area under a curve over `FRACTIONS`, 0–1, by trapezia."""
    return float(trapezoid(curve, FRACTIONS))


class Heat:
    """Says on what the heat of an image lies; the last image's cells are kept for more methods.

    ``masks``: image id → bool (H, W), the cell that the image is about, where that is known.
    """

    def __init__(self, masks: Mapping[str, np.ndarray]) -> None:
        self.masks, self.segmenter = masks, Tiled(segmenter())
        self.last: tuple[str, Segmentation] | None = None

    def of(self, image_id: str, image: np.ndarray, heat: np.ndarray) -> dict[str, Any]:
        """Return ``heat_on``; of a known cell ``heat_inside``, ``cell_share`` and ``parts``."""
        if self.last is None or self.last[0] != image_id:
            self.last = (image_id, self.segmenter.segment(image))
        found = self.last[1]
        said: dict[str, Any] = {"heat_on": heat_by_kind(heat, found)}
        cell = main_cell(found) or target_of(found.of("platelet"), found.shape)
        mask = self.masks.get(image_id)
        if mask is None and cell is not None:
            mask = covered(found.shape, [cell])
        if mask is not None:
            mask, nucleus = np.asarray(mask, bool), np.zeros(found.shape, bool)
            if cell is not None and cell.nucleus is not None:
                x0, y0, x1, y1 = cell.box
                nucleus[y0:y1, x0:x1] = cell.nucleus
            said |= {
                "heat_inside": heat_inside(heat, mask),
                "cell_share": float(mask.mean()),
                "parts": shares_of_parts(heat, found, mask, nucleus),
            }
        return said


def shares_of_parts(
    heat: np.ndarray, found: Segmentation, cell: np.ndarray, nucleus: np.ndarray
) -> dict[str, dict[str, float]] | None:
    """Return the share of the heat, and of the image, on each of `PARTS`; null without heat.

    ``heat`` is float (h, w) in 0–1, ``cell`` and ``nucleus`` bool (H, W), the cell that the image
    is about. It lies over other cells where masks overlap.
    """
    kinds = found.label_image()
    part = np.full(found.shape, PARTS.index("slide"))
    part[kinds != 0] = PARTS.index("other cells")
    part[kinds == LEVELS["rbc"]] = PARTS.index("red cells")
    part[cell] = PARTS.index("cytoplasm")
    part[nucleus & cell] = PARTS.index("nucleus")
    large = fitted(heat, found.shape).astype(np.float64)
    if not large.sum():
        return None
    on = np.bincount(part.ravel(), large.ravel(), len(PARTS)) / large.sum()
    area = np.bincount(part.ravel(), minlength=len(PARTS)) / part.size
    return {
        name: {p: round(float(v), 4) for p, v in zip(PARTS, values, strict=True)}
        for name, values in (("heat", on), ("area", area))
    }


def of_classes(entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return by predicted class the mean of `shares_of_parts` over its maps, and what it looks at.

    ``looks_at_red_cells``: the heat is denser on red cells than on the cell, both means being
    divided by the share of the image that each of the two is.
    """
    by_class = defaultdict(list)
    for entry in entries:
        if entry.get("parts") is not None:
            by_class[str(entry["predicted"])].append(entry)
    summary = {}
    for label, its in sorted(by_class.items()):
        heat, area = (
            {p: round(float(np.mean([e["parts"][name][p] for e in its])), 4) for p in PARTS}
            for name in ("heat", "area")
        )
        on_cell = heat["nucleus"] + heat["cytoplasm"]
        cell_area = area["nucleus"] + area["cytoplasm"]
        summary[label] = {
            "n": len({entry["image_id"] for entry in its}),
            "heat": heat,
            "area": area,
            # as a product: nothing is divided by an area of zero
            "looks_at_red_cells": heat["red cells"] * cell_area > on_cell * area["red cells"],
        }
    return summary


def of_methods(drawn: Mapping[str, Sequence[tuple[Any, Any]]]) -> dict[str, dict[str, Any]]:
    """Return the mean curves of each method's (insertion, deletion), and the areas under them."""
    summary = {}
    for method, pairs in drawn.items():
        insertion, deletion = (np.mean([pair[i] for pair in pairs], axis=0) for i in (0, 1))
        summary[method] = {
            "n": len(pairs),
            "insertion": [round(float(v), 4) for v in insertion],
            "deletion": [round(float(v), 4) for v in deletion],
            "insertion_auc": round(area_under(insertion), 4),
            "deletion_auc": round(area_under(deletion), 4),
        }
    return summary
