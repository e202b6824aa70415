"""An image from elsewhere in a standard's frame, scale, stain and sharpness."""

from __future__ import annotations

import math

import cv2
import numpy as np

from naturalize.cells.segmentation import Cell
from naturalize.imaging.stain import focus, optical_density
from naturalize.models.config import Colour, Standard
from naturalize.prediction.profile import Profile

#: Blurred images are sharpened: σ of the mask in pixels of the standard, and its greatest weight.
_SHARPEN_SIGMA, _MOST_SHARPENING = 2.0, 1.0

#: The most that stains are made stronger or weaker, where only strength is changed.
_MOST_GAIN = 2.5

#: The most that images are enlarged or shrunk.
_MOST_SCALE = 4.0

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


def framed(
    image: np.ndarray,
    cell: Cell | None,
    slide: Colour,
    profile: Profile,
    standard: Standard,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return an image in the standard's frame and stain, and the mask of its cell there."""
    made, mask = moved(image, cell, scale_of(profile, standard), slide, standard)
    return restained(made, slide, profile, standard), mask


def moved(
    image: np.ndarray, cell: Cell | None, scale: float, slide: Colour, standard: Standard
) -> tuple[np.ndarray, np.ndarray | None]:
    """Scale an image and set a cell, or its own middle, into the middle of a standard one."""
    height, width = image.shape[:2]
    x, y = centre(cell) if cell is not None else (width / 2, height / 2)
    mask: np.ndarray | None = None
    if cell is not None:
        mask = _hull(cell, (height, width))
    if scale < 1:  # a warp would skip pixels: average them first
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_AREA) if mask is not None else None
        x, y, scale = x * size[0] / width, y * size[1] / height, 1.0
    half = 0.5 * scale
    matrix = np.array(
        [
            [scale, 0, standard.width / 2 - scale * x + half - 0.5],
            [0, scale, standard.height / 2 - scale * y + half - 0.5],
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
    return made, mask


def _hull(cell: Cell, shape: tuple[int, int]) -> np.ndarray:
    """Return the convex hull of a cell, uint8 (H, W).

    Masks on images from elsewhere have bays where a lobe or a pale edge was missed; a hull with a
    corner of a neighbour in it does less harm than a cell without its edge.
    """
    points = np.argwhere(cell.mask)[:, ::-1] + cell.box[:2]
    mask = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(points.astype(np.int32)), 255)
    return mask


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
    density = optical_density(image, slide) @ matrix.T.astype(np.float32)
    light = np.asarray(standard.slide, np.float32) * np.float32(10) ** -density
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


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
