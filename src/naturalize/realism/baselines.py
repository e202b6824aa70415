"""What a probe's figure is to be read beside: the null, a known difference, simpler composites."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from naturalize.base.console import track
from naturalize.base.errors import NaturalizeError
from naturalize.base.rng import rng
from naturalize.compose.paint.render import finished
from naturalize.compose.recipe.recipe import Background, Finish, Placement, Recipe
from naturalize.realism.history import History, paint
from naturalize.realism.sample import Sample
from naturalize.realism.settings import DONORS, LEAST

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank


@dataclass(frozen=True, eq=False)
class Rival:
    """Images that are probed as if they were composites."""

    name: str
    images: list[np.ndarray]
    labels: list[str]
    origins: list[set[str]]
    names: list[str]


@dataclass(frozen=True, eq=False)
class Ingredients:
    """What baselines are made from."""

    sample: Sample
    bank: CellBank
    history: History
    seed: int = 0
    #: The engine's backend and workers.
    run: dict[str, Any] = field(default_factory=dict)

    def rival(self, name: str, recipes: Sequence[Recipe], images: list[np.ndarray]) -> Rival:
        """Return painted recipes as a rival."""
        labels, names = [one.label for one in recipes], [one.recipe_id for one in recipes]
        return Rival(name, images, labels, self.sample.recipe_origins(recipes)[0], names)

    def painted(self, name: str, recipes: Sequence[Recipe]) -> Rival:
        """Return recipes painted by the renderer, as a rival."""
        images = paint(recipes, self.bank, self.history, what=f"paint {name}", **self.run)
        return self.rival(name, recipes, images)


def null(given: Ingredients) -> Rival:
    """Take other real images: no probe should distinguish them (AUC 0.5)."""
    spare = given.sample.spare
    images = [given.history.image(given.bank.image(one)) for one, _ in spare]
    ids, labels = [one for one, _ in spare], [label for _, label in spare]
    return Rival("real against real", images, labels, given.sample.real_origins(spare), ids)


def re_encoded(given: Ingredients) -> Rival:
    """Take other real images after one more JPEG 95: a working probe detects them."""
    coded = [finished(given.bank.image(one), Finish("jpeg", 95)) for one, _ in given.sample.spare]
    images = [given.history.image(image) for image in coded]
    return replace(null(given), name="real, JPEG 95 once more", images=images)


def paper(given: Ingredients) -> Rival:
    """Compose in ``paper`` mode, from the same bank."""
    from naturalize.compose.draw.planner import plan

    counts = Counter(recipe.label for recipe in given.sample.recipes)
    most, classes = max(counts.values()), list(counts)
    drawn = plan(given.bank, mode="paper", add=most, classes=classes, seed=given.seed)
    recipes = [
        drawn.recipe(row)
        for label, n in counts.items()
        for row in drawn.rows_of(label)[:n].tolist()
    ]
    return given.painted("paper mode", recipes)


def hard_paste(given: Ingredients) -> Rival:
    """Set a white cell, cut out by its mask, over the one of another image: hard edges."""
    return given.painted("hard paste", _pasted(given))


def seamless_clone(given: Ingredients) -> Rival:
    """Blend the same cells in the same places by ``cv2.seamlessClone``."""
    recipes = _pasted(given)
    images = [
        given.history.image(_clone(recipe, given.bank))
        for recipe in track(recipes, "seamlessClone")
    ]
    return given.rival("seamlessClone", recipes, images)


def shrunk(given: Ingredients) -> Rival:
    """Compose whole and shrink, as real images are, what the plan composes at its size."""
    recipes, whole = given.sample.recipes, replace(given.history, size=None)
    images = paint(recipes, given.bank, whole, what="paint whole", **given.run)
    name = "composed whole, then shrunk"
    return given.rival(name, recipes, [given.history.image(image) for image in images])


def _pasted(given: Ingredients) -> list[Recipe]:
    """Return recipes that set a target cell over another image's own, where it hides most of it.

    Scenes are no real images of the sample; each donor is of the scene's class.
    """
    bank, used = given.bank, {image_id for image_id, _ in given.sample.real}
    rows = bank.cells(target=True).select(
        ["cell_id", "image_id", "kind", "label", "x0", "y0", "x1", "y1", "touches_border"]
    )
    of_class: dict[str, list[dict]] = {}
    for row in rows.sort_by("cell_id").to_pylist():
        if not row["touches_border"] and row["image_id"] not in used:
            of_class.setdefault(row["label"], []).append(row)
    recipes = []
    for label, n in Counter(recipe.label for recipe in given.sample.recipes).items():
        cells = of_class.get(label, [])
        draw = rng(given.seed, "realism", "paste", label)
        for at in draw.permutation(len(cells))[:n].tolist():
            scene = cells[at]
            others = [
                cells[i]
                for i in draw.integers(len(cells), size=DONORS).tolist()
                if cells[i]["image_id"] != scene["image_id"]
            ]
            if others:
                donor = max(others, key=lambda one: (_hidden(scene, one), -np.prod(_sides(one))))
                recipes.append(_set_over(bank, scene, donor, label))
    return recipes


def _sides(row: dict) -> tuple[int, int]:
    return row["x1"] - row["x0"], row["y1"] - row["y0"]


def _hidden(scene: dict, donor: dict) -> float:
    """Return the share of the scene's cell box that the donor's covers, set on its middle."""
    (w, h), (a, b) = _sides(scene), _sides(donor)
    return min(w, a) * min(h, b) / (w * h)


def _set_over(bank: CellBank, scene: dict, donor: dict, label: str) -> Recipe:
    height, width = bank.image(scene["image_id"]).shape[:2]
    w, h = _sides(donor)
    # whole pixels: the paste is to be hard, not resampled; inside: neither is to be cut
    left = min(max(round((scene["x0"] + scene["x1"] - w) / 2), 0), max(width - w, 0))
    top = min(max(round((scene["y0"] + scene["y1"] - h) / 2), 0), max(height - h, 0))
    placed = Placement(
        donor["cell_id"], donor["image_id"], donor["kind"], left + w / 2, top + h / 2
    )
    ground = Background((255.0, 255.0, 255.0), scene["image_id"], scene["image_id"])
    return Recipe(label, "paste", width, height, ground, (placed,))


def _clone(recipe: Recipe, bank: CellBank) -> np.ndarray:
    """Return the recipe's one cell set into its scene by ``cv2.seamlessClone``."""
    scene = bank.image(recipe.background.image_id or "")[: recipe.height, : recipe.width].copy()
    placed = recipe.placements[0]
    cut = bank.cutout(placed.cell_id)
    height, width = cut.mask.shape
    left, top = round(placed.cx - width / 2), round(placed.cy - height / 2)
    # it wants the source as large as the scene and something of it on all sides of the mask
    source, mask = scene.copy(), np.zeros(scene.shape[:2], np.uint8)
    source[top : top + height, left : left + width][cut.mask] = cut.rgb[cut.mask]
    mask[top : top + height, left : left + width][cut.mask] = 255
    mask[[0, -1]], mask[:, [0, -1]] = 0, 0
    x, y, w, h = cv2.boundingRect(mask)
    return cv2.seamlessClone(source, scene, mask, (x + w // 2, y + h // 2), cv2.NORMAL_CLONE)


def enough(rival: Rival, labels: set[str]) -> str | None:
    """Return why a rival cannot be probed, or null: a class with too few images."""
    for label in sorted(labels):
        n = rival.labels.count(label)
        if n < LEAST:
            return f"class {label} has {n} images for it, fewer than {LEAST}"
    return None


_MAKERS: dict[str, Callable[[Ingredients], Rival]] = {
    "null": null,
    "re-encoded": re_encoded,
    "paper": paper,
    "hard-paste": hard_paste,
    "seamless-clone": seamless_clone,
    "shrunk": shrunk,
}


def make(name: str, given: Ingredients) -> Rival | str:
    """Return a baseline by name, or why it cannot be made from this bank."""
    labels = {recipe.label for recipe in given.sample.recipes}
    try:
        rival = _MAKERS[name](given)
    except NaturalizeError as error:
        return str(error)
    return enough(rival, labels) or rival
