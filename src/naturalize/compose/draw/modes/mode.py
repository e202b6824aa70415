"""What a mode of composition is: settings, and a function that draws recipes by them.

Settings have the same names and meanings in all modes. How a cell may be varied ends where cells of
one class differ in real smears (see ``smears.json``: the diameters of a class spread by 6 to 9 %,
its optical density by 10 to 15 %): nothing here can turn a band into a segmented cell.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field

from naturalize.base.errors import SettingsError, closest
from naturalize.base.settings import Settings
from naturalize.compose.draw import constants as tuned
from naturalize.compose.draw.materials import Images, Materials
from naturalize.compose.paint.blend import BLENDS
from naturalize.compose.recipe.columns import Columns
from naturalize.compose.recipe.placement import KERNELS, MAX_FEATHER, MAX_SEED
from naturalize.compose.recipe.recipe import Background, Codec, Finish

#: How a cell may be turned: as it lies; mirrored or upside down; these and quarter turns; by any
#: angle, which resamples it.
Turn = Literal["none", "flips", "right", "any"]

#: The turns without resampling (0–7, as in :mod:`naturalize.imaging.jpeg.grid`).
TURNS: dict[Turn, tuple[int, ...]] = {
    "none": (0,),
    "flips": (0, 2, 4, 6),
    "right": tuple(range(8)),
    "any": (0,),
}

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Mode(Settings):
    """Draws recipes, many at a time; all that is random comes from the generator it is given.

    A mode is a class of its own with ``name``, :meth:`targets`, :meth:`draw` and settings as
    fields. All that decides its recipes is a setting.
    """

    model_config = ConfigDict(strict=True)

    name: ClassVar[str] = ""
    #: Recipes that share a generator: always drawn together, so that a part of a plan is the part.
    block: ClassVar[int] = 512
    #: Whether a composite is about one cell, by which it can be judged and a network be taught.
    about_one: ClassVar[bool] = True

    #: How cells are turned: ``"none"``, ``"flips"`` (mirrored or upside down), ``"right"`` (these
    #: and quarter turns) or ``"any"`` angle. Only the last one resamples pixels. The grain of a
    #: camera is not the same along rows and columns, so a quarter turn can be detected by it.
    turn: Turn = "none"
    #: Canvas in pixels; by default that of the scene.
    width: Count | None = None
    height: Count | None = None
    #: ``"none"``, ``"png"`` or ``"jpeg"``; quality of the JPEG.
    finish: Codec = "none"
    quality: Annotated[int, Field(ge=1, le=100)] = 95

    @property
    def finishing(self) -> Finish:
        """What happens to the whole picture at the end."""
        return Finish(self.finish, self.quality if self.finish == "jpeg" else None)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides its recipes: JSON values."""
        return {**self.model_dump(mode="json"), "quality": self.finishing.quality}

    def default_classes(self, available: Sequence[str]) -> tuple[str, ...]:
        """Return the classes it composes if none are named, out of those with real images.

        By default all: then "looks composed" says nothing about the class.
        """
        return tuple(available)

    @abstractmethod
    def targets(self, materials: Materials, label: str) -> np.ndarray:
        """Return the target cells (int32 positions) of a class that it can use."""

    @abstractmethod
    def draw(
        self, materials: Materials, label: str, targets: np.ndarray, generator: np.random.Generator
    ) -> tuple[Columns, dict[str, np.ndarray]]:
        """Return a recipe for each of ``targets`` (int32 (N,)).

        And reason → int (N,): how much each recipe had to do without.
        """


def colour_of(value: Any) -> tuple[float, float, float]:
    """Return a setting as a colour; ``ValueError`` for what is none."""
    try:
        red, green, blue = (float(c) for c in value)
        return Background((red, green, blue)).colour
    except (TypeError, ValueError, SettingsError) as error:
        raise ValueError("expected three numbers of 0–255") from error


def _blend(name: str) -> str:
    if name not in BLENDS:
        raise ValueError(f"expected one of {', '.join(BLENDS)}{closest(name, list(BLENDS))}")
    return name


class Variation(Mode):
    """Settings of modes that vary cells and match them to real scenes; all are in the recipe."""

    turn: Turn = "flips"
    #: Most degrees by which a cell is turned besides ``turn``, either way.
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    #: Most by which a cell is larger or smaller, as a share.
    scale: Annotated[float, Field(ge=0, le=0.15)] = 0.0
    #: Most by which it is wider than high, or the reverse, as a share; its area stays.
    aspect: Annotated[float, Field(ge=0, le=0.15)] = 0.0
    #: Most that its outline is bent, root mean square, in pixels.
    elastic: Annotated[float, Field(ge=0, le=2)] = 0.0
    #: Spread (standard deviation) of the factor on its optical density, as a share. It is small
    #: against that of a class, and makes composites of the same cell and scene differ.
    stain: Annotated[float, Field(ge=0, le=0.2)] = 0.03
    #: Most σ in pixels by which it is less sharp than its scene asks for.
    focus: Annotated[float, Field(ge=0, le=1.5)] = 0.0
    #: Into which scenes a cell may go: those taken as its own image was (light, stain, sharpness,
    #: codec), the more so the better, or those of any acquisition domain.
    taken: Literal["alike", "any"] = "alike"
    #: Best fitting scenes among which a cell's is drawn.
    choices: Count = 24
    #: How the white cell's edge is painted; width of its soft edge in pixels.
    blend: Annotated[str, AfterValidator(_blend)] = "scene"
    feather: Annotated[float, Field(ge=0, le=MAX_FEATHER)] = 3.0
    #: Share of the difference in stain between two images' red cells that is made up for.
    match_stain: Share = 0.5

    @property
    def resamples(self) -> bool:
        """Whether any cell's pixels are computed anew, and not copied."""
        return self.turn == "any" or any((self.rotate, self.scale, self.aspect, self.elastic))

    def varied(self, generator: np.random.Generator, n: int) -> Changes:
        """Draw how ``n`` cells are varied."""
        chance = generator.random((n, 4))
        factors = generator.standard_normal((n, 4))
        shifts = 2 * chance - 1
        common, own = factors[:, :1], factors[:, 1:]
        return Changes(
            rotate=(180.0 if self.turn == "any" else self.rotate) * shifts[:, 0],
            scale=1 + self.scale * shifts[:, 1],
            aspect=1 + self.aspect * shifts[:, 2],
            elastic=self.elastic * chance[:, 3],
            seed=generator.integers(MAX_SEED, size=n),
            stain=np.exp(self.stain * (common + 0.3 * own)),
            blur=self.focus * generator.random(n) if self.focus else np.zeros(n),
            resamples=self.resamples,
        )

    def suited(
        self,
        images: Images,
        origins: np.ndarray,
        scenes: np.ndarray,
        how: Changes,
        light: np.ndarray,
        red: np.ndarray | bool = False,
    ) -> dict[str, np.ndarray]:
        """Return the columns of stain and blur that match N cells to their scenes.

        All are of N cells: ``origins`` and ``scenes`` are the images that they come from and are
        matched to, ``how`` they are varied besides, ``light`` (N, 3) is the RGB of the slide that
        they go to. Red cells (``red``, bool) take on the scene's stain wholly.
        """
        # within a class, the density of white cells follows that of the red ones beside them only
        # in part, and their hue is their own
        stains = np.maximum(images.red, 1e-3)
        ratio = np.nan_to_num(np.log(stains[scenes] / stains[origins]))
        whole = np.broadcast_to(np.asarray(red), len(ratio))[:, None]
        ratio = np.where(whole, ratio, self.match_stain * ratio.mean(axis=1, keepdims=True))
        density = np.exp(np.clip(ratio, -tuned.MOST_DENSITY, tuned.MOST_DENSITY))
        # a cell that is less sharp stays as it is: sharpness that was never seen would be invented
        sharper = np.nan_to_num(images.focus[origins] - images.focus[scenes])
        blur = np.interp(sharper, tuned.SHARPER, tuned.SIGMA)
        blur = np.where(sharper < tuned.SHARPER[0], 0.0, blur)
        return {
            **stained(density * how.stain, images.light[origins], light),
            "blur": np.round(np.hypot(blur, how.blur), 2),
        }


@dataclass(frozen=True, eq=False)
class Changes:
    """How each of N cells is varied; ``stain`` is (N, 3), the others (N,)."""

    rotate: np.ndarray
    scale: np.ndarray
    aspect: np.ndarray
    elastic: np.ndarray
    seed: np.ndarray
    stain: np.ndarray
    blur: np.ndarray  # σ in pixels
    resamples: bool


def turned(turn: np.ndarray, how: Changes) -> dict[str, np.ndarray]:
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
    scale = np.where((np.abs(scale - 1) < tuned.SAME_DENSITY).all(axis=1)[:, None], 1.0, scale)
    scale = np.clip(np.round(scale, 3), 0.5, 2.0)
    changed = (scale != 1).any(axis=1) | (np.abs(before - after) > tuned.SAME_SLIDE).any(axis=1)
    shift = scale * np.log10(before / 255) - np.log10(after / 255)
    return {"stain_scale": scale, "stain": np.where(changed[:, None], np.round(shift, 4), 0.0)}
