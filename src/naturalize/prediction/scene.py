"""The cells of an image from elsewhere, found once and at the scale of its laboratory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from naturalize.cells.segmentation import Cell, Segmentation, in_order, target_of
from naturalize.cells.segmenters import segmenter
from naturalize.cells.tiling import Tiled, red_cell_width
from naturalize.imaging.slide import slide_colour
from naturalize.models.config import Standard
from naturalize.prediction.frame import restained, scale_of, shrinking, shrunk, unpadded, whole
from naturalize.prediction.profile import RATIO, Profile, Seen, diameter, whole_reds

#: Longer images are segmented tile by tile, and a profile is measured on so much of their middle.
TILED = 900

#: Scales that differ by less than this (natural logarithm) are the same.
SAME_SCALE = 0.08

#: Images whose red cells are wider than this (pixels) are shrunk before they are looked at: the
#: segmenter needs less.
_WIDE = 110.0

#: Whole red cells from which the scale of one image is known, and how far they may be from the
#: group's (natural logarithm).
_REDS, _OTHER_SCALE = 2, math.log(1.4)

#: A white cell that covers more of an image than this is none: the image is empty and dark.
_MOST_SHARE = 0.97


#: Remark on an image that looks like no group of its set.
UNLIKE = "unlike the other images"


@dataclass(frozen=True, eq=False)
class Scene:
    """A foreign image as it is worked on, and what was found in it."""

    image: np.ndarray  # RGB uint8 (h, w, 3), no larger than it is needed
    found: Segmentation  # its white cells whole
    profile: Profile  # in pixels of ``image``
    factor: float  # pixels of ``image`` to one of the file's
    flags: tuple[str, ...] = ()

    @property
    def from_file(self) -> np.ndarray:
        """Float64 (3, 3), which takes places of the file to those of ``image``."""
        return shrinking(self.factor, self.factor)


def scene_of(image: np.ndarray, profile: Profile | None, standard: Standard) -> Scene:
    """Find the cells of a foreign image: once, at the scale of its group, if that is right."""
    border = unpadded(image)
    flags: tuple[str, ...] = ()
    if border is not None:
        image, flags = border[0], ("border of one colour",)
    slide = slide_colour(image)
    group = profile.nearest(image, slide, standard) if profile is not None else None
    if group is not None:
        factor = min(1.0, scale_of(group, standard))
        factor = 1.0 if abs(math.log(factor)) < SAME_SCALE else factor
        small, here = shrunk(image, factor), group.resized(factor)
        width = standard.red_cell / scale_of(here, standard)
        finder = Tiled(segmenter(cell_size=width), above=TILED)
        found = _in_one_piece(finder.segment(small), width)
        if max(small.shape[:2]) > TILED:
            return Scene(small, found, here, factor, flags)
        if main_cell(found) is None:  # once more, in the standard's own colours
            plain = restained(small, slide, here, standard)
            found = replace(
                _in_one_piece(finder.segment(plain), width), background=found.background
            )
        sure = main_cell(found) is not None and not found.unsure
        if sure and _plausible(found, here, standard):
            return Scene(small, found, here, factor, flags)
    elif profile is not None:
        flags = (*flags, UNLIKE)
    return _by_itself(image, group, standard, flags)


def _by_itself(
    image: np.ndarray, group: Profile | None, standard: Standard, flags: tuple[str, ...]
) -> Scene:
    """Find the cells of an image of unknown scale, and bring it to the standard by them."""
    small, factor = small_of(image)
    found = Tiled(segmenter(), above=TILED).segment(small)
    return scene_by(small, factor, found, group, standard, flags)


def scene_by(
    small: np.ndarray,
    factor: float,
    found: Segmentation,
    group: Profile | None,
    standard: Standard,
    flags: tuple[str, ...] = (),
) -> Scene:
    """Return an image, RGB uint8 (h, w, 3), and its cells, brought to the standard by these.

    ``small`` has ``factor`` times the file's size; ``group`` is the profile of images like it, if
    there is one: its scale is taken where it is plausible, and its stain.
    """
    cell = main_cell(found)
    own = Profile.of_seen([Seen.of(small, found, cell)])
    if group is not None:
        group = group.resized(factor)
        if cell is None or _plausible(found, group, standard) or not _better(own, group, cell):
            own = group
        else:
            own = replace(group, red_cell=own.red_cell, white_cell=own.white_cell)
            flags = (*flags, "scale of its own")
    if cell is not None and own.red_cell is None and own.white_cell is None:
        own = replace(own, white_cell=diameter(cell))
    found = _in_one_piece(found, standard.red_cell / scale_of(own, standard))
    return Scene(small, found, own, factor, flags)


def _better(own: Profile, group: Profile, cell: Cell) -> bool:
    """Whether one image says more of its scale than its group: by red cells, or a larger cell.

    A cell that is too small alone is a part of one, or none.
    """
    usual = group.white_cell or 0.0
    return own.red_cell is not None or diameter(cell) > usual


def small_of(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Return an image as large as is needed to find its cells, and how much it was shrunk."""
    longest = max(image.shape[:2])
    if longest <= TILED:
        return image, 1.0
    width = red_cell_width(image) or _WIDE * longest / TILED
    factor = min(1.0, _WIDE / width)
    return shrunk(image, factor), factor


def _in_one_piece(found: Segmentation, red_cell: float) -> Segmentation:
    """Return a segmentation whose white cells are whole; see `frame.whole`."""
    whites = found.of("wbc")
    if len(whites) < 2:
        return found
    return replace(
        found, cells=in_order([*whole(whites, red_cell), *found.of("rbc"), *found.of("platelet")])
    )


def _plausible(found: Segmentation, profile: Profile, standard: Standard) -> bool:
    """Whether the cells of an image have plausible sizes at the scale of a profile."""
    cell = main_cell(found)
    width = standard.red_cell / scale_of(profile, standard)
    reds = whole_reds(found) if profile.red_cell else []
    if len(reds) >= _REDS and abs(math.log(float(np.median(reds)) / width)) > _OTHER_SCALE:
        return False
    return cell is None or RATIO[0] <= diameter(cell) / width <= RATIO[1]


def whites_of(found: Segmentation) -> list[Cell]:
    """Return the white cells but those that are the dark whole of an empty image."""
    most = _MOST_SHARE * found.shape[0] * found.shape[1]
    return [cell for cell in found.of("wbc") if cell.area <= most]


def main_cell(found: Segmentation) -> Cell | None:
    """Return the white cell that a picture is taken of: large, and near its middle."""
    return target_of(whites_of(found), found.shape)
