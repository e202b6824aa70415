"""What a user calls SCENES: a folder of another laboratory's images, without labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from naturalize.base.artifacts import read_manifest
from naturalize.base.console import say, warn
from naturalize.base.errors import InputError, SettingsError
from naturalize.cells.bank import CellBank
from naturalize.compose.deliver.laboratory import (
    check_training,
    laboratory_bank,
    laboratory_images,
    scene_images,
)
from naturalize.inputs.compose import ComposeSource, segmented_once
from naturalize.inputs.images import open_source
from naturalize.prediction.profile import sample

#: Images of a laboratory that are used, at most: more scenes than a class usually has composites,
#: and what the segmenter finds in ten minutes.
MOST_SCENES = 1000


def check_scenes(mode: str, settings: Mapping[str, Any], *, gate: bool) -> dict[str, Any]:
    """Return the settings of the mode with which cells are set into another laboratory's images.

    ``SettingsError`` for another mode than ``scene``, for other donors, or with the gate.
    """
    if mode != "scene":
        raise SettingsError(f"scenes: mode {mode} makes its own; leave them out, or use mode scene")
    if settings.get("donors", "foreign") != "foreign":
        raise SettingsError("scenes: donors must be foreign where scenes are named; leave it out")
    if gate:
        raise SettingsError(
            "scenes: the gate compares with real images of each class, and another laboratory's "
            "have no class; leave it out"
        )
    return {**settings, "donors": "foreign"}


def set_into(
    source: ComposeSource,
    scenes: str | Path,
    *,
    wanted: Mapping[str, int],
    work: str | Path,
    out: str | Path | None = None,
    kept: str | Path | None = None,
    segmenter: str = "unet",
    segmenter_settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    backend: str = "serial",
    workers: int | None = None,
) -> ComposeSource:
    """Return a source whose composites stand in the images of ``scenes``.

    Parameters
    ----------
    source
        Of :func:`naturalize.inputs.compose.open_source`.
    scenes
        A folder of images (or one image, or a catalog) of another laboratory; labels are not read.
    wanted
        Class → composites that are wanted.
    work
        Folder for what is made on the way, as for the source; finished pieces survive a kill.
    out
        Where the laboratory's bank goes; by default into ``work``.
    kept
        Where an earlier run kept ``laboratory/`` and ``scenes/``: the same images are not segmented
        again.
    segmenter, segmenter_settings, seed, backend, workers
        As for the source and :func:`~naturalize.compose.deliver.laboratory.laboratory_bank`.

    Raises
    ------
    InputError
        If there is no image, none that can be a scene, or one that is in the val or test part of
        the source's split.
    """
    check_training(source.bank)
    root, items, inputs = open_source(Path(scenes))
    _check_parts(source, items, scenes)
    items = _others(source.bank, items, scenes)
    if len(items) > MOST_SCENES:
        say(f"{scenes}: {MOST_SCENES:,} of its {len(items):,} images are used, evenly spaced")
        items = [items[i] for i in sample(items, MOST_SCENES)]
    work, kept = Path(work) / "laboratory", Path(kept) if kept is not None else None
    engine: dict[str, Any] = {"backend": backend, "workers": workers}
    segmented = {"name": segmenter, **(segmenter_settings or {})}
    places = (work, kept / "scenes" if kept else None)
    cells = segmented_once(items, root, inputs, places, segmented, engine)
    bank = laboratory_bank(
        source.bank,
        laboratory_images(root, cells, Path(scenes).name or str(scenes)),
        out if out is not None else work / "bank",
        segmented=read_manifest(cells, "cells").fingerprint,
        wanted=wanted,
        seed=seed,
        kept=kept / "laboratory" if kept else None,
        **engine,
    )
    if len(scene_images(bank)) == 1:
        warn(f"{scenes}: one image can be a scene; every composite stands in it")
    return replace(source, laboratory=bank, scenes=cells)


def _others(
    bank: CellBank, items: list[tuple[str, str]], scenes: str | Path
) -> list[tuple[str, str]]:
    """Return the items that are no images of the bank itself."""
    own = set(bank.backgrounds["image_id"].to_pylist())
    others = [item for item in items if item[0] not in own]
    if len(others) < len(items):
        n = len(items) - len(others)
        warn(f"{scenes}: {n:,} images are images of the bank itself; they are left out")
    if not others:
        raise InputError(f"{scenes}: all its images are images of the bank; name another folder")
    return others


def _check_parts(source: ComposeSource, items: list[tuple[str, str]], scenes: str | Path) -> None:
    """Raise ``InputError`` for a scene that is to be tested on."""
    if source.split is None:
        return
    part_of = source.split.part_of()
    held = [(path, part_of[name]) for name, path in items if part_of.get(name) in ("val", "test")]
    if held:
        path, part = held[0]
        raise InputError(
            f"{scenes}: {len(held):,} of its {len(items):,} images are in the val or test part of "
            f"the split (the first: {path}, {part}); leave them out, or the test is no test"
        )
