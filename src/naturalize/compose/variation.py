"""How a cell may differ from the one it is a picture of, without becoming another cell.

The ranges are within those of real cells, measured on 3,525 whole cells of PBC as this project's
classical segmenter outlines them (up to 300 a kind or class): half of a class's cells differ in
diameter from its median by more than 4.9–8.6 %; the median cell is 1.07–1.15 times as long as wide;
three quarters of white cells deviate from an ellipse by 1.07 pixels or more (root mean square), of
red cells by 0.84. A bend is as long as half of a cell, so that lobes stay as many as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from naturalize.base.errors import SettingsError
from naturalize.compose.columns import (
    ASPECT,
    ELASTIC,
    ELASTIC_SEED,
    GRAIN,
    KERNEL,
    PLAIN_ROW,
    STAIN_SCALE,
)
from naturalize.compose.recipe import KERNELS, MAX_SEED

TURNS = ("none", "right", "any")

#: Widest settings: beyond these a cell could leave its class.
MOST = {"scale": 0.15, "aspect": 0.15, "elastic": 2.5, "stain": 0.25}

#: Of cells that have to be resampled: a kernel that keeps 93 % of the variance of the Laplacian
#: (linear: 67 %), and with this share of the lost grain put back 97–99 %.
_RESAMPLED_KERNEL, _RESAMPLED_GRAIN = "cubic", 0.5

#: Draws of a normal distribution are cut off at so many standard deviations.
_CUT = 2.0


@dataclass(frozen=True, eq=False)
class Varied:
    """How each of n cells is varied: columns of a plan.

    Attributes
    ----------
    angle, scale
        Float32 (n,).
    flip
        Bool (n,).
    varied, chosen
        As in :class:`naturalize.compose.columns.Columns`.
    """

    angle: np.ndarray
    scale: np.ndarray
    flip: np.ndarray
    varied: np.ndarray
    chosen: np.ndarray


@dataclass(frozen=True)
class Variation:
    """How much cells vary.

    Attributes
    ----------
    turn
        ``"none"``, ``"right"`` (by 0, 90, 180 or 270 degrees: no pixel is resampled) or ``"any"``.
    flip
        Half of the cells are mirrored.
    reshaped
        Share of cells, 0–1, whose outline changes by what follows. They are resampled; the others
        keep each pixel as it is.
    scale
        Most change of diameter, as a share, up or down.
    aspect
        Most change of length / width, likewise.
    elastic
        Root mean square of the bend, in pixels.
    stain
        Standard deviation of the logarithm of the amount of dye.
    """

    turn: str = "right"
    flip: bool = True
    reshaped: float = 0.0
    scale: float = 0.04
    aspect: float = 0.03
    elastic: float = 0.8
    stain: float = 0.0

    def __post_init__(self) -> None:
        if self.turn not in TURNS:
            raise SettingsError(f"turn must be {', '.join(TURNS)}, got {self.turn!r}")
        for name, most in {"reshaped": 1.0, **MOST}.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not 0 <= value <= most:
                raise SettingsError(f"{name} must be 0 to {most:g}, got {value!r}")

    def draw(self, generator: np.random.Generator, n: int) -> Varied:
        """Return how each of ``n`` cells is varied.

        Always the same amount of randomness is used, whatever the settings.
        """
        chance = generator.random((n, 6))
        seeds = generator.integers(MAX_SEED, size=n).astype(np.int32)
        normal = np.clip(generator.standard_normal(n), -_CUT, _CUT)
        reshaped = chance[:, 0] < self.reshaped
        angle = self._angles(chance[:, 1])
        scale = np.where(reshaped, np.exp(np.log1p(self.scale) * (2 * chance[:, 3] - 1)), 1)
        varied = np.tile(PLAIN_ROW, (n, 1))
        chosen = np.zeros((n, 2), np.int32)
        wide = np.exp(np.log1p(self.aspect) * (2 * chance[:, 4] - 1))
        varied[:, ASPECT] = np.where(reshaped, wide, 1)
        varied[:, ELASTIC] = np.where(reshaped, self.elastic * chance[:, 5], 0)
        chosen[:, ELASTIC_SEED] = np.where(varied[:, ELASTIC] > 0, seeds, 0)
        varied[:, STAIN_SCALE] = np.exp(self.stain * normal)[:, None]
        resampled = reshaped | (angle % 90 != 0)
        chosen[:, KERNEL] = np.where(resampled, KERNELS.index(_RESAMPLED_KERNEL), 0)
        varied[:, GRAIN] = np.where(resampled, _RESAMPLED_GRAIN, 0)
        flip = (chance[:, 2] < 0.5) & self.flip
        return Varied(angle, scale.astype(np.float32), flip, varied, chosen)

    def _angles(self, chance: np.ndarray) -> np.ndarray:
        if self.turn == "none":
            return np.zeros(len(chance), np.float32)
        if self.turn == "right":
            return (np.floor(chance * 4) * 90).astype(np.float32)
        return chance.astype(np.float32) * np.float32(360)
