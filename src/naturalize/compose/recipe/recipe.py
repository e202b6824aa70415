"""A composite as data: which cells, where, how, on what, and how the picture is finished."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

from naturalize.base.errors import SettingsError, unknown
from naturalize.compose.recipe.placement import Placement, as_float32, columns_of, hashed
from naturalize.imaging.camera import Camera

__all__ = ["Background", "Camera", "Finish", "Placement", "Recipe"]

#: Ways a composite may be finished.
Codec = Literal["none", "png", "jpeg"]

_FLOAT = struct.Struct("<f")


@dataclass(frozen=True)
class Background:
    """What the canvas holds before any cell: a flat colour, or a scene of the bank."""

    #: Red, green, blue, 0–255; the whole canvas where ``background_id`` is null.
    colour: tuple[float, float, float]
    #: The scene and the image it comes from (a parent like any other): ``<image_id>`` is the image
    #: as it is, ``<image_id>:white`` without its white cells, ``<image_id>:bare`` without any cell.
    background_id: str | None = None
    image_id: str | None = None
    #: 0–7: quarter turns counter-clockwise, and 4 more where the scene is flipped left–right
    #: before.
    turn: int = 0
    #: Where the canvas begins in the turned scene, in pixels.
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
    """What happens to the whole picture at the end."""

    #: ``"jpeg"`` sends it through an encoder and back, as every real image has been; ``"png"`` and
    #: ``"none"`` change no pixel.
    codec: str = "none"
    #: Of the JPEG, 1–100; null for the others.
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.codec not in get_args(Codec):
            raise unknown("codec", self.codec, list(get_args(Codec)))
        if (self.codec == "jpeg") != (self.quality is not None):
            raise SettingsError("finish: a quality belongs to jpeg, and to jpeg only")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise SettingsError(f"quality: expected 1–100, got {self.quality}")


@dataclass(frozen=True)
class Recipe:
    """A composite before any pixel: everything that was drawn, nothing left to chance.

    ``SettingsError`` from its parts or itself, for anything that could not be rendered.
    """

    #: Class of the composite, and the mode that drew it.
    label: str
    mode: str
    #: Canvas in pixels.
    width: int
    height: int
    #: What is painted, in this order.
    background: Background
    placements: tuple[Placement, ...]
    finish: Finish = field(default=Finish())
    #: What shows the painted picture, before its codec; null: it is as it was painted.
    camera: Camera | None = None

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise SettingsError(
                f"canvas: expected at least 1 × 1, got {self.width} × {self.height}"
            )

    @cached_property
    def recipe_id(self) -> str:
        """16 hex digits of the recipe's content: equal contents have equal ids."""
        cells, ground = self.placements, self.background
        head = header(
            (self.label, self.mode, str(self.width), str(self.height)),
            (ground.background_id, ground.image_id, ground.turn, ground.x, ground.y),
            ground.colour,
            self.finish,
            self.camera,
        )
        keys = [cell_key(p.cell_id, p.image_id, p.kind, p.blend) for p in cells]
        return content_id(head, keys, hashed(columns_of(cells), (0, len(cells)))[0])

    def parents(self) -> set[str]:
        """Return the ids of all images that lend it a pixel."""
        found = {p.image_id for p in self.placements}
        return found | ({self.background.image_id} if self.background.image_id else set())

    def to_row(self) -> dict[str, Any]:
        """Return the row of ``plan.parquet``, :data:`naturalize.compose.recipe.table.SCHEMA`."""
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
            "placements": [dict(vars(p)) for p in self.placements],
            "finish": dict(vars(self.finish)),
            "camera": None if self.camera is None else dict(vars(self.camera)),
        }


def header(
    names: tuple[str, str, str, str],
    ground: tuple[str | None, str | None, int, int, int],
    colour: Sequence[float],
    finish: Finish,
    camera: Camera | None = None,
) -> bytes:
    """Return the part of a recipe's content that is not its placements, as it is hashed.

    ``names``: label, mode, width, height; ``ground``: background, its image, turn, x, y.
    """
    background_id, image_id, *place = ground
    words = [*names, background_id or "", image_id or "", finish.codec, str(finish.quality or "")]
    if any(place):  # a scene that lies as it is adds nothing to the id
        words += map(str, place)
    colours = b"".join(_FLOAT.pack(value) for value in colour)
    shown = b"\x1ecamera" + camera.packed() if camera else b""
    return "\x1f".join(words).encode(errors="surrogatepass") + b"\x1e" + colours + shown


def cell_key(cell_id: str, image_id: str, kind: str, blend: str) -> bytes:
    """Return the names of a placement as they are hashed."""
    return "\x1f".join((cell_id, image_id, kind, blend)).encode(errors="surrogatepass")


def content_id(head: bytes, keys: Sequence[bytes], placements: Sequence[bytes]) -> str:
    """Return 16 hex digits of the SHA-256 of a recipe's content.

    ``placements`` as :func:`naturalize.compose.recipe.placement.hashed` gives them.
    """
    return hashlib.sha256(b"\x1e".join((head, *keys, *placements))).hexdigest()[:16]
