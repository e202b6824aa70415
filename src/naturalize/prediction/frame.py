"""An image from elsewhere in a standard's frame, scale, stain and sharpness."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from naturalize.cells.segmentation import Cell
from naturalize.imaging.shape import largest_piece, solidity
from naturalize.imaging.slide import slide_colour
from naturalize.imaging.stain import focus
from naturalize.models.config import Colour, Standard
from naturalize.prediction.profile import Profile

#: Blurred images are sharpened: σ of the mask in pixels of the standard, and its greatest weight.
_SHARPEN_SIGMA, _MOST_SHARPENING = 2.0, 1.0

#: The most that stains are made stronger or weaker, where only strength is changed.
_MOST_GAIN = 2.5

#: The most that images are enlarged or shrunk.
_MOST_SCALE = 4.0

#: A cell of which more than this share lies inside another's hull is a part of that one.
_INSIDE = 0.6

#: A lobe of a nucleus is narrower than a red cell, and near the next; what they make together is no
#: wider than this and as compact: in widths of a red cell (white cells of PBC: median 1.85, 999 in
#: 1,000 below 3.3), and a share of the convex hull.
_LOBE, _NEAR, _WIDEST, _COMPACT = 0.9, 0.3, 2.4, 0.65

#: Padding differs from a corner by so many levels at most, is at least and at most so much of the
#: image, has one colour in this share of its pixels (and of the first so many at the corner), and
#: goes so many pixels farther (a codec's ringing). What it leaves is convex, or where it may be an
#: overexposed slide, a rectangle; it is not of few colours itself.
_LEVELS, _PADDING, _ONE_COLOUR, _FIRST, _RINGING = 4, (0.004, 0.95), 0.5, 8, 2
_CONVEX, _OVEREXPOSED = 0.95, 250

#: Two stains whose colours are nearer to each other than this (as a share of the nuclei's density)
#: cannot be distinguished well enough to be moved one by one.
_LEAST_APART = 0.08


def scale_of(profile: Profile, standard: Standard) -> float:
    """Return pixels of the standard to one of the set's."""
    if profile.red_cell:
        scale = standard.red_cell / profile.red_cell
    elif profile.white_cell:
        scale = standard.white_cell / profile.white_cell
    else:
        scale = 1.0
    return float(np.clip(scale, 1 / _MOST_SCALE, _MOST_SCALE))


def centre(cell: Cell) -> tuple[float, float]:
    """Return the middle of a cell's box: x, y."""
    x0, y0, x1, y1 = cell.box
    return (x0 + x1) / 2, (y0 + y1) / 2


def moved(
    image: np.ndarray,
    cell: Cell | None,
    others: Sequence[Cell],
    scale: float,
    slide: Colour,
    standard: Standard,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Scale an image and set a cell, or its own middle, into the middle of a standard one.

    Returns the picture, RGB uint8 (H, W, 3); what is kept of its cell, uint8 (H, W), without what
    is ``others'``; and the matrix, float64 (2, 3), that takes places of the image to the picture's.
    """
    height, width = image.shape[:2]
    x, y = centre(cell) if cell is not None else (width / 2, height / 2)
    mask = kept(cell, others, (height, width)) if cell is not None else None
    across = down = 1.0
    if scale < 1:  # a warp would skip pixels: average them first
        image = shrunk(image, scale)
        mask = shrunk(mask, scale) if mask is not None else None
        across, down, scale = image.shape[1] / width, image.shape[0] / height, 1.0
    half = 0.5 * scale
    matrix = np.array(
        [
            [scale, 0, standard.width / 2 - scale * x * across + half - 0.5],
            [0, scale, standard.height / 2 - scale * y * down + half - 0.5],
        ]
    )
    size = (standard.width, standard.height)
    made = cv2.warpAffine(
        image,
        matrix,
        size,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=tuple(round(value) for value in slide),
    )
    if mask is not None:
        mask = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_LINEAR)
    return made, mask, matrix @ shrinking(across, down)


def shrunk(image: np.ndarray, scale: float) -> np.ndarray:
    """Return an image with ``scale`` times its width and height, averaged; 1 or more: itself."""
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def shrinking(across: float, down: float) -> np.ndarray:
    """Return float64 (3, 3), which takes places of an image to those of a shrunk one."""
    return np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1]])


def kept(cell: Cell, others: Sequence[Cell], shape: tuple[int, int]) -> np.ndarray:
    """Return a cell's convex hull without other cells, uint8 (H, W), 255 inside.

    Masks on images from elsewhere have bays where a lobe or a pale edge was missed. What lies
    mostly inside the hull fills such a bay; of what lies mostly outside, the corner is taken out.
    """
    x0, y0, x1, y1 = cell.box
    hull = _hull(cell.mask)
    for other in others:
        a0, b0, a1, b1 = other.box
        left, top, right, bottom = max(x0, a0), max(y0, b0), min(x1, a1), min(y1, b1)
        if other is cell or left >= right or top >= bottom:
            continue
        here = hull[top - y0 : bottom - y0, left - x0 : right - x0]
        theirs = other.mask[top - b0 : bottom - b0, left - a0 : right - a0]
        if np.count_nonzero(theirs & here) <= _INSIDE * other.area:
            here &= ~theirs
    hull = largest_piece(hull | cell.mask)
    mask = np.zeros(shape, np.uint8)
    mask[y0:y1, x0:x1][hull] = 255
    return mask


def _hull(mask: np.ndarray) -> np.ndarray:
    points = cv2.findNonZero(mask.view(np.uint8))
    hull = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    return hull.view(bool)


def whole(pieces: Sequence[Cell], red_cell: float) -> list[Cell]:
    """Return white cells with the pieces that are lobes of one nucleus as one cell.

    ``red_cell``: width of a red cell in the same pixels. Two pieces are of one cell if one of them
    is a lobe and no cell (narrower than a red cell), they nearly touch, and make a shape that is no
    wider than a white cell, and compact.
    """
    rest, found = sorted(pieces, key=lambda cell: cell.area, reverse=True), []
    while rest:
        cell = rest.pop(0)
        for other in sorted(rest, key=lambda one: math.dist(centre(cell), centre(one))):
            lobe = min(_disc(cell), _disc(other)) < _LOBE * red_cell
            if lobe and math.dist(centre(cell), centre(other)) < _WIDEST * red_cell:
                joined = _one_of(cell, other, red_cell)
                if joined is not None:
                    cell, rest = joined, [one for one in rest if one is not other]
        found.append(cell)
    return found


def _one_of(cell: Cell, other: Cell, red_cell: float) -> Cell | None:
    """Return two pieces as one cell; null if they are not one."""
    x0, y0 = (min(pair) for pair in zip(cell.box[:2], other.box[:2], strict=True))
    x1, y1 = (max(pair) for pair in zip(cell.box[2:], other.box[2:], strict=True))
    masks, nuclei = np.zeros((2, y1 - y0, x1 - x0), bool), np.zeros((y1 - y0, x1 - x0), bool)
    for mask, one in zip(masks, (cell, other), strict=True):
        a0, b0, a1, b1 = one.box
        here = np.s_[b0 - y0 : b1 - y0, a0 - x0 : a1 - x0]
        mask[here] = one.mask
        nuclei[here] |= one.mask if one.nucleus is None else one.nucleus
    away = cv2.distanceTransform((~masks[0]).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    both: np.ndarray = masks[0] | masks[1]
    hull = _hull(both)
    filled = np.count_nonzero(both) / np.count_nonzero(hull)
    if away[masks[1]].min() > _NEAR * red_cell or filled < _COMPACT:
        return None
    if max(cv2.minAreaRect(cv2.findNonZero(hull.view(np.uint8)))[1]) > _WIDEST * red_cell:
        return None
    return Cell("wbc", (x0, y0, x1, y1), hull, max(cell.score, other.score), nuclei)


def _disc(cell: Cell) -> float:
    return 2 * math.sqrt(cell.area / math.pi)


def unpadded(image: np.ndarray) -> tuple[np.ndarray, Colour] | None:
    """Return an image with its padding in the slide's colour, and that colour; null without any.

    Padding is what has one colour from a corner of RGB uint8 (H, W, 3) on: straight borders, and
    the corners that are left when an image is turned. A slide is never of one colour exactly,
    unless it is overexposed.
    """
    height, width = image.shape[:2]
    inside = np.zeros((height, width), bool)
    overexposed = False
    for corner in ((0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)):
        left, top = (max(0, place - _FIRST + 1) for place in corner)
        first = image[top : top + _FIRST, left : left + _FIRST]
        alike = (first == image[corner[1], corner[0]]).all(axis=2).mean()
        if inside[corner[1], corner[0]] or alike < _ONE_COLOUR:
            continue
        region = _like(image, corner)
        if np.count_nonzero(region) < _PADDING[0] * region.size:
            continue
        colours = image[region]
        usual = np.median(colours, axis=0)
        if (colours == usual).all(axis=1).mean() >= _ONE_COLOUR:
            inside |= region
            overexposed = overexposed or usual.min() >= _OVEREXPOSED
    if not 0 < np.count_nonzero(inside) <= _PADDING[1] * inside.size:
        return None
    rest = largest_piece(~inside)
    convex = solidity(rest)
    if overexposed:
        wide, high = cv2.minAreaRect(cv2.findNonZero(rest.view(np.uint8)))[1]
        convex = np.count_nonzero(rest) / ((wide + 1) * (high + 1))
    level = (image[:, 1:] == image[:, :-1]).all(axis=2)[rest[:, 1:]]
    if convex < _CONVEX or level.mean() > _ONE_COLOUR:
        return None
    kernel = np.ones((2 * _RINGING + 1,) * 2, np.uint8)
    inside = cv2.dilate((~rest).view(np.uint8), kernel).view(bool)
    if inside.all():
        return None
    slide = slide_colour(image[~inside][None])
    filled = image.copy()
    filled[inside] = np.rint(slide)
    return filled, slide


def _like(image: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    """Return what is joined to a corner (x, y) and of its colour, bool (H, W)."""
    height, width = image.shape[:2]
    found = np.zeros((height + 2, width + 2), np.uint8)
    how = 4 | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE | (1 << 8)
    cv2.floodFill(image, found, corner, 0, (_LEVELS,) * 3, (_LEVELS,) * 3, how)
    return found[1:-1, 1:-1].view(bool)


def wanted_sharpening(image: np.ndarray, mask: np.ndarray | None, standard: Standard) -> float:
    """Return the weight of an unsharp mask that makes a cell as sharp as the standard's, 0 to 1.

    Sharpness is a variance, so finest detail has to grow by the root of its ratio. What is sharper
    than the standard is left so: a blur takes away what the network may need.
    """
    if mask is None or not (mask > 0).any():
        return 0.0
    seen = max(focus(image, mask > 127) if (mask > 127).any() else 0.0, 1e-3)
    return float(np.clip(math.sqrt(standard.focus / seen) - 1, 0, _MOST_SHARPENING))


def sharpened(image: np.ndarray, amount: float) -> np.ndarray:
    """Return RGB uint8 with ``amount`` of what a blur takes away added to it (unsharp masking)."""
    if amount <= 0:
        return image
    blurred = cv2.GaussianBlur(image, (0, 0), _SHARPEN_SIGMA)
    return cv2.addWeighted(image, 1 + amount, blurred, -amount, 0)


def restained(image: np.ndarray, slide: Colour, profile: Profile, standard: Standard) -> np.ndarray:
    """Return an image with the standard's slide colour and stains.

    In optical density stains add up (Ruifrok & Johnston, Anal Quant Cytol Histol 23:291, 2001): a
    pixel is so much of the nuclei's dye and so much of the red cells'. A matrix takes the two
    colours of the one laboratory to those of the other, and what is left at right angles to both to
    the same there, as Macenko et al. (ISBI 2009) do with stains found by other means. Where red
    cells were not seen, or the colours are hardly two, only the strength is brought to the
    standard's.
    """
    matrix = stain_matrix(profile, standard)
    levels = np.maximum(np.arange(256, dtype=np.float32), 1)[:, None]
    table = np.log(np.maximum(np.asarray(slide, np.float32), 1) / levels)
    ground = np.log(np.maximum(np.asarray(standard.slide, np.float32), 1))
    # the exponent of what passes is affine in the densities: one pass over the image
    light = cv2.transform(cv2.LUT(image, table[None]), np.column_stack([-matrix, ground]))
    return cv2.convertScaleAbs(cv2.exp(light))


def stain_matrix(profile: Profile, standard: Standard) -> np.ndarray:
    """Return float64 (3, 3), which takes optical densities of a set to the standard's."""
    if profile.nucleus_stain is None:
        return np.eye(3)
    nucleus, wanted = np.asarray(profile.nucleus_stain), np.asarray(standard.nucleus_stain)
    strength = float(np.linalg.norm(wanted) / max(float(np.linalg.norm(nucleus)), 1e-3))
    plain = np.eye(3) * np.clip(strength, 1 / _MOST_GAIN, _MOST_GAIN)
    if profile.red_stain is None:
        return plain
    here = _frame(nucleus, np.asarray(profile.red_stain))
    there = _frame(wanted, np.asarray(standard.red_stain))
    if min(np.linalg.svd(here, compute_uv=False)) < _LEAST_APART * np.linalg.norm(nucleus):
        return plain
    return there @ np.linalg.inv(here)


def _frame(nucleus: np.ndarray, red: np.ndarray) -> np.ndarray:
    """Return the two stains and a third at right angles, as long as they are, as columns."""
    third = np.cross(nucleus, red)
    length = np.sqrt(np.linalg.norm(nucleus) * np.linalg.norm(red))
    third = third / max(float(np.linalg.norm(third)), 1e-9) * length
    return np.stack([nucleus, red, third], axis=1)
