"""Whole fields: large images cut into overlapping tiles, their cells merged at the seams.

Every tile is shown to the segmenter at about the magnification of a single-cell image, whatever
the camera's is; sizes below count in widths of a red cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from naturalize.base.engine import prefetched
from naturalize.cells.seams import Candidate, merge
from naturalize.cells.segmentation import Cell, ScaledSegmenter, Segmentation, Segmenter
from naturalize.imaging.slide import evenly_lit

#: Images with a longer side above this (pixels) are taken for whole fields.
ABOVE = 1200

#: Width of a tile, and of the strip that two tiles share, in widths of a red cell. The widest of
#: 8,740 whole white cells annotated in PBC images is 3.8 of them, 999 in 1,000 are below 3.3.
TILE, OVERLAP = 10.2, 3.4

#: Red cells of this width (pixels) are shown as they are, others at the width of PBC's.
_AS_IT_IS, _USUAL = (50.0, 110.0), 78.0

#: A smaller image is a field too where its shorter side holds so many red cells, if these are
#: narrower than what is shown as it is, and no white cell is wider than this share of that side: of
#: images of one cell, taken by any camera, none is known that is so. Fewest whole red cells that
#: say so without being measured.
_FIELD, _FILLS, _FEWEST = 9.0, 1 / 3, 3

#: Grey levels between the darkest and the brightest pixel below which no segmenter is asked: there
#: is no cell, and a network may still see one.
_CONTRAST = 8

#: A field is enlarged or reduced at most so many times.
_ZOOM = (1 / 12, 4.0)


@dataclass(frozen=True)
class Tiled:
    """Any segmenter, for images of any size.

    It sees images whose longest side is up to ``above`` pixels as they are, and larger ones, and
    those of many small cells, a tile at a time. A cell is taken from the tile in which it lies
    farthest from the tile's edge, so neither doubled nor halved (:mod:`naturalize.cells.seams`).
    The bare slide's colour is the median over the tiles. Beside the image, memory holds one tile
    and the masks of the cells.
    """

    segmenter: Segmenter
    above: int = ABOVE
    #: Of a red cell in pixels; by default large images are measured. With it all are cut in tiles.
    width: float | None = None
    threads: int = 1  #: Tiles that are worked on at once; the result is the same.

    @property
    def settings(self) -> dict[str, Any]:
        """The segmenter's settings, and how large images are cut."""
        return {**self.segmenter.settings, "tiles": [self.above, TILE, OVERLAP]}

    def segment(self, image: np.ndarray) -> Segmentation:
        """Return the cells of RGB uint8 (H, W, 3)."""
        shape = (image.shape[0], image.shape[1])
        if is_blank(image):
            red, green, blue = (float(value) for value in image.mean(axis=(0, 1)))
            return Segmentation(shape, (), (red, green, blue))
        width = self.width
        if width is None and max(shape) <= self.above:
            whole = self.segmenter.segment(image)
            width = self._small_cells(image, whole)
            if width is None:
                return whole
        width = width or red_cell_width(image)
        zoom, width = _zoom(width), width or _USUAL
        segmenter = self.segmenter.with_cell_size(width * zoom)
        found: list[Candidate] = []
        backgrounds, unsure = [], False
        windows = tiles(shape, round(TILE * width), round(OVERLAP * width))

        def shown(window: tuple[int, int, int, int]) -> Segmentation:
            x0, y0, x1, y1 = window
            return segmenter.segment(_resized(np.ascontiguousarray(image[y0:y1, x0:x1]), zoom))

        every: Iterator[Segmentation] = map(shown, windows)
        if self.threads > 1:
            every = prefetched(shown, windows, window=self.threads)
        for number, (seen, (x0, y0, x1, y1)) in enumerate(zip(every, windows, strict=True)):
            backgrounds.append(seen.background)
            unsure = unsure or seen.unsure
            for cell in seen.cells:
                placed = _placed(cell, seen.shape, (x0, y0, x1, y1))
                if placed is not None:
                    found.append(Candidate(placed, number, (x0, y0, x1, y1)))
        red, green, blue = np.median(np.array(backgrounds, float), axis=0)
        cells = merge(found, shape, windows, slack=0.25 * OVERLAP * width)
        return Segmentation(shape, cells, (float(red), float(green), float(blue)), unsure)

    def _small_cells(self, image: np.ndarray, seen: Segmentation) -> float | None:
        """Return the width of the red cells of an image that is a small field, or ``None``."""
        by = self.segmenter
        if not isinstance(by, ScaledSegmenter) or by.cell_size is not None:
            return None
        side = min(seen.shape)
        if any(max(cell.mask.shape) > _FILLS * side for cell in seen.of("wbc")):
            return None
        reds = [max(c.mask.shape) for c in seen.of("rbc") if not c.touches(seen.shape)]
        if len(reds) >= _FEWEST and np.median(reds) >= _AS_IT_IS[0]:
            return None
        width = red_cell_width(image)
        small = width is not None and width < min(_AS_IT_IS[0], side / _FIELD)
        return width if small else None


def is_blank(image: np.ndarray) -> bool:
    """Return whether RGB uint8 (H, W, 3) is of one colour, but for a codec's noise."""
    # channel by channel: reductions over two axes at once are many times slower
    return all(int(np.ptp(channel)) < _CONTRAST for channel in cv2.split(image))


def tiles(shape: tuple[int, int], side: int, overlap: int) -> list[tuple[int, int, int, int]]:
    """Return the tiles of an image, ``x0, y0, x1, y1`` each, row by row.

    They cover the image, are ``side`` wide and high (less where the image is), and neighbours
    share at least ``overlap`` pixels.

    ``shape``: height and width of the image. ``side``, ``overlap``: in pixels; ``overlap < side``.

    Examples
    --------
    >>> tiles((100, 250), 100, 20)
    [(0, 0, 100, 100), (75, 0, 175, 100), (150, 0, 250, 100)]
    """
    height, width = shape
    return [
        (x, y, min(x + side, width), min(y + side, height))
        for y in _starts(height, side, overlap)
        for x in _starts(width, side, overlap)
    ]


def _starts(length: int, side: int, overlap: int) -> Iterator[int]:
    n = max(1, math.ceil((length - overlap) / (side - overlap)))
    for i in range(n):
        yield (max(0, length - side) * i) // max(1, n - 1)


def red_cell_width(image: np.ndarray) -> float | None:
    """Return the typical width of the red cells of a field, in pixels; ``None`` if there are none.

    The distance transform of all cells gives a first guess at any magnification: half the pixels
    of a disc of radius R are within 0.293 R of its edge, in clumps too. Discs that stand alone
    are then measured more exactly.

    ``image``: RGB uint8 (H, W, 3).
    """
    from naturalize.cells.segmenters.classical import red
    from naturalize.cells.segmenters.classical.view import view

    shrunk = max(1.0, min(image.shape[:2]) / _OVERVIEW)
    size = (max(1, round(image.shape[1] / shrunk)), max(1, round(image.shape[0] / shrunk)))
    # where light falls off, the corners would pass for cells
    seen = view(evenly_lit(cv2.resize(image, size, interpolation=cv2.INTER_AREA)))
    fore = red.filled(red.foreground(seen.depth, seen.noise))
    inside = cv2.distanceTransform(fore.astype(np.uint8), cv2.DIST_L2, 5)[fore]
    if len(inside) < 0.002 * fore.size or fore.all():  # bare, or without any slide to measure from
        return None
    guess = float(np.median(inside)) / 0.293
    radius = red.disc_radius(fore, seen.azure > 0.15, guess)
    return 2 * radius * seen.scale * shrunk


#: Shorter side, in pixels, of the reduced field in which red cells are measured.
_OVERVIEW = 1500.0


def _zoom(width: float | None) -> float:
    """Return by how much a field is enlarged before it is segmented."""
    if width is None or _AS_IT_IS[0] <= width <= _AS_IT_IS[1]:
        return 1.0
    return float(np.clip(_USUAL / width, *_ZOOM))


def _resized(tile: np.ndarray, zoom: float) -> np.ndarray:
    if zoom == 1:
        return tile
    size = (max(1, round(tile.shape[1] * zoom)), max(1, round(tile.shape[0] * zoom)))
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    return cv2.resize(tile, size, interpolation=how)


def _placed(cell: Cell, seen: tuple[int, int], window: tuple[int, int, int, int]) -> Cell | None:
    """Return a cell of a tile, as large as it was ``seen``, in the pixels of the image."""
    left, top, right, bottom = window
    if seen == (bottom - top, right - left):
        return cell.moved(left, top)
    x0, y0, x1, y1 = cell.box
    across, down = (right - left) / seen[1], (bottom - top) / seen[0]
    box = (
        left + math.floor(x0 * across), top + math.floor(y0 * down),
        left + math.ceil(x1 * across), top + math.ceil(y1 * down),
    )  # fmt: skip
    size = (min(box[2], right) - box[0], min(box[3], bottom) - box[1])
    mask = _enlarged(cell.mask, size)
    if not mask.any():
        return None
    nucleus = None if cell.nucleus is None else _enlarged(cell.nucleus, size)
    return Cell.from_mask(cell.kind, mask, score=cell.score, nucleus=nucleus, offset=box[:2])


def _enlarged(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    how = cv2.INTER_LINEAR if size[0] > mask.shape[1] else cv2.INTER_AREA
    return cv2.resize(mask.astype(np.float32), size, interpolation=how) > 0.5
