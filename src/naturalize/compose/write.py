"""Plans on disk: with their lineage and a sheet, and rendered as folders of images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from naturalize.base import engine
from naturalize.base.artifacts import write_bytes, write_json, writing
from naturalize.base.errors import SettingsError, os_errors_named, unknown
from naturalize.base.images import encode_image, write_image
from naturalize.compose.crops import CropStore
from naturalize.compose.recipe import Recipe
from naturalize.compose.render import render, render_unfinished

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.plan import Plan

#: Format → suffix of the files.
FORMATS = {"jpeg": ".jpg", "png": ".png"}

#: Quality of contact sheets.
_SHEET_QUALITY = 90


def save_plan(
    plan: Plan,
    path: str | Path,
    bank: CellBank,
    lineage: Mapping[str, Any],
    *,
    inputs: Mapping[str, str] | None = None,
) -> None:
    """Write a plan artifact that also has ``lineage.json`` and ``sheet.jpg``."""
    from naturalize.compose.sheet import plan_sheet

    def more(folder: Path) -> None:
        write_json(folder / "lineage.json", dict(lineage))
        write_image(folder / "sheet.jpg", plan_sheet(plan, bank), quality=_SHEET_QUALITY)

    plan.save(path, inputs, more=more)


def write_imagefolder(
    plan: Plan,
    bank: CellBank,
    out: str | Path,
    *,
    format: str = "jpeg",
    quality: int = 95,
    lineage: Mapping[str, Any] | None = None,
    work: str | Path | None = None,
    backend: str = "serial",
    workers: int | None = None,
) -> Path:
    """Render every recipe of a plan to ``out/images/<class>/<recipe_id>.<suffix>``.

    Beside the images, ``out/plan/`` holds the plan itself, with its lineage and a sheet. Images
    that a killed run left behind are kept; memory stays flat.

    Parameters
    ----------
    plan, bank
        What to render, from which cells.
    out
        The ``images`` artifact.
    format
        ``"jpeg"`` or ``"png"``.
    quality
        Of JPEG files, where the recipe's own finish names none. A recipe that ends in a JPEG is
        encoded once: its file decodes to just what :func:`~naturalize.compose.render.render` gives.
    lineage
        What :func:`naturalize.compose.lineage.check` found; written beside the plan.
    work
        Folder for what is under way; by default hidden beside ``out``. Removed at the end.
    backend, workers
        As for :func:`naturalize.base.engine.map`; they change no byte.

    Raises
    ------
    SettingsError
        For an unknown format or a quality out of range.
    """
    check_format(format, quality)
    out = Path(out)
    work = Path(work) if work is not None else out.with_name(f".{out.name}.work")
    settings = {"format": format, "quality": quality if format == "jpeg" else None}
    inputs = {"plan": plan.fingerprint}
    with os_errors_named(out), writing(out, "images", settings=settings, inputs=inputs) as folder:
        _claim(work, {**settings, **inputs})
        store = CropStore.build(plan, bank, work / "crops", backend=backend, workers=workers)
        paint = partial(_paint, store, work / "images", format, quality)
        rendered = engine.map(
            paint,
            _recipes(plan),
            backend=backend,
            workers=workers,
            chunk=16,
            what="render",
            total=len(plan),
            name=_recipe_name,
        )
        for _ in rendered:
            pass
        save_plan(plan, folder / "plan", bank, lineage or {}, inputs={"bank": plan.bank})
        _move_images(work / "images", folder / "images", plan, FORMATS[format])
    shutil.rmtree(work, ignore_errors=True)
    return out


#: Name → what renders a plan to disk.
WRITERS = {"imagefolder": write_imagefolder}


def check_format(format: str, quality: int) -> None:
    """Raise ``SettingsError`` for an unknown format or a quality out of range."""
    if format not in FORMATS:
        raise unknown("format", format, list(FORMATS))
    if not 1 <= quality <= 100:
        raise SettingsError(f"quality: expected 1–100, got {quality}")


def _claim(work: Path, key: Mapping[str, Any]) -> None:
    """Make ``work`` ours; what a run of another plan or format left there is thrown away."""
    stamp = work / "key.json"
    wanted = json.dumps(key)
    if not (stamp.is_file() and stamp.read_text() == wanted):
        for name in ("images", "crops"):
            shutil.rmtree(work / name, ignore_errors=True)
        write_bytes(stamp, wanted.encode())


def _recipes(plan: Plan) -> Iterator[Recipe]:
    return (plan.recipe(i) for i in range(len(plan)))


def _recipe_name(recipe: Recipe) -> str:
    return f"recipe {recipe.recipe_id} of class {recipe.label}"


def _paint(store: CropStore, folder: Path, format: str, quality: int, recipe: Recipe) -> None:
    file = folder / recipe.label / f"{recipe.recipe_id}{FORMATS[format]}"
    if not file.is_file():
        write_bytes(file, image_bytes(recipe, store, format=format, quality=quality))


def image_bytes(recipe: Recipe, source: CropStore, *, format: str, quality: int = 95) -> bytes:
    """Return a composite as a file's bytes; a recipe that ends in a JPEG is encoded once."""
    if format == "jpeg" and recipe.finish.codec == "jpeg":
        own = recipe.finish.quality or quality
        return encode_image(render_unfinished(recipe, source), "jpeg", quality=own)
    return encode_image(render(recipe, source), format, quality=quality)


def _move_images(made: Path, goal: Path, plan: Plan, suffix: str) -> None:
    """Move just the images of the plan; a class without one gets no folder."""
    labels = plan.table["label"].to_pylist()
    for label in sorted(set(labels)):
        (goal / label).mkdir(parents=True)
    for label, recipe_id in zip(labels, plan.ids, strict=True):
        name = f"{label}/{recipe_id}{suffix}"
        (made / name).replace(goal / name)
