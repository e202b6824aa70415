"""Conventional augmentation: one step draws all randomness, a pure step applies it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from naturalize.training.policy import Policy, randaugment
from naturalize.training.settings import AugmentSettings

#: Intensities 1 to 256 on a 0–1 scale: the light that came through.
_LIGHT = (np.arange(256, dtype=np.float64) + 1) / 256

#: Blurs of a smaller σ, in pixels, change nothing.
_LEAST_BLUR = 0.25


@dataclass(frozen=True)
class Augmentation:
    """What is done to one image.

    Attributes
    ----------
    flip
        Left–right, before all else.
    turns
        Right angles, counter-clockwise.
    angle, zoom, shift
        Then: degrees counter-clockwise about the centre, factor, (x, y) in shares of the side.
    gain
        Factor on the optical density of each channel (R, G, B).
    offset
        Added to all optical densities; negative is brighter.
    blur
        σ of a Gaussian, in shares of the side.
    alone
        Whether the cell is shown alone (what is done before all else).
    policy
        RandAugment's operations, done after all else.
    """

    flip: bool = False
    turns: int = 0
    angle: float = 0.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: float = 0.0
    blur: float = 0.0
    alone: bool = False
    policy: Policy | None = None


def draw(settings: AugmentSettings, generator: np.random.Generator) -> Augmentation:
    """Draw an augmentation; the same number of draws whatever is turned off."""
    u = generator.uniform(-1, 1, 10)
    bits = generator.integers(0, 4, 2)
    more = generator.uniform(0, 1, 3)
    seed = int(generator.integers(2**32))
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
        policy=Policy(settings.randaugment, settings.magnitude, seed)
        if settings.randaugment
        else None,
    )


def apply(image: np.ndarray, change: Augmentation) -> np.ndarray:
    """Apply an augmentation.

    Without a free part, flips and right angles move pixels exactly; with one, all of it is one
    bilinear warp, mirrored at the border. Colour is changed in optical density, −log(light), where
    stain adds up: there, each channel is scaled and all are shifted (a table of 256 values each).

    Parameters
    ----------
    image
        RGB uint8 (S, S, 3).

    Returns
    -------
    numpy.ndarray
        RGB uint8 (S, S, 3), contiguous.
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
    return image if change.policy is None else randaugment(image, change.policy)


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
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )


def colour_table(gain: tuple[float, float, float], offset: float) -> np.ndarray:
    """Return the table (1, 256, 3), uint8, that changes optical density d to gain · d + offset."""
    density = -np.log(_LIGHT)[:, None] * np.asarray(gain) + offset
    return np.clip(np.rint(np.exp(-density) * 256 - 1), 0, 255).astype(np.uint8)[None]
