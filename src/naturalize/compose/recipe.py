"""A composite as data: which cells, where, how, on what, and how the picture is finished."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from naturalize.base.errors import SettingsError

#: Columns of ``plan.parquet``, as in ``docs/formats.md``.
SCHEMA = pa.schema(
    [
        ("recipe_id", pa.string()),
        ("label", pa.string()),
        ("mode", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("background_id", pa.string()),
        ("background_image_id", pa.string()),
        ("background_r", pa.float32()),
        ("background_g", pa.float32()),
        ("background_b", pa.float32()),
        (
            "placements",
            pa.list_(
                pa.struct(
                    [
                        ("cell_id", pa.string()),
                        ("image_id", pa.string()),
                        ("kind", pa.string()),
                        ("cx", pa.float32()),
                        ("cy", pa.float32()),
                        ("angle", pa.float32()),
                        ("flip", pa.bool_()),
                        ("scale", pa.float32()),
                        ("stain", pa.list_(pa.float32(), 3)),
                        ("blend", pa.string()),
                        ("feather", pa.float32()),
                    ]
                )
            ),
        ),
        ("finish", pa.struct([("codec", pa.string()), ("quality", pa.int32())])),
    ]
)

#: Ways a composite may be finished.
CODECS = ("none", "jpeg", "png")

#: Widest feather in pixels; half of it lies outside the cell, where patches have 3 pixels to show.
MAX_FEATHER = 6.0

_FLOAT = struct.Struct("<f")
#: The numbers of a placement as they are hashed: cx cy angle scale, three stains, feather.
NUMBERS = struct.Struct("<8f")


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
        Added to the optical density (decadic) of red, green and blue.
    blend
        Name in :data:`naturalize.compose.blend.BLENDS`.
    feather
        Width of the soft edge in pixels of the canvas, 0 to 6.
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

    def __post_init__(self) -> None:
        keep = object.__setattr__
        for name in ("cx", "cy", "angle", "scale", "feather"):
            keep(self, name, as_float32(getattr(self, name)))
        keep(self, "stain", tuple(as_float32(value) for value in self.stain))
        if len(self.stain) != 3:
            raise SettingsError(f"stain: expected 3 numbers, got {len(self.stain)}")
        if self.scale <= 0:
            raise SettingsError(f"scale: expected more than 0, got {self.scale}")
        if not 0 <= self.feather <= MAX_FEATHER:
            raise SettingsError(
                f"feather: expected 0 to {MAX_FEATHER:g} pixels, got {self.feather}"
            )

    @classmethod
    def trusted(cls, **values: Any) -> Placement:
        """Return a placement of values that were checked as columns; ten times as quick."""
        made = object.__new__(cls)
        made.__dict__.update(values)
        return made


@dataclass(frozen=True)
class Background:
    """What the canvas holds before any cell: a flat colour, or a background of the bank.

    Attributes
    ----------
    colour
        Red, green, blue, 0–255; the whole canvas where ``background_id`` is null.
    background_id, image_id
        A row of the bank's backgrounds and the image it comes from (a parent like any other).
    """

    colour: tuple[float, float, float]
    background_id: str | None = None
    image_id: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "colour", tuple(as_float32(value) for value in self.colour))
        if len(self.colour) != 3 or not all(0 <= value <= 255 for value in self.colour):
            raise SettingsError(f"background: expected 3 numbers of 0–255, got {self.colour}")
        if (self.background_id is None) != (self.image_id is None):
            raise SettingsError("background: name its id and its image, or neither")


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
        return content_id(
            header(self.label, self.mode, self.width, self.height, self.background, self.finish),
            [cell_key(p.cell_id, p.image_id, p.kind, p.blend) for p in self.placements],
            b"".join(
                NUMBERS.pack(p.cx, p.cy, p.angle, p.scale, *p.stain, p.feather)
                for p in self.placements
            ),
            bytes(p.flip for p in self.placements),
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
            "background_r": red,
            "background_g": green,
            "background_b": blue,
            "placements": [{**vars(p), "stain": list(p.stain)} for p in self.placements],
            "finish": dict(vars(self.finish)),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Recipe:
        """Return the recipe of a row of ``plan.parquet``."""
        colour = (row["background_r"], row["background_g"], row["background_b"])
        return cls(
            label=row["label"],
            mode=row["mode"],
            width=row["width"],
            height=row["height"],
            background=Background(colour, row["background_id"], row["background_image_id"]),
            placements=tuple(
                Placement(**{**p, "stain": tuple(p["stain"])}) for p in row["placements"]
            ),
            finish=Finish(**row["finish"]),
        )


def header(
    label: str, mode: str, width: int, height: int, background: Background, finish: Finish
) -> bytes:
    """Return the part of a recipe's content that is not its placements, as it is hashed."""
    names = (
        label,
        mode,
        str(width),
        str(height),
        background.background_id or "",
        background.image_id or "",
        finish.codec,
        str(finish.quality or ""),
    )
    colour = b"".join(_FLOAT.pack(value) for value in background.colour)
    return "\x1f".join(names).encode(errors="surrogatepass") + b"\x1e" + colour


def cell_key(cell_id: str, image_id: str, kind: str, blend: str) -> bytes:
    """Return the names of a placement as they are hashed."""
    return "\x1f".join((cell_id, image_id, kind, blend)).encode(errors="surrogatepass")


def content_id(head: bytes, keys: Sequence[bytes], numbers: bytes, flips: bytes) -> str:
    """Return 16 hex digits of the SHA-256 of a recipe's content."""
    content = b"\x1e".join((head, *keys, numbers, flips))
    return hashlib.sha256(content).hexdigest()[:16]
