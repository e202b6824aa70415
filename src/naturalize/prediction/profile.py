"""How a laboratory takes its images: the size of its cells and the strength of its stains.

A set may come from several: images that look alike are a group, and each group has a profile.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from naturalize.base.artifacts import read_json, write_json
from naturalize.base.errors import ArtifactError
from naturalize.base.images import content_hash
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.imaging.shape import solidity
from naturalize.imaging.stain import mean_density
from naturalize.models.config import Colour, Standard

#: A whole red cell is rounder than this; a part of one, or two in one, is not.
ROUND = 0.92

#: Whole red cells an image below which their median diameter says little: where they hardly fit
#: into the images, only small ones are whole.
_ENOUGH = 2.0

#: White cells are so many times as wide as red cells at least and at most: a small lymphocyte has
#: a red cell's width, 999 in 1,000 of PBC's white cells are below 3.3 (median of a set: 1.85).
RATIO, _RATIO_OF_A_SET = (0.8, 3.8), (1.1, 3.3)

#: How unlike two images of one microscope are at most: the natural logarithm of their red cells'
#: median widths (people's mean cell volumes, 60 to 120 fl, give 1.26), of how dark their nuclei are
#: and of their sides. Slides differ by the range of the training images' at most.
_UNLIKE_SIZE, _UNLIKE_STAIN, _UNLIKE_SIDE = math.log(1.5), math.log(2.0), math.log(2.0)

#: White cells of one magnification differ so much among themselves (natural logarithm).
_OF_KINDS = math.log(1.6)

#: Fewest images of a group, but for the largest, and the share of what is nearest to it by its look
#: that must be its own; farther from all groups an image is of none.
_LEAST_IN_GROUP, _OWN, _FAR = 3, 0.8, 2.0

#: How far around a cell an image is kept to measure its sharpness, in cells' widths.
_AROUND = 0.15

#: What a profile's file says it is, and what is read; in format 1 there are no groups.
_KIND, _VERSION, _READ = "naturalize laboratory profile", 2, (1, 2)


@dataclass(frozen=True, eq=False)
class Seen:
    """What was measured of one image."""

    side: float  # root of its area, in pixels
    slide: Colour
    #: Diameters in pixels of whole red cells, of whole white cells, and of the one that is meant.
    reds: tuple[float, ...]
    whites: tuple[float, ...]
    main: float | None
    nuclei: tuple[Colour, ...]  # optical densities
    red_stains: tuple[Colour, ...]
    #: What is around the cell that is meant, RGB uint8 (h, w, 3), and the cell there.
    part: tuple[np.ndarray, Cell] | None
    shrunk: float = 1.0  # pixels of ``part`` to one of the image's

    @classmethod
    def of(
        cls, image: np.ndarray, found: Segmentation, main: Cell | None, shrunk: float = 1.0
    ) -> Seen:
        """Measure an image that has ``shrunk`` times its own size, and the cells found in it."""
        slide, whites = found.background, found.of("wbc")
        nuclei = (stain_in(image, cell.box, cell.nucleus, slide) for cell in whites)
        reds = (stain_in(image, cell.box, cell.mask, slide) for cell in found.of("rbc"))
        return cls(
            side=math.sqrt(image.shape[0] * image.shape[1]) / shrunk,
            slide=slide,
            reds=tuple(width / shrunk for width in whole_reds(found)),
            whites=tuple(diameter(c) / shrunk for c in whites if not c.touches(found.shape)),
            main=diameter(main) / shrunk if main is not None else None,
            nuclei=tuple(stain for stain in nuclei if stain),
            red_stains=tuple(stain for stain in reds if stain),
            part=_part(image, main) if main is not None else None,
            shrunk=shrunk,
        )

    @property
    def look(self) -> tuple[float, ...]:
        """What can be seen without a segmenter: logarithm of the side, and colour of the slide."""
        return math.log(self.side), *self.slide


def _part(image: np.ndarray, cell: Cell) -> tuple[np.ndarray, Cell]:
    x0, y0, x1, y1 = cell.box
    rim = round(_AROUND * max(x1 - x0, y1 - y0))
    left, top = max(0, x0 - rim), max(0, y0 - rim)
    return image[top : y1 + rim, left : x1 + rim].copy(), cell.moved(-left, -top)


@dataclass(frozen=True)
class Profile:
    """How a set of images was taken, as far as it could be measured."""

    #: Median diameter in pixels of whole red cells and of white cells; null if too few were seen.
    red_cell: float | None
    white_cell: float | None
    #: Median optical density (red, green, blue) of nuclei and of red cells; null if none was seen.
    nucleus_stain: Colour | None
    red_stain: Colour | None
    #: How much images are sharpened to be like the standard's; null: each as it needs.
    sharpening: float | None = None
    images: int = 0  # how many were measured
    name: str = ""  # of the laboratory, or of what was measured

    #: Median logarithm of the images' sides and colour of their slides; null: not known.
    look: tuple[float, float, float, float] | None = None
    doubt: str = ""  # what speaks against a measure that was left out
    others: tuple[Profile, ...] = ()  # of the other groups of like images

    @classmethod
    def of(cls, seen: Iterable[tuple[np.ndarray, Segmentation]], name: str = "") -> Profile:
        """Measure images (RGB uint8 (H, W, 3)) of one group and the cells found in them."""
        return cls.of_seen([Seen.of(image, found, None) for image, found in seen], name)

    @classmethod
    def of_seen(cls, seen: Sequence[Seen], name: str = "") -> Profile:
        """Return what was measured of one group of images.

        Red cells whose size is implausible beside the white cells', or that are too few, are not
        used: the scale is then that of the white cells.
        """
        reds = [width for one in seen for width in one.reds]
        whites = [width for one in seen for width in one.whites]
        nuclei = [stain for one in seen for stain in one.nuclei]
        red_stains = [stain for one in seen for stain in one.red_stains]
        red = float(np.median(reds)) if len(reds) >= max(1, _ENOUGH * len(seen)) else None
        white, doubt = float(np.median(whites)) if whites else None, ""
        low, high = _RATIO_OF_A_SET if len(seen) > 1 else RATIO
        if red is not None and white is not None and not low <= white / red <= high:
            doubt = f"red cells of {red:.0f} pixels beside white cells of {white:.0f}"
            red = None
        look = np.median([one.look for one in seen], axis=0) if seen else None
        return cls(
            red_cell=red,
            white_cell=white,
            nucleus_stain=median_colour(nuclei) if nuclei else None,
            red_stain=median_colour(red_stains) if red_stains else None,
            images=len(seen),
            name=name,
            look=tuple(look.round(4).tolist()) if look is not None else None,
            doubt=doubt,
        )

    @property
    def groups(self) -> tuple[Profile, ...]:
        """The profiles of all groups of like images, the largest first."""
        return (replace(self, others=()), *self.others)

    @property
    def measured(self) -> int:
        """How many images were measured, of all groups."""
        return sum(group.images for group in self.groups)

    def remarks(self) -> list[str]:
        """Say what is to be known of how these images were taken."""
        scales = []
        for group in self.groups:
            kind, width = ("red", group.red_cell) if group.red_cell else ("white", group.white_cell)
            of = f"with {kind} cells of {width:.0f} pixels" if width else "without whole cells"
            scales.append(f"{group.images} {of}")
        mixed = [
            f"images of mixed origin: {len(scales)} groups of like look, each measured by itself: "
            + ", ".join(scales)
        ]
        doubts = [
            f"{group.doubt}: the scale is that of white cells"
            for group in self.groups
            if group.doubt
        ]
        return (mixed if len(scales) > 1 else []) + doubts

    def nearest(self, image: np.ndarray, slide: Colour, standard: Standard) -> Profile | None:
        """Return the profile of the group that an image looks like; null if it is like none."""
        looks = [group.look for group in self.groups]
        if any(look is None for look in looks):
            return self.groups[0]
        here = (math.log(math.sqrt(image.shape[0] * image.shape[1])), *slide)
        unlike = np.linalg.norm((np.array(looks) - here) / _unlike(standard), axis=1)
        best = int(unlike.argmin())
        return self.groups[best] if unlike[best] <= _FAR else None

    def resized(self, factor: float) -> Profile:
        """Return the profile of the images with ``factor`` times their width and height."""
        return replace(
            self,
            red_cell=self.red_cell and self.red_cell * factor,
            white_cell=self.white_cell and self.white_cell * factor,
        )

    def save(self, path: Path, standard: Standard) -> None:
        """Write a JSON file; it serves models of this standard."""
        about = {"kind": _KIND, "format_version": _VERSION, "standard": _digest(standard)}
        write_json(path, {**about, **asdict(self)})

    @classmethod
    def load(cls, path: Path, standard: Standard) -> Profile:
        """Read what :meth:`save` wrote.

        ``ArtifactError`` if it is no profile, or was measured for a model of another standard.
        """
        from pydantic import TypeAdapter, ValidationError

        raw = read_json(path)
        if not isinstance(raw, dict) or raw.pop("kind", None) != _KIND:
            raise ArtifactError(
                f"{path}: is no laboratory profile; measure one with: naturalize predict IMAGES "
                f"--save-profile {path}"
            )
        if (version := raw.pop("format_version", None)) not in _READ:
            raise ArtifactError(f"{path}: is of format {version}; this version reads {_VERSION}")
        if raw.pop("standard", None) != _digest(standard):
            raise ArtifactError(
                f"{path}: was measured for a model with another standard; measure it again with "
                "--save-profile and this model"
            )
        try:
            return TypeAdapter(cls).validate_python(raw)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise ArtifactError(f"{path}: damaged laboratory profile (at {where})") from error


def _unlike(standard: Standard) -> np.ndarray:
    """Return how far the looks of images of one microscope are apart at most, float64 (4,)."""
    slides = np.subtract(standard.slide_high, standard.slide_low)
    return np.array([_UNLIKE_SIDE, *np.maximum(slides, 1.0)])


def alike(seen: Sequence[Seen], standard: Standard) -> list[list[Seen]]:
    """Return the groups of images that look alike, the largest first; those of none are left out.

    Two groups are joined while the mean distance of their images is within what one microscope
    gives (average linkage: Sokal & Michener, Univ. Kansas Sci. Bull. 38:1409, 1958): of size, slide
    and nuclei. A set of one origin is one group.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(seen) < 2:
        return [list(seen)]
    looks = np.array([one.look for one in seen]) / _unlike(standard)
    sizes, stains = _sizes(seen) / _UNLIKE_SIZE, _strengths(seen) / _UNLIKE_STAIN
    tree = linkage(np.column_stack([looks, sizes, stains]), "average")
    numbers = fcluster(tree, 1.0, "distance")
    groups = [
        [one for one, m in zip(seen, numbers, strict=True) if m == n] for n in np.unique(numbers)
    ]
    return _known_by_look(sorted(groups, key=len, reverse=True), standard)


def _known_by_look(groups: list[list[Seen]], standard: Standard) -> list[list[Seen]]:
    """Return the largest group, and others that are large enough and known by their look.

    Images are given to a group before their cells are found. A group that would draw in images of
    others is left out: its images are brought to the standard one by one.
    """
    kept = [groups[0], *(group for group in groups[1:] if len(group) >= _LEAST_IN_GROUP)]
    while True:
        looks = [np.array([one.look for one in group]) / _unlike(standard) for group in kept]
        middles = np.array([np.median(look, axis=0) for look in looks])
        nearest = [np.linalg.norm(look[:, None] - middles, axis=2).argmin(axis=1) for look in looks]
        drawn = np.bincount(np.concatenate(nearest), minlength=len(kept))
        own = [int(np.count_nonzero(to == i)) for i, to in enumerate(nearest)]
        bad = [i for i in range(1, len(kept)) if own[i] < _OWN * max(drawn[i], len(kept[i]))]
        if not bad:
            return kept
        kept.pop(bad[-1])


def _sizes(seen: Sequence[Seen]) -> np.ndarray:
    """Return the logarithm of each image's scale, float64 (N,), 0 for the usual one.

    By red cells; where they are too few, by the white cell as far as it is larger or smaller than
    white cells of one magnification are.
    """
    red = np.array([_log_median(one.reds) if len(one.reds) >= _ENOUGH else np.nan for one in seen])
    white = np.array([_log_median([one.main] if one.main else []) for one in seen])
    red[(white - red < math.log(RATIO[0])) | (white - red > math.log(RATIO[1]))] = np.nan
    usual = [np.nanmedian(v) if not np.isnan(v).all() else 0.0 for v in (red, white)]
    off = white - usual[1]
    by_white = np.sign(off) * np.maximum(np.abs(off) - _OF_KINDS, 0)
    found: np.ndarray = np.nan_to_num(np.where(np.isnan(red), by_white, red - usual[0]))
    return found


def _strengths(seen: Sequence[Seen]) -> np.ndarray:
    """Return the logarithm of how dark each image's nuclei are, the usual where none was seen."""
    dark = np.array([_log_median([float(np.linalg.norm(s)) for s in one.nuclei]) for one in seen])
    usual = float(np.nanmedian(dark)) if not np.isnan(dark).all() else 0.0
    return np.where(np.isnan(dark), usual, dark)


def _log_median(values: Sequence[float]) -> float:
    return math.log(max(float(np.median(values)), 1e-3)) if values else math.nan


def _digest(standard: Standard) -> str:
    """Name what a profile depends on in a standard: not the range of measures."""
    facts = {key: value for key, value in asdict(standard).items() if key != "typical"}
    return content_hash(repr(sorted(facts.items())).encode())


def diameter(cell: Cell) -> float:
    """Return the diameter in pixels of a disc of the cell's area."""
    return disc(cell.area)


def stain_in(
    image: np.ndarray, box: tuple[int, int, int, int], mask: np.ndarray | None, slide: Colour
) -> Colour | None:
    """Return the mean optical density of what a mask shows in its box, or null if it is nothing."""
    if mask is None or not mask.any():
        return None
    x0, y0, x1, y1 = box
    return mean_density(image[y0:y1, x0:x1], mask, slide)


def sample(paths: Sequence[object], n: int) -> list[int]:
    """Return at most ``n`` places, evenly spaced over a list."""
    if len(paths) <= n:
        return list(range(len(paths)))
    return np.unique(np.linspace(0, len(paths) - 1, n).round().astype(int)).tolist()


def whole_reds(found: Segmentation) -> list[float]:
    """Return the diameters in pixels of an image's whole red cells."""
    return [diameter(cell) for cell in found.cells if _whole_red(cell, found.shape)]


def _whole_red(cell: Cell, shape: tuple[int, ...]) -> bool:
    if cell.kind != "rbc" or cell.touches(shape):
        return False
    x0, y0, x1, y1 = cell.box
    oblong = max(x1 - x0, y1 - y0) > 1.3 * min(x1 - x0, y1 - y0)
    return not oblong and solidity(cell.mask) >= ROUND


def disc(area: float) -> float:
    """Return the diameter of a disc of this area."""
    return 2 * math.sqrt(area / math.pi)


def median_colour(stains: Sequence[Colour] | np.ndarray) -> Colour:
    """Return the median of colours or stains, channel by channel."""
    return colour(np.median(np.asarray(stains), axis=0))


def colour(values: np.ndarray) -> Colour:
    """Return three numbers, rounded as they are written."""
    red, green, blue = (round(float(value), 4) for value in values)
    return red, green, blue
