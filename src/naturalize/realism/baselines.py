"""What a probe's figure is to be read beside: the null, a known difference, simpler composites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from naturalize.base.console import track
from naturalize.base.errors import NaturalizeError
from naturalize.base.rng import rng
from naturalize.compose.paint.render import finished
from naturalize.compose.recipe.recipe import Background, Finish, Placement, Recipe
from naturalize.realism.history import History, paint
from naturalize.realism.sample import LEAST, Sample

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank

#: Donors among which the one that hides the old cell best is taken.
_DONORS = 8


@dataclass(frozen=True, eq=False)
class Rival:
    """Images that are probed as if they were composites."""

    name: str
    images: list[np.ndarray]
    labels: list[str]
    origins: list[set[str]]
    names: list[str]


@dataclass(frozen=True, eq=False)
class Kitchen:
    """What baselines are made from."""

    sample: Sample
    bank: CellBank
    history: History
    seed: int = 0
    backend: str = "serial"
    workers: int | None = None

    def rival(self, name: str, recipes: Sequence[Recipe], images: list[np.ndarray]) -> Rival:
        """Return painted recipes as a rival."""
        return Rival(
            name,
            images,
            [recipe.label for recipe in recipes],
            self.sample.recipe_origins(recipes)[0],
            [recipe.recipe_id for recipe in recipes],
        )

    def painted(self, name: str, recipes: Sequence[Recipe]) -> Rival:
        """Return recipes painted by the house's renderer, as a rival."""
        run = {"backend": self.backend, "workers": self.workers}
        what = f"paint {name}"
        images = paint(recipes, self.bank, self.history, what=what, **run)  # type: ignore[arg-type]
        return self.rival(name, recipes, images)


def null(kitchen: Kitchen) -> Rival:
    """Take other real images: no probe should tell them (AUC 0.5)."""
    images = [kitchen.history.image(kitchen.bank.image(one)) for one, _ in kitchen.sample.spare]
    return _of_spare("real against real", kitchen, images)


def re_encoded(kitchen: Kitchen) -> Rival:
    """Take other real images after one more JPEG 95: a probe that is not blind tells them."""
    images = [
        kitchen.history.image(finished(kitchen.bank.image(one), Finish("jpeg", 95)))
        for one, _ in kitchen.sample.spare
    ]
    return _of_spare("real, JPEG 95 once more", kitchen, images)


def _of_spare(name: str, kitchen: Kitchen, images: list[np.ndarray]) -> Rival:
    spare = kitchen.sample.spare
    return Rival(
        name,
        images,
        [label for _, label in spare],
        kitchen.sample.real_origins(spare),
        [image_id for image_id, _ in spare],
    )


def paper(kitchen: Kitchen) -> Rival:
    """Compose in ``paper`` mode, from the same bank."""
    from naturalize.compose.draw.planner import plan

    counts = _counts(kitchen.sample)
    drawn = plan(
        kitchen.bank,
        mode="paper",
        add=max(counts.values()),
        classes=list(counts),
        seed=kitchen.seed,
    )
    recipes = [
        drawn.recipe(row)
        for label, n in counts.items()
        for row in drawn.rows_of(label)[:n].tolist()
    ]
    return kitchen.painted("paper mode", recipes)


def hard_paste(kitchen: Kitchen) -> Rival:
    """Set a white cell, cut out by its mask, over the one of another image: hard edges."""
    return kitchen.painted("hard paste", _pasted(kitchen))


def seamless_clone(kitchen: Kitchen) -> Rival:
    """Blend the same cells in the same places by ``cv2.seamlessClone``."""
    recipes = _pasted(kitchen)
    images = [
        kitchen.history.image(_clone(recipe, kitchen.bank))
        for recipe in track(recipes, "seamlessClone")
    ]
    return kitchen.rival("seamlessClone", recipes, images)


def shrunk(kitchen: Kitchen) -> Rival:
    """Compose whole and shrink, as real images are, what the plan composes at its size."""
    recipes, whole = kitchen.sample.recipes, replace(kitchen.history, size=None)
    run = {"backend": kitchen.backend, "workers": kitchen.workers}
    images = paint(recipes, kitchen.bank, whole, what="paint whole", **run)  # type: ignore[arg-type]
    name = "composed whole, then shrunk"
    return kitchen.rival(name, recipes, [kitchen.history.image(image) for image in images])


#: Name on the command line → what makes it.
BASELINES: dict[str, Callable[[Kitchen], Rival]] = {
    "null": null,
    "re-encoded": re_encoded,
    "paper": paper,
    "hard-paste": hard_paste,
    "seamless-clone": seamless_clone,
    "shrunk": shrunk,
}


def baselines_of(size: int | None) -> list[str]:
    """Return the baselines that make sense where all is compared at ``size``."""
    return [name for name in BASELINES if name != "shrunk" or size is not None]


def _counts(sample: Sample) -> dict[str, int]:
    labels = [recipe.label for recipe in sample.recipes]
    return {label: labels.count(label) for label in dict.fromkeys(labels)}


def _pasted(kitchen: Kitchen) -> list[Recipe]:
    """Return recipes that set a target cell over another image's own, where it hides most of it.

    Scenes are no real images of the sample; each donor is of the scene's class.
    """
    bank, used = kitchen.bank, {image_id for image_id, _ in kitchen.sample.real}
    rows = bank.cells(target=True).select(
        ["cell_id", "image_id", "kind", "label", "x0", "y0", "x1", "y1", "touches_border"]
    )
    of_class: dict[str, list[dict]] = {}
    for row in rows.sort_by("cell_id").to_pylist():
        if not row["touches_border"] and row["image_id"] not in used:
            of_class.setdefault(row["label"], []).append(row)
    recipes = []
    for label, n in _counts(kitchen.sample).items():
        cells = of_class.get(label, [])
        draw = rng(kitchen.seed, "realism", "paste", label)
        for at in draw.permutation(len(cells))[:n].tolist():
            scene = cells[at]
            others = [
                cells[i]
                for i in draw.integers(len(cells), size=_DONORS).tolist()
                if cells[i]["image_id"] != scene["image_id"]
            ]
            if others:
                donor = max(others, key=lambda one: (_hidden(scene, one), -_area(one)))
                recipes.append(_set_over(bank, scene, donor, label))
    return recipes


def _sides(row: dict) -> tuple[int, int]:
    return row["x1"] - row["x0"], row["y1"] - row["y0"]


def _area(row: dict) -> int:
    width, height = _sides(row)
    return width * height


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


def make(name: str, kitchen: Kitchen) -> Rival | str:
    """Return a baseline by name, or why it cannot be made from this bank."""
    labels = {recipe.label for recipe in kitchen.sample.recipes}
    try:
        rival = BASELINES[name](kitchen)
    except NaturalizeError as error:
        return str(error)
    return enough(rival, labels) or rival
