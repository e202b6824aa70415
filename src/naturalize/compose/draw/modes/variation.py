"""How a cell may be varied without becoming another: turned, a little larger, bent, stained.

Limits are those within which cells of one class differ in real smears (see ``smears.json``:
the diameters of a class spread by 6 to 9 %, its optical density by 10 to 15 %): nothing here can
turn a band into a segmented cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from naturalize.base.errors import SettingsError
from naturalize.compose.recipe.placement import KERNELS, MAX_SEED

#: Turns of a cell (0–7, as in ``grid``) by setting.
TURNS = {"none": (0,), "flips": (0, 2, 4, 6), "right": tuple(range(8))}

#: Setting → the largest value that leaves a cell what it is.
MOST = {"rotate": 180.0, "scale": 0.15, "aspect": 0.15, "elastic": 2.0, "stain": 0.2}


@dataclass(frozen=True, kw_only=True)
class Variation:
    """How the cells of a mode are varied. All of it is in the recipe.

    Attributes
    ----------
    turn
        ``"flips"``: mirrored and upside down; ``"right"``: quarter turns as well; ``"none"``. No
        pixel is resampled. The grain of a camera is not the same along rows and columns, and a cell
        that was turned by a quarter can be told by that.
    rotate
        Most degrees by which a cell is turned besides, either way.
    scale
        Most by which a cell is larger or smaller, as a share.
    aspect
        Most by which it is wider than high, or the reverse, as a share; its area stays.
    elastic
        Most that its outline is bent, root mean square, in pixels.
    stain
        Spread (standard deviation) of the factor on its optical density, as a share. It is small
        against that of a class, and makes composites of the same cell and scene differ.
    """

    turn: str = "flips"
    rotate: float = 0.0
    scale: float = 0.0
    aspect: float = 0.0
    elastic: float = 0.0
    stain: float = 0.03

    def check_variation(self, mode: str) -> None:
        """Raise ``SettingsError`` for values that make no sense, or make another cell."""
        if self.turn not in TURNS:
            raise SettingsError(f"{mode}: turn must be {', '.join(TURNS)}, got {self.turn!r}")
        for name, most in MOST.items():
            value = number(mode, name, getattr(self, name), 0.0, most)
            object.__setattr__(self, name, value)

    @property
    def resamples(self) -> bool:
        """Whether any cell's pixels are computed anew, and not copied."""
        return any((self.rotate, self.scale, self.aspect, self.elastic))

    def varied(self, generator: np.random.Generator, n: int) -> Varied:
        """Draw how ``n`` cells are varied."""
        chance = generator.random((n, 4))
        factors = generator.standard_normal((n, 4))
        shifts = 2 * chance - 1
        common, own = factors[:, :1], factors[:, 1:]
        return Varied(
            rotate=self.rotate * shifts[:, 0],
            scale=1 + self.scale * shifts[:, 1],
            aspect=1 + self.aspect * shifts[:, 2],
            elastic=self.elastic * chance[:, 3],
            seed=generator.integers(MAX_SEED, size=n),
            stain=np.exp(self.stain * (common + 0.3 * own)),
            resamples=self.resamples,
        )


@dataclass(frozen=True, eq=False)
class Varied:
    """How each of N cells is varied; ``stain`` is (N, 3), the others (N,)."""

    rotate: np.ndarray
    scale: np.ndarray
    aspect: np.ndarray
    elastic: np.ndarray
    seed: np.ndarray
    stain: np.ndarray
    resamples: bool


def turned(turn: np.ndarray, how: Varied) -> dict[str, np.ndarray]:
    """Return the columns of placements that are turned (0–7) and varied, by name of the field."""
    placed = {"angle": 90.0 * (turn % 4) + how.rotate, "flip": turn >= 4, "scale": how.scale}
    if how.resamples:
        placed |= {
            "aspect": how.aspect,
            "elastic": how.elastic,
            "elastic_seed": np.where(how.elastic > 0, how.seed, 0),
            "kernel": np.full(len(turn), KERNELS.index("cubic")),
            "grain": np.ones(len(turn)),
        }
    return placed


def stained(scale: np.ndarray, before: np.ndarray, after: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns of placements whose density is multiplied, and whose slide is matched.

    ``scale``: factor on the optical density; ``before``, ``after``: RGB of the bare slide that the
    cell comes from and goes to; all (N, 3). Cells whose density is not changed keep their pixels:
    blends find the light of the scene.
    """
    scale = np.where((np.abs(scale - 1) < _SAME).all(axis=1)[:, None], 1.0, scale)
    scale = np.clip(np.round(scale, 3), 0.5, 2.0)
    changed = (scale != 1).any(axis=1) | (np.abs(before - after) > _FAR).any(axis=1)
    shift = scale * np.log10(before / 255) - np.log10(after / 255)
    return {"stain_scale": scale, "stain": np.where(changed[:, None], np.round(shift, 4), 0.0)}


#: Factors on density nearer to 1 than this change nothing that could be seen; grey levels by which
#: the light of two slides may differ and still be told to be slide by a blend.
_SAME, _FAR = 0.015, 8.0


def number(mode: str, name: str, value: Any, low: float, high: float) -> float:
    """Return a setting as a float; ``SettingsError`` unless it is a number in the range."""
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not low <= value <= high:
        raise SettingsError(
            f"{mode}: {name} must be a number from {low:g} to {high:g}, got {value!r}"
        )
    return float(value)


def whole(mode: str, name: str, value: Any, low: int) -> int:
    """Return a setting as an int; ``SettingsError`` unless it is whole and at least ``low``."""
    if type(value) is not int or value < low:
        raise SettingsError(
            f"{mode}: {name} must be a whole number of at least {low}, got {value!r}"
        )
    return value
