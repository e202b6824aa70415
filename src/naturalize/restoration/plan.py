"""What goes: the cells asked for, others that cannot stay without them, and what the rest keep."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from naturalize.base.errors import unknown
from naturalize.base.statistics import robust_spread
from naturalize.cells.seams import union
from naturalize.cells.segmentation import Cell, target_of
from naturalize.imaging.shape import largest_piece
from naturalize.imaging.stain import optical_density
from naturalize.restoration import constants as tuned
from naturalize.restoration.halo import (
    Analysis,
    Reach,
    blueness,
    contact,
    missed_parts,
    reach_of,
    stained_as_white,
    usual_blueness,
)
from naturalize.restoration.masks import (
    Box,
    around,
    away_from,
    covered,
    dilated,
    shifted,
    tiles,
    window,
    within,
)
from naturalize.restoration.red import Outline, typical_radius, whole_outline
from naturalize.restoration.slide import illumination

#: What may be taken out.
REMOVE = ("target", "white", "all")


@dataclass(frozen=True, eq=False)
class Removal:
    """What is taken out of an image."""

    #: Bool (H, W): the cells, and what the segmenter left out of them.
    mask: np.ndarray
    #: Float32 (H, W): distance to that.
    away: np.ndarray
    #: Of their halo.
    reach: Reach
    #: Indices of the cells.
    removed: frozenset[int]
    #: Bool (H, W): where slide is seen close to them.
    slide: np.ndarray
    #: Index → whole outline, of the red cells that were hidden in part.
    outlines: dict[int, Outline]

    @property
    def hidden(self) -> np.ndarray:
        """Bool (H, W): where nothing can be seen of a red cell."""
        return self.away <= self.reach.red


def cells_to_remove(cells: Sequence[Cell], shape: tuple[int, int], remove: str) -> list[int]:
    """Return the indices of the cells to take out.

    ``"target"``: the nucleated cell that the image is about, large and near the centre (as the bank
    chooses it); where there is none, the platelet. ``"white"``: every nucleated cell. ``"all"``:
    every cell, so that the bare slide is left. ``SettingsError`` for another word.
    """
    if remove not in REMOVE:
        raise unknown("choice of cells to remove", remove, list(REMOVE))
    if remove == "all":
        return list(range(len(cells)))
    white = [i for i, cell in enumerate(cells) if cell.kind == "wbc"]
    if remove == "white":
        return white
    pool = white or [i for i, cell in enumerate(cells) if cell.kind == "platelet"]
    target = target_of([cells[i] for i in pool], shape)
    return [i for i in pool if cells[i] is target]


def plan_removal(work: Analysis, gone: Sequence[int]) -> tuple[Analysis, Removal]:
    """Return all that goes with some cells, and the image with the others trimmed to what is seen.

    That is what the segmenter left out of them, and cells that cannot be kept without them:
    platelets and white cells that touch them (often their other half), cytoplasm taken for a red
    cell, red cells of which too little is seen.
    """
    removed = frozenset(gone)
    mask = covered(work.shape, [work.cells[i] for i in gone])
    reach = reach_of(work.rest, mask, work.without(removed))
    while True:
        mask = mask | missed_parts(work, mask, removed, reach)
        work = rounded_off(work, mask, removed)
        away = away_from(mask)
        lost, outlines, slide = _cut(work, away, reach, removed)
        if not lost:
            return _trimmed(work, outlines), Removal(mask, away, reach, removed, slide, outlines)
        removed |= lost
        mask = mask | covered(work.shape, [work.cells[i] for i in lost])


def residue(after: np.ndarray, work: Analysis, going: Removal) -> int:
    """Return the pixels around what went that still have its stain.

    ``after``: the image without it, RGB uint8 (H, W, 3); ``work``: the image as it was.
    """
    here = around(going.mask, tuned.WINDOW)
    away = going.away[here]
    others = work.without(going.removed, "wbc", "platelet")
    blue = blueness(after[here].astype(np.float32), work.light[here])
    red = work.without(going.removed, "rbc")[here] & (away > 12)
    left = stained_as_white(blue, usual_blueness(blue, red)) & (away < going.reach.slide + 6)
    return int(np.count_nonzero(left & (away_from(others[here]) > 6)))


def _cut(
    work: Analysis, away: np.ndarray, reach: Reach, removed: frozenset[int]
) -> tuple[frozenset[int], dict[int, Outline], np.ndarray]:
    """Return the cells that cannot be kept, the whole outlines of the others, and the slide."""
    hidden = away <= reach.red
    cut = [
        i
        for i, cell in enumerate(work.cells)
        if i not in removed and (hidden[window(cell.box)] & cell.mask).any()
    ]
    lost = {i for i in cut if work.cells[i].kind != "rbc"}
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
        outline = whole_outline(work.cells[i], hidden, touch, near, others, typical)
        if foreign[i] or outline is None or _hidden_share(outline, hidden) > tuned.MOST_HIDDEN:
            lost.add(i)
        else:
            outlines[i] = outline
    return frozenset(lost), outlines, slide


def _trimmed(work: Analysis, outlines: dict[int, Outline]) -> Analysis:
    """Return an image's cells without what stands out of their whole outlines."""
    found = list(work.cells)
    for i, outline in outlines.items():
        here = window(found[i].box)
        inside = outline.inside(work.shape, margin=-1.5)[here] & found[i].mask
        found[i] = _cell(found[i], inside, found[i].box[:2]) or found[i]
    return replace(work, cells=tuple(found))


def _hidden_share(outline: Outline, hidden: np.ndarray) -> float:
    inside = outline.inside(hidden.shape)
    return float((inside & hidden).sum() / max(1, inside.sum()))


def to_others(work: Analysis, i: int, removed: Collection[int], margin: int) -> np.ndarray:
    """Return the distance of pixels near cell ``i`` to other cells that stay, float32 (H, W).

    Further than ``margin`` from its box it is not measured, and 0.
    """
    x0, y0, x1, y1 = work.cells[i].box
    others = work.without({*removed, i})
    here = window((max(x0 - margin, 0), max(y0 - margin, 0), x1 + margin, y1 + margin))
    distance = np.zeros(work.shape, np.float32)
    distance[here] = away_from(others[here])
    return distance


def _not_red(work: Analysis, red: Sequence[int]) -> list[bool]:
    """Return for each red cell whether its colour is not that of the image's other red cells.

    Cytoplasm that the segmenter took for a red cell stands out by the ratio of its densities.
    """
    ratios = []
    for i in red:
        here, inside = window(work.cells[i].box), work.cells[i].mask[::2, ::2]
        if not inside.any():
            ratios.append(np.nan)
            continue
        seen, light = (plane[here][::2, ::2][inside] for plane in (work.image, work.light))
        r, g, b = optical_density(seen, light).mean(axis=0)
        ratios.append((r - b) / max(g, 0.01))
    values = np.array(ratios)
    known = values[np.isfinite(values)]
    if len(known) < 5:
        return [False] * len(values)
    middle = np.median(known)
    spread = max(robust_spread(known), 0.05)
    return [bool(value - middle > tuned.NOT_RED * spread) for value in values]


def rounded_off(work: Analysis, gone: np.ndarray, removed: Collection[int]) -> Analysis:
    """Return an image's cells with red ones trimmed beside what goes, bool (H, W).

    A red cell has no prongs: one that runs along a white cell is a piece of that.
    """
    near, taken = dilated(gone, tuned.PRONG), dilated(gone, 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    found = list(work.cells)
    for i, cell in enumerate(work.cells):
        here = window(cell.box)
        if cell.kind != "rbc" or i in removed or not (near[here] & cell.mask).any():
            continue
        left = cell.mask & ~taken[here]
        # the image's edge cuts no prong
        wide = cv2.copyMakeBorder(left.view(np.uint8), 5, 5, 5, 5, cv2.BORDER_REPLICATE)
        opened = cv2.morphologyEx(wide, cv2.MORPH_OPEN, disc)[5:-5, 5:-5] > 0
        keep = largest_piece((opened | ~near[here]) & left)
        found[i] = _cell(cell, keep, cell.box[:2]) or cell
    return replace(work, cells=tuple(found))


def remaining(image: np.ndarray, cells: Sequence[Cell], *, remove: str) -> list[tuple[int, Cell]]:
    """Return what :func:`~naturalize.restoration.scene` leaves of the cells of an image.

    Nothing is painted, which takes a fraction of the time. Takes what the scene takes; gives index
    and what is seen of each cell that is still there, in order. A red cell that was hidden in part
    is whole again; one that was hidden too far is gone.
    """
    shape = (image.shape[0], image.shape[1])
    gone = set(cells_to_remove(cells, shape, remove))
    if not gone:
        return list(enumerate(cells))
    light = illumination(image, covered(shape, cells))
    if max(shape) <= tuned.WHOLE:
        return sorted(_left(image, cells, gone, light).items(), key=lambda found: found[0])
    parts: dict[int, list[Cell]] = {i: [c] for i, c in enumerate(cells) if i not in gone}
    # as it is painted: in each tile that something leaves, cells are what is left of them there
    for core, wide in tiles(shape, covered(shape, [cells[i] for i in gone])):
        near, indices = within(cells, wide)
        there = window(wide)
        going = {k for k, i in enumerate(indices) if i in gone}
        left = _left(image[there], near, going, light[there])
        for k, i in enumerate(indices):
            if i not in gone:
                kept = [_outside(part, core) for part in parts[i]]
                new = _inside(left[k], shifted(core, wide), wide) if k in left else None
                parts[i] = [part for part in (*kept, new) if part is not None]
    return [
        (i, union(found) if len(found) > 1 else found[0])
        for i, found in sorted(parts.items())
        if found
    ]


def _left(
    image: np.ndarray, cells: Sequence[Cell], gone: set[int], light: np.ndarray
) -> dict[int, Cell]:
    """Return what is seen of the cells that stay, by index."""
    if not gone:
        return dict(enumerate(cells))
    work, going = plan_removal(Analysis.of(image, cells, light), sorted(gone))
    seen = {
        i: _seen(cell, going, i, work.shape)
        for i, cell in enumerate(work.cells)
        if i not in going.removed
    }
    return {i: cell for i, cell in seen.items() if cell is not None}


def _seen(cell: Cell, going: Removal, i: int, shape: tuple[int, int]) -> Cell | None:
    outline = going.outlines.get(i)
    if outline is not None:
        visible = covered(shape, [cell]) & ~going.hidden
        return _cell(cell, visible | (outline.inside(shape) & going.hidden), (0, 0))
    over = going.hidden if cell.kind == "rbc" else going.mask
    return _cell(cell, cell.mask & ~over[window(cell.box)], cell.box[:2])


def _cell(like: Cell, mask: np.ndarray, offset: tuple[int, int]) -> Cell | None:
    if not mask.any():
        return None
    return Cell.from_mask(like.kind, mask, score=like.score, offset=offset)


def _outside(cell: Cell, core: Box) -> Cell | None:
    """Return what of a cell lies outside a box."""
    mask = cell.mask.copy()
    left, top, right, bottom = (max(n, 0) for n in shifted(core, cell.box))
    mask[top:bottom, left:right] = False
    return _cell(cell, mask, cell.box[:2])


def _inside(cell: Cell, core: Box, at: Box) -> Cell | None:
    """Return what of a cell lies inside a box, moved from the pixels of ``at`` to the image's."""
    found, _ = within([cell], core)
    if not found:
        return None
    return found[0].moved(core[0] + at[0], core[1] + at[1])
