"""What a network's training images had in common: what images from elsewhere are brought to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Standard:
    """The look of the images that a network was trained on.

    Attributes
    ----------
    height, width
        Their usual size in pixels.
    slide, slide_low, slide_high
        Colour of the bare slide, RGB 0–255: its median, and the range of all but a few images.
    red_cell, white_cell
        Median diameter in pixels of whole red cells, and of white cells.
    nucleus_stain, red_stain
        Median optical density (red, green, blue) of nuclei and of red cells, against the slide.
    alone
        Whether the network also learnt cells that lie alone on a bare slide.
    focus
        Median sharpness of white cells, as `naturalize.imaging.stain.focus` measures it.
    kinds
        Class → kind of its cells, ``"wbc"`` or ``"platelet"``.
    """

    height: int
    width: int
    slide: Colour
    slide_low: Colour
    slide_high: Colour
    red_cell: float
    white_cell: float
    nucleus_stain: Colour
    red_stain: Colour
    alone: bool
    focus: float
    kinds: Mapping[str, str] = field(default_factory=dict, hash=False)

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
        )


def _colour(raw: Any) -> Colour:
    red, green, blue = (float(value) for value in raw)
    return red, green, blue
