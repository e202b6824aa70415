"""The quality gate: composites that fail are drawn again, and it is counted why.

A composite fails where its white cell is cut or covered, where painting it changed pixels that are
none of its own, where its colour, the steepness of its edge or the fullness of its scene lie
outside the range of real images of the same bank, where its scene was restored poorly, or where the
mask of its white cell had left out a part of that cell.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import cv2
import numpy as np

from naturalize.base import engine
from naturalize.base.errors import InputError
from naturalize.base.rng import rng
from naturalize.compose.columns import Columns
from naturalize.compose.patch import EDGE, patch_of
from naturalize.compose.place import lay
from naturalize.compose.recipe import Placement, Recipe
from naturalize.compose.render import coded, paste
from naturalize.compose.scenes import REMOVALS, canvas_of, cells_of, image_of
from naturalize.compose.sizes import Shrink

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank, Cutout
    from naturalize.compose.materials import Materials
    from naturalize.compose.modes import Mode
    from naturalize.compose.plan import Plan

#: Real images of a class that are measured, and the least that give a class its own limits.
_REAL, _ENOUGH = 48, 12

#: Quantiles of real images, and the share of what lies between by which limits are wider.
_QUANTILES, _WIDER = (0.01, 0.99), 0.25

#: Least by which limits are wider, where all images of a class are alike.
_AT_LEAST = 0.02

#: Pixels beyond a cell's outline that its soft edge may change, and grey levels that count.
_EDGE_REACH, _CHANGED = 5, 6

#: Share of the cell: of it outside the canvas, covered by others, and changed beyond its edge.
_CUT, _COVERED, _LEAK = 0.02, 0.02, 0.02

#: Share of the cell that its mask may have left out: 0.06 in 19 of 20 accepted PBC cells.
_MISSING = 0.12

#: Optical density (green) from which a pixel is no bare slide.
_STAINED = 0.05

#: How often a recipe is drawn again, and so often of these with the same cell.
ROUNDS, _SAME_CELL = 8, 2


#: Restored scenes that are kept between rounds (0.4 MB each for PBC).
_KEPT = 32

_scenes: WeakKeyDictionary[CellBank, OrderedDict[str, tuple[np.ndarray, float]]]

#: Bank → cell → what its mask left out.
_left_out: WeakKeyDictionary[CellBank, dict[str, float]] = WeakKeyDictionary()
_scenes = WeakKeyDictionary()


@dataclass(frozen=True)
class Look:
    """What an image with its white cell looks like.

    Attributes
    ----------
    red, green, blue
        Mean optical density of the cell.
    steepness
        Mean gradient of brightness across its outline, over the step from inside to outside.
    fullness
        Share of the rest of the image that is not bare slide.
    """

    red: float
    green: float
    blue: float
    steepness: float
    fullness: float


#: Measure → what is wrong with a composite outside its range.
REASONS = {
    "red": "implausible colour",
    "green": "implausible colour",
    "blue": "implausible colour",
    "steepness": "seam: edge unlike those of real cells",
    "fullness": "scene emptier or fuller than real ones",
}

#: Class → measure → (least, largest).
Limits = Mapping[str, Mapping[str, tuple[float, float]]]


def look(image: np.ndarray, mask: np.ndarray, light: Sequence[float]) -> Look:
    """Measure an image.

    Parameters
    ----------
    image
        RGB uint8 (H, W, 3).
    mask
        Bool (H, W): its white cell, at least one pixel.
    light
        RGB of the bare slide.
    """
    shown = np.maximum(image.astype(np.float32), 1)
    density = np.log10(np.maximum(np.array(light, np.float32), 1) / shown)
    red, green, blue = density[mask].mean(axis=0, dtype=np.float64)
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    slope = np.hypot(
        cv2.Sobel(luma, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(luma, cv2.CV_32F, 0, 1, scale=1 / 8),
    )
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    rim = (inside <= 1.5) & (away <= 1.5)
    bare = (away > 4) & (away < 12) & (density[..., 1] < _STAINED)
    step = float(luma[bare].mean() - luma[(inside > 3) & (inside < 8)].mean()) if bare.any() else 0
    beyond = away > _EDGE_REACH
    return Look(
        float(red),
        float(green),
        float(blue),
        float(slope[rim].mean() / step) if step > 5 else float("nan"),
        float((density[..., 1][beyond] > _STAINED).mean()) if beyond.any() else float("nan"),
    )


def real_limits(
    bank: CellBank, *, seed: int = 0, backend: str = "serial", workers: int | None = None
) -> Limits:
    """Return the range of each measure in real images, by class.

    From up to 48 images of a class whose own cell is accepted. A class with fewer than 12 has the
    range of all images of its kind.

    Raises
    ------
    InputError
        If the bank has no whole images to measure.
    """
    rows = bank.cells(target=True).sort_by("cell_id").select(["cell_id", "kind", "label"])
    of_class: dict[str, list[dict[str, Any]]] = {}
    for row in rows.to_pylist():
        of_class.setdefault(row["label"], []).append(row)
    chosen = [
        own[i]
        for label, own in sorted(of_class.items())
        for i in rng(seed, "gate", "real", label).permutation(len(own))[:_REAL].tolist()
    ]
    if bank.holds == "crops" or not chosen:
        raise InputError(
            f"{bank.root}: the gate compares with real images, and this bank has none; leave the "
            "gate out, or use a bank that has its source images"
        )
    looks = engine.map(
        partial(_look_at, bank),
        [row["cell_id"] for row in chosen],
        backend=backend,
        workers=workers,
        chunk=16,
        what="look at real images",
        name=_cell_name,
    )
    found = [(row["kind"], row["label"], one) for row, one in zip(chosen, looks, strict=True)]
    limits = {}
    for label in of_class:
        own = [one for _, name, one in found if name == label]
        kind = next(kind for kind, name, _ in found if name == label)
        alike = own if len(own) >= _ENOUGH else [one for k, _, one in found if k == kind]
        limits[label] = {measure: _range(alike, measure) for measure in REASONS}
    return limits


def _range(looks: Sequence[Look], measure: str) -> tuple[float, float]:
    values = np.array([getattr(one, measure) for one in looks])
    values = values[np.isfinite(values)]
    if not len(values):
        return -np.inf, np.inf
    low, high = np.quantile(values, _QUANTILES)
    more = _WIDER * (high - low) + _AT_LEAST
    return float(low - more), float(high + more)


def _look_at(bank: CellBank, cell_id: str) -> Look:
    row = bank.row(cell_id)
    image = bank.image(row["image_id"])
    mask = np.zeros(image.shape[:2], bool)
    mask[row["y0"] : row["y1"], row["x0"] : row["x1"]] = bank.mask(cell_id)
    return look(image, mask, light_of(bank)[row["image_id"]])


def light_of(bank: CellBank) -> dict[str, tuple[float, float, float]]:
    """Return image → RGB of its bare slide."""
    names = ("image_id", "r", "g", "b")
    columns = (bank.backgrounds[name].to_pylist() for name in names)
    return {i: (r, g, b) for i, r, g, b in zip(*columns, strict=True)}


def _cell_name(cell_id: str) -> str:
    return f"cell {cell_id}"


class _OneScene:
    """A bank that has one scene ready, so that many composites restore it once."""

    def __init__(self, bank: CellBank, scene: np.ndarray) -> None:
        self.bank, self.scene = bank, scene

    def cutout(self, cell_id: str, *, margin: int = 0) -> Cutout:
        return self.bank.cutout(cell_id, margin=margin)

    def image(self, image_id: str) -> np.ndarray:
        return self.bank.image(image_id)

    def background(self, _: str, factors: tuple[float, float]) -> np.ndarray:
        assert factors == (1, 1)
        return self.scene


def judge(recipe: Recipe, bank: Any, limits: Limits) -> list[str]:
    """Return what is wrong with a composite, in words; nothing for a good one.

    Parameters
    ----------
    recipe
        Its target cell is the last one placed.
    bank
        Where its cells and its scene come from.
    limits
        Of :func:`real_limits`.
    """
    shrink = Shrink.to((recipe.width, recipe.height), None)
    canvas = canvas_of(recipe.background, shrink, bank)
    scene = canvas.copy()
    *others, target = recipe.placements
    for placement in others:
        paste(canvas, bank, placement, shrink)
    before = canvas.copy()
    paste(canvas, bank, target, shrink)
    after = coded(canvas, scene, recipe.background, bank)
    mask, share = _laid_mask(bank, target, canvas.shape[:2])
    if share < 1 - _CUT:
        return ["white cell cut by the canvas"]
    wrong = []
    near = cv2.dilate(mask.astype(np.uint8), np.ones((2 * _EDGE_REACH + 1,) * 2, np.uint8)) > 0
    changed = np.abs(canvas.astype(np.int16) - before).max(axis=2) > _CHANGED
    if np.count_nonzero(changed & ~near) > _LEAK * np.count_nonzero(mask):
        wrong.append("mask leak: pixels beyond the cell changed")
    found = look(after, mask, recipe.background.colour)
    for measure, (low, high) in limits.get(recipe.label, {}).items():
        if not (low <= getattr(found, measure) <= high) and np.isfinite(getattr(found, measure)):
            wrong.append(REASONS[measure])
    return list(dict.fromkeys(wrong))


def _laid_mask(bank: Any, placement: Placement, shape: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Return the cell's mask on the canvas, bool (H, W), and the share of it that lies there."""
    patch = patch_of(bank, placement.cell_id)
    mask = np.zeros(shape, bool)
    laid = lay(patch, placement, shape)
    if laid is None:
        return mask, 0.0
    mask[laid.window] = laid.edge > EDGE
    whole = np.count_nonzero(patch.edge > EDGE) * placement.scale**2
    return mask, np.count_nonzero(mask) / max(whole, 1)


def _judge_scene(
    bank: CellBank, limits: Limits, group: tuple[str | None, list[Recipe]]
) -> list[list[str]]:
    """Judge the composites of one scene, which is restored once."""
    from naturalize.cells.background import USABLE

    background_id, recipes = group
    if background_id is None or image_of(background_id)[1] is None:
        return [_judge_cell(recipe, bank) or judge(recipe, bank, limits) for recipe in recipes]
    source, quality = _restored(bank, background_id)
    if quality < USABLE:
        return [["scene restored poorly"] for _ in recipes]
    return [_judge_cell(recipe, bank) or judge(recipe, source, limits) for recipe in recipes]


def _judge_cell(recipe: Recipe, bank: CellBank) -> list[str]:
    """Return what is wrong with the target cell in its own image."""
    target = recipe.placements[-1]
    known = _left_out.setdefault(bank, {})
    if target.cell_id not in known:
        known[target.cell_id] = left_out(bank, target.cell_id)
    return ["white cell not whole in its own image"] if known[target.cell_id] > _MISSING else []


def left_out(bank: CellBank, cell_id: str) -> float:
    """Return what the segmenter left out of a cell, as a share of its area.

    What hangs together with it in its own image and is stained as no red cell and no slide is, such
    as the pale half of a monocyte; 3 pixels beyond the outline and further.
    """
    from naturalize.cells.background.halo import Work, reach_of, strays
    from naturalize.cells.background.illumination import away_from, covered, illumination

    row = bank.row(cell_id)
    image, cells = bank.image(row["image_id"]), cells_of(bank, row["image_id"])
    box = (row["x0"], row["y0"], row["x1"], row["y1"])
    mine = [i for i, cell in enumerate(cells) if (cell.kind, cell.box) == (row["kind"], box)]
    mask = covered(image.shape[:2], [cells[i] for i in mine])
    if not mask.any():
        return 0.0
    pixels, light = image.astype(np.float32), illumination(image, covered(mask.shape, cells))
    work, gone = Work(pixels, tuple(cells), light, pixels - light), frozenset(mine)
    found = strays(work, mask, gone, reach_of(work.rest, mask, work.without(gone)))
    return np.count_nonzero(found & (away_from(mask) > 3)) / np.count_nonzero(mask)


def _restored(bank: CellBank, background_id: str) -> tuple[_OneScene, float]:
    """Return a restored scene and its quality; the last few are kept for later rounds."""
    from naturalize.cells.background import scene

    kept = _scenes.setdefault(bank, OrderedDict())
    if background_id not in kept:
        image_id, removal = image_of(background_id)
        found = scene(
            bank.image(image_id),
            cells_of(bank, image_id),
            remove=REMOVALS[removal or ""],
            key=image_id,
        )
        kept[background_id] = found.image, found.quality
        if len(kept) > _KEPT:
            kept.popitem(last=False)
    image, quality = kept[background_id]
    return _OneScene(bank, image), quality


def judge_all(
    recipes: Sequence[Recipe],
    bank: CellBank,
    limits: Limits,
    *,
    backend: str = "serial",
    workers: int | None = None,
) -> list[list[str]]:
    """Return what is wrong with each of ``recipes``; each scene is restored once."""
    order = sorted(range(len(recipes)), key=lambda i: recipes[i].background.background_id or "")
    groups = [
        (scene_id, [recipes[i] for i in rows], rows)
        for scene_id, rows in (
            (key, list(rows))
            for key, rows in groupby(order, key=lambda i: recipes[i].background.background_id)
        )
    ]
    judged = engine.map(
        partial(_judge_scene, bank, limits),
        [(scene_id, group) for scene_id, group, _ in groups],
        backend=backend,
        workers=workers,
        what="judge composites",
        name=_scene_name,
    )
    wrong: list[list[str]] = [[] for _ in recipes]
    for (_, _, rows), found in zip(groups, judged, strict=True):
        for i, reasons in zip(rows, found, strict=True):
            wrong[i] = reasons
    return wrong


def _scene_name(group: tuple[str | None, list[Recipe]]) -> str:
    return f"scene {group[0]}" if group[0] else "flat background"


def gated(
    plan: Plan,
    bank: CellBank,
    drawer: Mode,
    materials: Materials,
    *,
    exchange: bool = True,
    rounds: int = ROUNDS,
    backend: str = "serial",
    workers: int | None = None,
) -> Plan:
    """Return a plan whose composites all pass: those that fail are drawn again.

    At first with the same target cell, then (where ``exchange`` allows it) with another one. Each
    draw is named by seed, class, round and number, so the result is always the same.

    Parameters
    ----------
    plan, bank
        What to judge, and where its cells are.
    drawer, materials
        What drew it, from what.
    exchange
        Whether a recipe may get another target cell.
    rounds
        How often a recipe may be drawn again.
    backend, workers
        As for :func:`naturalize.base.engine.map`; they do not change the result.

    Raises
    ------
    InputError
        If a class has composites that fail however often they are drawn.
    """
    limits = real_limits(bank, backend=backend, workers=workers)
    columns, rejections = plan.columns, Counter(plan.rejections)
    ids, rows = list(plan.ids), list(range(len(plan)))
    first = {label: int(plan.rows_of(label)[0]) for label, n in plan.targets.items() if n}
    for turn in range(rounds + 1):
        recipes = [columns.recipe(row) for row in rows]
        wrong = judge_all(recipes, bank, limits, backend=backend, workers=workers)
        failed = [(row, why) for row, why in zip(rows, wrong, strict=True) if why]
        rejections.update(f"gate: {reason}" for _, why in failed for reason in why)
        if not failed:
            return _passed(plan, columns, rejections, materials)
        if turn == rounds:
            raise _hopeless(columns, failed, plan.targets, rounds)
        rows = [row for row, _ in failed]
        drawn = _drawn_again(
            plan, columns, rows, first, drawer, materials, turn, exchange and turn >= _SAME_CELL
        )
        columns = columns.replaced(np.array(rows), drawn)
        ids = _told_apart(ids, rows, drawn, rejections)
    raise AssertionError("the last round returns or raises")


def _drawn_again(
    plan: Plan,
    columns: Columns,
    rows: Sequence[int],
    first: Mapping[str, int],
    drawer: Mode,
    materials: Materials,
    turn: int,
    another: bool,
) -> Columns:
    parts = []
    for row in rows:
        label = columns.words.labels[columns.label[row]]
        generator = rng(plan.seed, "gate", drawer.name, label, turn, row - first[label])
        cells = columns.cell[columns.offsets[row] : columns.offsets[row + 1]]
        target = cells[materials.target[cells]][-1:]
        if another:
            pool = drawer.targets(materials, label)
            target = pool[generator.integers(len(pool), size=1)]
        parts.append(drawer.draw(materials, label, target, generator)[0])
    return Columns.concat(parts)


def _told_apart(
    ids: list[str], rows: Sequence[int], drawn: Columns, rejections: Counter[str]
) -> list[str]:
    """Put in the new ids; equal ones are left to stand, and counted."""
    known = set(ids)
    for row, fresh in zip(rows, drawn.ids(), strict=True):
        rejections["gate: equal to another one"] += fresh in known
        ids[row] = fresh
        known.add(fresh)
    return ids


def _passed(plan: Plan, columns: Columns, rejections: Counter[str], materials: Materials) -> Plan:
    used = Counter[str]()
    targets = columns.cell[materials.target[columns.cell]]
    labels = materials.label[targets]
    for code in np.unique(labels).tolist():
        used[materials.labels[code]] = int(np.bincount(targets[labels == code]).max())
    reuse = {label: {**about, "most": used[label]} for label, about in plan.reuse.items()}
    kept = {reason: n for reason, n in sorted(rejections.items()) if n}
    return replace(plan, columns=columns, rejections=kept, reuse=reuse)


def _hopeless(
    columns: Columns,
    failed: Iterable[tuple[int, list[str]]],
    targets: Mapping[str, int],
    rounds: int,
) -> InputError:
    failed = list(failed)
    labels = Counter(columns.words.labels[columns.label[row]] for row, _ in failed)
    reasons = Counter(reason for _, why in failed for reason in why)
    told = ", ".join(f"class {label}: {n:,} of {targets[label]:,}" for label, n in labels.items())
    return InputError(
        f"composites fail the gate however often they are drawn ({rounds} times; {told}), mostly "
        f"for: {reasons.most_common(1)[0][0]}; leave the gate out, or give the mode more to choose "
        "from"
    )
