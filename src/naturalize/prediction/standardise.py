"""Images from elsewhere, brought to the scale, framing and stain of a network's training images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from naturalize.base.console import track
from naturalize.base.errors import ImageReadError, SettingsError, unknown
from naturalize.base.images import read_image
from naturalize.base.prefetch import map_ahead
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.cells.segmenters import segmenter
from naturalize.imaging.slide import isolated, slide_colour
from naturalize.models.standard import Colour, Standard
from naturalize.prediction.colour import restained, sharpened, wanted_sharpening
from naturalize.prediction.look import Look, sample

#: ``auto``: what does not look like training images is standardised.
MODES = ("auto", "always", "never")

#: How far an image's sides may be from the usual ones and still pass for usual.
_SIZE_SLACK = 0.06

#: Images that a set is measured by.
_SAMPLE = 48

#: The most that images are enlarged or shrunk.
_MOST_SCALE = 4.0

#: A white cell that covers more of an image than this is none: the image is empty and dark.
_MOST_SHARE = 0.97


@dataclass(frozen=True)
class Standardised:
    """An image ready for the network, and what is to be said of it.

    ``flags`` are short remarks for the table; empty where the image was taken as it is. ``kind`` is
    what the cell in the middle was found to be; null where nobody looked, or nothing was found.
    ``slide`` is the colour of the bare slide, where it was measured.
    """

    image: np.ndarray
    flags: tuple[str, ...] = ()
    kind: str | None = None
    slide: Colour | None = None


class Standardiser:
    """Brings images to a standard: for each, or for those that do not look like it.

    The white cell is found by the package's own segmenter and set in the middle; the image is
    scaled so that red cells (or, where too few are whole, white cells) have the training images'
    size; the colours of nuclei, of red cells and of the slide become theirs, and what is blurred is
    sharpened. Scale, stain and blur are those of the whole set, measured on a sample of it: they
    are properties of a microscope and a laboratory, not of a cell; a lymphocyte must stay small.

    Parameters
    ----------
    standard
        Of the network; without one, images are taken as they are.
    mode
        One of :data:`MODES`.
    """

    def __init__(self, standard: Standard | None, mode: str = "auto") -> None:
        if mode not in MODES:
            raise unknown("standardise", mode, list(MODES))
        if mode == "always" and standard is None:
            raise SettingsError(
                "standardise always: this model does not say what its training images looked like; "
                "train it with a cell bank, or take images as they are with 'never'"
            )
        self.standard = standard if mode != "never" else None
        self.mode = mode
        self.look: Look | None = None
        self.sharpening: float | None = None
        self._segmenter = segmenter()

    def learn(self, paths: Sequence[Path]) -> Standardiser:
        """Measure a sample of the images that are to be standardised; others are passed over."""
        if self.standard is None:
            return self
        seen = []
        chosen = [paths[place] for place in sample(paths, _SAMPLE)]
        foreign = [image for image in map_ahead(self._foreign, chosen) if image is not None]
        if foreign:
            for image in track(foreign, "look at the images", len(foreign)):
                seen.append((image, self._segmenter.segment(image)))
        self.look = Look.of(seen) if seen else None
        if self.look is not None:
            wanted = [_blur(image, found, self.look, self.standard) for image, found in seen]
            self.sharpening = float(np.median([one for one in wanted if one is not None] or [0.0]))
        return self

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
        bounds = zip(slide, standard.slide_low, standard.slide_high, strict=True)
        return slide if all(low <= value <= high for value, low, high in bounds) else None

    def _foreign(self, path: Path) -> np.ndarray | None:
        """Read an image that can be read and does not look like a training image."""
        try:
            image = read_image(path)
        except ImageReadError:
            return None
        return None if self.usual(image) else image

    def __call__(self, image: np.ndarray) -> Standardised:
        """Return RGB uint8 (H, W, 3) as training images look."""
        standard = self.standard
        if standard is None:
            return Standardised(image)
        if (usual := self._usual_slide(image, standard)) is not None:
            return Standardised(image, slide=usual)
        found = self._segmenter.segment(image)
        look = self.look or Look.of([(image, found)])
        cell, scale = self._cell(image, found, look, standard)
        flags = ["standardised"]
        if cell is None:
            flags.append("no white cell found")
        elif cell.touches(image.shape):
            flags.append("cell cut by the border")
        whites = sum(cell.kind == "wbc" for cell in found.cells)
        if whites > 1:
            flags.append(f"{whites} white cells")
        made, mask = _made(image, cell, scale, found.background, look, standard)
        amount = self.sharpening
        if amount is None:
            amount = wanted_sharpening(made, mask, standard)
        made = sharpened(made, amount)
        if mask is not None and standard.alone:
            made = isolated(made, mask, standard.slide)
        return Standardised(made, tuple(flags), cell.kind if cell is not None else None)

    def _cell(
        self, image: np.ndarray, found: Segmentation, look: Look, standard: Standard
    ) -> tuple[Cell | None, float]:
        """Return the white cell that is meant, looked for again at the set's scale, and a scale."""
        scale = _scale(look, standard)
        cell = _meant(found.cells, image.shape)
        if cell is None and self.look is not None:
            slide = found.background
            plain = restained(image, slide, look, standard)
            again = segmenter(cell_size=standard.red_cell / scale).segment(plain)
            cell = _meant(again.cells, image.shape)
        return cell, scale


def _blur(image: np.ndarray, found: Segmentation, look: Look, standard: Standard) -> float | None:
    """Return how much one image of a set would have to be sharpened, if it shows a cell."""
    cell = _meant(found.cells, image.shape)
    if cell is None:
        return None
    made, mask = _made(image, cell, _scale(look, standard), found.background, look, standard)
    return wanted_sharpening(made, mask, standard)


def _scale(look: Look, standard: Standard) -> float:
    """Return pixels of the standard to one of the set's."""
    if look.red_cell:
        scale = standard.red_cell / look.red_cell
    elif look.white_cell:
        scale = standard.white_cell / look.white_cell
    else:
        scale = 1.0
    return float(np.clip(scale, 1 / _MOST_SCALE, _MOST_SCALE))


def _meant(cells: Sequence[Cell], shape: tuple[int, ...]) -> Cell | None:
    """Return the white cell that a picture is taken of: large, and near its middle."""
    most = _MOST_SHARE * shape[0] * shape[1]
    whites = [cell for cell in cells if cell.kind == "wbc" and cell.area <= most]
    reach = math.hypot(shape[0], shape[1]) / 2

    def worth(cell: Cell) -> float:
        x, y = _centre(cell)
        off = math.hypot(x - shape[1] / 2, y - shape[0] / 2) / reach
        return cell.area * (1.5 - off)

    return max(whites, key=worth, default=None)


def _centre(cell: Cell) -> tuple[float, float]:
    x0, y0, x1, y1 = cell.box
    return (x0 + x1) / 2, (y0 + y1) / 2


def _made(
    image: np.ndarray,
    cell: Cell | None,
    scale: float,
    slide: Colour,
    look: Look,
    standard: Standard,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return an image in the standard's frame and stain, and the mask of its cell there."""
    made, mask = _moved(image, cell, scale, slide, standard)
    return restained(made, slide, look, standard), mask


def _moved(
    image: np.ndarray, cell: Cell | None, scale: float, slide: Colour, standard: Standard
) -> tuple[np.ndarray, np.ndarray | None]:
    """Scale an image and set a cell, or its own middle, into the middle of a standard one."""
    height, width = image.shape[:2]
    x, y = _centre(cell) if cell is not None else (width / 2, height / 2)
    mask: np.ndarray | None = None
    if cell is not None:
        mask = _hull(cell, (height, width))
    if scale < 1:  # a warp would skip pixels: average them first
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_AREA) if mask is not None else None
        x, y, scale = x * size[0] / width, y * size[1] / height, 1.0
    half = 0.5 * scale
    matrix = np.array(
        [
            [scale, 0, standard.width / 2 - scale * x + half - 0.5],
            [0, scale, standard.height / 2 - scale * y + half - 0.5],
        ]
    )
    size = (standard.width, standard.height)
    made = cv2.warpAffine(
        image,
        matrix,
        size,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=tuple(round(value) for value in slide),
    )
    if mask is not None:
        mask = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_LINEAR)
    return made, mask


def _hull(cell: Cell, shape: tuple[int, int]) -> np.ndarray:
    """Return the convex hull of a cell, uint8 (H, W).

    Masks on images from elsewhere have bays where a lobe or a pale edge was missed; a hull with a
    corner of a neighbour in it does less harm than a cell without its edge.
    """
    points = np.argwhere(cell.mask)[:, ::-1] + cell.box[:2]
    mask = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(points.astype(np.int32)), 255)
    return mask
