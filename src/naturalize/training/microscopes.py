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

from naturalize.imaging.slide import isolated
from naturalize.imaging.stain import optical_density

# The ranges. "Trial" is one network a value, trained on PBC cells and judged on laboratories that
# it never saw; see docs/reference/measured.md.

#: Magnification, as a factor drawn evenly by its logarithm: what remains where a set's scale is
#: measured on other cells than here (trial; the four laboratories differ by up to ± 40 %).
_ZOOM = (0.62, 1.45)
#: Stretch along one axis (natural logarithm), as a smear does, and shift in shares of the side.
_STRETCH, _SHIFT = 0.1, 0.08
#: Amount of dye, as a factor: after two laboratories' stains were matched, nuclei still differ by
#: 0.6 to 1.5.
_DENSITY = (0.55, 1.6)
#: σ of what is added to the entries of the 3 × 3 matrix that mixes the densities of red, green and
#: blue light, as cameras' filters do (trial: 0.14 and 0.2).
_MIXING = 0.15
#: Saturation as a factor, and how often there is no colour at all.
_SATURATION, _GREY = (0.5, 1.5), 0.12
#: Exponent of a tone curve on densities: cameras' own curves (gamma 0.7 to 1.4).
_TONE = (0.7, 1.4)
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
#: Resolution, as a share of the picture's, and how often it is lowered (trial: down to a quarter).
_RESOLUTION, _COARSE = 0.25, 0.6
#: Largest σ of a blur (shares of the side), largest weight of an unsharp mask and its σ in pixels,
#: largest σ of noise (levels), and how often each is there: defocus, cameras' sharpening, sensors.
_BLUR, _SHARPEN, _SHARPEN_SIGMA, _NOISE, _OFTEN = 0.02, 1.5, (0.6, 2.5), 8.0, 0.4
#: Qualities of JPEG.
_QUALITY = (25, 95)

#: σ in pixels against aliases, for each time that an image is shrunk; blurs of a smaller σ change
#: nothing.
_ANTIALIAS, _LEAST_BLUR = 0.35, 0.25

#: What is taken for grey: shares of red, green and blue density (trial).
_GREY_WEIGHTS = (0.3, 0.5, 0.2)


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
    colour = 0.0 if often(_GREY) else between(_SATURATION)
    saturation = colour * np.eye(3) + (1 - colour) * np.array([_GREY_WEIGHTS] * 3)
    mixing = saturation @ (np.eye(3) + generator.normal(0, _MIXING, (3, 3)))
    tint = generator.normal(0, _TINT, 3) + abs(generator.normal(0, _TINT / 2))
    right_angle = math.pi / 2 * int(generator.integers(4))  # a picture ends at its own border
    return Microscope(
        linear=tuple((between(_ZOOM) * linear).ravel().tolist()),
        shift=tuple(generator.uniform(-_SHIFT, _SHIFT, 2).tolist()),
        mixing=tuple((between(_DENSITY) * mixing).ravel().tolist()),
        tone=between(_TONE),
        tint=tuple(tint.tolist()) if often(_TINTED) else (0.0, 0.0, 0.0),
        light=tuple((1 + generator.uniform(-_LIGHT, _LIGHT, 3)).tolist()),
        isolated=often(_ISOLATED),
        hull=often(_HULL),
        margin=float(generator.normal(0, _MARGIN)),
        cut=(right_angle, float(generator.uniform(_LEFT, 1))) if often(_CUT) else None,
        resolution=between((_RESOLUTION, 1)) if often(_COARSE) else 1.0,
        blur=float(generator.uniform(0, _BLUR)) if often(_OFTEN) else 0.0,
        sharpen=float(generator.uniform(0, _SHARPEN)) if often(_OFTEN) else 0.0,
        sharpen_sigma=float(generator.uniform(*_SHARPEN_SIGMA)),
        noise=float(generator.uniform(0, _NOISE)) if often(_OFTEN) else 0.0,
        quality=int(generator.integers(*_QUALITY)) if often(_OFTEN) else None,
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
    return _photographed(made, change)


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
        image = _blurred(image, _ANTIALIAS * (1 / zoom - 1))
    size, mirrored = (side, side), cv2.BORDER_REFLECT_101
    made = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=mirrored)
    if mask is not None:
        mask = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_LINEAR)
    return made, mask


def _stained(density: np.ndarray, mask: np.ndarray | None, change: Microscope) -> np.ndarray:
    """Return densities, float32 (S, S, 3), in other dyes, filters and tone."""
    density = density @ np.asarray(change.mixing, np.float32).reshape(3, 3).T
    density = np.sign(density) * np.abs(density) ** np.float32(change.tone)
    if mask is not None and any(change.tint):
        share = _blurred(mask, 0.015 * len(mask))[..., None] / np.float32(255)
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


def _photographed(image: np.ndarray, change: Microscope) -> np.ndarray:
    """Return RGB uint8 as lens, sensor and file give it."""
    side = len(image)
    if change.resolution < 1:
        few = max(8, round(side * change.resolution))
        image = cv2.resize(image, (few, few), interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    image = _blurred(image, change.blur * side)
    if change.sharpen:
        without = _blurred(image, change.sharpen_sigma)
        image = cv2.addWeighted(image, 1 + change.sharpen, without, -change.sharpen, 0)
    if change.noise:
        generator = np.random.default_rng(change.seed)
        grain = generator.standard_normal(image.shape, np.float32)
        image = np.clip(image + change.noise * grain, 0, 255).astype(np.uint8)
    if change.quality is not None:
        bgr = np.ascontiguousarray(image[..., ::-1])
        coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, change.quality])[1]
        image = cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)  # type: ignore[arg-type]
    return image


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma > _LEAST_BLUR else image
