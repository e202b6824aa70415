"""Conventional augmentation: one step draws all randomness, a pure step applies it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from naturalize.imaging.slide import slide_colour
from naturalize.training import microscopes
from naturalize.training.microscopes import Microscope
from naturalize.training.settings import AugmentSettings

#: Intensities 1 to 256 on a 0–1 scale: the light that came through.
_LIGHT = (np.arange(256, dtype=np.float64) + 1) / 256

Fill = tuple[int, int, int]

_AFFINE, _BILINEAR = Image.Transform.AFFINE, Image.Resampling.BILINEAR

#: Blurs of a smaller σ, in pixels, change nothing.
_LEAST_BLUR = 0.25


@dataclass(frozen=True)
class Augmentation:
    """What is done to one image, in this order, but for ``alone``, which is before all else.

    A ``microscope`` takes the place of all of it.
    """

    flip: bool = False  #: Left–right.
    turns: int = 0  #: Right angles, counter-clockwise.
    angle: float = 0.0  #: Degrees counter-clockwise about the centre.
    zoom: float = 1.0  #: Factor.
    shift: tuple[float, float] = (0.0, 0.0)  #: (x, y) in shares of the side.
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)  #: On each channel's optical density.
    offset: float = 0.0  #: Added to all optical densities; negative is brighter.
    blur: float = 0.0  #: σ of a Gaussian, in shares of the side.
    alone: bool = False  #: Whether the cell is shown alone.
    #: RandAugment's: name, and strength from −1 to 1.
    operations: tuple[tuple[str, float], ...] = ()
    #: Another laboratory's microscope, in place of all else.
    microscope: Microscope | None = None


def draw(settings: AugmentSettings, generator: np.random.Generator) -> Augmentation:
    """Draw an augmentation; the same number of draws whatever is turned off."""
    u = generator.uniform(-1, 1, 10)
    bits = generator.integers(0, 4, 2)
    more = generator.uniform(0, 1, 3)
    seed = int(generator.integers(2**32))
    elsewhere = settings.microscopes > 0 and generator.random() < settings.microscopes
    gain = 1 + settings.stain * (0.5 * u[4] + 0.5 * u[5:8])
    return Augmentation(
        flip=bool(settings.flips and bits[0] % 2),
        turns=int(bits[1]) if settings.right_angles else 0,
        angle=float(settings.rotate * u[0]),
        zoom=float(1 + settings.zoom * u[1]),
        shift=(float(settings.shift * u[2]), float(settings.shift * u[3])),
        gain=(float(gain[0]), float(gain[1]), float(gain[2])),
        offset=float(settings.brightness * u[8]),
        blur=float(settings.blur * more[1]) if more[0] < 0.5 else 0.0,
        alone=bool(more[2] < settings.alone),
        operations=_randaugment(settings, seed),
        microscope=microscopes.draw(generator) if elsewhere else None,
    )


def _randaugment(settings: AugmentSettings, seed: int) -> tuple[tuple[str, float], ...]:
    """Draw RandAugment's operations and their directions (Cubuk et al., CVPR Workshops 2020)."""
    generator, names = np.random.default_rng(seed), list(OPERATIONS)
    chosen = generator.integers(0, len(names), settings.randaugment)
    signs = generator.choice([-1, 1], settings.randaugment)
    strength = settings.magnitude / 10
    return tuple((names[i], float(s * strength)) for i, s in zip(chosen, signs, strict=True))


def apply(image: np.ndarray, change: Augmentation) -> np.ndarray:
    """Apply an augmentation to RGB uint8 (S, S, 3).

    Without a free part, flips and right angles move pixels exactly; with one, all of it is one
    warp, mirrored at the border. It is Lanczos's: a bilinear one blurs every training image, and a
    network that saw these alone takes sharp ones for others (macro-F1 0.742 for 0.783 where it
    learnt 20 images a class at 96 px). Colour is changed in optical density, −log(light), where
    stain adds up: there, each channel is scaled and all are shifted (a table of 256 values each).
    """
    if change.angle or change.zoom != 1 or change.shift != (0.0, 0.0):
        image = _warp(image, change)
    else:
        image = image[:, ::-1] if change.flip else image
        image = np.ascontiguousarray(np.rot90(image, change.turns))
    if change.gain != (1.0, 1.0, 1.0) or change.offset:
        image = cv2.LUT(image, colour_table(change.gain, change.offset))
    if change.blur * len(image) > _LEAST_BLUR:
        image = cv2.GaussianBlur(image, (0, 0), change.blur * len(image))
    return operate(image, change.operations) if change.operations else image


def operate(image: np.ndarray, operations: Sequence[tuple[str, float]]) -> np.ndarray:
    """Apply :data:`OPERATIONS`, each at −1 to 1 times the strength of timm's "increasing" ones.

    What is moved in from outside has the colour of the image's slide.
    """
    red, green, blue = (round(value) for value in slide_colour(image))
    made = Image.fromarray(image)
    for name, strength in operations:
        made = OPERATIONS[name](made, strength, (red, green, blue))
    return np.array(made)


def _moved(image: Image.Image, fill: Fill, *matrix: float) -> Image.Image:
    return image.transform(image.size, _AFFINE, matrix, _BILINEAR, fillcolor=fill)


def _factor(strength: float) -> float:
    return max(0.1, 1 + 0.9 * strength)


#: RandAugment's operations: image, strength from −1 to 1, colour of what is moved in. How strong
#: the strongest is, is TensorFlow's and timm's choice.
OPERATIONS: dict[str, Callable[[Image.Image, float, Fill], Image.Image]] = {
    "autocontrast": lambda image, v, fill: ImageOps.autocontrast(image),
    "equalize": lambda image, v, fill: ImageOps.equalize(image),
    "invert": lambda image, v, fill: ImageOps.invert(image),
    "rotate": lambda image, v, fill: image.rotate(30 * v, _BILINEAR, fillcolor=fill),
    "posterize": lambda image, v, fill: ImageOps.posterize(image, max(1, 4 - int(4 * abs(v)))),
    "solarize": lambda image, v, fill: ImageOps.solarize(image, 256 - int(256 * abs(v))),
    "solarize_add": lambda image, v, fill: image.point(
        [min(255, i + int(110 * abs(v))) if i < 128 else i for i in range(256)] * 3
    ),
    "color": lambda image, v, fill: ImageEnhance.Color(image).enhance(_factor(v)),
    "contrast": lambda image, v, fill: ImageEnhance.Contrast(image).enhance(_factor(v)),
    "brightness": lambda image, v, fill: ImageEnhance.Brightness(image).enhance(_factor(v)),
    "sharpness": lambda image, v, fill: ImageEnhance.Sharpness(image).enhance(_factor(v)),
    "shear_x": lambda image, v, fill: _moved(image, fill, 1, 0.3 * v, 0, 0, 1, 0),
    "shear_y": lambda image, v, fill: _moved(image, fill, 1, 0, 0, 0.3 * v, 1, 0),
    "translate_x": lambda image, v, fill: _moved(
        image, fill, 1, 0, 0.45 * v * image.width, 0, 1, 0
    ),
    "translate_y": lambda image, v, fill: _moved(
        image, fill, 1, 0, 0, 0, 1, 0.45 * v * image.height
    ),
}


def _warp(image: np.ndarray, change: Augmentation) -> np.ndarray:
    height, width = image.shape[:2]
    turn = math.radians(change.angle + 90 * change.turns)
    cos, sin = change.zoom * math.cos(turn), change.zoom * math.sin(turn)
    linear = np.array([[cos, sin], [-sin, cos]])  # y points down: counter-clockwise to the eye
    if change.flip:
        linear[:, 0] = -linear[:, 0]
    centre = np.array([width - 1, height - 1]) / 2
    goal = centre + np.array(change.shift) * (width, height)
    matrix = np.column_stack([linear, goal - linear @ centre])
    return cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101
    )


def colour_table(gain: tuple[float, float, float], offset: float) -> np.ndarray:
    """Return the table (1, 256, 3), uint8, that changes optical density d to gain · d + offset."""
    density = -np.log(_LIGHT)[:, None] * np.asarray(gain) + offset
    return np.clip(np.rint(np.exp(-density) * 256 - 1), 0, 255).astype(np.uint8)[None]
