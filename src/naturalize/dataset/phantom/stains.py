"""Colour as optical density: dyes, their variation between slides, light and camera.

Every dye is a vector of optical densities (natural logarithm, R, G, B) at unit amount, measured by
eye on May Grünwald-Giemsa smears against a background of (255, 229, 203). Densities add
(Beer-Lambert), so the red of a red cell shows through where two lie over each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from naturalize.dataset.phantom.shapes import smooth_noise

#: Colour of the empty slide, RGB.
BACKGROUND = (254.0, 229.0, 203.0)

_DYES = {
    "chromatin": (1.35, 2.36, 0.42),
    "rna": (0.52, 0.43, 0.10),
    "cytoplasm": (0.13, 0.20, 0.07),
    "azure": (0.62, 1.36, 0.46),
    "eosin": (0.21, 0.60, 0.52),
    "basophilic": (1.10, 2.20, 0.58),
    "haemoglobin": (0.185, 0.275, 0.165),
}


#: One slide's dyes: name → optical density at unit amount, float32 (3,).
Stain = dict[str, np.ndarray]


def draw_stain(draw: np.random.Generator) -> Stain:
    """Draw the dyes of a slide: overall strength, a blue-red shift (buffer pH), each one's own."""
    strength = draw.lognormal(0, 0.10)
    shift = np.exp(draw.normal(0, 0.07) * np.array([1.0, -0.35, -0.6]))
    dyes = {}
    for name, vector in _DYES.items():
        own = draw.lognormal(0, 0.10) * draw.lognormal(0, 0.045, 3)
        dyes[name] = (np.array(vector) * strength * shift * own).astype(np.float32)
    return dyes


@dataclass(frozen=True)
class Light:
    """Light and camera of a photograph; blur in field pixels, noise in grey levels."""

    colour: np.ndarray
    slope: tuple[float, float]
    bow: float
    blur: float
    noise: float


def draw_light(draw: np.random.Generator) -> Light:
    """Draw light, focus and noise of one photograph."""
    colour = np.array(BACKGROUND) * draw.lognormal(0, 0.012) * draw.lognormal(0, 0.012, 3)
    angle, amount = draw.uniform(0, 2 * np.pi), abs(draw.normal(0, 0.012))
    blur = 0.35 + draw.gamma(1.2, 0.22)
    return Light(
        colour=colour.astype(np.float32),
        slope=(amount * np.cos(angle), amount * np.sin(angle)),
        bow=draw.uniform(0, 0.016),
        blur=float(blur),
        noise=float(draw.uniform(0.8, 2.4)),
    )


def expose(
    density: np.ndarray, light: Light, scale: float, draw: np.random.Generator
) -> np.ndarray:
    """Return the photograph of optical densities float32 (H, W, 3) as RGB uint8 (H, W, 3)."""
    height, width = density.shape[:2]
    picture: np.ndarray = cv2.exp(-density)
    picture *= light.colour
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    field = 1 + light.slope[0] * across + light.slope[1] * down
    field = field - np.float32(light.bow) * (across * across + down * down)
    field *= 1 + np.float32(0.004) * smooth_noise(draw, (height, width), 60 * scale)
    picture *= field.astype(np.float32)[:, :, None]
    picture = cv2.GaussianBlur(picture, (0, 0), max(0.25, light.blur * scale))
    grain: np.ndarray = draw.standard_normal((height, width, 3), dtype=np.float32)
    # the camera interpolates its colour mosaic, so neighbouring pixels share some noise
    grain = cv2.GaussianBlur(grain, (0, 0), 0.6)
    picture = picture + grain * np.float32(1.6 * light.noise)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
