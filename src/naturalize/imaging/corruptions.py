"""What microscopes, stains and cameras do to an image: ten corruptions in five strengths.

The design is that of Hendrycks & Dietterich (ICLR 2019), the corruptions are those of a blood smear
under a microscope. All draws are named by seed and key, and are the same at every strength: the
direction, the places and the sizes stay, only the amount grows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from naturalize.base.errors import InputError, SettingsError, unknown
from naturalize.base.images import decode_image, encode_image
from naturalize.base.rng import rng
from naturalize.base.sheets import labelled_rows
from naturalize.imaging.slide import slide_colour
from naturalize.imaging.stain import gain_table, optical_density, rounded

#: Strengths; 0 is the image itself.
STRENGTHS = (1, 2, 3, 4, 5)

#: What the shorter side of an image shows, in µm: PBC's 360 pixels, where red cells of 7.5 µm are
#: 75 pixels wide. Lengths scale with the image.
_FIELD = 36.0
#: Blur circle's radius over defocus: tan(arcsin(NA / n)) of a 100 × / 1.25 oil objective, n 1.515.
_CONE = math.tan(math.asin(1.25 / 1.515))
#: Points along a blur; enough for images of 2,000 pixels.
_POINTS = 161
#: Second radiation constant in µm K (CODATA), and wavelengths in µm of a camera's red, green, blue.
_C2, _WAVES = 14_387.77, (0.60, 0.54, 0.45)
#: Exponent of a camera's values over light (IEC 61966-2-1, sRGB, about).
_GAMMA = 2.2
#: Exponents of the factor on the densities of red, green and blue light: a stain that is stronger,
#: weaker, too acid (eosin, which absorbs green, prevails) or too alkaline (azure, red).
_STAINS = ((1.0, 1.0, 1.0), (-1.0, -1.0, -1.0), (-0.5, 0.5, 0.5), (0.5, -0.5, -0.5))
#: σ in pixels against aliases for each time that an image is shrunk.
_ANTIALIAS = 0.35
#: Stain deposit: radii in µm, optical density in red, green and blue, and σ of its edge in µm
#: (chosen by eye).
_GRAIN, _GRAIN_DENSITY, _GRAIN_EDGE = (0.2, 0.55), (0.75, 0.95, 0.45), 0.08
#: Dust: radii of specks, lengths and width of fibres and σ of their edge in µm (it lies out of
#: focus), density in any light, and one in so many is a fibre (chosen by eye).
_SPECK, _FIBRE, _FIBRE_WIDTH, _DUST_EDGE = (0.8, 2.2), (6.0, 14.0), 0.45, 0.35
_DUST_DENSITY, _FIBRES = 0.35, 3
#: Bubble: distance of its middle from the image's and σ of the blur inside in µm, share of the
#: slide's light that veils it, density of its rim and the rim's width as a share of the radius
#: (chosen by eye).
_BUBBLE_AWAY, _BUBBLE_BLUR, _VEIL, _RIM_DENSITY, _RIM = 11.0, 0.6, 0.3, 0.5, 0.08


@dataclass(frozen=True)
class Corruption:
    """One corruption: what happens, the amount at each strength, and where the amounts are from.

    ``apply`` takes RGB uint8 (H, W, 3), an amount and a generator.
    """

    what: str
    amount: str
    amounts: tuple[float, ...]
    origin: str
    apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def corrupt(
    image: np.ndarray, name: str, strength: int, *, seed: int = 0, key: str = ""
) -> np.ndarray:
    """Return an image under one of `CORRUPTIONS`, RGB uint8 (H, W, 3), never the array itself.

    Parameters
    ----------
    image
        RGB uint8 (H, W, 3).
    name, strength
        Which corruption; 1 to 5, or 0 for the image as it is.
    seed, key
        Name the draws; ``key`` is that of the image, such as its id.

    Raises
    ------
    InputError
        If the image is of another type or shape.
    SettingsError
        For a name or a strength that does not exist.

    Examples
    --------
    >>> grey = np.full((36, 36, 3), 100, np.uint8)
    >>> sorted(int(corrupt(grey, "exposure", 4, seed=s)[0, 0, 0]) for s in (0, 2))
    [79, 127]
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f"corrupt: expected RGB uint8 (H, W, 3), got {image.dtype} {image.shape}")
    if name not in CORRUPTIONS:
        raise unknown("corruption", name, list(CORRUPTIONS))
    if strength not in (0, *STRENGTHS):
        raise SettingsError(f"strength: expected 0 to {STRENGTHS[-1]}, got {strength}")
    if strength == 0:
        return image.copy()
    one = CORRUPTIONS[name]
    image = np.ascontiguousarray(image)
    return one.apply(image, one.amounts[strength - 1], rng(seed, "corruption", name, key))


def corruption_sheet(image: np.ndarray, *, seed: int = 0, tile: int = 128) -> np.ndarray:
    """Return an image under all corruptions, a row each, from strength 0 to 5; RGB uint8."""
    rows = {
        name: [corrupt(image, name, strength, seed=seed) for strength in (0, *STRENGTHS)]
        for name in CORRUPTIONS
    }
    return labelled_rows(rows, tile=tile)


def _pixels(image: np.ndarray, micrometres: float) -> float:
    return micrometres * min(image.shape[:2]) / _FIELD


def _sign(draw: np.random.Generator) -> int:
    return 1 if draw.random() < 0.5 else -1


def _spread(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spread each pixel evenly over points, (K,), around it; each falls on the four nearest."""
    reach = math.ceil(max(np.abs(x).max(), np.abs(y).max())) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for dx, dy in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = np.abs(1 - dx - (x - left)) * np.abs(1 - dy - (y - top))
        np.add.at(kernel, (reach + top + dy, reach + left + dx), share / len(x))
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)


def _defocus(image: np.ndarray, amount: float, draw: np.random.Generator) -> np.ndarray:
    """Spread each point over a disc, as a lens away from its focus does (geometric optics)."""
    place = np.linspace(-1, 1, _POINTS)
    x, y = (plane.ravel() for plane in np.meshgrid(place, place))
    inside = np.hypot(x, y) <= 1
    radius = _pixels(image, _CONE * amount)
    return _spread(image, radius * x[inside], radius * y[inside])


def _motion(image: np.ndarray, amount: float, draw: np.random.Generator) -> np.ndarray:
    """Spread each point over a line."""
    angle = draw.uniform(0, math.pi)
    along = _pixels(image, amount) * np.linspace(-0.5, 0.5, _POINTS)
    return _spread(image, along * math.cos(angle), along * math.sin(angle))


def _exposure(image: np.ndarray, amount: float, draw: np.random.Generator) -> np.ndarray:
    return _lit(image, np.full(3, 2.0 ** (_sign(draw) * amount)))


def _white_balance(image: np.ndarray, amount: float, draw: np.random.Generator) -> np.ndarray:
    """Change the lamp's colour temperature by Wien's law, at the same green."""
    away = 1 / np.array(_WAVES) - 1 / _WAVES[1]
    return _lit(image, np.exp(_sign(draw) * _C2 * away * amount * 1e-6))


def _lit(image: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Return an image in a light that is ``gain``, (3,), times as strong."""
    return cv2.LUT(image, rounded(gain_table(gain ** (1 / _GAMMA))))


def _stain(image: np.ndarray, amount: float, draw: np.random.Generator) -> np.ndarray:
    """Scale the optical densities over the bare slide, whose colour stays."""
    factor = amount ** np.array(_STAINS[int(draw.integers(len(_STAINS)))])
    slide = slide_colour(image)
    levels = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    light = np.maximum(slide, 1) * 10.0 ** -(factor * optical_density(levels, slide, np.float64))
    return cv2.LUT(image, rounded(light[None]))


def _jpeg(image: np.ndarray, amount: float, draw: np.random.Generator) -> np.ndarray:
    return decode_image(encode_image(image, "jpeg", quality=int(amount)))[0]


def _scale(image: np.ndarray, amount: float, draw: np.random.Generator) -> np.ndarray:
    """Magnify about the middle, or shrink, mirrored at the border."""
    height, width = image.shape[:2]
    zoom = amount ** _sign(draw)
    if zoom < 1:  # a warp that shrinks would skip pixels
        image = cv2.GaussianBlur(image, (0, 0), max(0.1, _ANTIALIAS * (1 / zoom - 1)))
    x, y = (width - 1) / 2, (height - 1) / 2
    matrix = np.array([[zoom, 0, x - zoom * x], [0, zoom, y - zoom * y]])
    size, mirrored = (width, height), cv2.BORDER_REFLECT_101
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=mirrored)


def _deposit(image: np.ndarray, amount: float, draw: np.random.Generator) -> np.ndarray:
    """Lay granules of stain on the image."""
    cover = np.zeros(image.shape[:2], np.uint8)
    grains = draw.random((int(CORRUPTIONS["deposit"].amounts[-1]), 3))
    for x, y, size in grains[: int(amount)]:
        _disc(cover, x, y, _pixels(image, _between(_GRAIN, size)))
    return _darkened(image, _soft(image, cover, _GRAIN_EDGE), _GRAIN_DENSITY)


def _dust(image: np.ndarray, amount: float, draw: np.random.Generator) -> np.ndarray:
    """Lay specks and bent fibres on the image, out of focus."""
    cover = np.zeros(image.shape[:2], np.uint8)
    specks = draw.random((int(CORRUPTIONS["dust"].amounts[-1]), 5))
    for number, (x, y, size, turn, bend) in enumerate(specks[: int(amount)], start=1):
        if number % _FIBRES:
            _disc(cover, x, y, _pixels(image, _between(_SPECK, size)))
            continue
        length, angle = _pixels(image, _between(_FIBRE, size)), 2 * math.pi * turn
        along = np.linspace(-0.5, 0.5, 16)
        line = length * np.stack([along, (bend - 0.5) * (1 - 4 * along**2)], axis=1)
        cos, sin = math.cos(angle), math.sin(angle)
        line = line @ [[cos, sin], [-sin, cos]] + [x * image.shape[1], y * image.shape[0]]
        thick = max(1, round(_pixels(image, _FIBRE_WIDTH)))
        points = [np.rint(16 * line).astype(np.int32)]
        cv2.polylines(cover, points, False, 255, thick, cv2.LINE_AA, 4)
    return _darkened(image, _soft(image, cover, _DUST_EDGE), (_DUST_DENSITY,) * 3)


def _bubble(image: np.ndarray, amount: float, draw: np.random.Generator) -> np.ndarray:
    """Lay a round bubble on the image: blurred and veiled inside, dark at the rim."""
    height, width = image.shape[:2]
    angle = draw.uniform(0, 2 * math.pi)
    away, radius = _pixels(image, _BUBBLE_AWAY), _pixels(image, amount)
    x, y = width / 2 + away * math.cos(angle), height / 2 + away * math.sin(angle)
    across, down = np.arange(width, dtype=np.float32) - x, np.arange(height)[:, None] - y
    off = np.hypot(across, down).astype(np.float32) - np.float32(radius)
    inside = np.clip(0.5 - off, 0, 1)[..., None]
    blurred = cv2.GaussianBlur(image, (0, 0), max(0.1, _pixels(image, _BUBBLE_BLUR)))
    ground = np.array(slide_colour(image), np.float32)
    veiled = np.float32(1 - _VEIL) * blurred + np.float32(_VEIL) * ground
    rim = np.exp(-((off / max(0.5, _RIM * radius)) ** 2))
    return _darkened(image + inside * (veiled - image), rim, (_RIM_DENSITY,) * 3)


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + share * (ends[1] - ends[0])


def _disc(cover: np.ndarray, x: float, y: float, radius: float) -> None:
    """Draw a disc in a sixteenth of a pixel; ``x`` and ``y`` in shares of the sides."""
    height, width = cover.shape
    middle = (round(16 * x * width), round(16 * y * height))
    cv2.circle(cover, middle, max(8, round(16 * radius)), 255, -1, cv2.LINE_AA, 4)


def _soft(image: np.ndarray, cover: np.ndarray, edge: float) -> np.ndarray:
    """Return how much of each pixel is covered, 0 to 1, float32 (H, W), with an edge of σ (µm)."""
    sigma = max(0.1, _pixels(image, edge))
    return cv2.GaussianBlur(cover.astype(np.float32) / 255, (0, 0), sigma)


def _darkened(image: np.ndarray, cover: np.ndarray, density: tuple[float, ...]) -> np.ndarray:
    """Return RGB uint8 with so much density added where it is covered."""
    light = image * np.float32(10) ** -(cover[..., None] * np.array(density, np.float32))
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


#: Name → corruption, in the order of the light. Where the origin says "by eye": 1 is hardly seen,
#: and at 5 the image would be taken again.
CORRUPTIONS: dict[str, Corruption] = {
    "stain": Corruption(
        "more or less of both dyes, or a buffer too acid or too alkaline",
        "factor on optical densities",
        (1.1, 1.2, 1.3, 1.45, 1.6),
        "nuclei of other laboratories differ by 0.6 to 1.5 after matching (as augmentation's)",
        _stain,
    ),
    "deposit": Corruption(
        "granules of precipitated stain on the smear",
        "granules in a field of 36 µm",
        (5, 12, 25, 50, 100),
        "by eye",
        _deposit,
    ),
    "bubble": Corruption(
        "an air bubble in the oil, off the middle",
        "radius in µm",
        (4.0, 6.5, 9.0, 12.0, 15.0),
        "by eye: it reaches the middle from 3 on",
        _bubble,
    ),
    "defocus": Corruption(
        "the smear out of the focal plane",
        "distance in µm",
        (0.1, 0.2, 0.4, 0.7, 1.0),
        "blur circle of a 1.25 oil objective, whose depth of field is λn / NA² = 0.5 µm",
        _defocus,
    ),
    "motion": Corruption(
        "the stage moves during exposure",
        "way in µm",
        (0.4, 0.8, 1.3, 2.0, 3.0),
        "speed times exposure: 100 µm/s in 4 to 30 ms",
        _motion,
    ),
    "scale": Corruption(
        "another objective, adapter or camera",
        "magnification, or one over it",
        (1.05, 1.1, 1.2, 1.3, 1.45),
        "four laboratories differ by up to ± 40 % (as augmentation's)",
        _scale,
    ),
    "white balance": Corruption(
        "a lamp warmer or colder than the camera is set to",
        "mired",
        (10, 20, 40, 60, 90),
        "Wien's law; 5.5 mired is the least that is seen (Judd, J. Opt. Soc. Am. 23:7, 1933)",
        _white_balance,
    ),
    "exposure": Corruption(
        "too much or too little light",
        "stops",
        (0.15, 0.3, 0.5, 0.75, 1.0),
        "cameras step by thirds of a stop",
        _exposure,
    ),
    "dust": Corruption(
        "specks and fibres on the cover glass or the camera, out of focus",
        "specks in the field",
        (1, 2, 4, 7, 12),
        "by eye",
        _dust,
    ),
    "JPEG": Corruption(
        "a file compressed too much",
        "quality, colour at half resolution",
        (75, 50, 30, 18, 10),
        "from libjpeg's usual quality to Hendrycks & Dietterich's fourth strength",
        _jpeg,
    ),
}
