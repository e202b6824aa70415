"""A scene without some of its cells: slide, light, grain and red cells where they were."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from naturalize.base.rng import rng
from naturalize.cells.segmentation import Cell
from naturalize.imaging.jpeg.codec import BLOCK, Codec
from naturalize.imaging.jpeg.estimate import estimate
from naturalize.imaging.jpeg.recode import code_region
from naturalize.restoration import constants as tuned
from naturalize.restoration.halo import Analysis
from naturalize.restoration.masks import (
    away_from,
    covered,
    dilated,
    largest,
    shifted,
    tiles,
    window,
    within,
)
from naturalize.restoration.plan import Removal, cells_to_remove, plan_removal, residue, to_others
from naturalize.restoration.quality import Measures, combined, measured, quality_of
from naturalize.restoration.red import CompletedCell, completed, typical_radius
from naturalize.restoration.slide import copied_grain, fringe, fringe_at, illumination


@dataclass(frozen=True, eq=False)
class Restored:
    """An image without some of its cells."""

    #: RGB uint8 (H, W, 3).
    image: np.ndarray
    #: Bool (H, W): the pixels that were painted. Where the image came through a JPEG codec, the
    #: rest of their coding units went through it again, and may differ by a few grey levels.
    mask: np.ndarray
    #: 0–1; below :data:`naturalize.restoration.USABLE` a scene should not be used.
    quality: float = 1.0
    #: What lowers the quality, in words; empty for a good scene.
    reasons: tuple[str, ...] = ()
    #: The figures that the quality is made of.
    measures: Measures = field(default_factory=Measures)
    #: Indices of the cells that are gone: those asked for, and others that were hidden by them too
    #: far to be made whole.
    removed: tuple[int, ...] = ()
    #: JPEG codec that the image came through, and its painted parts too; ``None`` if none is seen.
    codec: Codec | None = None


def scene(image: np.ndarray, cells: Sequence[Cell], *, remove: str, key: str) -> Restored:
    """Return an image, RGB uint8 (H, W, 3), without the cells that ``remove`` names.

    ``remove`` is as for :func:`~naturalize.restoration.plan.cells_to_remove`; an image without such
    a cell comes back as it is. ``cells``: all its cells, as a segmenter found them. ``key`` names
    the draw of the grain, such as the image's id: equal keys give equal pixels.
    """
    return without(image, cells, cells_to_remove(cells, image.shape[:2], remove), key=key)


def without(
    image: np.ndarray, cells: Sequence[Cell], gone: Collection[int], *, key: str
) -> Restored:
    """Return an image without the cells of some indices; the others as in :func:`scene`."""
    gone = sorted(gone)
    shape = image.shape[:2]
    if not gone:
        return Restored(image.copy(), np.zeros(shape, bool))
    light = illumination(image, covered(shape, cells))
    if max(shape) > tuned.WHOLE:
        return _in_tiles(image, cells, gone, light, key)
    return _painted(image, cells, gone, light, estimate(image), key)


def _in_tiles(
    image: np.ndarray, cells: Sequence[Cell], gone: Sequence[int], light: np.ndarray, key: str
) -> Restored:
    """Restore a large image tile by tile; each is painted with its surroundings in view."""
    height, width = shape = image.shape[:2]
    y, x = (max(n // 32 * 16 - tuned.WHOLE // 2, 0) for n in shape)
    codec = estimate(image[y : y + tuned.WHOLE, x : x + tuned.WHOLE])
    pixels, mask = image.copy(), np.zeros(shape, bool)
    parts: list[tuple[Measures, int]] = []
    removed: set[int] = set()
    for core, wide in tiles(shape, covered(shape, [cells[i] for i in gone])):
        there, (near, indices) = window(wide), within(cells, wide)
        going = [k for k, i in enumerate(indices) if i in set(gone)]
        name = f"{key}/{core[0]},{core[1]}"
        part = _painted(image[there], near, going, light[there], codec, name)
        inner = window(shifted(core, wide))
        pixels[window(core)], mask[window(core)] = part.image[inner], part.mask[inner]
        parts.append((part.measures, int(np.count_nonzero(part.mask[inner]))))
        removed |= {indices[k] for k in part.removed}
    found = combined(parts, height * width)
    quality, reasons = quality_of(found)
    return Restored(pixels, mask, quality, reasons, found, tuple(sorted(removed)), codec)


def _painted(
    image: np.ndarray,
    cells: Sequence[Cell],
    gone: Sequence[int],
    light: np.ndarray,
    codec: Codec | None,
    key: str,
) -> Restored:
    """Paint slide, then red cells, over all that goes; then send it through the image's codec."""
    work, going = plan_removal(Analysis.of(image, cells, light), gone)
    wholes = _completed_cells(work, going)
    red = work.without(going.removed, "rbc")
    slide = (going.away <= going.reach.slide) & ~_left_alone(work, going, red)
    rims, near = away_from(red), away_from(work.without(()) | going.mask)
    profile = fringe(work.rest, rims, (near > 0) & (going.away > tuned.UNDISTURBED))
    rest = work.rest - fringe_at(profile, rims)
    calm = _calm(rest, near)
    layout = red & ~going.hidden
    for whole in wholes:
        layout[window(whole.box)] |= whole.inside & (whole.opacity > 0)
    to_red = away_from(layout)
    smooth = light + fringe_at(profile, to_red)
    unit = codec.unit if codec else BLOCK
    grain, invented = copied_grain(rest, calm, slide, rng(0, "background", key), unit=unit)
    canvas = np.where(slide[..., None], smooth + grain, work.image)
    painted = slide.copy()
    for whole in wholes:
        painted |= _lay(canvas, whole, smooth)
    after = code_region(np.clip(np.rint(canvas), 0, 255).astype(np.uint8), painted, codec)
    found = measured(
        after,
        smooth=smooth,
        painted=painted,
        slide=slide & (to_red > tuned.VISIBLE_EDGE),
        bare=calm,
        invented=invented,
        guessed=sum(w.hidden * float(w.inside.sum()) for w in wholes if w.hidden > 0.35),
        residue=residue(after, work, going),
    )
    quality, reasons = quality_of(found)
    return Restored(after, painted, quality, reasons, found, tuple(sorted(going.removed)), codec)


def _left_alone(work: Analysis, going: Removal, red: np.ndarray) -> np.ndarray:
    """Return where a kept cell and its blurred edge are seen as they are, bool (H, W)."""
    others = work.without(going.removed, "wbc", "platelet")
    seen = dilated(red & ~going.hidden, tuned.VISIBLE_EDGE) & ~going.hidden
    return seen | (dilated(others, tuned.VISIBLE_EDGE) & ~going.mask)


def _calm(rest: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Return where the slide shows its grain and nothing else, bool (H, W)."""
    for distance in tuned.UNDISTURBED_GRAIN:
        calm = near > distance
        if np.count_nonzero(calm) > 0.02 * calm.size:
            break
    # specks by their colour, then faint blots by their mean
    for blur, limit in ((0.0, 9.0), (2.0, 7.0)):
        if not calm.any():
            return calm
        level = largest(np.abs(cv2.GaussianBlur(rest, (0, 0), blur) if blur else rest))
        calm &= level < limit * float(np.median(level[calm])) + 1
    return calm


def _completed_cells(work: Analysis, going: Removal) -> list[CompletedCell]:
    """Return the red cells that are hidden in part, made whole."""
    red = [cell for cell in work.cells if cell.kind == "rbc"]
    margin = int(2 * typical_radius(red, work.shape))
    near = going.away <= going.reach.red + tuned.GAP_REACH
    hidden = going.hidden
    found = []
    for i, outline in going.outlines.items():
        others = to_others(work, i, going.removed, margin)
        # slide that shows inside the whole outline, beside what covered it, is painted over too
        gap = going.slide & near & (others > 2) & outline.inside(work.shape, margin=1.5)
        over = hidden | (dilated(gap, 3) & near) if gap.any() else hidden
        found.append(completed(work.image, work.light, outline, over, ~over & (others > 2)))
    return found


def _lay(canvas: np.ndarray, whole: CompletedCell, slide: np.ndarray) -> np.ndarray:
    """Lay a red cell over what is painted; where two overlap, both take of the light.

    Returns where it was laid, bool (H, W).
    """
    here = window(whole.box)
    through = np.clip(canvas[here] / np.maximum(slide[here], 1), 0.3, 1)
    through = np.where(through > 0.94, 1, through)
    share = whole.opacity[..., None]
    canvas[here] += share * (whole.colours * through - canvas[here])
    laid = np.zeros(canvas.shape[:2], bool)
    laid[here] = whole.opacity > 0
    return laid
