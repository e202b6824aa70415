"""How images were taken: measured of the training images, and of each group of a laboratory's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base.console import warn
from naturalize.base.images import read_image
from naturalize.base.statistics import robust_spread
from naturalize.cells.bank import CellBank
from naturalize.cells.segmentation import Segmentation
from naturalize.cells.tables import cell_of
from naturalize.compose.draw.look import Look, Sharp, Taken, focused, unfocused
from naturalize.imaging.stain import focus
from naturalize.models.config import Colour
from naturalize.prediction.profile import Profile, sample

#: Images of each set that are measured, at most; training images whose cells' sharpness is.
_MEASURED, _FOCUSED = 120, 66

#: Levels by which the slides of two groups of images differ, on average. Within one laboratory they
#: differ by less (PBC's two acquisition domains: 33), and a cell is brought to each scene's own.
_APART = 40.0

#: Images, and the share of all, that a group of its own has; fewer go to the nearest group.
_GROUP, _SHARE = 8, 0.05

#: Spread of the logarithm of red cells' diameters between images from which a set seems to be of
#: several origins (PBC: 0.05); whole red cells that an image's own diameter needs, and so many
#: images.
_MIXED, _REDS, _IMAGES = 0.25, 3, 10


#: Bare slide whose grain is measured: further than 5 pixels from cells, so many pixels of it.
_CLEAR, _BARE = np.ones((11, 11), np.uint8), 400


@dataclass(frozen=True, eq=False)
class Group:
    """Images of a laboratory with like light."""

    look: Look
    profile: Profile
    image_ids: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and their cells: rows of ``BACKGROUNDS`` and of a table of cells, below ``root``."""

    root: Path
    grounds: pa.Table
    cells: pa.Table
    name: str

    @classmethod
    def of(cls, bank: CellBank) -> ImageSet:
        """Return the images of a bank in which a cell of a class was found."""
        ids = pa.array(sorted(set(bank.cells(target=True)["image_id"].to_pylist())), pa.string())
        grounds = bank.backgrounds.filter(pc.is_in(bank.backgrounds["image_id"], ids))
        return cls(bank.root, grounds, bank.table, "training images")

    @property
    def slides(self) -> np.ndarray:
        """RGB of the bare slide of each image, float64 (N, 3)."""
        return np.column_stack([self.grounds[c].to_numpy() for c in "rgb"]).astype(np.float64)

    def some(self, n: int) -> Iterator[tuple[np.ndarray, Segmentation]]:
        """Yield at most ``n`` images, RGB uint8 (H, W, 3), with their cells, evenly spaced."""
        rows = self.grounds.sort_by("image_id").to_pylist()
        for row in (rows[i] for i in sample(rows, n)):
            image = read_image(self.root / row["path"])
            own = self.cells.filter(pc.field("image_id") == row["image_id"]).to_pylist()
            cells, slide = tuple(cell_of(one) for one in own), (row["r"], row["g"], row["b"])
            yield image, Segmentation((image.shape[0], image.shape[1]), cells, slide)

    def taken(self) -> Taken:
        """Measure a sample of the images."""
        grain: list[float] = []

        def seen() -> Iterator[tuple[np.ndarray, Segmentation]]:
            for image, found in self.some(_MEASURED):
                bare = cv2.erode((found.label_image() == 0).view(np.uint8), _CLEAR) > 0
                if np.count_nonzero(bare) >= _BARE:
                    grain.append(focus(image, bare))
                yield image, found

        profile = Profile.of(seen(), self.name)
        return Taken(profile, self.cells, self.slides, float(np.median(grain)) if grain else 0.0)

    def only(self, keep: np.ndarray) -> ImageSet:
        """Return the images that ``keep``, bool (N,), names."""
        grounds = self.grounds.filter(pa.array(keep))
        ids = grounds["image_id"].combine_chunks()
        cells = self.cells.filter(pc.is_in(self.cells["image_id"], ids))
        return ImageSet(self.root, grounds, cells, self.name)


def groups_of(training: ImageSet, laboratory: ImageSet) -> tuple[Taken, list[Group]]:
    """Return how the training images were taken, and the look of each group of a laboratory's.

    ``InputError`` where no size was measured.
    """
    here, whole = training.taken(), laboratory.taken()
    sharp = list(_sharp(training))
    of_image = grouped(laboratory.slides)
    _warn_of_mixture(laboratory)
    found = []
    for code in range(int(of_image.max()) + 1):
        part = laboratory.only(of_image == code)
        there = whole if code == of_image.max() == 0 else part.taken()
        # where a group shows too little of something, it is as in the whole set
        look = focused(unfocused(here, there, whole.profile), there, sharp)
        found.append(Group(look, there.profile, tuple(part.grounds["image_id"].to_pylist())))
    return here, found


def grouped(slides: np.ndarray) -> np.ndarray:
    """Return the group, 0 for the largest, of images with slides RGB (N, 3); int (N,).

    Average linkage of the colours (Sokal & Michener 1958), cut at 40 levels; then each image
    belongs to the group whose median is nearest to its slide.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    n = len(slides)
    if n < 2:
        return np.zeros(n, np.int64)
    codes = fcluster(linkage(slides, "average"), _APART, "distance")
    names, counts = np.unique(codes, return_counts=True)
    large = names[counts >= max(_GROUP, _SHARE * n)]
    if len(large) < 2:
        return np.zeros(n, np.int64)
    return nearest(slides, np.stack([np.median(slides[codes == name], axis=0) for name in large]))


def nearest(slides: np.ndarray, lights: np.ndarray) -> np.ndarray:
    """Return which of the colours (K, 3) is next to each of (N, 3), the most frequent one first."""
    found = np.linalg.norm(slides[:, None] - lights[None], axis=2).argmin(axis=1)
    names, counts = np.unique(found, return_counts=True)
    rank = np.argsort(np.argsort(-counts, kind="stable"))
    return rank[np.searchsorted(names, found)]


def _sharp(training: ImageSet) -> Iterator[Sharp]:
    """Yield some training images, their slides and the masks of their whole cells."""
    for image, found in training.some(_FOCUSED):
        masks: dict[str, list[np.ndarray]] = {"rbc": [], "wbc": []}
        for cell in found.cells:
            if cell.kind in masks and not cell.touches(found.shape):
                whole = np.zeros(found.shape, bool)
                x0, y0, x1, y1 = cell.box
                whole[y0:y1, x0:x1] = cell.mask
                masks[cell.kind].append(whole)
        yield image, _colour(found.background), masks


def _colour(values: Any) -> Colour:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _warn_of_mixture(laboratory: ImageSet) -> None:
    """Say so where images of one set seem to come from several microscopes."""
    cells = laboratory.cells
    whole = pc.and_(pc.equal(cells["kind"], "rbc"), pc.invert(cells["touches_border"]))
    sizes: dict[str, list[float]] = {}
    for row in cells.filter(whole).select(["image_id", "area"]).to_pylist():
        sizes.setdefault(row["image_id"], []).append(row["area"])
    logs = [0.5 * np.log(np.median(own)) for own in sizes.values() if len(own) >= _REDS]
    if len(logs) >= _IMAGES and robust_spread(np.array(logs)) > _MIXED:
        warn(
            f"{laboratory.name}: its images differ so much in scale that they seem to be of "
            "several microscopes; all get one scale: give each one's images a folder of their own"
        )
