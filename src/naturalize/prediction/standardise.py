"""Images from elsewhere, brought to the scale, framing and stain of a network's training images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from naturalize.base.console import remark, track, warn
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
    moved,
    restained,
    scale_of,
    sharpened,
    unpadded,
    wanted_sharpening,
)
from naturalize.prediction.profile import Profile, Seen, alike, sample
from naturalize.prediction.scene import (
    SAME_SCALE,
    TILED,
    UNLIKE,
    Scene,
    main_cell,
    scene_of,
    small_of,
    whites_of,
)

#: ``auto``: what does not look like training images is standardised.
MODES = ("auto", "always", "never")

#: How far an image's sides may be from the usual ones and still pass for usual.
_SIZE_SLACK = 0.06

#: Images that a profile is measured on at most, for one call and to keep, and how many of them are
#: worked on at once.
_SAMPLE, TO_KEEP, _AT_ONCE = 48, 200, 4

#: Profiles of fewer images change with the choice of them: of BCCD crops, those of 10, 20, 30 and
#: 48 give 66, 76, 80 and 85 % of the labels that one of 50 others gives.
ENOUGH = 30

#: Sets of so many images or more, of which some look unlike, are measured on as many as are kept.
_LARGE_SET = 1000

#: An image of so many times the area of a training image is a field of many cells.
_FIELD = 1.5

#: White cells in an image of one cell beyond which it is none.
_MOST_WHITES = 3

#: Answers that are no class: an image without any cell, a field without a white one.
NO_CELL, NO_WHITE_CELL = "no cell", "no white cell"

#: How far from the middle a platelet is meant that is the only cell, in half sides.
_MIDDLE = 0.5


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
    #: Where an image was standardised: what is kept of its cell, uint8 (H, W), and the matrix,
    #: float64 (2, 3), that takes places (x, y) of the file to the picture's.
    mask: np.ndarray | None = None
    matrix: np.ndarray | None = None
    #: Of a field: which of its white cells this is, from 1, and its ``x0, y0, x1, y1``.
    number: int | None = None
    box: tuple[int, int, int, int] | None = None

    @property
    def standardised(self) -> bool:
        """Whether the image was changed, not taken as it is."""
        return "standardised" in self.flags


class Standardiser:
    """Brings images to a standard: all, or those that do not look like it.

    The white cell is found by the package's own segmenter and set in the middle; the image is
    scaled so that red cells (or, where too few are whole, white cells) have the training images'
    size; the colours of nuclei, of red cells and of the slide become theirs, and what is blurred is
    sharpened. Scale, stain and blur are those of a laboratory's profile: they are properties of a
    microscope and a stain, not of a cell; a lymphocyte must stay small. Of a set of mixed origin,
    each group of like images has its own. An image whose cells are implausible at that scale is
    brought to the standard by itself.

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
        self.segmenter = Tiled(segmenter(), above=TILED)

    def learn(self, paths: Sequence[Path], name: str = "", most: int = _SAMPLE) -> Standardiser:
        """Measure the profile on up to ``most`` of the images that are to be standardised.

        What is to be known of it is said: that they are of mixed origin, or too few.
        """
        if self.standard is None:
            return self
        places = sample(paths, most)
        seen = self._all_seen([paths[place] for place in places])
        groups = alike(seen, self.standard)
        if len(seen) > len(groups[0]) and len(paths) >= _LARGE_SET and most < TO_KEEP:
            more = sorted(set(sample(paths, TO_KEEP)) - set(places))
            seen += self._all_seen([paths[place] for place in more])
        self.learn_from(seen, name)
        if seen and self.profile is not None and self.profile.measured < ENOUGH:
            named = f"{name}: " if name else ""
            warn(
                f"{named}{self.profile.measured} image(s) from elsewhere are too few to measure "
                "how they were taken, so answers depend on which these are; give "
                f"{ENOUGH} or more, or the profile of earlier ones (naturalize predict "
                "--save-profile, then --profile)"
            )
        return self

    def learn_from(self, seen: Sequence[Seen], name: str = "") -> None:
        """Take the profile of images that were measured; say if they are of mixed origin."""
        if self.standard is None or not seen:
            return
        groups = alike(seen, self.standard)
        first, *others = (self._profile(group, name) for group in groups)
        self.profile = replace(first, others=tuple(others))
        for text in self.profile.remarks():
            remark(f"{name}: {text}" if name else text)

    def _all_seen(self, paths: Sequence[Path]) -> list[Seen]:
        found = track(prefetched(self._seen, paths, window=_AT_ONCE), "measure", len(paths))
        return [one for one in found if one is not None]

    def _seen(self, path: Path) -> Seen | None:
        """Measure a foreign image, of a large one the middle."""
        assert self.standard is not None
        try:
            image = read_image(path)
        except ImageReadError:
            return None
        if self.usual(image):
            return None
        border = unpadded(image)
        small, factor = small_of(border[0] if border else image)
        top, left = (max(0, (side - TILED) // 2) for side in small.shape[:2])
        small = np.ascontiguousarray(small[top : top + TILED, left : left + TILED])
        found = self.segmenter.segment(small)
        return Seen.of(small, found, main_cell(found), factor)

    def _profile(self, seen: Sequence[Seen], name: str) -> Profile:
        """Return the profile of a group of images, and how much they are to be sharpened."""
        assert self.standard is not None
        profile = Profile.of_seen(seen, name)
        wanted = [
            wanted_sharpening(*_framed(one, profile, self.standard), self.standard)
            for one in seen
            if one.part is not None
        ]
        return replace(profile, sharpening=float(np.median(wanted or [0.0])))

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
        return slide if _in_range(slide, standard) and unpadded(image) is None else None

    def __call__(self, image: np.ndarray) -> Standardised:
        """Return RGB uint8 (H, W, 3) as training images look, one picture for the whole of it."""
        standard = self.standard
        if standard is None:
            return Standardised(image)
        if (usual := self._as_it_is(image, standard)) is not None:
            return usual
        return self._one(scene_of(image, self.profile, standard), standard)

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
        scene = scene_of(image, self.profile, standard)
        if _is_small(scene, standard):
            return [self._one(scene, standard)]
        made = list(self.white_cells(scene))
        return made or [Standardised(image[:1, :1], verdict=NO_WHITE_CELL)]

    def of_one_cell(self, scene: Scene) -> Standardised | None:
        """Return an image of one cell, whose cells are found, as it is asked for; a field is null.

        It is about the white cell that the image was taken of; without one, null too.
        """
        standard = self.standard
        if standard is None or main_cell(scene.found) is None:
            return None
        if (usual := self._as_it_is(scene.image, standard)) is not None:
            return usual
        return self._one(scene, standard) if _is_small(scene, standard) else None

    def white_cells(self, scene: Scene) -> Iterator[Standardised]:
        """Yield a picture for each white cell of a field, numbered in the order it was found in.

        ``SettingsError`` for a standardiser without a standard.
        """
        standard = self.standard
        if standard is None:
            raise SettingsError(
                "white cells of fields are brought to the model's standard: give a model that has "
                "one (trained with a cell bank), and do not standardise 'never'"
            )
        scale = scale_of(scene.profile, standard)
        here = _in_range(scene.found.background, standard) and abs(math.log(scale)) < SAME_SCALE
        for number, cell in enumerate(whites_of(scene.found), start=1):
            yield self._of_field(scene, cell, number, standard, as_it_is=here)

    def _of_field(
        self, scene: Scene, cell: Cell, number: int, standard: Standard, *, as_it_is: bool
    ) -> Standardised:
        """Return one white cell of a field; ``as_it_is``: it was taken as the standard was."""
        image, slide = scene.image, scene.found.background
        scale = 1.0 if as_it_is else scale_of(scene.profile, standard)
        (x, y), sides = centre(cell), (cell.box[2] - cell.box[0], cell.box[3] - cell.box[1])
        # what is no smear has cells larger than a picture: all of the cell lies in the part
        half = max(0.75 * max(standard.height, standard.width) / scale, *(n / 2 for n in sides))
        x0, y0 = (max(0, int(middle - half)) for middle in (x, y))
        part = np.ascontiguousarray(image[y0 : int(y + half) + 1, x0 : int(x + half) + 1])
        flags = ("cell cut by the border",) if cell.touches(image.shape) else ()
        there = cell.moved(-x0, -y0)
        x1, y1 = x0 + part.shape[1], y0 + part.shape[0]
        others = [
            one.moved(-x0, -y0)
            for one in scene.found.cells
            if one is not cell
            and (one.box[0] < x1 and one.box[2] > x0 and one.box[1] < y1 and one.box[3] > y0)
        ]
        box = _in_file(cell, scene.factor)
        if as_it_is:
            made, _, _ = moved(part, there, others, 1.0, slide, standard)
            seen = measures(made, slide) if standard.typical is not None else None
            return Standardised(made, flags, cell.kind, slide, seen, number=number, box=box)
        made, mask, matrix = _finished(part, there, others, slide, scene.profile, standard)
        why = not_a_smear(slide, measures(part, slide))
        flags = ("standardised", *scene.flags, *flags, *((why,) if why else ()))
        to_part = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1]])
        return Standardised(
            made,
            flags,
            cell.kind,
            doubt=why is not None or UNLIKE in scene.flags,
            number=number,
            box=box,
            mask=mask,
            matrix=matrix @ to_part @ scene.from_file,
        )

    def _one(self, scene: Scene, standard: Standard) -> Standardised:
        """Return an image from elsewhere, about the one white cell that is meant.

        Without a white cell it is about the platelet in its middle, and in doubt; without that
        there is no cell.
        """
        image, found = scene.image, scene.found
        slide, cell = found.background, main_cell(found)
        white = cell is not None
        flags = ["standardised", *scene.flags]
        whites = len(found.of("wbc"))
        why = not_a_smear(slide, measures(image, slide))
        if cell is None:
            flags.append("no white cell found")
            cell = _middle_platelet(found) if why is None else None
        elif cell.touches(found.shape):
            flags.append("cell cut by the border")
        if whites > 1:
            flags.append(f"{whites} white cells")
        if why is not None:
            flags.append(why)
        made, mask, matrix = _finished(image, cell, found.cells, slide, scene.profile, standard)
        return Standardised(
            made,
            tuple(flags),
            cell.kind if cell is not None and white else None,
            doubt=why is not None or not white or whites > _MOST_WHITES or UNLIKE in scene.flags,
            verdict=NO_CELL if cell is None else None,
            mask=mask,
            matrix=matrix @ scene.from_file,
        )

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


def _is_small(scene: Scene, standard: Standard) -> bool:
    """Return whether an image shows too little for a field, at the scale of the standard."""
    height, width = scene.found.shape
    area = height * width * min(1.0, scale_of(scene.profile, standard) ** 2)
    return area < _FIELD * standard.height * standard.width


def _in_range(slide: Colour, standard: Standard) -> bool:
    bounds = zip(slide, standard.slide_low, standard.slide_high, strict=True)
    return all(low <= value <= high for value, low, high in bounds)


def _finished(
    image: np.ndarray,
    cell: Cell | None,
    others: Sequence[Cell],
    slide: Colour,
    profile: Profile,
    standard: Standard,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Return an image in the standard's frame, stain and sharpness, its cell isolated.

    With it, what is kept of the cell and the matrix of its places; see `frame.moved`.
    """
    made, mask, matrix = moved(image, cell, others, scale_of(profile, standard), slide, standard)
    made = restained(made, slide, profile, standard)
    amount = profile.sharpening
    if amount is None:
        amount = wanted_sharpening(made, mask, standard)
    made = sharpened(made, amount)
    if mask is not None and standard.alone:
        made = isolated(made, mask, standard.slide)
    return made, mask, matrix


def _framed(
    seen: Seen, profile: Profile, standard: Standard
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the cell of one image of a set as the standard shows it, and what is kept of it."""
    assert seen.part is not None
    image, cell = seen.part
    scale = scale_of(profile.resized(seen.shrunk), standard)
    made, mask, _ = moved(image, cell, (), scale, seen.slide, standard)
    return restained(made, seen.slide, profile, standard), mask


def _in_file(cell: Cell, factor: float) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = cell.box
    return (
        math.floor(x0 / factor), math.floor(y0 / factor),
        math.ceil(x1 / factor), math.ceil(y1 / factor),
    )  # fmt: skip


def _middle_platelet(found: Segmentation) -> Cell | None:
    """Return the platelet that an image without a white cell shows in its middle, if it does."""
    cell = target_of(found.of("platelet"), found.shape)
    if cell is None:
        return None
    off = [
        abs(2 * place / side - 1)
        for place, side in zip(centre(cell), found.shape[::-1], strict=True)
    ]
    return cell if max(off) <= _MIDDLE else None
