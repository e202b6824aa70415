"""Which scene a cell can stand in so that least has to be changed, and least can be seen of it.

A cell that has the size and the outline of the one it takes the place of covers what was restored
behind it and leaves its neighbours as they were; a scene with the same light, stain and sharpness
asks for no correction. So of all scenes the best fitting few are found for every cell, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from naturalize.compose.draw import constants as tuned
from naturalize.compose.draw.materials import Images, Materials
from naturalize.imaging.jpeg.grid import on_grid, phase_of, turned_box, turned_point

#: Whose scenes a cell may stand in; see :func:`match`.
Light = Literal["own", "any", "other"]

#: Cells that are compared with all scenes at a time.
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class Matches:
    """The best scenes of each of N cells."""

    #: Int32 (N,): positions in the materials, ascending; those with at least one scene.
    cells: np.ndarray
    #: Int32 (N, K): positions in the materials of the cells whose place they can take.
    scene: np.ndarray
    turn: np.ndarray  # int64 (N, K): how the cell is turned before the scene is
    upto: np.ndarray  # float64 (N, K): chances, cumulative

    def pick(self, cells: np.ndarray, chance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return a scene's cell and a turn for each of ``cells``, by chances in [0, 1)."""
        row = np.searchsorted(self.cells, cells)
        k = (chance[:, None] >= self.upto[row]).sum(axis=1)
        return self.scene[row, k], self.turn[row, k]


def match(
    materials: Materials,
    cells: np.ndarray,
    places: np.ndarray,
    *,
    keep: int,
    turns: tuple[int, ...],
    on_blocks: bool,
    light: Light = "own",
) -> Matches:
    """Find for each cell the ``keep`` places it fits best.

    ``cells`` are to be set, ``places`` are cells whose place they may take; of the ``turns`` (0–7)
    the best one counts. ``on_blocks``: cells are set on the grid of the scene's codec. ``light``:
    cells may stand in scenes of their ``"own"`` light, stain, sharpness and codec, of ``"any"``, or
    in those whose light is nearer to theirs than to that of ``"other"`` cells: for cells that have
    been made like scenes of another laboratory.
    """
    images = materials.images
    cells, places = np.sort(cells), np.sort(places)
    side = 1.05 * float(max(materials.size[both].max(initial=1) for both in (cells, places)))
    new, old = (_maps(materials, both, side) for both in (cells, places))
    old_area = old.sum(axis=1)[None]
    scene, turn, cost = [], [], []
    for start in range(0, len(cells), _BLOCK):
        part = cells[start : start + _BLOCK]
        maps = new[start : start + _BLOCK].reshape(-1, tuned.OUTLINE_GRID, tuned.OUTLINE_GRID)
        area = maps.sum(axis=(1, 2))[:, None]
        costs = np.empty((len(turns), len(part), len(places)), np.float32)
        for k, code in enumerate(turns):
            laid = np.rot90(maps[:, :, ::-1] if code >= 4 else maps, code % 4, axes=(1, 2))
            shared = laid.reshape(len(part), -1) @ old.T
            costs[k] = (1 - shared / old_area) / tuned.UNCOVERED + (
                1 - shared / area
            ) / tuned.STANDS_OUT
            costs[k] += _misplaced(materials, part, places, code, on_blocks)
        best = costs.argmin(axis=0)
        total = np.take_along_axis(costs, best[None], axis=0)[0]
        origins = (materials.image[part], materials.image[places])
        if light == "own":
            total += unlike(images, *origins)
        elif light == "other":
            total += in_other_light(materials, *origins)
        else:
            total[origins[0][:, None] == origins[1][None]] = np.inf
        order = np.argsort(total, axis=1, kind="stable")[:, :keep]
        scene.append(places[order])
        turn.append(np.array(turns)[np.take_along_axis(best, order, axis=1)])
        cost.append(np.take_along_axis(total, order, axis=1))
    if not scene:
        return Matches(cells, *(np.zeros((0, 1), int) for _ in range(3)))
    return _dealt(cells, np.concatenate(scene), np.concatenate(turn), np.concatenate(cost))


def _dealt(cells: np.ndarray, scene: np.ndarray, turn: np.ndarray, cost: np.ndarray) -> Matches:
    """Give each scene a chance that falls with the number of cells that it suits."""
    good = np.isfinite(cost)
    kept = good.any(axis=1)
    cells, scene, turn, good = cells[kept], scene[kept], turn[kept], good[kept]
    asked = np.bincount(scene[good], minlength=int(scene.max(initial=0)) + 1)
    weight = np.where(good, 1 / np.maximum(asked[scene], 1), 0.0)
    upto = np.cumsum(weight, axis=1)
    return Matches(cells, scene, turn, upto / upto[:, -1:] if len(upto) else upto)


def _maps(materials: Materials, cells: np.ndarray, side: float) -> np.ndarray:
    """Return the share of each square of a coarse grid that cells fill, float32 (n, squares).

    The grid is ``side`` pixels wide, the middle of a cell's box in its middle.
    """
    fine = 4 * tuned.OUTLINE_GRID
    scale = fine / side
    maps = np.zeros((len(cells), tuned.OUTLINE_GRID * tuned.OUTLINE_GRID), np.float32)
    for row, cell in enumerate(cells.tolist()):
        mask = materials.mask(cell).astype(np.float32)
        height, width = mask.shape
        shift = np.array([[scale, 0, (fine - scale * width) / 2 + (scale - 1) / 2],
                          [0, scale, (fine - scale * height) / 2 + (scale - 1) / 2]])  # fmt: skip
        laid = cv2.warpAffine(mask, shift, (fine, fine))
        maps[row] = cv2.resize(
            laid, (tuned.OUTLINE_GRID, tuned.OUTLINE_GRID), interpolation=cv2.INTER_AREA
        ).ravel()
    return maps


def _misplaced(
    materials: Materials, cells: np.ndarray, places: np.ndarray, turn: int, on_blocks: bool
) -> np.ndarray:
    """Return the cost of a cell's place: far off for the grid's sake, or beyond the scene."""
    frames = materials.images.frames
    scenes = materials.image[places]
    turned = np.full(len(cells), turn)
    size = turned_box(materials.size[cells], turned)[:, None]
    goal = (materials.box[places][:, :2] + materials.box[places][:, 2:])[None] / 2 - size / 2
    unit = frames.unit[scenes] if on_blocks else np.ones_like(frames.unit[scenes])
    place = on_grid(goal, phase_of(materials.box[cells], turned)[:, None], unit[None])
    outside = (place < 0) | (place + size > frames.size[scenes][None])
    cost = np.hypot(*np.moveaxis(place - goal, -1, 0)) / tuned.MOVED
    return np.where(outside.any(axis=2), np.inf, cost).astype(np.float32)


def unlike(images: Images, cells: np.ndarray, scenes: np.ndarray) -> np.ndarray:
    """Return how unlike images are in light, stain, sharpness and codec, float32 (n, m).

    Infinite where they must not be combined: the same image, another coding unit, another light.

    ``cells``, ``scenes``: int (n,), (m,): images that a cell comes from, images that a scene comes
    from.
    """
    frames = images.frames
    light = np.abs(images.light[cells][:, None] - images.light[scenes][None]).max(axis=2)
    cost = light / tuned.LIGHT
    red, focus = _filled(np.log(np.maximum(images.red, 1e-3))), _filled(images.focus[:, None])
    cost = cost + np.abs(red[cells][:, None] - red[scenes][None]).mean(axis=2) / tuned.RED
    sharper = (focus[cells] - focus[scenes].T) / tuned.FOCUS
    cost += np.where(sharper < 0, -tuned.BLURRED * sharper, sharper)
    cost += tuned.OTHER_ENCODER * (frames.encoder[cells][:, None] != frames.encoder[scenes][None])
    apart = (frames.unit[cells][:, None] != frames.unit[scenes][None]).any(axis=2)
    apart |= light > tuned.MOST_LIGHT
    apart |= cells[:, None] == scenes[None]
    return np.where(apart, np.inf, cost).astype(np.float32)


def in_other_light(materials: Materials, cells: np.ndarray, scenes: np.ndarray) -> np.ndarray:
    """Return where images' light is nearest to that of other cells of a class, float32 (n, m).

    Infinite there, else 0; ``cells``, ``scenes`` as for :func:`unlike`.
    """
    light = materials.images.light
    lights = np.unique(light[materials.image[materials.label >= 0]], axis=0)
    near = np.linalg.norm(light[scenes][:, None] - lights[None], axis=2).argmin(axis=1)
    other = (lights[near][None] != light[cells][:, None]).any(axis=2)
    return np.where(other, np.inf, 0.0).astype(np.float32)


def _filled(values: np.ndarray) -> np.ndarray:
    """Return (N, k) with the middle value of its column for NaN; 0 where all are."""
    if not len(values):
        return values
    with np.errstate(all="ignore"):
        middle = np.array([np.median(c[np.isfinite(c)]) if np.isfinite(c).any() else 0.0
                           for c in values.T])  # fmt: skip
    return np.where(np.isfinite(values), values, middle)


def centre(materials: Materials, cells: np.ndarray) -> np.ndarray:
    """Return the middles of cells' boxes in their images, float64 (n, 2)."""
    box = materials.box[cells]
    return (box[:, :2] + box[:, 2:]) / 2


def centre_turned(materials: Materials, cells: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return the middles of cells' boxes in their images once these are turned, float64 (n, 2)."""
    size = materials.images.frames.size[materials.image[cells]]
    return turned_point(centre(materials, cells), size, turn)
