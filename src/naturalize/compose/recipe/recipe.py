"""A composite as data: which cells, where, how, on what, and how the picture is finished."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from naturalize.base.errors import SettingsError, unknown
from naturalize.compose.recipe.fields import PLAIN, SCHEMA

__all__ = ["SCHEMA", "Background", "Finish", "Placement", "Recipe"]

#: Ways a composite may be finished.
CODECS = ("none", "jpeg", "png")

#: How a cell that is not set on whole pixels is resampled; the position is the code in columns.
KERNELS = ("linear", "cubic", "lanczos")

#: Widest feather in pixels; half of it lies outside the cell, where patches have 3 pixels to show.
MAX_FEATHER = 6.0

#: What a number of a placement may be: smallest, largest.
LIMITS = {
    "feather": (0.0, MAX_FEATHER),
    "aspect": (0.5, 2.0),
    "elastic": (0.0, 4.0),
    "blur": (0.0, 4.0),
    "grain": (0.0, 1.0),
    "stain_scale": (0.25, 4.0),
}

#: Seeds of elastic changes are below this.
MAX_SEED = 2**31

_FLOAT = struct.Struct("<f")
#: The numbers of a placement as they are hashed: cx cy angle scale, three stains, feather.
NUMBERS = struct.Struct("<8f")
#: Those that came after version 1: aspect elastic blur grain, three stain scales; seed, kernel.
VARIED = struct.Struct("<7f")
CHOSEN = struct.Struct("<2i")


def as_float32(value: float) -> float:
    """Return ``value`` as the Parquet table will keep it; −0 becomes 0, NaN and ∞ are refused."""
    rounded: float = _FLOAT.unpack(_FLOAT.pack(value))[0] + 0.0
    if not math.isfinite(rounded):
        raise SettingsError(f"a recipe's numbers must be finite, got {value}")
    return rounded


@dataclass(frozen=True)
class Placement:
    """One cell on the canvas.

    Attributes
    ----------
    cell_id, image_id, kind
        The cell of the bank, its parent image, and what it is (``wbc``, ``rbc``, ``platelet``).
    cx, cy
        Centre of the cell's box on the canvas in pixels; the canvas begins at 0, 0.
    angle
        Degrees counter-clockwise, after the flip.
    flip
        Left–right, before the rotation.
    scale
        Size on the canvas / size in the parent.
    stain
        Added to the optical density (decadic, of 255) of red, green and blue.
    blend
        Name in :data:`naturalize.compose.paint.blend.BLENDS`.
    feather
        Width of the soft edge in pixels of the canvas, 0 to 6.
    aspect
        Width / height of what was square in the parent, before any turn; the area stays.
    elastic, elastic_seed
        Root mean square of a smooth displacement in pixels of the parent, 0 to 4, and the seed of
        its pattern.
    kernel
        How it is resampled, where it has to be: one of :data:`KERNELS`.
    blur
        Standard deviation in pixels of the canvas of a Gaussian over the cell's colours, 0 to 4.
    grain
        Share, 0 to 1, of the fine grain lost in resampling that is put back.
    stain_scale
        Factor on the optical density of red, green and blue, before ``stain`` is added.
    """

    cell_id: str
    image_id: str
    kind: str
    cx: float
    cy: float
    angle: float = 0.0
    flip: bool = False
    scale: float = 1.0
    stain: tuple[float, float, float] = (0.0, 0.0, 0.0)
    blend: str = "hard"
    feather: float = 0.0
    aspect: float = 1.0
    elastic: float = 0.0
    elastic_seed: int = 0
    kernel: str = "linear"
    blur: float = 0.0
    grain: float = 0.0
    stain_scale: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        keep = object.__setattr__
        for name in ("cx", "cy", "angle", "scale", "feather", "aspect", "elastic", "blur", "grain"):
            keep(self, name, as_float32(getattr(self, name)))
        for name in ("stain", "stain_scale"):
            values = tuple(as_float32(value) for value in getattr(self, name))
            if len(values) != 3:
                raise SettingsError(f"{name}: expected 3 numbers, got {len(values)}")
            keep(self, name, values)
        if self.scale <= 0:
            raise SettingsError(f"scale: expected more than 0, got {self.scale}")
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(low <= number <= high for number in numbers):
                raise SettingsError(f"{name}: expected {low:g} to {high:g}, got {value}")
        if self.kernel not in KERNELS:
            raise unknown("kernel", self.kernel, list(KERNELS))
        if not 0 <= self.elastic_seed < MAX_SEED:
            raise SettingsError(
                f"elastic_seed: expected 0 to {MAX_SEED - 1}, got {self.elastic_seed}"
            )

    @classmethod
    def trusted(cls, **values: Any) -> Placement:
        """Return a placement of values that were checked as columns; ten times as quick."""
        made = object.__new__(cls)
        made.__dict__.update(values)
        return made


@dataclass(frozen=True)
class Background:
    """What the canvas holds before any cell: a flat colour, or a scene of the bank.

    Attributes
    ----------
    colour
        Red, green, blue, 0–255; the whole canvas where ``background_id`` is null.
    background_id, image_id
        The scene and the image it comes from (a parent like any other): ``<image_id>`` is the image
        as it is, ``<image_id>:white`` without its white cells, ``<image_id>:bare`` without any
        cell.
    turn
        0–7: quarter turns counter-clockwise, and 4 more where the scene is flipped left–right
        before.
    x, y
        Where the canvas begins in the turned scene, in pixels.
    """

    colour: tuple[float, float, float]
    background_id: str | None = None
    image_id: str | None = None
    turn: int = 0
    x: int = 0
    y: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "colour", tuple(as_float32(value) for value in self.colour))
        if len(self.colour) != 3 or not all(0 <= value <= 255 for value in self.colour):
            raise SettingsError(f"background: expected 3 numbers of 0–255, got {self.colour}")
        if (self.background_id is None) != (self.image_id is None):
            raise SettingsError("background: name its id and its image, or neither")
        if not 0 <= self.turn <= 7:
            raise SettingsError(f"background turn: expected 0 to 7, got {self.turn}")
        if self.x < 0 or self.y < 0:
            raise SettingsError(f"background offset: expected 0 or more, got {self.x}, {self.y}")


@dataclass(frozen=True)
class Finish:
    """What happens to the whole picture at the end.

    Attributes
    ----------
    codec
        ``"jpeg"`` sends it through an encoder and back, as every real image has been; ``"png"`` and
        ``"none"`` change no pixel.
    quality
        Of the JPEG, 1–100; null for the others.
    """

    codec: str = "none"
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise SettingsError(f"codec: expected {', '.join(CODECS)}, got {self.codec!r}")
        if (self.codec == "jpeg") != (self.quality is not None):
            raise SettingsError("finish: a quality belongs to jpeg, and to jpeg only")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise SettingsError(f"quality: expected 1–100, got {self.quality}")


@dataclass(frozen=True)
class Recipe:
    """A composite before any pixel: everything that was drawn, nothing left to chance.

    Attributes
    ----------
    label, mode
        Class of the composite, and the mode that drew it.
    width, height
        Canvas in pixels.
    background, placements, finish
        What is painted, in this order.

    Raises
    ------
    SettingsError
        From its parts or itself, for anything that could not be rendered.
    """

    label: str
    mode: str
    width: int
    height: int
    background: Background
    placements: tuple[Placement, ...]
    finish: Finish = field(default=Finish())

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise SettingsError(
                f"canvas: expected at least 1 × 1, got {self.width} × {self.height}"
            )

    @cached_property
    def recipe_id(self) -> str:
        """16 hex digits of the recipe's content: equal contents have equal ids."""
        cells = self.placements
        ground, finish = self.background, self.finish
        varied = b"".join(
            VARIED.pack(p.aspect, p.elastic, p.blur, p.grain, *p.stain_scale) for p in cells
        )
        chosen = b"".join(CHOSEN.pack(p.elastic_seed, KERNELS.index(p.kernel)) for p in cells)
        return content_id(
            header(
                (self.label, self.mode, str(self.width), str(self.height)),
                (ground.background_id, ground.image_id, ground.turn, ground.x, ground.y),
                ground.colour,
                finish,
            ),
            [cell_key(p.cell_id, p.image_id, p.kind, p.blend) for p in cells],
            b"".join(
                NUMBERS.pack(p.cx, p.cy, p.angle, p.scale, *p.stain, p.feather) for p in cells
            ),
            bytes(p.flip for p in cells),
            varied + chosen if any(map(is_varied, cells)) else b"",
        )

    def parents(self) -> set[str]:
        """Return the ids of all images that lend it a pixel."""
        found = {p.image_id for p in self.placements}
        return found | ({self.background.image_id} if self.background.image_id else set())

    def to_row(self) -> dict[str, Any]:
        """Return the row of ``plan.parquet``, :data:`SCHEMA`."""
        red, green, blue = self.background.colour
        return {
            "recipe_id": self.recipe_id,
            "label": self.label,
            "mode": self.mode,
            "width": self.width,
            "height": self.height,
            "background_id": self.background.background_id,
            "background_image_id": self.background.image_id,
            "background_turn": self.background.turn,
            "background_x": self.background.x,
            "background_y": self.background.y,
            "background_r": red,
            "background_g": green,
            "background_b": blue,
            "placements": [
                {**vars(p), "stain": list(p.stain), "stain_scale": list(p.stain_scale)}
                for p in self.placements
            ],
            "finish": dict(vars(self.finish)),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Recipe:
        """Return the recipe of a row of ``plan.parquet``."""
        ground = [row[f"background_{name}"] for name in ("id", "image_id", "turn", "x", "y")]
        triples = ("stain", "stain_scale")
        return cls(
            label=row["label"],
            mode=row["mode"],
            width=row["width"],
            height=row["height"],
            background=Background(tuple(row[f"background_{c}"] for c in "rgb"), *ground),
            placements=tuple(
                Placement(**{**p, **{name: tuple(p[name]) for name in triples}})
                for p in row["placements"]
            ),
            finish=Finish(**row["finish"]),
        )


def is_varied(placement: Placement) -> bool:
    """Return whether a placement says anything that version 1 of a plan could not."""
    return any(getattr(placement, name) != plain for name, plain in PLAIN.items())


def header(
    names: tuple[str, str, str, str],
    ground: tuple[str | None, str | None, int, int, int],
    colour: Sequence[float],
    finish: Finish,
) -> bytes:
    """Return the part of a recipe's content that is not its placements, as it is hashed.

    ``names``: label, mode, width, height; ``ground``: background, its image, turn, x, y.
    """
    background_id, image_id, *place = ground
    words = [*names, background_id or "", image_id or "", finish.codec, str(finish.quality or "")]
    if any(place):  # version 1 had none, and its ids stay as they are
        words += map(str, place)
    colours = b"".join(_FLOAT.pack(value) for value in colour)
    return "\x1f".join(words).encode(errors="surrogatepass") + b"\x1e" + colours


def cell_key(cell_id: str, image_id: str, kind: str, blend: str) -> bytes:
    """Return the names of a placement as they are hashed."""
    return "\x1f".join((cell_id, image_id, kind, blend)).encode(errors="surrogatepass")


def content_id(
    head: bytes, keys: Sequence[bytes], numbers: bytes, flips: bytes, varied: bytes = b""
) -> str:
    """Return 16 hex digits of the SHA-256 of a recipe's content.

    ``varied`` is empty where no placement says what version 1 of a plan could not.
    """
    content = b"\x1e".join((head, *keys, numbers, flips, *((varied,) if varied else ())))
    return hashlib.sha256(content).hexdigest()[:16]
