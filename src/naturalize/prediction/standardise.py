"""Images from elsewhere, brought to the scale, framing and stain of a network's training images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from naturalize.base.console import track
from naturalize.base.engine import prefetched
from naturalize.base.errors import ImageReadError, SettingsError, unknown
from naturalize.base.images import read_image
from naturalize.cells.segmentation import Cell, Segmentation, target_of
from naturalize.cells.segmenters import segmenter
from naturalize.cells.tiling import Tiled
from naturalize.imaging.slide import isolated, slide_colour
from naturalize.models.config import Colour, Standard
from naturalize.prediction.domain import distance, measures, not_a_smear, nuclei_apart
from naturalize.prediction.frame import (
    centre,
    framed,
    moved,
    restained,
    scale_of,
    sharpened,
    wanted_sharpening,
)
from naturalize.prediction.profile import Profile, sample

#: ``auto``: what does not look like training images is standardised.
MODES = ("auto", "always", "never")

#: How far an image's sides may be from the usual ones and still pass for usual.
_SIZE_SLACK = 0.06

#: Longer images are segmented tile by tile, and a profile is measured on so much of their middle.
_TILED = 900

#: Images that a profile is measured on at most, for one call and to keep, and how many of them are
#: worked on at once.
_SAMPLE, TO_KEEP, _AT_ONCE = 48, 200, 4

#: Profiles of fewer images change with the choice of them: of BCCD crops, those of 10, 20, 30 and
#: 48 give 66, 76, 80 and 85 % of the labels that one of 50 others gives.
ENOUGH = 30

#: An image of so many times the area of a training image is a field of many cells, and scales
#: that differ by less than this (natural logarithm) are the same.
_FIELD, _SAME_SCALE = 1.5, 0.08

#: White cells in an image of one cell beyond which it is none.
_MOST_WHITES = 3

#: Answers that are no class: an image without any cell, a field without a white one.
NO_CELL, NO_WHITE_CELL = "no cell", "no white cell"

#: A white cell that covers more of an image than this is none: the image is empty and dark.
_MOST_SHARE = 0.97


@dataclass(frozen=True)
class Standardised:
    """An image ready for the network, and what is to be said of it."""

    image: np.ndarray  # RGB uint8 (H, W, 3), what the network gets
    #: Short remarks for the table; empty where the image was taken as it is.
    flags: tuple[str, ...] = ()
    #: What the cell in the middle was found to be; null where no segmenter was asked, or nothing
    #: was found.
    kind: str | None = None
    #: Colour of the bare slide, where it was measured and the image was taken as it is.
    slide: Colour | None = None
    #: The image's measures, and whether its nuclei lie apart, where it looks like a training image
    #: at first sight.
    measures: np.ndarray | None = None
    apart: bool = False
    doubt: bool = False  # whether the answer is unsure whatever the network says
    #: The answer where no network need be asked: `NO_CELL` or `NO_WHITE_CELL`.
    verdict: str | None = None
    #: Of a field: which of its white cells this is, from 1, and its ``x0, y0, x1, y1``.
    number: int | None = None
    box: tuple[int, int, int, int] | None = None


class Standardiser:
    """Brings images to a standard: all, or those that do not look like it.

    The white cell is found by the package's own segmenter and set in the middle; the image is
    scaled so that red cells (or, where too few are whole, white cells) have the training images'
    size; the colours of nuclei, of red cells and of the slide become theirs, and what is blurred is
    sharpened. Scale, stain and blur are those of a laboratory's profile: they are properties of a
    microscope and a stain, not of a cell; a lymphocyte must stay small.

    Without a standard, images are taken as they are. ``mode`` is one of `MODES`. Without a profile,
    :meth:`learn` measures it, or else each image is brought to the standard by itself.
    """

    def __init__(
        self, standard: Standard | None, mode: str = "auto", profile: Profile | None = None
    ) -> None:
        if mode not in MODES:
            raise unknown("standardise", mode, list(MODES))
        if standard is None and (mode == "always" or profile is not None):
            raise SettingsError(
                f"standardise {mode}: this model does not say what its training images looked "
                "like; train it with a cell bank, or take images as they are with 'never'"
            )
        self.standard = standard if mode != "never" else None
        self.mode = mode
        self.profile = profile
        self.segmenter = Tiled(segmenter(), above=_TILED)

    def learn(self, paths: Sequence[Path], name: str = "", most: int = _SAMPLE) -> Standardiser:
        """Measure the profile on up to ``most`` of the images that are to be standardised."""
        if self.standard is None:
            return self
        chosen = [paths[place] for place in sample(paths, most)]
        measured = track(
            prefetched(self._measured, chosen, window=_AT_ONCE), "measure", len(chosen)
        )
        seen = [one for one in measured if one is not None]
        if seen:
            profile = Profile.of(seen, name)
            wanted = [_blur(image, found, profile, self.standard) for image, found in seen]
            sharpening = float(np.median([one for one in wanted if one is not None] or [0.0]))
            self.profile = replace(profile, sharpening=sharpening)
        return self

    def _measured(self, path: Path) -> tuple[np.ndarray, Segmentation] | None:
        """Return a foreign image, of a large one the middle, and the cells in it."""
        try:
            image = read_image(path)
        except ImageReadError:
            return None
        if self.usual(image):
            return None
        top, left = (max(0, (side - _TILED) // 2) for side in image.shape[:2])
        image = np.ascontiguousarray(image[top : top + _TILED, left : left + _TILED])
        return image, self.segmenter.segment(image)

    def usual(self, image: np.ndarray) -> bool:
        """Whether RGB uint8 (H, W, 3) has the size and the slide of training images."""
        return self.standard is None or self._usual_slide(image, self.standard) is not None

    def _usual_slide(self, image: np.ndarray, standard: Standard) -> Colour | None:
        """Return the colour of the slide of an image that looks like a training image."""
        if self.mode == "always":
            return None
        height, width = image.shape[:2]
        sizes = ((height, standard.height), (width, standard.width))
        if any(abs(side - usual) > _SIZE_SLACK * usual for side, usual in sizes):
            return None
        slide = slide_colour(image)
        return slide if _in_range(slide, standard) else None

    def __call__(self, image: np.ndarray) -> Standardised:
        """Return RGB uint8 (H, W, 3) as training images look, one picture for the whole of it."""
        standard = self.standard
        if standard is None:
            return Standardised(image)
        if (usual := self._as_it_is(image, standard)) is not None:
            return usual
        return self._foreign(image, self.segmenter.segment(image), standard)

    def _as_it_is(self, image: np.ndarray, standard: Standard) -> Standardised | None:
        """Return an image that looks like a training image, with its measures; others are null."""
        slide = self._usual_slide(image, standard)
        if slide is None or standard.typical is None:
            return None if slide is None else Standardised(image, slide=slide)
        found, apart = measures(image, slide), nuclei_apart(image, slide)
        return Standardised(image, slide=slide, measures=found, apart=apart)

    def each(self, image: np.ndarray) -> list[Standardised]:
        """Return one picture for each white cell of a field; of an image of one cell, that one.

        An image is a field if it is half as large again as a training image, in pixels and in what
        it shows. A field without white cells gives one entry, whose verdict is `NO_WHITE_CELL`.
        """
        standard = self.standard
        if standard is None:
            return [Standardised(image)]
        if (usual := self._as_it_is(image, standard)) is not None:
            return [usual]
        found = self.segmenter.segment(image)
        profile = self.profile or Profile.of([(image, found)])
        scale = scale_of(profile, standard)
        area = image.shape[0] * image.shape[1] * min(1.0, scale**2)
        if area < _FIELD * standard.height * standard.width:
            return [self._foreign(image, found, standard)]
        whites = _whites(found)
        if not whites:
            return [Standardised(image[:1, :1], verdict=NO_WHITE_CELL)]
        here = _in_range(found.background, standard) and abs(math.log(scale)) < _SAME_SCALE
        return [
            self._of_field(image, cell, number, found.background, None if here else profile)
            for number, cell in enumerate(whites, start=1)
        ]

    def _of_field(
        self,
        image: np.ndarray,
        cell: Cell,
        number: int,
        slide: Colour,
        profile: Profile | None,
    ) -> Standardised:
        """Return one white cell of a field; without a profile, it was taken as the standard was."""
        standard = self.standard
        assert standard is not None
        scale = scale_of(profile, standard) if profile is not None else 1.0
        x, y = centre(cell)
        half = 0.75 * max(standard.height, standard.width) / scale
        x0, y0 = (max(0, int(middle - half)) for middle in (x, y))
        part = np.ascontiguousarray(image[y0 : int(y + half) + 1, x0 : int(x + half) + 1])
        flags = ("cell cut by the border",) if cell.touches(image.shape) else ()
        cell_there = cell.moved(-x0, -y0)
        if profile is None:
            made, _ = moved(part, cell_there, 1.0, slide, standard)
            there = measures(made, slide) if standard.typical is not None else None
            return Standardised(made, flags, cell.kind, slide, there, number=number, box=cell.box)
        made = self._finished(part, cell_there, slide, profile, standard)
        why = not_a_smear(slide, measures(part, slide))
        flags = ("standardised", *flags, *((why,) if why else ()))
        return Standardised(
            made, flags, cell.kind, doubt=why is not None, number=number, box=cell.box
        )

    def _foreign(self, image: np.ndarray, found: Segmentation, standard: Standard) -> Standardised:
        """Return an image from elsewhere, about the one white cell that is meant."""
        profile = self.profile or Profile.of([(image, found)])
        slide = found.background
        cell = main_cell(found)
        if cell is None and self.profile is not None:  # once more, in the standard's own colours
            plain = restained(image, slide, profile, standard)
            size = standard.red_cell / scale_of(profile, standard)
            cell = main_cell(Tiled(segmenter(cell_size=size), above=_TILED).segment(plain))
        flags = ["standardised"]
        whites = len(found.of("wbc"))
        if cell is None:
            flags.append("no white cell found")
        elif cell.touches(found.shape):
            flags.append("cell cut by the border")
        if whites > 1:
            flags.append(f"{whites} white cells")
        why = not_a_smear(slide, measures(image, slide))
        if why is not None:
            flags.append(why)
        empty = cell is None and (why is not None or not found.of("platelet"))
        return Standardised(
            self._finished(image, cell, slide, profile, standard),
            tuple(flags),
            cell.kind if cell is not None else None,
            doubt=why is not None or cell is None or whites > _MOST_WHITES,
            verdict=NO_CELL if empty else None,
        )

    def _finished(
        self,
        image: np.ndarray,
        cell: Cell | None,
        slide: Colour,
        profile: Profile,
        standard: Standard,
    ) -> np.ndarray:
        """Return an image in the standard's frame, stain and sharpness, its cell isolated."""
        made, mask = framed(image, cell, slide, profile, standard)
        amount = profile.sharpening
        if amount is None:
            amount = wanted_sharpening(made, mask, standard)
        made = sharpened(made, amount)
        return isolated(made, mask, standard.slide) if mask is not None and standard.alone else made

    def judged(self, made: Standardised, label: str) -> Standardised:
        """Return an image with what speaks against its class; see `naturalize.prediction.domain`.

        Only where the image is unlike the training images of that class, the segmenter is asked.
        """
        if made.measures is None or self.standard is None or self.standard.typical is None:
            return made
        far, reason = distance(self.standard.typical, label, made.measures)
        flags = made.flags + (("several nucleated cells",) if made.apart else ())
        if far <= 1:
            return replace(made, flags=flags) if made.apart else made
        # of the standard's scale, so one scale is enough
        found = segmenter(cell_size=self.standard.red_cell).segment(made.image)
        if not found.of("wbc") and not found.of("platelet"):
            return replace(made, verdict=NO_CELL, doubt=True)
        return replace(made, flags=(*flags, f"unlike the training images: {reason}"), doubt=True)


def _in_range(slide: Colour, standard: Standard) -> bool:
    bounds = zip(slide, standard.slide_low, standard.slide_high, strict=True)
    return all(low <= value <= high for value, low, high in bounds)


def _blur(
    image: np.ndarray, found: Segmentation, profile: Profile, standard: Standard
) -> float | None:
    """Return how much one image of a set would have to be sharpened, if it shows a cell."""
    cell = main_cell(found)
    if cell is None:
        return None
    made, mask = framed(image, cell, found.background, profile, standard)
    return wanted_sharpening(made, mask, standard)


def _whites(found: Segmentation) -> list[Cell]:
    """Return the white cells but those that are the dark whole of an empty image."""
    most = _MOST_SHARE * found.shape[0] * found.shape[1]
    return [cell for cell in found.of("wbc") if cell.area <= most]


def main_cell(found: Segmentation) -> Cell | None:
    """Return the white cell that a picture is taken of: large, and near its middle."""
    return target_of(_whites(found), found.shape)
