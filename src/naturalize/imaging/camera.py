"""A stained picture as another stain, microscope and camera would show it: one pure step.

Dyes and filters mix optical densities, a camera's curve bends them, a lamp and a lens light the
slide unevenly, optics blur, a sensor samples and adds noise, firmware sharpens.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np

from naturalize.base.errors import SettingsError
from naturalize.imaging.stain import optical_density

# The ranges, as far as training (`naturalize.training.microscopes`) and composed fields share them.
# "Trial" is one network a value, trained on PBC cells and judged on laboratories that it never saw;
# see docs/reference/measured.md.

#: Amount of dye, as a factor: after two laboratories' stains were matched, nuclei still differ by
#: 0.6 to 1.5.
DENSITY = (0.55, 1.6)
#: σ of what is added to the entries of the 3 × 3 matrix that mixes the densities of red, green and
#: blue light, as cameras' filters do (trial: 0.14 and 0.2).
MIXING = 0.15
#: Saturation as a factor.
SATURATION = (0.5, 1.5)
#: Exponent of a tone curve on densities: cameras' own curves (gamma 0.7 to 1.4).
TONE = (0.7, 1.4)
#: Resolution, as a share of the picture's (trial: down to a quarter).
RESOLUTION = (0.25, 1.0)
#: Largest weight of an unsharp mask and its σ in pixels, largest σ of noise (levels), and how often
#: each is there: cameras' sharpening, sensors.
SHARPEN, SHARPEN_SIGMA, NOISE, OFTEN = 1.5, (0.6, 2.5), 8.0, 0.4

#: What is taken for grey: shares of red, green and blue density (trial).
GREY_WEIGHTS = (0.3, 0.5, 0.2)

#: σ in pixels of blurs that change nothing.
_LEAST_BLUR = 0.25

#: All levels, in three channels.
_LEVELS = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)

#: Identity of the densities' mixing, row-major.
_AS_IT_IS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Camera:
    """How a picture is shown; numbers are kept as float32, so that a table holds them exactly.

    ``SettingsError`` for what cannot be shown.
    """

    #: Row-major 3 × 3: new optical densities (red, green, blue) from old ones.
    mixing: tuple[float, ...] = _AS_IT_IS
    tone: float = 1.0  #: Exponent on densities.
    light: tuple[float, ...] = (1.0, 1.0, 1.0)  #: Factor on the slide's light.
    #: Share of light that is gained to the right and downwards, from the middle to the shorter
    #: side's end.
    slope: tuple[float, ...] = (0.0, 0.0)
    #: Share of light that is lost at the corners, with the square of the distance from ``middle``:
    #: off the picture's, in halves of its sides.
    vignette: float = 0.0
    middle: tuple[float, ...] = (0.0, 0.0)
    resolution: float = 1.0  #: Pixels of the sensor to one of the picture.
    blur: float = 0.0  #: σ of a Gaussian in pixels.
    sharpen: float = 0.0  #: Weight of an unsharp mask.
    sharpen_sigma: float = 1.0  #: Its σ in pixels.
    noise: float = 0.0  #: σ in levels.
    seed: int = 0  #: Of the noise.

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            lengths = len(value) if isinstance(value, tuple) else 0
            wanted = len(one.default) if isinstance(one.default, tuple) else 0
            numbers = np.array(value, np.float64)
            if lengths != wanted or not np.isfinite(numbers).all():
                raise SettingsError(f"camera {one.name}: expected {one.default!r} or like it")
            if one.name != "seed":
                kept = (numbers.astype(np.float32) + np.float32(0)).tolist()
                object.__setattr__(self, one.name, tuple(kept) if wanted else kept)
        least = (self.tone, self.resolution, self.sharpen_sigma, *self.light)
        amounts = (self.blur, self.sharpen, self.noise, self.vignette, self.seed)
        if min(least) <= 0 or min(amounts) < 0 or self.resolution > 1 or self.vignette >= 1:
            raise SettingsError(
                "camera: expected tone, light, resolution and sharpen_sigma above 0, resolution 1 "
                "at most, vignette below 1, and blur, sharpen, noise and seed of 0 or more"
            )

    def packed(self) -> bytes:
        """Return its content, little-endian."""
        numbers = [np.ravel(getattr(self, one.name)) for one in fields(self) if one.name != "seed"]
        return np.concatenate(numbers).astype("<f4").tobytes() + self.seed.to_bytes(8, "little")


def show(
    image: np.ndarray, slide: tuple[float, float, float], camera: Camera, factor: float = 1.0
) -> np.ndarray:
    """Return RGB uint8 (H, W, 3) as a camera shows it.

    ``slide``: colour of the bare slide; ``factor``: pixels of ``image`` to one of the picture that
    the camera's lengths are meant for.
    """
    density = cv2.LUT(image, optical_density(_LEVELS, slide)[None])
    density = stained(density, camera.mixing, camera.tone)
    ground = np.asarray(slide, np.float32) * np.asarray(camera.light, np.float32)
    light = ground * cv2.exp(density * np.float32(-np.log(10)))
    if camera.vignette or any(camera.slope):
        light = light * _lit(image.shape, camera)[..., None]
    made = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    return photographed(
        made,
        resolution=camera.resolution,
        blur=camera.blur * factor,
        sharpen=camera.sharpen,
        sharpen_sigma=camera.sharpen_sigma * factor,
        noise=camera.noise,
        seed=camera.seed,
    )


def _lit(shape: tuple[int, ...], camera: Camera) -> np.ndarray:
    """Return the share of light at each pixel, float32 (H, W)."""
    height, width = shape[:2]
    half = min(height, width) / 2
    x = ((np.arange(width) + 0.5 - width / 2) / half).astype(np.float32)
    y = ((np.arange(height) + 0.5 - height / 2) / half).astype(np.float32)
    corner = (width * width + height * height) / (4 * half * half)
    away_x = (x - camera.middle[0] * width / 2 / half) ** 2
    away_y = (y - camera.middle[1] * height / 2 / half) ** 2
    light = 1 + camera.slope[0] * x[None] + camera.slope[1] * y[:, None]
    lost = camera.vignette / corner * (away_x[None] + away_y[:, None])
    return np.maximum(light * np.maximum(1 - lost, 0.05), 0.05).astype(np.float32)


def stained(density: np.ndarray, mixing: tuple[float, ...], tone: float) -> np.ndarray:
    """Return densities, float32 (H, W, 3), in other dyes, filters and tone."""
    density = cv2.transform(density, np.asarray(mixing, np.float32).reshape(3, 3))
    return density if tone == 1 else np.copysign(cv2.pow(np.abs(density), tone), density)


def photographed(
    image: np.ndarray,
    *,
    resolution: float = 1.0,
    blur: float = 0.0,
    sharpen: float = 0.0,
    sharpen_sigma: float = 1.0,
    noise: float = 0.0,
    quality: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Return RGB uint8 (H, W, 3) as lens, sensor and file give it; arguments as of `Camera`.

    ``quality``: of a JPEG; none without it.
    """
    height, width = image.shape[:2]
    if resolution < 1:
        few = max(8, round(width * resolution)), max(8, round(height * resolution))
        image = cv2.resize(image, few, interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    image = blurred(image, blur)
    if sharpen:
        without = blurred(image, sharpen_sigma)
        image = cv2.addWeighted(image, 1 + sharpen, without, -sharpen, 0)
    if noise:
        grain = np.random.default_rng(seed).standard_normal(image.shape, np.float32)
        image = np.clip(image + noise * grain, 0, 255).astype(np.uint8)
    if quality is not None:
        bgr = np.ascontiguousarray(image[..., ::-1])
        coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)  # type: ignore[arg-type]
    return image


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return an image (H, W, …) blurred by a Gaussian, as it is where that would change nothing."""
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma > _LEAST_BLUR else image


#: Of whole fields: how bright a slide is (levels), σ of its tint as a share, most light that a
#: slope and a vignette take, largest σ of a blur in pixels at the magnification of PBC, resolution,
#: the noise that even the best camera has, and the mixing: two thirds of that of single cells, with
#: which red cells often were green (by eye).
_BRIGHT, _TINT, _SLOPE, _VIGNETTE, _FIELD_BLUR = (165.0, 250.0), 0.05, 0.1, 0.35, 2.5
_FIELD_RESOLUTION, _LEAST_NOISE, _FIELD_MIXING = (0.5, 1.0), 1.0, 0.1


def field_camera(
    generator: np.random.Generator, slide: tuple[float, ...], amount: float, scale: float
) -> Camera:
    """Draw how a field is shown.

    ``slide``: colour of its bare slide; ``amount``: 0 (as it is) to 1 (as far off as laboratories
    are); ``scale``: pixels of the field to one of PBC's.
    """

    def often(share: float) -> float:
        return amount if generator.random() < share else 0.0

    def between(ends: tuple[float, float]) -> float:
        return float(np.exp(amount * generator.uniform(*np.log(ends))))

    colour = between(SATURATION)
    saturation = colour * np.eye(3) + (1 - colour) * np.array([GREY_WEIGHTS] * 3)
    mixing = saturation @ (np.eye(3) + amount * generator.normal(0, _FIELD_MIXING, (3, 3)))
    tint = np.exp(generator.normal(0, _TINT, 3))
    other = np.clip(generator.uniform(*_BRIGHT) * tint, 1, 253)
    light = (other / np.maximum(slide, 1)) ** amount
    angle, slope = generator.uniform(0, 2 * np.pi), generator.uniform(0, _SLOPE) * often(0.5)
    sharpened = often(OFTEN)
    return Camera(
        mixing=tuple((between(DENSITY) * mixing).ravel().tolist()),
        tone=between(TONE),
        light=tuple(light.tolist()),
        slope=(slope * float(np.cos(angle)), slope * float(np.sin(angle))),
        vignette=float(generator.uniform(0, _VIGNETTE)) * often(0.5),
        middle=tuple(generator.uniform(-0.4, 0.4, 2).tolist()),
        resolution=between(_FIELD_RESOLUTION) if often(OFTEN) else 1.0,
        blur=float(generator.uniform(0, _FIELD_BLUR)) * scale * often(0.6),
        sharpen=float(generator.uniform(0, SHARPEN)) * sharpened,
        sharpen_sigma=float(generator.uniform(*SHARPEN_SIGMA)),
        noise=_LEAST_NOISE + float(generator.uniform(0, NOISE)) * often(OFTEN),
        seed=int(generator.integers(2**32)),
    )
