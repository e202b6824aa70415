"""Making a cell fit the scene it is set in: its light, its stain, its focus.

What of a scene's look a white cell shares was measured on 6,560 PBC images with three red cells or
more. Light is shared wholly. Between images the density of red cells differs by 16–21 % (standard
deviation of the logarithm), their focus by 24 %; of that, white cells of the same class take part
with a slope of only 0.15–0.19 (correlation 0.19–0.26) and 0.31 (0.22): the rest is the thickness of
the smear, and their own. To match more than that would make all cells of a scene too alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from naturalize.cells.bank import CellBank

#: How far the logarithm of a white cell's density, and of its focus, follow those of red cells.
STAIN_FOLLOWS, FOCUS_FOLLOWS = 0.17, 0.31

#: Red cells from which an image's stain and focus are taken, at least.
_FEW = 3

#: Most that a cell's density is changed by.
_MOST_STAIN = 1.15

#: Standard deviation of a Gaussian in pixels, and what it leaves of a cell's focus (variance of the
#: Laplacian): median of 120 white cells; red cells are within 0.1.
_BLURS = np.array([0.3, 0.4, 0.5, 0.6, 0.8, 1.0])
_LEAVES = np.array([1.0, 0.845, 0.632, 0.481, 0.323, 0.224])

#: A difference in focus that is smaller than that from cell to cell is not worth resampling for.
_WORTH = 0.85


@dataclass(frozen=True, eq=False)
class Looks:
    """Light, stain and focus of N images of a bank.

    Attributes
    ----------
    image_ids
        The images, sorted.
    light
        Float32 (N, 3): RGB of the bare slide.
    density
        Float32 (N, 3): mean optical density of the red cells; NaN where there are too few.
    focus
        Float32 (N,): geometric mean of the focus of the red cells; likewise.
    """

    image_ids: tuple[str, ...]
    light: np.ndarray
    density: np.ndarray
    focus: np.ndarray

    @classmethod
    def of(cls, bank: CellBank) -> Looks:
        """Return the looks of the images that have a background in ``bank``."""
        grounds = bank.backgrounds.sort_by("image_id")
        ids = tuple(grounds["image_id"].to_pylist())
        code = {image_id: k for k, image_id in enumerate(ids)}
        red = bank.cells(kind="rbc")
        where = np.array([code.get(name, -1) for name in red["image_id"].to_pylist()], np.int64)
        known = where >= 0
        where = where[known]
        count = np.bincount(where, minlength=len(ids))
        enough = count >= _FEW

        def mean(column: np.ndarray) -> np.ndarray:
            total = np.bincount(where, column[known], minlength=len(ids))
            return np.where(enough, total / np.maximum(count, 1), np.nan).astype(np.float32)

        density = [mean(red[f"od_{c}"].to_numpy()) for c in "rgb"]
        sharpness = np.log(np.maximum(red["focus"].to_numpy(), 1e-3))
        return cls(
            ids,
            np.column_stack([grounds[c].to_numpy() for c in "rgb"]).astype(np.float32),
            np.column_stack(density),
            np.exp(mean(sharpness)),
        )

    @cached_property
    def _code(self) -> dict[str, int]:
        return {image_id: k for k, image_id in enumerate(self.image_ids)}

    def codes(self, image_ids: Sequence[str]) -> np.ndarray:
        """Return the position of each image, int64; ``KeyError`` for an unknown one."""
        return np.array([self._code[image_id] for image_id in image_ids], np.int64)


@dataclass(frozen=True, eq=False)
class Matched:
    """What makes n cells fit: float32 ``stain`` (n, 3), ``stain_scale`` (n, 3), ``blur`` (n,)."""

    stain: np.ndarray
    stain_scale: np.ndarray
    blur: np.ndarray


def matched(
    looks: Looks,
    parents: np.ndarray,
    scenes: np.ndarray,
    *,
    dye: np.ndarray | float = 1.0,
    stain: float = STAIN_FOLLOWS,
    focus: float = FOCUS_FOLLOWS,
) -> Matched:
    """Return what makes cells of ``parents`` fit into ``scenes``.

    Parameters
    ----------
    looks
        Of the images.
    parents, scenes
        Int (n,): positions of images in ``looks``.
    dye
        Factor on the amount of dye that is wished for besides, (n,) or (n, 3).
    stain, focus
        How far cells follow the stain and the focus of a scene, 0 (not) to 1 (wholly).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        denser = np.log(looks.density[scenes] / looks.density[parents])
        sharper = np.log(looks.focus[scenes] / looks.focus[parents])
    most = np.log(_MOST_STAIN)
    follows = np.clip(stain * np.nan_to_num(denser, posinf=0, neginf=0), -most, most)
    wished = np.asarray(dye, np.float64)
    scale = np.exp(follows) * (wished[:, None] if wished.ndim == 1 else wished)
    stain_shift = light_shift(looks.light[parents], looks.light[scenes], scale)
    leaves = np.exp(focus * np.minimum(np.nan_to_num(sharper, posinf=0, neginf=0), 0))
    blur = np.interp(leaves, _LEAVES[::-1], _BLURS[::-1])
    return Matched(
        stain_shift.astype(np.float32),
        scale.astype(np.float32),
        np.where(leaves < _WORTH, blur, 0).astype(np.float32),
    )


def light_shift(
    parent: np.ndarray, scene: np.ndarray, scale: np.ndarray | float = 1.0
) -> np.ndarray:
    """Return the ``stain`` of a placement that brings a cell's light to that of a scene.

    Where the parent's bare slide is as bright as ``parent`` the result is as bright as ``scene``,
    and the cell's density against it is ``scale`` times what it was.

    Parameters
    ----------
    parent, scene
        RGB (..., 3) of the bare slide, 0–255.
    scale
        The placement's ``stain_scale``.
    """
    dark = [
        -np.log10(np.maximum(np.asarray(light, np.float64), 1) / 255) for light in (parent, scene)
    ]
    return dark[1] - scale * dark[0]


def on_grid(centre: np.ndarray, wanted: np.ndarray, period: int = 8) -> np.ndarray:
    """Return the place nearest to ``wanted`` a multiple of ``period`` pixels from ``centre``.

    A decoded JPEG keeps the grid of its blocks (8 pixels; 16 where chroma is subsampled). A cell
    that is neither turned nor resampled and moves by whole periods keeps its grid on the scene's.
    """
    centre = np.asarray(centre, np.float64)
    return centre + np.rint((np.asarray(wanted) - centre) / period) * period
