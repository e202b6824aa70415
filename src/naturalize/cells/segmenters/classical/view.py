"""The image as the classical segmenter sees it: smaller, in optical density, the slide at zero."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from naturalize.cells.segmenters.classical import limits
from naturalize.imaging.stain import optical_density


@dataclass(frozen=True, eq=False)
class View:
    """An image at working resolution.

    ``density``: float32 (h, w, 3): optical density against the slide, lightly smoothed. ``azure``:
    float32 (h, w): density of nuclear stain, red cells at zero; see :func:`azure`. ``depth``:
    float32 (h, w): how far from the slide's colour a pixel is, in density. ``noise``: standard
    deviation of the slide's density. ``scale``: pixels of the image to one pixel here.
    ``background``: RGB of the slide, 0–255. ``shape``: height and width of the whole image.
    """

    density: np.ndarray
    azure: np.ndarray
    depth: np.ndarray
    noise: float
    scale: int
    background: tuple[float, float, float]
    shape: tuple[int, int]


def view(image: np.ndarray) -> View:
    """Return the working view of RGB uint8 (H, W, 3)."""
    height, width = image.shape[:2]
    scale = 2 if min(height, width) > limits.FULL_RESOLUTION_UP_TO else 1
    size = (max(1, width // scale), max(1, height // scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale > 1 else image
    colour, bare = slide(small)
    density = optical_density(small, colour)
    density -= _drift(density, bare)
    density = cv2.GaussianBlur(density, (0, 0), limits.BLUR)
    spread = density[bare].std(axis=0) if bare.any() else np.zeros(3)
    return View(
        density=density,
        azure=azure(density),
        depth=np.maximum(density[..., 1], density.mean(axis=2)),
        noise=float(np.clip(spread.mean(), *limits.NOISE_RANGE)),
        scale=scale,
        background=(float(colour[0]), float(colour[1]), float(colour[2])),
        shape=(height, width),
    )


def slide(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the colour of the bare slide (3,) and where it is seen (bool (h, w)).

    The slide is the brightest well-filled peak of the green channel, in which all Romanowsky stains
    absorb. In crowded fields it is a small peak, but still the brightest.
    """
    green = image[..., 1]
    counts = np.bincount(green.ravel(), minlength=256).astype(np.float32)
    smooth = cv2.GaussianBlur(counts[None], (0, 0), 3)[0]
    inner = smooth.copy()
    inner[:-1] = np.where(smooth[:-1] >= smooth[1:], inner[:-1], 0)
    inner[1:] = np.where(smooth[1:] >= smooth[:-1], inner[1:], 0)
    peak = int(np.flatnonzero(inner >= 0.2 * smooth.max()).max())
    half = np.flatnonzero(smooth[: peak + 1] < 0.3 * smooth[peak])
    low = int(half.max()) if len(half) else 0
    bare = (green >= max(low, peak - 20)) & (green <= peak + (peak - low) + 8)
    return np.median(image[bare], axis=0).astype(np.float32), bare


def azure(density: np.ndarray) -> np.ndarray:
    """Return the density of nuclear stain, float32 (h, w), of densities (h, w, 3).

    Azure and haematoxylin absorb red and green and let blue through; haemoglobin and eosin absorb
    blue too. Red + green density less the blue one, weighted so that the image's own red cells
    come out at zero, one over another as well: a colour deconvolution (Ruifrok & Johnston 2001)
    with the red cells' vector measured in each image.
    """
    both = density[..., 0] + density[..., 1]
    blue = density[..., 2]
    share = limits.USUAL_BLUE
    for within in (0.25, 0.10, 0.07):
        red = (both > 0.1) & (np.abs(both - blue / share) < within)
        if np.count_nonzero(red) < 100:
            break
        share = float(np.clip(np.median(blue[red] / both[red]), *limits.BLUE_RANGE))
    return both - blue / share


def _drift(density: np.ndarray, bare: np.ndarray) -> np.ndarray:
    """Return the slow change of light over the field: a plane through the slide's density."""
    height, width = bare.shape
    rows, columns = np.nonzero(bare[::4, ::4])
    if len(rows) < 200:
        return np.zeros(3, np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = y / height - 0.5, x / width - 0.5
    basis = np.stack(
        [np.ones(len(rows)), y[::4, ::4][rows, columns], x[::4, ::4][rows, columns]], 1
    )
    values = np.clip(density[::4, ::4][rows, columns], -0.05, 0.05)
    fit = np.linalg.lstsq(basis, values, rcond=None)[0].astype(np.float32)
    return fit[0] + y[..., None] * fit[1] + x[..., None] * fit[2]
