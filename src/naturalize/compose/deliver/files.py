"""A composite as the bytes of a file; a plan as a folder with its lineage and a sheet."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from naturalize.base.artifacts import is_artifact, read_json, write_json
from naturalize.base.errors import InputError, SettingsError
from naturalize.base.images import encode_image, write_image
from naturalize.base.plots import KIND_KEY
from naturalize.base.sheets import contact_sheet, labelled_rows
from naturalize.cells.pictures import overlay
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.compose.deliver.annotation import BankAnnotation
from naturalize.compose.deliver.truth import painted
from naturalize.compose.draw.materials import check_sources
from naturalize.compose.draw.modes import DEFAULT
from naturalize.compose.draw.modes import mode as mode_of
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.crops import CropStore
from naturalize.compose.paint.render import render, render_unfinished
from naturalize.compose.paint.scenes import Scenes
from naturalize.compose.paint.sizes import Size, asked_size
from naturalize.compose.recipe.plan import Plan
from naturalize.compose.recipe.recipe import Recipe

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.paint.scenes import CellSource
    from naturalize.dataset.catalog import Catalog
    from naturalize.dataset.split import Split

#: Format → suffix of the files.
FORMATS = {"jpeg": ".jpg", "png": ".png"}

#: Quality of contact sheets; pictures of a class on them, real and composite; their side in pixels.
_SHEET_QUALITY, _PER_CLASS, _TILE = 90, 4, 150

#: Fields on a sheet, and their side in pixels.
_FIELDS, _FIELD_TILE = 4, 640


def check_plan(plan: Plan) -> None:
    """Raise ``InputError`` for a plan that cannot be written: empty, a class that is no folder."""
    if not len(plan):
        raise InputError("the plan has no recipe; there is nothing to render")
    for label in plan.targets:
        if not label.strip(". ") or label != label.strip() or set(label) & set("/\\\0"):
            raise InputError(
                f"class {label!r} cannot be the name of a folder; rename it in the catalog "
                "and compose again"
            )
    if len(set(plan.ids)) < len(plan):
        twice = len(plan) - len(set(plan.ids))
        raise InputError(f"the plan holds {twice:,} recipes twice; each must be there once")


def image_bytes(
    recipe: Recipe,
    source: CellSource | CellBank,
    *,
    format: str,
    quality: int = 95,
    size: Size = None,
) -> bytes:
    """Return a composite as a file's bytes; a recipe that ends in a JPEG is encoded once."""
    own_size = asked_size(size) in (None, (recipe.width, recipe.height))
    if format == "jpeg" and recipe.finish.codec == "jpeg" and own_size:
        own = recipe.finish.quality or quality
        return encode_image(render_unfinished(recipe, source), "jpeg", quality=own)
    return encode_image(render(recipe, source, size=size), format, quality=quality)


def save_plan(
    plan: Plan,
    path: str | Path,
    bank: CellBank,
    lineage: Mapping[str, Any],
    *,
    inputs: Mapping[str, str] | None = None,
    also: Callable[[Path], None] | None = None,
) -> None:
    """Write a plan artifact that also has ``lineage.json`` and ``sheet.jpg``.

    ``also`` may add more to the folder before it is moved to its place.
    """

    def more(folder: Path) -> None:
        write_json(folder / "lineage.json", dict(lineage))
        write_image(folder / "sheet.jpg", plan_sheet(plan, bank), quality=_SHEET_QUALITY)
        if also is not None:
            also(folder)

    plan.save(path, inputs, more=more, overwrite=made_of_same_cells(Path(path), plan))


def plan_sheet(plan: Plan, bank: CellBank, *, per_class: int = _PER_CLASS) -> np.ndarray:
    """Return the sheet of a plan: composites of each class, beside the images their cells are from.

    No scene comes twice where the class has others. Of another laboratory's bank, the images beside
    them are those that they stand in.
    """
    if plan.of_fields:
        return field_sheet(plan, bank)
    foreign = bank.holds == "laboratory"
    source, real, composite = Scenes(bank), {}, {}
    scenes: set[str] = set()
    for label in (label for label, n in plan.targets.items() if n):
        recipes = _various(plan, plan.rows_of(label), per_class, scenes)
        composite[label] = [render(recipe, source) for recipe in recipes]
        # the image that the target cell is from, so that the eye compares like with like
        cells = [p for recipe in recipes for p in recipe.placements]
        parents = dict.fromkeys(p.image_id for p in cells if bank.row(p.cell_id)["target"])
        if foreign:
            parents = dict.fromkeys(recipe.background.image_id or "" for recipe in recipes)
        real[label] = [bank.image(image_id) for image_id in parents]
    left = labelled_rows(real, tile=_TILE, title="real images")
    what = "composites in them" if foreign else "composites of the same cells"
    right = labelled_rows(composite, tile=_TILE, title=what)
    gap = np.full((len(left), 24, 3), 255, np.uint8)
    gap[:, 12] = (200, 203, 210)
    return np.concatenate([left, gap, right], axis=1)


def field_sheet(plan: Plan, bank: CellBank) -> np.ndarray:
    """Return the sheet of whole fields: the first of some classes, beside it the truth about it."""
    labels = [label for label, n in plan.targets.items() if n]
    some = [
        labels[i] for i in np.linspace(0, len(labels) - 1, min(_FIELDS, len(labels))).astype(int)
    ]
    recipes = [plan.recipe(int(plan.rows_of(label)[0])) for label in some]
    tiles, captions = [], []
    with tempfile.TemporaryDirectory() as folder:
        crops = Path(folder) / "crops"
        source = CropStore.build(Plan.of(recipes, bank=plan.bank), bank, crops, what=None)
        for recipe in recipes:
            image, found = painted(recipe, source, annotation=BankAnnotation(bank))
            cells = [
                Cell(cell.kind, box, mask)
                for cell, (box, mask) in zip(found.cells, found.wholes, strict=True)
            ]
            slide = recipe.background.colour
            tiles += [image, overlay(image, Segmentation(image.shape[:2], tuple(cells), slide))]
            kinds = Counter(cell.kind for cell in found.cells)
            white = ", ".join(cell.label or "?" for cell in found.cells if cell.kind == "wbc")
            captions += [white, f"{kinds['rbc']} red cells, {kinds['platelet']} platelets"]
    title = f"composed fields, and the truth about them: {KIND_KEY}"
    return contact_sheet(tiles, captions=captions, columns=2, tile=_FIELD_TILE, title=title)


def _various(plan: Plan, rows: np.ndarray, n: int, scenes: set[str]) -> list[Recipe]:
    """Return ``n`` recipes, the first ones whose scene is not among ``scenes``; adds theirs."""
    fresh: list[int] = []
    others: list[int] = []
    for row in rows.tolist():
        scene = plan.columns.words.backgrounds[plan.columns.background[row]][0]
        (others if scene in scenes else fresh).append(row)
        if scene is not None:
            scenes.add(scene)
        if len(fresh) == n:
            break
    return [plan.recipe(row) for row in (fresh + others)[:n]]


def made_of_same_cells(path: Path, plan: Plan) -> bool:
    """Return whether a plan, or the images of one, lies at ``path`` that used the same bank."""
    for folder in (path, path / "plan"):
        if is_artifact(folder, "plan"):
            return read_json(folder / "plan.json").get("bank") == plan.bank
    return False


def plan_composites(
    bank: CellBank,
    split: Split | None,
    catalog: Catalog,
    out: str | Path,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str] | None = None,
) -> Plan:
    """Plan as a study says, and write the plan with its lineage and a sheet to look at.

    Parameters
    ----------
    bank, split, catalog
        What was made before. The real images of each class are those of the split's train part;
        without a split (the paper pools first and splits later) all of the catalog's, and there is
        no lineage to check yet.
    out
        Where the plan artifact shall be.
    settings
        ``mode``, one of ``name``, ``add``, ``per_class``, ``balance``; ``classes``, ``seed``, and
        ``settings`` of the mode (``max_reuse`` and ``gate`` may stand among them).
    inputs
        Name → fingerprint of what was read.
    """
    from naturalize.compose.deliver.laboratory import scene_images
    from naturalize.compose.recipe.plan import check

    chosen = {key: value for key, value in settings.items() if key != "settings"}
    of_mode = dict(settings.get("settings", {}))
    max_reuse, gate = of_mode.pop("max_reuse", None), of_mode.pop("gate", False)
    if not isinstance(gate, bool):
        raise SettingsError(f"gate: expected true or false, got {gate!r}")
    mode_of(chosen.get("mode", DEFAULT), **of_mode)  # an argument of plan() is no mode's setting
    real = split.counts()["train"] if split else catalog.counts()
    made = plan(bank, **chosen, max_reuse=max_reuse, gate=gate, real=real, **of_mode)
    check_sources(bank, made.parents())
    save_plan(
        made, out, bank, check(made, split, scene_images(bank)) if split else {}, inputs=inputs
    )
    return made
