"""A cell as another microscope, stain and camera would show it: augmentation that carries over.

What a cell is stays: its shape, its nucleus, its granules. What varies between laboratories is
drawn anew for every sample: magnification, dyes, white balance, lens, resolution, sensor, codec,
and what lies around the cell. One step draws all randomness, a pure step applies it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from naturalize.imaging import camera
from naturalize.imaging.camera import blurred, photographed, stained
from naturalize.imaging.slide import isolated
from naturalize.imaging.stain import optical_density

# The ranges; those that composed fields share are in `naturalize.imaging.camera`. "Trial" is one
# network a value, trained on PBC cells and judged on laboratories that it never saw; see
# docs/reference/measured.md.

#: Magnification, as a factor drawn evenly by its logarithm: what remains where a set's scale is
#: measured on other cells than here (trial; the four laboratories differ by up to ± 40 %).
_ZOOM = (0.62, 1.45)
#: Stretch along one axis (natural logarithm), as a smear does, and shift in shares of the side.
_STRETCH, _SHIFT = 0.1, 0.08
#: How often there is no colour at all.
_GREY = 0.12
#: σ of a density that is added to the whole cell in each channel, and how often: rapid stains
#: colour the cytoplasm of all cells orange, others leave it pale.
_TINT, _TINTED = 0.08, 0.6
#: Light of the slide in each channel, as shares: what white balance leaves.
_LIGHT = 0.06
#: How often only the cell is shown, by its mask's hull, and how far the mask is off (σ, in shares
#: of the side): images from elsewhere are shown so, by masks that are not exact.
_ISOLATED, _HULL, _MARGIN = 0.75, 0.5, 0.04
#: How often the picture ends within the cell, and the share of the cell that is left at least.
_CUT, _LEFT = 0.15, 0.75
#: How often the resolution is lowered.
_COARSE = 0.6
#: Largest σ of a blur (shares of the side): defocus.
_BLUR = 0.02
#: Qualities of JPEG.
_QUALITY = (25, 95)

#: σ in pixels against aliases, for each time that an image is shrunk.
_ANTIALIAS = 0.35


@dataclass(frozen=True)
class Microscope:
    """How one sample is shown; lengths are in shares of the picture's side."""

    #: Row-major 2 × 2: directions of the picture from those of the image.
    linear: tuple[float, ...] = (1.0, 0.0, 0.0, 1.0)
    shift: tuple[float, ...] = (0.0, 0.0)
    #: Row-major 3 × 3: new optical densities (red, green, blue) from old ones.
    mixing: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    tone: float = 1.0  #: Exponent on densities.
    tint: tuple[float, ...] = (0.0, 0.0, 0.0)  #: Density added to the cell.
    light: tuple[float, ...] = (1.0, 1.0, 1.0)  #: Factor on the slide's light.
    isolated: bool = False  #: Whether the cell alone is shown on a bare slide.
    hull: bool = False  #: Whether the cell's convex hull is taken for its mask.
    margin: float = 0.0  #: How much the mask is too wide; negative: too narrow.
    #: The direction (radians) in which the picture ends, and the share of the cell before its end.
    cut: tuple[float, float] | None = None
    resolution: float = 1.0  #: Pixels of the camera to one of the picture.
    blur: float = 0.0  #: σ of a Gaussian.
    sharpen: float = 0.0  #: Weight of an unsharp mask.
    sharpen_sigma: float = 1.0  #: Its σ in pixels.
    noise: float = 0.0  #: σ in levels.
    quality: int | None = None  #: Of a JPEG; none without it.
    seed: int = 0  #: Of the noise.


def draw(generator: np.random.Generator) -> Microscope:
    """Draw a microscope."""

    def often(share: float) -> bool:
        return bool(generator.random() < share)

    def between(ends: tuple[float, float]) -> float:
        return float(np.exp(generator.uniform(*np.log(ends))))

    axis = _turn(generator.uniform(0, 2 * math.pi))
    stretch = np.exp(generator.uniform(-_STRETCH, _STRETCH) * np.array([1, -1]))
    mirror = np.diag([-1.0 if often(0.5) else 1.0, 1.0])
    linear = axis.T @ np.diag(stretch) @ axis @ _turn(generator.uniform(0, 2 * math.pi)) @ mirror
    colour = 0.0 if often(_GREY) else between(camera.SATURATION)
    saturation = colour * np.eye(3) + (1 - colour) * np.array([camera.GREY_WEIGHTS] * 3)
    mixing = saturation @ (np.eye(3) + generator.normal(0, camera.MIXING, (3, 3)))
    tint = generator.normal(0, _TINT, 3) + abs(generator.normal(0, _TINT / 2))
    right_angle = math.pi / 2 * int(generator.integers(4))  # a picture ends at its own border
    return Microscope(
        linear=tuple((between(_ZOOM) * linear).ravel().tolist()),
        shift=tuple(generator.uniform(-_SHIFT, _SHIFT, 2).tolist()),
        mixing=tuple((between(camera.DENSITY) * mixing).ravel().tolist()),
        tone=between(camera.TONE),
        tint=tuple(tint.tolist()) if often(_TINTED) else (0.0, 0.0, 0.0),
        light=tuple((1 + generator.uniform(-_LIGHT, _LIGHT, 3)).tolist()),
        isolated=often(_ISOLATED),
        hull=often(_HULL),
        margin=float(generator.normal(0, _MARGIN)),
        cut=(right_angle, float(generator.uniform(_LEFT, 1))) if often(_CUT) else None,
        resolution=between(camera.RESOLUTION) if often(_COARSE) else 1.0,
        blur=float(generator.uniform(0, _BLUR)) if often(camera.OFTEN) else 0.0,
        sharpen=float(generator.uniform(0, camera.SHARPEN)) if often(camera.OFTEN) else 0.0,
        sharpen_sigma=float(generator.uniform(*camera.SHARPEN_SIGMA)),
        noise=float(generator.uniform(0, camera.NOISE)) if often(camera.OFTEN) else 0.0,
        quality=int(generator.integers(*_QUALITY)) if often(camera.OFTEN) else None,
        seed=int(generator.integers(2**32)),
    )


def apply(
    image: np.ndarray,
    mask: np.ndarray | None,
    slide: tuple[float, float, float],
    change: Microscope,
) -> np.ndarray:
    """Show an image as a microscope does, in the order of the light: cell, dye, lens, sensor, file.

    Parameters
    ----------
    image
        RGB uint8 (S, S, 3).
    mask
        Uint8 (S, S), 255 in the cell; without it the cell is neither tinted, cut nor isolated.
    slide
        Colour of the bare slide, RGB 0-255.
    change
        What was drawn.
    """
    image, mask = _moved(image, mask, change)
    density = _stained(optical_density(image, slide), mask, change)
    ground = np.asarray(slide, np.float32) * np.asarray(change.light, np.float32)
    made = np.clip(ground * np.float32(10) ** -density, 0, 255).astype(np.uint8)
    if mask is not None and mask.any():
        beyond = _beyond(mask, change)
        made[beyond] = ground
        if change.isolated:
            shown = np.where(beyond, 0, _as_masked(mask, change)).astype(np.uint8)
            made = isolated(made, shown, tuple(ground.tolist()))
    return photographed(
        made,
        resolution=change.resolution,
        blur=change.blur * len(image),
        sharpen=change.sharpen,
        sharpen_sigma=change.sharpen_sigma,
        noise=change.noise,
        quality=change.quality,
        seed=change.seed,
    )


def _turn(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


def _moved(
    image: np.ndarray, mask: np.ndarray | None, change: Microscope
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return image and mask at another magnification and place, mirrored at the border."""
    side = len(image)
    linear = np.array(change.linear).reshape(2, 2)
    middle = np.full(2, (side - 1) / 2)
    matrix = np.column_stack([linear, middle + np.array(change.shift) * side - linear @ middle])
    zoom = math.sqrt(abs(float(np.linalg.det(linear))))
    if zoom < 1:  # a warp that shrinks would skip pixels
        image = blurred(image, _ANTIALIAS * (1 / zoom - 1))
    size, mirrored = (side, side), cv2.BORDER_REFLECT_101
    made = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=mirrored)
    if mask is not None:
        mask = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_LINEAR)
    return made, mask


def _stained(density: np.ndarray, mask: np.ndarray | None, change: Microscope) -> np.ndarray:
    """Return densities, float32 (S, S, 3), in other dyes, filters and tone."""
    density = stained(density, change.mixing, change.tone)
    if mask is not None and any(change.tint):
        share = blurred(mask, 0.015 * len(mask))[..., None] / np.float32(255)
        density = density + share * np.asarray(change.tint, np.float32)
    return density


def _as_masked(mask: np.ndarray, change: Microscope) -> np.ndarray:
    """Return a mask as a segmenter elsewhere would draw it, uint8 (S, S)."""
    if change.hull:
        points = cv2.findNonZero((mask > 127).astype(np.uint8))
        if points is not None:
            mask = cv2.fillConvexPoly(np.zeros_like(mask), cv2.convexHull(points), 255)
    width = round(abs(change.margin) * len(mask))
    if not width:
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    return cv2.dilate(mask, kernel) if change.margin > 0 else cv2.erode(mask, kernel)


def _beyond(mask: np.ndarray, change: Microscope) -> np.ndarray:
    """Return what lies beyond the end of the picture, bool (S, S)."""
    if change.cut is None:
        return np.zeros(mask.shape, bool)
    direction, left = change.cut
    place = np.arange(len(mask))
    along = math.cos(direction) * place[None] + math.sin(direction) * place[:, None]
    inside = along[mask > 127]
    return along > np.quantile(inside, left) if len(inside) else np.zeros(mask.shape, bool)
