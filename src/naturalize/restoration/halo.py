"""Around a removed cell: its halo, its stain, what nobody outlined, what it touched."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from naturalize.base.statistics import robust_spread
from naturalize.cells.segmentation import Cell
from naturalize.cells.segmenters.classical.view import azure
from naturalize.imaging.stain import optical_density
from naturalize.restoration import constants as tuned
from naturalize.restoration.masks import around, away_from, covered, largest
from naturalize.restoration.slide import illumination


@dataclass(frozen=True, eq=False)
class Analysis:
    """What is known of an image before anything is taken out."""

    #: Float32 (H, W, 3), 0–255.
    image: np.ndarray
    #: All its cells.
    cells: tuple[Cell, ...]
    #: Float32 (H, W, 3): see :func:`~naturalize.restoration.illumination`.
    light: np.ndarray
    #: Float32 (H, W, 3): image − light.
    rest: np.ndarray

    @classmethod
    def of(
        cls, image: np.ndarray, cells: Sequence[Cell], light: np.ndarray | None = None
    ) -> Analysis:
        """Return it for RGB uint8 (H, W, 3); the light is measured if it is not known."""
        if light is None:
            light = illumination(image, covered((image.shape[0], image.shape[1]), cells))
        pixels = image.astype(np.float32)
        return cls(pixels, tuple(cells), light, pixels - light)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[0], self.image.shape[1]

    def without(self, removed: Collection[int], *kinds: str) -> np.ndarray:
        """Return where cells are (of some kinds), but for those of some indices; bool (H, W)."""
        cells = [cell for i, cell in enumerate(self.cells) if i not in removed]
        return covered(self.shape, [cell for cell in cells if not kinds or cell.kind in kinds])


@dataclass(frozen=True)
class Reach:
    """Pixels around a removed cell that are painted: over red cells, and over slide."""

    red: int
    slide: int


def reach_of(rest: np.ndarray, gone: np.ndarray, kept: np.ndarray) -> Reach:
    """Return how far the halo of removed cells reaches, measured where there is slide around them.

    ``rest``: image − illumination, float32 (H, W, 3); ``gone``, ``kept``: bool (H, W), the cells
    that go, and the others.
    """
    here = around(gone, tuned.FRINGE + 10)
    distance = away_from(gone[here])
    open_ = (away_from(kept[here]) > 8) & (distance > 0) & (distance < tuned.FRINGE + 0.5)
    index, values = np.rint(distance[open_]).astype(int), rest[here][open_]
    off = np.full(tuned.FRINGE + 1, np.nan)
    for d in range(1, tuned.FRINGE + 1):
        ring = values[index == d]
        if len(ring) >= 12:
            off[d] = np.abs(np.median(ring, axis=0)).max()
    return Reach(
        _first_below(off, tuned.STRONG, *tuned.RED_REACH),
        _first_below(off, tuned.FAINT, *tuned.SLIDE_REACH),
    )


def _first_below(off: np.ndarray, level: float, least: int, most: int) -> int:
    known = np.flatnonzero(np.isfinite(off))
    if len(known) < 4:
        return (least + most + 1) // 2
    above = known[off[known] > level]
    return int(np.clip(above.max() + 1 if len(above) else least, least, most))


def missed_parts(
    work: Analysis, gone: np.ndarray, removed: Collection[int], reach: Reach
) -> np.ndarray:
    """Return what the segmenter left out of a removed cell, bool (H, W).

    Pseudopods, pale cytoplasm, granules that were spilt: whatever hangs together with the removed
    cell, differs from the slide and belongs to no other cell, or is stained as no red cell is.
    """
    kept = work.without(removed)
    stained = work.without(removed, "wbc", "platelet")
    here = around(gone, tuned.WINDOW)
    mine, others, rest = gone[here], kept[here], work.rest[here]
    distance, to_others = away_from(mine), away_from(others)
    bare = (distance > reach.slide) & (to_others > 5)
    noise = robust_spread(rest[bare], 0) if bare.any() else 1.0
    off = largest(np.abs(cv2.GaussianBlur(rest, (0, 0), 1.0)))
    foreign = (off > max(10.0, 5 * noise)) & (to_others > 4)
    foreign &= distance < reach.slide + tuned.STRAY_REACH
    blue = blueness(work.image[here], work.light[here])
    beyond = others & (distance > 12)
    own = stained_as_white(blue, usual_blueness(blue, beyond)) & (distance < tuned.STAIN_REACH)
    foreign |= own & (away_from(stained[here]) > 4)
    foreign &= ~mine
    _, labels = cv2.connectedComponents((foreign | mine).view(np.uint8), connectivity=8)
    found = np.zeros(gone.shape, bool)
    if not kept.any():
        # a bare slide: what else lies on it goes too
        rest = cv2.GaussianBlur(work.rest, (0, 0), 1.0)
        return (largest(np.abs(rest)) > max(10.0, 5 * noise)) & ~gone
    found[here] = foreign & np.isin(labels, np.unique(labels[distance <= 2]))
    return found


def share_left_out(image: np.ndarray, cells: Sequence[Cell], mine: Collection[int]) -> float:
    """Return what the segmenter left out of a cell, 3 pixels beyond its outline, as a share of it.

    Such as the pale half of a monocyte; see :func:`missed_parts`. ``image``: RGB uint8 (H, W, 3);
    ``cells``: all its cells; ``mine``: indices of the cell, one or none.
    """
    work = Analysis.of(image, cells)
    mask = covered(work.shape, [cells[i] for i in mine])
    if not mask.any():
        return 0.0
    reach = reach_of(work.rest, mask, work.without(mine))
    found = missed_parts(work, mask, mine, reach) & (away_from(mask) > 3)
    return np.count_nonzero(found) / np.count_nonzero(mask)


def blueness(image: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Return the share of its density that is not a red cell's, float32 (H, W).

    About 0 in red cells, below in their pale middles, well above in nuclei and cytoplasm; 0 on the
    slide. ``image``, ``light``: float32 (H, W, 3), 0–255.
    """
    density = cv2.GaussianBlur(optical_density(image, light), (0, 0), 1.0)
    both = density[..., 0] + density[..., 1]
    return np.where(both > tuned.TINTED, azure(density) / np.maximum(both, tuned.TINTED), 0)


def stained_as_white(blue: np.ndarray, usual: float) -> np.ndarray:
    """Return where :func:`blueness` is that of white cells, thin rims left out; bool (h, w)."""
    above = (blue > np.clip(1.2 * usual, 0.26, 0.45)).view(np.uint8)
    return cv2.morphologyEx(above, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0


def usual_blueness(blue: np.ndarray, red: np.ndarray) -> float:
    """Return what :func:`blueness` red cells reach, bool (h, w), as a rule."""
    return float(np.quantile(blue[red], 0.98)) if np.count_nonzero(red) > 500 else 0.2


def contact(
    work: Analysis, away: np.ndarray, red: np.ndarray, reach: Reach
) -> tuple[np.ndarray, np.ndarray]:
    """Return where an outline of a red cell is not its own, and where slide is seen, bool (H, W).

    A red cell that ends at a gap in front of the removed cell ends there; one that goes on until
    the removed cell begins was covered by it. ``away``: distance to what goes, float32 (H, W);
    ``red``: the red cells that are kept, bool (H, W).
    """
    here = around(away <= 0, tuned.WINDOW)
    green = cv2.GaussianBlur(np.ascontiguousarray(work.rest[here][..., 1]), (0, 0), 0.7)
    distance = away[here]
    sure = red[here] & (away_from(~red[here]) > 5)
    depth = -float(np.median(green[sure])) if sure.any() else 40.0
    slide, foreign = np.zeros((2, *away.shape), bool)
    slide[here] = (green > -0.35 * max(depth, 20.0)) & (distance > 0) & ~sure
    meets = (distance <= reach.red + 4) & (away_from(slide[here]) > 3.5)
    foreign[here] = (distance <= 1.5) | meets
    return foreign, slide
