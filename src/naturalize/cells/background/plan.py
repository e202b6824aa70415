"""What goes and how far it reaches: the cells, their halo, and what nobody outlined beside them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from naturalize.base.errors import unknown
from naturalize.cells.background.illumination import FRINGE, away_from, covered, largest
from naturalize.cells.background.outline import Outline, carried_on, typical_radius
from naturalize.cells.segmentation import Cell
from naturalize.cells.segmenters.classical.view import azure
from naturalize.cells.stain import optical_density

#: What may be taken out.
REMOVE = ("target", "white", "all")

#: Grey levels by which a cell's halo may still colour the slide, or a red cell.
_FAINT, _STRONG = 2.0, 7.0

#: Least and largest reach of a halo in pixels: over red cells, over slide.
_RED_REACH, _SLIDE_REACH = (3, 6), (6, 12)

#: Pixels from the cell within which the stain of white cells is its own, whatever it lies on.
_STAIN_REACH = 24

#: Pixels beside what goes in which a red cell's outline is smoothed.
_PRONG = 10

#: Red + green density from which a colour can be told.
_TINTED = 0.04

#: Pixels beyond the halo in which something that was not outlined still belongs to the cell.
_STRAY_REACH = 14

#: Pixels around removed cells in which all of that is looked for.
_WINDOW = 32

#: Share of a red cell that may be hidden; of which more is hidden, that is taken out too.
_MOST_HIDDEN = 0.6

#: Ratio of densities by which cytoplasm stands out from red cells, in robust deviations.
_NOT_RED = 5.0


@dataclass(frozen=True, eq=False)
class Work:
    """What is known of an image before anything is taken out.

    Attributes
    ----------
    image
        Float32 (H, W, 3), 0–255.
    cells
        All its cells.
    light
        Float32 (H, W, 3): see :func:`~naturalize.cells.background.illumination`.
    rest
        Float32 (H, W, 3): image − light.
    """

    image: np.ndarray
    cells: tuple[Cell, ...]
    light: np.ndarray
    rest: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[0], self.image.shape[1]

    def without(self, removed: Collection[int], kind: str | None = None) -> np.ndarray:
        """Return where cells are (of one kind), but for those of some indices; bool (H, W)."""
        kept = [
            cell
            for i, cell in enumerate(self.cells)
            if i not in removed and kind in (None, cell.kind)
        ]
        return covered(self.shape, kept)


@dataclass(frozen=True)
class Reach:
    """Pixels around a removed cell that are painted: over red cells, and over slide."""

    red: int
    slide: int


@dataclass(frozen=True, eq=False)
class Going:
    """What is taken out of an image.

    Attributes
    ----------
    mask
        Bool (H, W): the cells, and what the segmenter left out of them.
    away
        Float32 (H, W): distance to that.
    reach
        Of their halo.
    removed
        Indices of the cells.
    slide
        Bool (H, W): where slide is seen close to them.
    outlines
        Index → whole outline, of the red cells that were hidden in part.
    """

    mask: np.ndarray
    away: np.ndarray
    reach: Reach
    removed: frozenset[int]
    slide: np.ndarray
    outlines: dict[int, Outline]

    @property
    def hidden(self) -> np.ndarray:
        """Bool (H, W): where nothing can be seen of a red cell."""
        return self.away <= self.reach.red


def chosen(cells: Sequence[Cell], shape: tuple[int, int], remove: str) -> list[int]:
    """Return the indices of the cells to take out.

    ``"target"``: the nucleated cell that the image is about, large and near the centre (as the bank
    chooses it); where there is none, the platelet. ``"white"``: every nucleated cell. ``"all"``.

    Raises
    ------
    SettingsError
        For another word.
    """
    if remove not in REMOVE:
        raise unknown("choice of cells to remove", remove, list(REMOVE))
    if remove == "all":
        return list(range(len(cells)))
    white = [i for i, cell in enumerate(cells) if cell.kind == "wbc"]
    if remove == "white":
        return white
    pool = white or [i for i, cell in enumerate(cells) if cell.kind == "platelet"]
    if not pool:
        return []
    greatest = max(cells[i].area for i in pool)

    def aside(i: int) -> float:
        x0, y0, x1, y1 = cells[i].box
        off = np.hypot((x0 + x1) / shape[1] - 1, (y0 + y1) / shape[0] - 1)
        return float(off) - 0.5 * cells[i].area / greatest

    return [min(pool, key=aside)]


def planned(work: Work, gone: Sequence[int]) -> tuple[Work, Going]:
    """Return all that goes with some cells, and the image with the others trimmed to what is seen.

    That is what the segmenter left out of them, and cells that cannot be kept without them: cut
    platelets, cytoplasm taken for a red cell, red cells of which too little is seen.
    """
    removed = frozenset(gone)
    mask = covered(work.shape, [work.cells[i] for i in gone])
    reach = reach_of(work.rest, mask, work.without(removed))
    while True:
        mask = mask | strays(work, mask, work.without(removed), reach)
        work = rounded_off(work, mask, removed)
        away = away_from(mask)
        lost, outlines, slide = _cut(work, away, reach, removed)
        if not lost:
            return _trimmed(work, outlines), Going(mask, away, reach, removed, slide, outlines)
        removed |= lost
        mask = mask | covered(work.shape, [work.cells[i] for i in lost])


def around(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Return the window of rows and columns that holds a bool (H, W) mask and its surroundings."""
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    return (
        slice(max(y - margin, 0), min(y + h + margin, mask.shape[0])),
        slice(max(x - margin, 0), min(x + w + margin, mask.shape[1])),
    )


def dilated(mask: np.ndarray, radius: float) -> np.ndarray:
    """Return a bool (H, W) mask grown by a disc of ``radius`` pixels."""
    return away_from(mask) <= radius


def reach_of(rest: np.ndarray, gone: np.ndarray, kept: np.ndarray) -> Reach:
    """Return how far the halo of removed cells reaches, measured where there is slide around them.

    Parameters
    ----------
    rest
        Float32 (H, W, 3): image − illumination.
    gone, kept
        Bool (H, W): the cells that go, and the others.
    """
    here = around(gone, FRINGE + 10)
    distance = away_from(gone[here])
    open_ = (away_from(kept[here]) > 8) & (distance > 0) & (distance < FRINGE + 0.5)
    index, values = np.rint(distance[open_]).astype(int), rest[here][open_]
    off = np.full(FRINGE + 1, np.nan)
    for d in range(1, FRINGE + 1):
        ring = values[index == d]
        if len(ring) >= 12:
            off[d] = np.abs(np.median(ring, axis=0)).max()
    return Reach(_first_below(off, _STRONG, *_RED_REACH), _first_below(off, _FAINT, *_SLIDE_REACH))


def _first_below(off: np.ndarray, level: float, least: int, most: int) -> int:
    known = np.flatnonzero(np.isfinite(off))
    if len(known) < 4:
        return (least + most + 1) // 2
    above = known[off[known] > level]
    return int(np.clip(above.max() + 1 if len(above) else least, least, most))


def strays(work: Work, gone: np.ndarray, kept: np.ndarray, reach: Reach) -> np.ndarray:
    """Return what the segmenter left out of a removed cell, bool (H, W).

    Pseudopods, pale cytoplasm, granules that were spilt: whatever hangs together with the removed
    cell, differs from the slide and belongs to no other cell, or is stained as no red cell is.
    """
    here = around(gone, _WINDOW)
    mine, others, rest = gone[here], kept[here], work.rest[here]
    distance, to_others = away_from(mine), away_from(others)
    bare = (distance > reach.slide) & (to_others > 5)
    noise = 1.4826 * float(np.median(np.abs(rest[bare]))) if bare.any() else 1.0
    off = largest(np.abs(cv2.GaussianBlur(rest, (0, 0), 1.0)))
    foreign = (off > max(10.0, 5 * noise)) & (to_others > 4)
    foreign &= distance < reach.slide + _STRAY_REACH
    blue = blueness(work.image[here], work.light[here])
    beyond = others & (distance > 12)
    foreign |= dyed(blue, usual_blueness(blue, beyond)) & (distance < _STAIN_REACH)
    foreign &= ~mine
    _, labels = cv2.connectedComponents((foreign | mine).view(np.uint8), connectivity=8)
    found = np.zeros(gone.shape, bool)
    found[here] = foreign & np.isin(labels, np.unique(labels[distance <= 2]))
    return found


def blueness(image: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Return the share of its density that is not a red cell's, float32 (H, W).

    About 0 in red cells, below in their pale middles, well above in nuclei and cytoplasm; 0 on the
    slide.

    Parameters
    ----------
    image, light
        Float32 (H, W, 3), 0–255.
    """
    density = cv2.GaussianBlur(optical_density(image, light), (0, 0), 1.0)
    both = density[..., 0] + density[..., 1]
    return np.where(both > _TINTED, azure(density) / np.maximum(both, _TINTED), 0)


def dyed(blue: np.ndarray, usual: float) -> np.ndarray:
    """Return where :func:`blueness` is that of white cells, thin rims left out; bool (h, w)."""
    above = (blue > np.clip(1.2 * usual, 0.26, 0.45)).view(np.uint8)
    return cv2.morphologyEx(above, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0


def usual_blueness(blue: np.ndarray, red: np.ndarray) -> float:
    """Return what :func:`blueness` red cells reach, bool (h, w), as a rule."""
    return float(np.quantile(blue[red], 0.98)) if np.count_nonzero(red) > 500 else 0.2


def residue(after: np.ndarray, work: Work, going: Going) -> int:
    """Return the pixels around what went that still have its stain.

    Parameters
    ----------
    after
        RGB uint8 (H, W, 3): without it.
    work, going
        The image as it was; what went.
    """
    here = around(going.mask, _WINDOW)
    away = going.away[here]
    others = work.without(going.removed, "wbc") | work.without(going.removed, "platelet")
    blue = blueness(after[here].astype(np.float32), work.light[here])
    red = work.without(going.removed, "rbc")[here] & (away > 12)
    left = dyed(blue, usual_blueness(blue, red)) & (away < going.reach.slide + 6)
    return int(np.count_nonzero(left & (away_from(others[here]) > 6)))


def contact(
    work: Work, away: np.ndarray, red: np.ndarray, reach: Reach
) -> tuple[np.ndarray, np.ndarray]:
    """Return where an outline of a red cell is not its own, and where slide is seen, bool (H, W).

    A red cell that ends at a gap in front of the removed cell ends there; one that goes on until
    the removed cell begins was covered by it.

    Parameters
    ----------
    work
        The image.
    away
        Float32 (H, W): distance to what goes.
    red
        Bool (H, W): the red cells that are kept.
    reach
        Of the halo.
    """
    here = around(away <= 0, _WINDOW)
    green = cv2.GaussianBlur(np.ascontiguousarray(work.rest[here][..., 1]), (0, 0), 0.7)
    distance = away[here]
    sure = red[here] & (away_from(~red[here]) > 5)
    depth = -float(np.median(green[sure])) if sure.any() else 40.0
    slide, foreign = np.zeros((2, *away.shape), bool)
    slide[here] = (green > -0.35 * max(depth, 20.0)) & (distance > 0) & ~sure
    meets = (distance <= reach.red + 4) & (away_from(slide[here]) > 3.5)
    foreign[here] = (distance <= 1.5) | meets
    return foreign, slide


def _cut(
    work: Work, away: np.ndarray, reach: Reach, removed: frozenset[int]
) -> tuple[frozenset[int], dict[int, Outline], np.ndarray]:
    """Return the cells that cannot be kept, the whole outlines of the others, and the slide."""
    hidden = away <= reach.red
    cut = [i for i, cell in enumerate(work.cells) if i not in removed and _cuts(hidden, cell)]
    lost = {i for i in cut if work.cells[i].kind == "platelet"}
    red = [i for i, cell in enumerate(work.cells) if cell.kind == "rbc"]
    foreign = dict(zip(red, _not_red(work, red), strict=True))
    typical = typical_radius([work.cells[i] for i in red], work.shape)
    near = away <= reach.slide + 4
    touch, slide = contact(work, away, work.without(removed, "rbc"), reach)
    outlines = {}
    for i in cut:
        if work.cells[i].kind != "rbc":
            continue
        others = to_others(work, i, removed, int(typical))
        outline = carried_on(work.cells[i], hidden, touch, near, others, typical)
        if foreign[i] or outline is None or _hidden_share(outline, hidden) > _MOST_HIDDEN:
            lost.add(i)
        else:
            outlines[i] = outline
    return frozenset(lost), outlines, slide


def _trimmed(work: Work, outlines: dict[int, Outline]) -> Work:
    """Return an image's cells without what stands out of their whole outlines."""
    found = list(work.cells)
    for i, outline in outlines.items():
        x0, y0, x1, y1 = found[i].box
        inside = outline.inside(work.shape, margin=-1.5)[y0:y1, x0:x1] & found[i].mask
        if inside.any():
            found[i] = Cell.from_mask("rbc", inside, score=found[i].score, offset=(x0, y0))
    return replace(work, cells=tuple(found))


def _cuts(hidden: np.ndarray, cell: Cell) -> bool:
    x0, y0, x1, y1 = cell.box
    return bool((hidden[y0:y1, x0:x1] & cell.mask).any())


def _hidden_share(outline: Outline, hidden: np.ndarray) -> float:
    inside = outline.inside(hidden.shape)
    return float((inside & hidden).sum() / max(1, inside.sum()))


def to_others(work: Work, i: int, removed: Collection[int], margin: int) -> np.ndarray:
    """Return the distance of pixels near cell ``i`` to other cells that stay, float32 (H, W).

    Further than ``margin`` from its box it is not measured, and 0.
    """
    x0, y0, x1, y1 = work.cells[i].box
    others = work.without({*removed, i})
    here = (
        slice(max(y0 - margin, 0), y1 + margin),
        slice(max(x0 - margin, 0), x1 + margin),
    )
    distance = np.zeros(work.shape, np.float32)
    distance[here] = away_from(others[here])
    return distance


def _not_red(work: Work, red: Sequence[int]) -> list[bool]:
    """Return for each red cell whether its colour is not that of the image's other red cells.

    Cytoplasm that the segmenter took for a red cell stands out by the ratio of its densities.
    """
    ratios = []
    for i in red:
        x0, y0, x1, y1 = work.cells[i].box
        some = np.s_[y0:y1:2, x0:x1:2]
        inside = work.cells[i].mask[::2, ::2]
        if not inside.any():
            ratios.append(np.nan)
            continue
        density = optical_density(work.image[some][inside], work.light[some][inside])
        r, g, b = density.mean(axis=0)
        ratios.append((r - b) / max(g, 0.01))
    values = np.array(ratios)
    known = values[np.isfinite(values)]
    if len(known) < 5:
        return [False] * len(values)
    middle = np.median(known)
    spread = max(1.4826 * float(np.median(np.abs(known - middle))), 0.05)
    return [bool(value - middle > _NOT_RED * spread) for value in values]


def rounded_off(work: Work, gone: np.ndarray, removed: Collection[int]) -> Work:
    """Return an image's cells with red ones trimmed beside what goes, bool (H, W).

    A red cell has no prongs: one that runs along a white cell is a piece of that.
    """
    near, taken = dilated(gone, _PRONG), dilated(gone, 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    found = list(work.cells)
    for i, cell in enumerate(work.cells):
        x0, y0, x1, y1 = cell.box
        window = np.s_[y0:y1, x0:x1]
        if cell.kind != "rbc" or i in removed or not (near[window] & cell.mask).any():
            continue
        left = cell.mask & ~taken[window]
        # the image's edge cuts no prong
        wide = cv2.copyMakeBorder(left.view(np.uint8), 5, 5, 5, 5, cv2.BORDER_REPLICATE)
        opened = cv2.morphologyEx(wide, cv2.MORPH_OPEN, disc)[5:-5, 5:-5] > 0
        keep = _main_part((opened | ~near[window]) & left)
        if keep.any():
            found[i] = Cell.from_mask(cell.kind, keep, score=cell.score, offset=(x0, y0))
    return replace(work, cells=tuple(found))


def _main_part(mask: np.ndarray) -> np.ndarray:
    """Return the largest piece of a bool (h, w) mask."""
    n, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    return mask if n < 3 else labels == 1 + int(stats[1:n, cv2.CC_STAT_AREA].argmax())
