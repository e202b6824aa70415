"""Is an image like those a model was trained on? Measures of stain and sharpness, and their range.

A network is as sure of a grey, an empty or a blurred picture as of a cell. Twelve measures of the
middle of an image, in optical density against its own slide, say what it was trained on: an image
whose measures are far (Mahalanobis 1936) from those of the training images of the class that it is
given is in doubt, after Lee et al., NeurIPS 2018, who do so with a network's features.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from naturalize.models.config import Colour, Typical

#: Share of an image's shorter side that is measured, and the side in pixels it is shrunk to.
_MIDDLE, _SIDE = 0.75, 90

#: Optical density in green light of bare slide (below), of anything stained, of what red cells have
#: at most, and of a nucleus: by eye, on PBC images.
_BARE, _STAINED, _RED, _NUCLEAR = 0.03, 0.06, 0.25, 0.4

#: The darkest share of the pixels, taken for nucleus, and what keeps ratios of densities finite.
_DARKEST, _FLOOR = 0.01, 0.02

#: Pixels below which the colour of red cells, or the place of nuclei, is not measured, and what is
#: written then: PBC's medians.
_FEW, _USUAL_RED, _USUAL_PLACE = 20, (0.72, 0.65), 0.15

#: Lobes nearer than this are one nucleus, and what a second one has at least: area and distance, in
#: pixels of the shrunk image (a PBC white cell is 45 wide).
_GAP, _SECOND, _APART = 7, 150, 20

#: Least images that a range is measured on, and the share of them within its limit.
_LEAST, _WITHIN = 200, 0.99

#: Romanowsky stains absorb green light most, then red, then blue: the ratio of a nucleus' density
#: in red light to that in green is below this, and above that in blue. 0.18 to 0.86 in the images
#: of four laboratories; 1 in a grey picture.
MOST_RED = 0.95

#: A picture whose slide is darker than this (mean level) or whose darkest places are paler than
#: this (density in green light) shows too little.
DARK, _PALE = 110.0, 0.2

#: What each measure says, in the order of :func:`measures`.
MEASURES = {
    "nuclear density": "amount of stain",
    "nuclear red": "colour of the stain",
    "nuclear blue": "colour of the stain",
    "nuclear area": "amount of stain",
    "nuclear place": "cells in other places",
    "stained area": "amount of stain",
    "bare area": "amount of stain",
    "red cells' red": "colour of the stain",
    "red cells' blue": "colour of the stain",
    "sharpness": "sharpness",
    "texture": "sharpness",
    "spread of density": "amount of stain",
}


def measures(image: np.ndarray, slide: Colour) -> np.ndarray:
    """Return the twelve `MEASURES` of RGB uint8 (H, W, 3) with a slide of this colour: float64."""
    middle, small = _middle(image)
    levels = np.maximum(np.arange(256, dtype=np.float32), 1)[:, None]
    table = np.log10(np.maximum(np.asarray(slide, np.float32), 1) / levels)
    density, green = cv2.LUT(small, table[None]), np.ascontiguousarray(small[..., 1])
    # all that depends on green light alone follows from how often each level occurs
    of_level = np.bincount(green.ravel(), minlength=256)
    n, dense = green.size, table[:, 1]
    darkest = int(np.searchsorted(of_level.cumsum(), _DARKEST * n))
    nucleus = cv2.mean(density, (green <= darkest).view(np.uint8))[:3]
    red = (dense > _STAINED) & (dense < _RED)
    colour: Sequence[float] = _USUAL_RED
    if of_level[red].sum() > _FEW:
        colour = _ratios(cv2.mean(density, red[green].view(np.uint8))[:3])
    mean = float(of_level @ dense) / n
    edge = len(middle) // 4
    inner = np.ascontiguousarray(middle[edge : len(middle) - edge, edge : len(middle) - edge])
    grey = cv2.cvtColor(inner, cv2.COLOR_RGB2GRAY)
    detail = np.log(_spread(cv2.Laplacian(grey, cv2.CV_16S)) + 0.3)
    return np.array(
        [
            nucleus[1],
            *_ratios(nucleus),
            np.log10(of_level[dense > _NUCLEAR].sum() / n + 0.002),
            _off_middle(np.flatnonzero((dense > _NUCLEAR)[green])),
            of_level[dense > _STAINED].sum() / n,
            of_level[dense < _BARE].sum() / n,
            *colour,
            detail,
            detail - np.log(_spread(grey) + 1),
            np.sqrt(of_level @ (dense - mean) ** 2 / n),
        ]
    )


def nuclei_apart(image: np.ndarray, slide: Colour) -> bool:
    """Whether RGB uint8 (H, W, 3) shows nuclei so far apart that they may be of two cells.

    Lobes of one nucleus lie together. True for 1 of 80 held-out PBC images, and 9 of 10 pictures
    made of two cells.
    """
    _, small = _middle(image)
    dense = np.log10(max(slide[1], 1.0) / np.maximum(np.arange(256), 1))
    mask = (dense > _NUCLEAR)[small[..., 1]].astype(np.uint8)
    mask = cv2.copyMakeBorder(mask, _GAP, _GAP, _GAP, _GAP, cv2.BORDER_CONSTANT)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_GAP, _GAP))
    joined = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel)
    _, _, found, centres = cv2.connectedComponentsWithStats(joined)
    areas = found[1:, cv2.CC_STAT_AREA]
    if len(areas) < 2:
        return False
    second, first = np.argsort(areas)[-2:]
    apart = float(np.linalg.norm(centres[1 + first] - centres[1 + second]))
    return bool(areas[second] >= max(_SECOND, 0.2 * areas[first]) and apart >= _APART)


def _middle(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle square of an image, and the same in 90 × 90 pixels."""
    height, width = image.shape[:2]
    side = _SIDE * max(1, round(_MIDDLE * min(height, width) / _SIDE))  # whole factors are fast
    side = min(side, height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = image[top : top + side, left : left + side]
    return middle, cv2.resize(middle, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)


def _off_middle(pixels: np.ndarray) -> float:
    """Return the root mean square distance of pixels from the middle, in sides."""
    if len(pixels) <= _FEW:
        return _USUAL_PLACE
    down, across = np.divmod(pixels, _SIDE)
    half = (_SIDE - 1) / 2
    return float(np.sqrt(((down - half) ** 2 + (across - half) ** 2).mean()) / _SIDE)


def _ratios(density: Sequence[float]) -> tuple[float, float]:
    """Return the density in red and in blue light, each by that in green."""
    red, green, blue = np.maximum(density, -_FLOOR / 2) + _FLOOR
    return float(red / green), float(blue / green)


def _spread(values: np.ndarray) -> float:
    return float(cv2.meanStdDev(values)[1][0, 0])


def typical(found: np.ndarray, labels: Sequence[str]) -> Typical | None:
    """Return the range of training images' measures, float (N, 12); null if they are too few."""
    if len(found) < _LEAST:
        return None
    names = np.asarray(labels)
    means = {name: np.median(found[names == name], axis=0) for name in sorted(set(labels))}
    rest = found - np.stack([means[name] for name in labels])
    kept = rest
    for _ in range(3):  # odd images shall not widen the range in which the others lie
        inverse = np.linalg.inv(np.cov(kept.T) + 1e-9 * np.eye(len(MEASURES)))
        far = np.einsum("ij,jk,ik->i", kept, inverse, kept)
        kept = kept[far <= np.quantile(far, 0.98)]
    inverse = np.linalg.inv(np.cov(kept.T) + 1e-9 * np.eye(len(MEASURES)))
    far = np.einsum("ij,jk,ik->i", rest, inverse, rest)
    return Typical(
        means={name: tuple(np.round(mean, 4).tolist()) for name, mean in means.items()},
        inverse=tuple(tuple(np.round(row, 2).tolist()) for row in inverse),
        limit=round(float(np.quantile(far, _WITHIN)), 1),
    )


def distance(range_: Typical, label: str, found: np.ndarray) -> tuple[float, str]:
    """Return how far measures are from a class, in limits of the range, and what is most unlike.

    From a class that was not measured, it is the distance from the nearest one that was.
    """
    means = [range_.means[label]] if label in range_.means else list(range_.means.values())
    each = [found - np.asarray(mean) for mean in means]
    rest = min(each, key=lambda rest: float(rest @ np.asarray(range_.inverse) @ rest))
    pulls = rest * (np.asarray(range_.inverse) @ rest)
    by_reason: dict[str, float] = {}
    for reason, pull in zip(MEASURES.values(), pulls, strict=True):
        by_reason[reason] = by_reason.get(reason, 0.0) + float(pull)
    return float(pulls.sum()) / range_.limit, max(by_reason, key=by_reason.__getitem__)


def not_a_smear(slide: Colour, found: np.ndarray) -> str | None:
    """Return why a picture of any laboratory is none of a stained blood smear; null if it may be.

    It follows from the colour of its slide and its :func:`measures`.
    """
    density, red, blue = found[:3]
    if sum(slide) / 3 < DARK:
        return "dark picture"
    if density < _PALE:
        return "hardly any stain"
    if red > MOST_RED or blue >= red:
        return "not the colours of a stained smear"
    return None
