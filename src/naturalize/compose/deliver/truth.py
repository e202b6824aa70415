"""The truth about a composite: which cell is seen at each pixel, and its box.

A recipe says where every cell lies, so its truth is computed, not guessed: the same patches, laid
in the same order by the same functions as in ``render``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from naturalize.base.errors import InputError
from naturalize.compose.deliver.annotation import Annotation, SceneCell, annotation_of
from naturalize.compose.paint.blend import BLENDS
from naturalize.compose.paint.place import Laid
from naturalize.compose.paint.render import finished, laid_on, shown, stage_of
from naturalize.compose.paint.scenes import CellSource, laid_under, source_of
from naturalize.compose.paint.sizes import EDGE, Shrink, Size, asked_size
from naturalize.compose.recipe.placement import SPECK
from naturalize.compose.recipe.recipe import Background, Recipe

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank

#: Most cells that uint16 can number.
_MOST = np.iinfo(np.uint16).max


class TrueCell(NamedTuple):
    """A cell that is seen in a composite."""

    instance: int  # its number in :attr:`Truth.instances`
    kind: str  # ``"wbc"``, ``"rbc"`` or ``"platelet"``
    label: str | None  # class of a cell that its own image's label speaks of; null for the others
    cell_id: str
    box: tuple[int, int, int, int]  # ``x0, y0, x1, y1`` of what is seen of it, half-open pixels


class Truth(NamedTuple):
    """The truth about a composite."""

    #: Uint16 (height, width): 0 where no cell is, else the number of the cell that is seen.
    instances: np.ndarray
    cells: tuple[TrueCell, ...]  # one a number, from 1 on, from the lowest to the topmost

    #: Of each cell, its box as far as the canvas shows it, and bool over it: where it lies, under
    #: others too (amodal). A cell of a scene lies where it is seen before any is placed.
    wholes: tuple[tuple[tuple[int, int, int, int], np.ndarray], ...]

    def mask(self, instance: int) -> np.ndarray:
        """Return where a cell is seen, bool over its box."""
        x0, y0, x1, y1 = self.cells[instance - 1].box
        return self.instances[y0:y1, x0:x1] == instance

    def whole(self, instance: int) -> np.ndarray:
        """Return where a cell lies, seen or not, bool (height, width)."""
        (x0, y0, x1, y1), mask = self.wholes[instance - 1]
        made = np.zeros(self.instances.shape, bool)
        made[y0:y1, x0:x1] = mask
        return made


def truth(
    recipe: Recipe,
    source: CellSource | CellBank,
    *,
    annotation: Annotation | None = None,
    size: Size = None,
) -> Truth:
    """Return which cell is seen at each pixel of a composite.

    A pixel belongs to the topmost cell that gives half of its light or more; where a blend takes
    colours from both sides of a cell's edge, that is the line where it would be cut. First come the
    cells that the scene brought along, then those that were placed, in painting order. A cell of
    which nothing is seen is left out.

    Parameters
    ----------
    recipe
        The composite.
    source
        What it is rendered from: a bank, or a :class:`~naturalize.compose.paint.crops.CropStore`.
    annotation
        Of the cells; by default that of the bank. Pass a
        :class:`~naturalize.compose.deliver.annotation.BankAnnotation` of your own to look at many
        recipes.
    size
        As for :func:`~naturalize.compose.paint.render.render`.

    Raises
    ------
    InputError
        If ``source`` is no bank and ``annotation`` is missing, or the source lacks a cell or scene.
    """
    cells, shrink = source_of(source), Shrink.to((recipe.width, recipe.height), size)
    canvas = (shrink.height, shrink.width)
    laid = (laid_on(canvas, cells, placement, shrink) for placement in recipe.placements)
    return _truth_of(recipe, source, annotation, size, laid)


def painted(
    recipe: Recipe, source: CellSource | CellBank, *, annotation: Annotation | None = None
) -> tuple[np.ndarray, Truth]:
    """Return a composite, as ``render`` gives it, and its truth: quicker than one after the other.

    Parameters and errors as of :func:`truth`.
    """
    cells, shrink = source_of(source), Shrink.to((recipe.width, recipe.height), None)
    stage = stage_of(recipe, cells, shrink)

    def laid() -> Iterator[Laid | None]:
        for placement in recipe.placements:
            one = laid_on(stage.canvas.shape[:2], cells, placement, shrink)
            if one is not None:
                BLENDS[placement.blend].paint(stage.canvas, one)
            yield one

    found = _truth_of(recipe, source, annotation, None, laid())
    return finished(shown(recipe, stage.shown(), shrink), recipe.finish), found


def _truth_of(
    recipe: Recipe,
    given: CellSource | CellBank,
    annotation: Annotation | None,
    size: Size,
    laid: Iterable[Laid | None],
) -> Truth:
    """Return the truth of a recipe from its cells as they are laid."""
    annotation = annotation or annotation_of(given)
    if annotation is None:
        raise InputError(
            "truth: a store of crops holds no classes and no cells of scenes; pass "
            "annotation=BankAnnotation(bank)"
        )
    source, shrink = source_of(given), Shrink.to((recipe.width, recipe.height), size)
    canvas, brought = _scene(recipe.background, shrink, source, annotation)
    cells = [(cell.kind, cell.label, cell.cell_id) for cell in brought]
    wholes = list(_placed_masks(canvas, len(cells)))
    for placement, one in zip(recipe.placements, laid, strict=True):
        if placement.kind == SPECK:
            continue
        cells.append((placement.kind, annotation.label(placement.cell_id), placement.cell_id))
        wholes.append(None if one is None else (one.window, _inside(one, placement.blend)))
        if wholes[-1] is not None:
            window, mask = wholes[-1]
            canvas[window][mask] = len(cells)
    goal = asked_size(size)
    if goal is not None and goal != (shrink.width, shrink.height):
        canvas = _grown(canvas, goal)
        wholes = [found and _grown_mask(*found, shrink, goal) for found in wholes]
    return _numbered(canvas, cells, wholes)


#: A window of the canvas, and a mask over it; ``None`` off the canvas.
_Found = tuple[tuple[slice, slice], np.ndarray] | None


def _placed_masks(canvas: np.ndarray, n: int) -> Iterator[_Found]:
    """Yield window and mask of each of the cells 1 to ``n`` of a canvas of their numbers."""
    from scipy.ndimage import find_objects

    for number, window in enumerate(find_objects(canvas, max_label=n) if n else (), start=1):
        yield None if window is None else (window, canvas[window] == number)


def _grown(plane: np.ndarray, goal: tuple[int, int]) -> np.ndarray:
    return cv2.resize(plane, goal, interpolation=cv2.INTER_NEAREST_EXACT)


def _grown_mask(
    window: tuple[slice, slice], mask: np.ndarray, shrink: Shrink, goal: tuple[int, int]
) -> _Found:
    """Return a mask of a canvas on a larger picture (width, height)."""
    whole = np.zeros((shrink.height, shrink.width), np.int32)
    whole[window] = mask
    return next(_placed_masks(_grown(whole, goal), 1))


def _inside(laid: Laid, blend: str) -> np.ndarray:
    """Return where a cell gives half of the light or more, bool (h, w)."""
    # a hard edge takes what lies within; a soft one has its half at the very edge
    return laid.edge > EDGE if blend == "hard" else laid.edge >= EDGE


def _scene(
    ground: Background, shrink: Shrink, source: CellSource, annotation: Annotation
) -> tuple[np.ndarray, Sequence[SceneCell]]:
    """Return the numbers of a scene's cells on the canvas, int32 (height, width), and the cells."""
    if ground.background_id is None:
        return np.zeros((shrink.height, shrink.width), np.int32), ()
    cells = annotation.scene(ground.background_id)
    factors = shrink.before(ground.turn)
    # the scene as it is rendered says how large it is, before its turn
    height, width = source.background(ground.background_id, factors).shape[:2]
    numbers = np.zeros((height, width), np.int32)
    for number, window, mask in _shrunk(cells, (height, width), factors):
        numbers[window][mask] = number
    return laid_under(numbers, ground, shrink).copy(), cells


def _shrunk(
    cells: Sequence[SceneCell], shape: tuple[int, int], factors: tuple[float, float]
) -> Iterator[tuple[int, tuple[slice, slice], np.ndarray]]:
    """Yield number, window and mask of cells in a scene of ``shape`` (height, width).

    A shrunk pixel belongs to a cell if the middle of its area does.
    """
    for number, cell in enumerate(cells, start=1):
        x0, y0, x1, y1 = cell.box
        if factors == (1, 1):
            yield number, (slice(y0, y1), slice(x0, x1)), cell.mask
            continue
        columns = _middles(x0, x1, factors[0], shape[1])
        rows = _middles(y0, y1, factors[1], shape[0])
        if len(columns[0]) and len(rows[0]):
            window = slice(rows[0][0], rows[0][-1] + 1), slice(columns[0][0], columns[0][-1] + 1)
            yield number, window, cell.mask[np.ix_(rows[1] - y0, columns[1] - x0)]


def _middles(start: int, end: int, factor: float, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return shrunk pixels whose middles lie in ``start`` to ``end``, and where these are."""
    pixels = np.arange(max(int(start * factor) - 1, 0), min(int(end * factor) + 2, length))
    middles = np.floor((pixels + 0.5) / factor).astype(np.int64)
    here = (middles >= start) & (middles < end)
    return pixels[here], middles[here]


def _numbered(
    canvas: np.ndarray, cells: Sequence[tuple[str, str | None, str]], wholes: Sequence[_Found]
) -> Truth:
    """Return the truth of a canvas of cells (from 1 on, 0 none): those that are seen, in order."""
    from scipy.ndimage import find_objects

    counts = np.bincount(canvas.ravel(), minlength=len(cells) + 1)
    seen = 1 + np.flatnonzero(counts[1:])
    if len(seen) > _MOST:
        raise InputError(f"truth: {len(seen):,} cells in one composite, more than {_MOST:,}")
    table = np.zeros(len(cells) + 1, np.uint16)
    table[seen] = np.arange(1, len(seen) + 1)
    instances = table[canvas]
    boxes = find_objects(instances.astype(np.int32), max_label=len(seen))
    rows, lying = [], []
    for number, (old, window) in enumerate(zip(seen.tolist(), boxes, strict=True), start=1):
        rows.append(TrueCell(number, *cells[old - 1], _box(window)))
        lying.append(_cut_to_mask(*(wholes[old - 1] or (window, canvas[window] == old))))
    return Truth(instances, tuple(rows), tuple(lying))


def _cut_to_mask(
    window: tuple[slice, slice], mask: np.ndarray
) -> tuple[tuple[int, int, int, int], np.ndarray]:
    """Return the box of a mask that lies in a window, and the mask over it."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    left, top = window[1].start + x, window[0].start + y
    return (left, top, left + width, top + height), mask[y : y + height, x : x + width]


def _box(window: tuple[slice, slice]) -> tuple[int, int, int, int]:
    down, across = window
    return across.start, down.start, across.stop, down.stop
