"""What a network is: the configuration that builds and feeds it, and what it was trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from naturalize.base.errors import SettingsError
from naturalize.models.doubt import Doubt
from naturalize.models.preprocess import View

if TYPE_CHECKING:
    from torch import nn

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Typical:
    """The range of training images' measures (`naturalize.prediction.domain`).

    ``means`` has the median of each measure by class, ``inverse`` their inverse covariance about
    them; within the squared distance ``limit`` lie all but a few training images.
    """

    means: Mapping[str, tuple[float, ...]] = field(hash=False)
    inverse: tuple[tuple[float, ...], ...]
    limit: float

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Typical:
        """Read what ``dataclasses.asdict`` gave."""
        means = {str(name): tuple(map(float, row)) for name, row in raw["means"].items()}
        inverse = tuple(tuple(map(float, row)) for row in raw["inverse"])
        return cls(means, inverse, float(raw["limit"]))


@dataclass(frozen=True)
class Standard:
    """The look of the images that a network was trained on; sizes are in pixels."""

    height: int  #: The images' usual size.
    width: int
    #: Colour of the bare slide, RGB 0–255: its median, and the range of all but a few images.
    slide: Colour
    slide_low: Colour
    slide_high: Colour
    red_cell: float  #: Median diameter of whole red cells.
    white_cell: float  #: Median diameter of white cells.
    #: Median optical density (red, green, blue) of nuclei and of red cells, against the slide.
    nucleus_stain: Colour
    red_stain: Colour
    alone: bool  #: Whether the network also learnt cells that lie alone on a bare slide.
    focus: float  #: Median sharpness of white cells, by `naturalize.imaging.stain.focus`.
    #: Class → kind of its cells, ``"wbc"`` or ``"platelet"``.
    kinds: Mapping[str, str] = field(default_factory=dict, hash=False)
    #: The range of the images' measures; null where too few were measured.
    typical: Typical | None = None

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Standard:
        """Read what ``dataclasses.asdict`` gave, lists for tuples; raises ``KeyError`` and such."""
        return cls(
            height=int(raw["height"]),
            width=int(raw["width"]),
            slide=_colour(raw["slide"]),
            slide_low=_colour(raw["slide_low"]),
            slide_high=_colour(raw["slide_high"]),
            red_cell=float(raw["red_cell"]),
            white_cell=float(raw["white_cell"]),
            nucleus_stain=_colour(raw["nucleus_stain"]),
            red_stain=_colour(raw["red_stain"]),
            alone=bool(raw["alone"]),
            focus=float(raw["focus"]),
            kinds={str(name): str(kind) for name, kind in raw["kinds"].items()},
            typical=Typical.parse(raw["typical"]) if raw.get("typical") else None,
        )


def _colour(raw: Any) -> Colour:
    red, green, blue = (float(value) for value in raw)
    return red, green, blue


@dataclass(frozen=True)
class NetworkConfig:
    """All that is needed to build a network again and to feed it.

    ``mean`` and ``std`` are on a 0–1 scale; ``weights_source`` is what training started from;
    ``temperature`` divides the logits, ``temperature_elsewhere`` those of standardised images, if
    it is another; ``crop`` and ``balanced``: see ``preprocess.View``;
    ``standard`` is what training images looked like, and ``doubt`` what answers to validation
    images say of others, if that was measured; ``options`` are settings of the architecture itself
    that differ from its own, JSON values.
    """

    architecture: str
    classes: tuple[str, ...]
    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights_source: str
    temperature: float = 1.0
    temperature_elsewhere: float | None = None
    crop: float = 1.0
    balanced: bool = False
    standard: Standard | None = None
    doubt: Doubt | None = None
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def view(self) -> View:
        """What the network gets to see of an image."""
        return View(self.input_size, self.crop, self.balanced)


@dataclass(frozen=True)
class Network:
    """A module that takes normalised (N, 3, H, W) to logits (N, C), and its configuration."""

    module: nn.Module = field(repr=False)
    config: NetworkConfig


@dataclass(frozen=True)
class Wanted:
    """What is asked of a builder; see :func:`naturalize.models.zoo.build` for each of them."""

    name: str
    classes: tuple[str, ...]
    weights: str
    input_size: int | None
    dropout: float | None
    options: dict[str, Any]


def json_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return options as a model folder will give them back: lists for tuples, text for keys."""
    try:
        return json.loads(json.dumps(dict(options or {}), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise SettingsError(f"network options: numbers, texts and lists only ({error})") from error
