"""The project's own small network: cells of all kinds in one pass, no download, no GPU."""

from __future__ import annotations

from typing import Any, ClassVar

import cv2
import numpy as np

from naturalize.cells.segmentation import ScaledSegmenter, Segmentation
from naturalize.cells.segmenters.classical.view import slide
from naturalize.cells.segmenters.unet.group import Detections, cells_of, group
from naturalize.cells.segmenters.unet.network import (
    RED,
    SLIDE_GREY,
    balanced,
    digest,
    maps,
    strengthened,
)
from naturalize.cells.segmenters.unet.overlapping import completed, parted
from naturalize.imaging.shape import largest_piece
from naturalize.imaging.stain import optical_density

#: Diameter of a red cell, in pixels of the network's input, in the middle of its training.
RED_CELL = 37.0

#: Optical density in PBC images (medians over 200): of red cells, mean of the channels; of white
#: cells, the 90th percentile of green.
_RED_DENSITY, _WHITE_DENSITY = 0.100, 0.95

#: A stain is weak, and is strengthened, where both are this many times less; at most so far. Of 100
#: PBC images none is beyond 1.44, of the 30 development fields of fields/cbc all are beyond 1.53.
_WEAK, _MOST_STRENGTHENED = 1.5, 2.5

#: Probability from which a pixel's density is measured, and fewest such pixels.
_MEASURED, _FEWEST_RED, _FEWEST_WHITE = 0.8, 100, 60

#: Fewest red cells, not cut by the edge, whose median width is a scale, and the most it changes
#: the scale: what is farther from a red cell's size is none.
_FEWEST_CELLS, _MOST_SCALED = 3, 2.0

#: Images are first segmented in half size, small ones (the longer side) at this size or their own:
#: red cells of PBC images are then as wide as in training.
_HALF, _USUAL_SIDE = 0.5, 182

#: Below this certainty a pass is not trusted, and other scales are tried. Of PBC images 3 % are,
#: of images from elsewhere nearly all.
_SURE = 0.97

#: Those scales, as factors on the first, and what sizes of input they may lead to (chosen on the
#: mask sets krd_wbc and seg_wbc).
_OTHERS = (0.5, 0.7, 1.4, 2.0)
_LEAST_SIDE, _MOST_SIDE = 40, 360

#: White cells are uncertain below this certainty of a pass, or where a piece of so many pixels that
#: look like a white cell (half a red cell) belongs to none.
_UNSURE, _LEFT = 0.92, 540


class UNet(ScaledSegmenter):
    """Cells by a small U-Net whose weights come with the package; see its model card.

    It gives each pixel a kind (slide, cytoplasm, nucleus, red cell, platelet) and an arrow to the
    centre of its cell; pixels whose arrows meet are one cell, so cells that touch come apart.

    Without ``cell_size`` an image is segmented at half size, as PBC images are (red cells of about
    75 pixels in 360), and again at other scales where the network is not certain.
    """

    #: Path of another ONNX file with the same inputs and outputs; by default the package's own.
    weights: str | None = None
    name: ClassVar[str] = "unet"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as JSON values, and the digest of the weights."""
        return {"cell_size": self.cell_size, "weights": digest(self.weights)}

    def segment(self, image: np.ndarray) -> Segmentation:
        """Return the cells of RGB uint8 (H, W, 3)."""
        shape = (image.shape[0], image.shape[1])
        found = self._best_pass(image)
        red, green, blue = (float(value) for value in _slide(image, found))
        background = (red, green, blue)
        cells = completed(parted(cells_of(found, shape), image, background), shape)
        return Segmentation(shape, tuple(cells), background, is_unsure(found))

    def _best_pass(self, image: np.ndarray) -> Detections:
        """Return the pass at the scale and strength of stain of which the network is most certain.

        A weak stain is strengthened to that of PBC images, and red cells are brought to the width
        of theirs. Where the network is still not certain, other scales are tried.
        """
        side, given = max(image.shape[:2]), self.cell_size
        scale = RED_CELL / given if given else min(1.0, max(_USUAL_SIDE / side, _HALF))
        seen = balanced(image, scale)
        passes = [group(maps(seen, self.weights), scale)]
        gain = missing_stain(seen, passes[0])
        if gain > 1:
            again = scale if given else scale * to_usual_width(passes[0])
            passes.append(self._pass(image, again, gain))
        if given or (passes[-1].certainty >= _SURE and not passes[-1].whites(nucleated=False)):
            return passes[-1]
        others = [scale * factor for factor in _OTHERS]
        fitting = [other for other in others if _LEAST_SIDE <= side * other <= _MOST_SIDE]
        return max([*passes, *(self._pass(image, s, gain) for s in fitting)], key=_trust)

    def _pass(self, image: np.ndarray, scale: float, gain: float) -> Detections:
        return group(maps(strengthened(balanced(image, scale), gain), self.weights), scale)


def _trust(found: Detections) -> float:
    """Return how much a pass is trusted: certain, with a white cell, and not with one in pieces.

    Images are taken for their white cells, and at a wrong scale these are missed or fall apart.
    """
    whites = [cell.score for cell in found.whites()]
    return found.certainty + 0.1 * max(whites, default=0) - 0.004 * max(len(whites) - 1, 0)


def is_unsure(found: Detections) -> bool:
    """Return whether there may be other white cells than those that were found.

    The network is certain of little; or a white cell shows no nucleus; or much of what passes like
    one is no cell. What the edge cuts may be so.
    """
    if found.certainty < _UNSURE or any(not c.cut for c in found.whites(nucleated=False)):
        return True
    whites = [cell.number for cell in found.cells if cell.kind == "wbc"]
    left = (found.white > 0.5) & ~np.isin(found.numbers, whites)
    piece = largest_piece(left)
    if np.count_nonzero(piece) < _LEFT:
        return False
    return not (piece[[0, -1]].any() or piece[:, [0, -1]].any())


def _slide(image: np.ndarray, found: Detections) -> np.ndarray:
    """Return the colour of the bare slide: the median of what the network takes for slide."""
    height, width = found.slide.shape
    if np.count_nonzero(found.slide) < 0.02 * found.slide.size:
        return slide(image)[0]
    # half the rows and columns are plenty for a median
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.median(small[found.slide], axis=0)


def missing_stain(seen: np.ndarray, found: Detections) -> float:
    """Return how many times a stain is to be strengthened; 1 where it is not weak.

    White cells without a nucleus are too pale for the network, whatever the red cells are. Where
    no white cell is seen, the stain is left as it is.
    """
    density = optical_density(seen, (SLIDE_GREY,) * 3)
    red, white = found.probabilities[RED] > _MEASURED, found.white > _MEASURED
    if np.count_nonzero(white) <= _FEWEST_WHITE:
        return 1.0
    gain = _WHITE_DENSITY / max(float(np.quantile(density[..., 1][white], 0.9)), 1e-3)
    if np.count_nonzero(red) > _FEWEST_RED and not found.whites(nucleated=False):
        typical = float(np.median(density.mean(axis=2)[red]))
        gain = min(gain, _RED_DENSITY / max(typical, 1e-3))
    return min(gain, _MOST_STRENGTHENED) if gain > _WEAK else 1.0


def to_usual_width(found: Detections) -> float:
    """Return the factor on the scale that gives red cells the width they had in training."""
    widths = [cell.diameter for cell in found.cells if cell.kind == "rbc" and not cell.cut]
    if len(widths) < _FEWEST_CELLS:
        return 1.0
    return float(np.clip(RED_CELL / np.median(widths), 1 / _MOST_SCALED, _MOST_SCALED))
