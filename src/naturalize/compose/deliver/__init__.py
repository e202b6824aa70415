"""Plans on disk, and rendered: a writer is one file here and one line in the registry."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from naturalize.base.artifacts import writing
from naturalize.base.errors import os_errors_named, unknown
from naturalize.base.settings import validated
from naturalize.base.shards import claim, locked
from naturalize.compose.deliver.annotation import PlanAnnotation
from naturalize.compose.deliver.coco import Coco
from naturalize.compose.deliver.files import (
    FORMATS,
    check_plan,
    image_bytes,
    made_of_same_cells,
    save_plan,
)
from naturalize.compose.deliver.imagefolder import ImageFolder
from naturalize.compose.deliver.rendering import Painter, Rendering, Writer
from naturalize.compose.deliver.webdataset import WebDataset
from naturalize.compose.draw.materials import check_sources
from naturalize.compose.paint.crops import CropStore

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan

__all__ = ["FORMATS", "WRITERS", "Writer", "image_bytes", "save_plan", "write", "writer"]

#: Name → class of what renders a plan to disk.
WRITERS: dict[str, type[Writer]] = {
    "imagefolder": ImageFolder,
    "webdataset": WebDataset,
    "coco": Coco,
}


#: What a run may leave in its work folder.
_LEFT = ("images", "masks", "pieces", "scenes", "shards", "crops", "annotation")


def writer(name: str = "imagefolder", /, **settings: Any) -> Writer:
    """Return the writer ``name`` with its ``settings``.

    ``SettingsError`` for an unknown name or setting, or a value out of range; the message lists
    what there is.
    """
    if name not in WRITERS:
        raise unknown("writer", name, list(WRITERS))
    return validated(WRITERS[name], settings, what=f"writer {name}")


def write(
    plan: Plan,
    bank: CellBank,
    out: str | Path,
    kind: str | Writer = "imagefolder",
    *,
    lineage: Mapping[str, Any] | None = None,
    work: str | Path | None = None,
    backend: str = "serial",
    workers: int | None = None,
    also: Callable[[Path], None] | None = None,
    **settings: Any,
) -> Path:
    """Render every recipe of a plan to disk.

    Beside what the writer makes, ``out/plan/`` holds the plan itself, with its lineage and a sheet.
    What a killed run finished is kept; memory stays flat.

    Parameters
    ----------
    plan, bank
        What to render, from which cells.
    out
        The ``images`` artifact.
    kind
        ``"imagefolder"``, ``"webdataset"`` or ``"coco"``; or what :func:`writer` returns.
    lineage
        What :func:`naturalize.compose.recipe.plan.check` found; written beside the plan.
    work
        Folder for what is under way; by default hidden beside ``out``. Removed at the end.
    backend, workers
        As for :func:`naturalize.base.engine.map`; they change no byte.
    also
        Writes more into the artifact before it is moved to its place.
    **settings
        Of the writer: ``format``, ``quality``, ``size``; ``masks`` of imagefolder and webdataset,
        ``shard_bytes`` of webdataset, ``categories`` of coco.

    Raises
    ------
    SettingsError
        For an unknown writer or setting, or a value out of range.
    InputError
        For a plan without recipes, or a class that cannot be the name of a folder.
    """
    check_plan(plan)
    made = kind if isinstance(kind, Writer) else writer(kind, **settings)
    made.check(plan, bank)
    out = Path(out)
    work = Path(work) if work is not None else out.with_name(f".{out.name}.work")
    decides, inputs = made.settings, {"plan": plan.fingerprint}
    key = {**decides, **inputs}
    run: dict[str, Any] = {"backend": backend, "workers": workers}
    overwrite = made_of_same_cells(out, plan)
    artifact = writing(out, "images", settings=decides, inputs=inputs, overwrite=overwrite)
    with locked(work), os_errors_named(out), artifact as folder:
        claim(work, key, _LEFT)
        check_sources(bank, plan.parents())
        store = CropStore.build(plan, bank, work / "crops", size=made.size, **run)
        annotation = None
        if made.masks:
            place = work / "annotation"
            annotation = PlanAnnotation.build(plan, bank, place, work=work / "scenes", **run)
        painter = Painter(store, annotation, made)
        made.fill(Rendering(plan, bank, painter, folder, work, json.dumps(key), run))
        save_plan(plan, folder / "plan", bank, lineage or {}, inputs={"bank": plan.bank})
        if also is not None:
            also(folder)
    shutil.rmtree(work, ignore_errors=True)
    return out
