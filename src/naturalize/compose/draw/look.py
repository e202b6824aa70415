"""How training cells are made to look as another laboratory takes them: size, stain, light, focus.

What was measured of the training images and of the laboratory's says how many pixels of the one are
one of the other's, which optical density its two stains have for each density of the training
images' (:func:`naturalize.prediction.frame.stain_matrix`, in the direction opposite to
standardising), which colour its slide has, and by how much its cells are softer or sharper.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base.errors import InputError
from naturalize.imaging.stain import focus, optical_density
from naturalize.models.config import Colour
from naturalize.prediction.frame import sharpened
from naturalize.prediction.profile import Profile

#: Most that cells are enlarged or shrunk: beyond it a size was measured wrongly, or the laboratory
#: has an objective with which no differential is counted.
MOST_SCALE = 4.0

#: Most that a stain is made stronger or weaker where only that is known, as in standardising.
_MOST_GAIN = 2.5

#: Density, as a share of the nuclei's, by which red cells differ in hue from nuclei where their own
#: stain is taken to the laboratory's by half.
_RIDGE = 0.1

#: Most that cells are blurred (standard deviation in the laboratory's pixels) and sharpened (weight
#: of an unsharp mask, as in standardising), and how often the interval between is halved.
_MOST_BLUR, _MOST_SHARPENING, _HALVED = 4.0, 1.0, 12

#: Cells from which a median sharpness is trusted; cells that are measured at most; pixels around
#: them that a blur looks at.
_ENOUGH, _MEASURED, _AROUND = 12, 150, 12

#: Least share of a cell's sharpness that is its own, however noisy the images are.
_LEAST_SHARP = 0.1


#: A training image, RGB uint8 (h, w, 3), the colour of its slide, kind → masks, bool (h, w).
Sharp = tuple[np.ndarray, Colour, Mapping[str, Sequence[np.ndarray]]]


class Taken(NamedTuple):
    """What was measured of a set of images: its profile, its cells, its images' slides."""

    profile: Profile
    cells: pa.Table  # ``kind``, ``touches_border`` and ``focus`` of each cell of the set
    slides: np.ndarray  # float (N, 3): RGB of the bare slide of each image
    grain: float = 0.0  # sharpness that bare slide has: noise, and what a codec left


@dataclass(frozen=True)
class Look:
    """What turns a training image into one as the laboratory would have taken it."""

    scale: float  #: Pixels of the laboratory to one of the training images.
    #: Takes optical densities (red, green, blue) of the training images to the laboratory's.
    stain: tuple[tuple[float, float, float], ...]
    slide: Colour  #: Median RGB of the laboratory's bare slides.
    blur: float = 0.0  #: Standard deviation in the laboratory's pixels; 0: none.
    sharpening: float = 0.0  #: Weight of an unsharp mask; 0: none.

    def size(self, shape: Sequence[int]) -> tuple[int, int]:
        """Return width and height that an image of ``shape`` (height, width, …) gets."""
        return max(1, round(shape[1] * self.scale)), max(1, round(shape[0] * self.scale))

    def image(self, rgb: np.ndarray, slide: Colour) -> np.ndarray:
        """Return RGB uint8 (h, w, 3), whose bare slide has the colour ``slide``, in this look."""
        made = resized(rgb, self.size(rgb.shape))
        density = optical_density(made, slide) @ np.array(self.stain, np.float32).T
        light = np.asarray(self.slide, np.float32) * np.float32(10) ** -density
        return self.focused(np.clip(np.rint(light), 0, 255).astype(np.uint8))

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """Return the mask, bool (h, w), of what :meth:`image` makes of its image."""
        return resized(mask.astype(np.float32), self.size(mask.shape)) >= 0.5

    def focused(self, rgb: np.ndarray) -> np.ndarray:
        """Return an image of the laboratory's scale, softer or sharper."""
        made = cv2.GaussianBlur(rgb, (0, 0), self.blur) if self.blur else rgb
        return sharpened(made, self.sharpening)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def resized(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return an array (h, w, …) at width and height ``size``; shrunk by means of areas."""
    smaller = size[0] < plane.shape[1]
    return cv2.resize(plane, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def unfocused(training: Taken, laboratory: Taken, usual: Profile | None = None) -> Look:
    """Return the look of a laboratory's images, but for its focus.

    ``usual``: of all its images, for what these show too little of. ``InputError`` where neither
    red nor white cells were measured in both.
    """
    here, there = training.profile, laboratory.profile
    if usual is not None:
        there = replace(
            there,
            red_cell=there.red_cell or usual.red_cell,
            white_cell=there.white_cell or usual.white_cell,
            nucleus_stain=there.nucleus_stain or usual.nucleus_stain,
            red_stain=there.red_stain or usual.red_stain,
        )
    red, green, blue = np.median(laboratory.slides, axis=0).tolist()
    matrix = np.round(stain_between(here, there), 4).tolist()
    stain = tuple((row[0], row[1], row[2]) for row in matrix)
    return Look(_scale(here, there), stain, (red, green, blue))


def focused(look: Look, laboratory: Taken, training: Iterable[Sharp]) -> Look:
    """Return a look whose cells are as sharp as the laboratory's, in the median.

    Sharpness is :func:`naturalize.imaging.stain.focus`; of whole white cells where both have
    enough, else of red ones, whose density differs more between laboratories.

    Parameters
    ----------
    look
        Of :func:`unfocused`.
    laboratory
        What was measured of its images.
    training
        Some training images.
    """
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"wbc": [], "rbc": []}
    for rgb, slide, masks in training:
        made = look.image(rgb, slide)
        for kind, cells in found.items():
            for mask in (look.mask(mask) for mask in masks.get(kind, ())):
                if len(cells) < _MEASURED and mask.any():
                    cells.append(_window(made, mask))
    for kind, cells in found.items():
        whole = pc.and_(
            pc.equal(laboratory.cells["kind"], kind), pc.invert(laboratory.cells["touches_border"])
        )
        wanted = laboratory.cells.filter(whole)["focus"].to_numpy()
        if len(cells) >= _ENOUGH and len(wanted) >= _ENOUGH:
            # noise adds to the variance that sharpness is; cells must not make up for it
            seen = float(np.median(wanted))
            return _as_sharp(look, cells, max(seen - laboratory.grain, _LEAST_SHARP * seen))
    return look


def _scale(here: Profile, there: Profile) -> float:
    """Return pixels of the laboratory to one of the training images."""
    pairs = [(here.red_cell, there.red_cell), (here.white_cell, there.white_cell)]
    for before, after in pairs:
        if before and after:
            return float(np.clip(after / before, 1 / MOST_SCALE, MOST_SCALE))
    raise InputError(
        f"{there.name}: no size was measured: hardly any whole red or white cell was found in "
        f"{there.images:,} images; add images, or choose another segmenter"
    )


def stain_between(here: Profile, there: Profile) -> np.ndarray:
    """Return float64 (3, 3), which takes densities of the training images to the laboratory's.

    Of all matrices that take nuclei to the laboratory's, the one that is nearest to a mere change
    of strength; and what red cells differ in besides is taken to theirs, as far as the training
    images' two stains can be told apart (ridge regression, Hoerl & Kennard, Technometrics 12:55,
    1970). :func:`naturalize.prediction.frame.stain_matrix` does the latter wholly or not at all; in
    this direction it would rest on red cells so pale and so near to nuclei in hue (PBC: 16°) that
    dense granules came out brighter than the slide.
    """
    if there.nucleus_stain is None or here.nucleus_stain is None:
        if there.red_stain is None or here.red_stain is None:
            return np.eye(3)
        # no white cell was seen: as much stronger or weaker as the red cells are
        return np.eye(3) * _strength(here.red_stain, there.red_stain)
    nucleus, goal = np.asarray(here.nucleus_stain), np.asarray(there.nucleus_stain)
    plain = np.eye(3) * _strength(here.nucleus_stain, there.nucleus_stain)
    square = float(nucleus @ nucleus)
    matrix = plain + np.outer(goal - plain @ nucleus, nucleus) / square
    if there.red_stain is None or here.red_stain is None:
        return matrix
    red, red_goal = np.asarray(here.red_stain), np.asarray(there.red_stain)
    own = red - (red @ nucleus) / square * nucleus
    ridge = float(own @ own) + _RIDGE**2 * square
    return matrix + np.outer(red_goal - matrix @ red, own) / ridge


def _strength(here: Colour, there: Colour) -> float:
    before, after = (float(np.linalg.norm(stain)) for stain in (here, there))
    return float(np.clip(after / max(before, 1e-3), 1 / _MOST_GAIN, _MOST_GAIN))


def _window(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a cell with some pixels around it, and its mask there."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    part = np.s_[
        max(y - _AROUND, 0) : y + height + _AROUND, max(x - _AROUND, 0) : x + width + _AROUND
    ]
    return image[part], mask[part]


def _as_sharp(look: Look, cells: Sequence[tuple[np.ndarray, np.ndarray]], wanted: float) -> Look:
    """Return a look that gives cells of a median sharpness, by halving intervals."""

    def seen(tried: Look) -> float:
        return float(np.median([_focus(tried.focused(image), mask) for image, mask in cells]))

    def with_amount(amount: float) -> Look:
        if softer:
            return replace(look, blur=amount)
        return replace(look, sharpening=amount)

    softer = seen(look) > wanted
    low, high = 0.0, _MOST_BLUR if softer else _MOST_SHARPENING
    for _ in range(_HALVED):
        middle = (low + high) / 2
        if (seen(with_amount(middle)) > wanted) == softer:
            low = middle
        else:
            high = middle
    return with_amount(round((low + high) / 2, 3))


def _focus(image: np.ndarray, mask: np.ndarray) -> float:
    """Return the sharpness of a cell as a table of cells has it: of its box alone."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    box = np.s_[y : y + height, x : x + width]
    return focus(image[box], mask[box])
