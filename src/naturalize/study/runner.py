"""Run stages in order: skip what has not changed, go on where a killed run stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from naturalize.base.artifacts import (
    MANIFEST,
    file_hash,
    fingerprint,
    manifest_hash,
    read_json,
    read_manifest,
    replacing,
    write_json,
)
from naturalize.base.console import say
from naturalize.base.errors import ArtifactError, os_errors_named, unknown
from naturalize.base.shards import locked
from naturalize.models.folder import GRAPH
from naturalize.study.meter import metered

#: Folders inside a study folder that are not artifacts.
STATE, WORK = ".state", ".work"


@dataclass(frozen=True)
class Stage:
    """One step of a study.

    ``settings`` and the fingerprints of the outputs of ``needs`` decide its result; ``watch`` adds
    what lies outside the study folder, such as the listing of the images. ``make(output, work)``
    writes ``output`` (a folder or a file inside the study folder) and may keep finished pieces
    in ``work`` for a later try. ``check`` is called when the output stands, before the next stage.
    """

    name: str
    output: str
    needs: tuple[str, ...]
    settings: dict[str, Any]
    make: Callable[[Path, Path], object]
    watch: Callable[[], str] = field(default=lambda: "")
    check: Callable[[], None] = field(default=lambda: None)


def run_stages(
    folder: Path,
    stages: Sequence[Stage],
    *,
    until: str | None = None,
    force: Sequence[str] = (),
) -> dict[str, dict[str, Any]]:
    """Run ``stages``, each after those it needs, in the study ``folder``, which is made if missing.

    ``until`` is the last stage to run, all by default; those named in ``force`` run again even if
    nothing changed. Returns what each cost: stage → ``{"seconds", "peak_mb", "fingerprint",
    "skipped"}``; a skipped stage has the cost of the run that made it.
    """
    names = [stage.name for stage in stages]
    for name in [*force, *([until] if until else [])]:
        if name not in names:
            raise unknown("stage", name, names)
    outputs = {stage.name: folder / stage.output for stage in stages}
    costs: dict[str, dict[str, Any]] = {}
    with locked(folder / STATE):
        for number, stage in enumerate(stages, start=1):
            inputs = {need: fingerprint_of(outputs[need]) for need in stage.needs}
            costs[stage.name] = _run_one(
                folder, stage, inputs, forced=stage.name in force, count=f"{number}/{len(stages)}"
            )
            stage.check()
            if stage.name == until:
                break
    return costs


def _run_one(
    folder: Path, stage: Stage, inputs: dict[str, str], *, forced: bool, count: str
) -> dict[str, Any]:
    key = fingerprint(stage.name, {"settings": stage.settings, "watch": stage.watch()}, inputs)
    output, work = folder / stage.output, folder / WORK / stage.name
    state_file = folder / STATE / f"{stage.name}.json"
    state = _state(state_file)
    if not forced and state.get("key") == key and state.get("made") == _made(output):
        say(f"[dim]{count}[/dim] {stage.name}: unchanged")
        return {**state["cost"], "skipped": True}
    if forced:
        shutil.rmtree(work, ignore_errors=True)
    say(f"[dim]{count}[/dim] [bold]{stage.name}[/bold]")
    with os_errors_named(folder), replacing(), metered() as reading:
        work.mkdir(parents=True, exist_ok=True)
        stage.make(output, work)
    cost = {
        "seconds": round(reading.seconds, 2),
        "peak_mb": round(reading.peak_mb, 1),
        "fingerprint": fingerprint_of(output),
    }
    write_json(state_file, {"key": key, "made": _made(output), "cost": cost})
    shutil.rmtree(work, ignore_errors=True)
    return {**cost, "skipped": False}


def _state(file: Path) -> dict[str, Any]:
    """Return what is known of the stage's last run; nothing where the file is no such record."""
    try:
        state = read_json(file)
        whole = all(isinstance(state["cost"][key], int | float) for key in ("seconds", "peak_mb"))
    except (ArtifactError, KeyError, TypeError):
        return {}
    return state if whole else {}


def fingerprint_of(output: Path) -> str:
    """Return the fingerprint of an artifact folder, or the hash of a plain file."""
    if output.is_dir():
        return read_manifest(output).fingerprint
    if not output.is_file():
        raise ArtifactError(f"{output}: missing; run the stages before this one first")
    return file_hash(output)


def _made(output: Path) -> str | None:
    """Name what stands at ``output`` now, so that a changed or removed artifact is made again.

    A graph that ``naturalize export`` has put into a model folder changes nothing of the model.
    """
    if (output / MANIFEST).is_file():
        return manifest_hash(output, without=GRAPH)
    return file_hash(output) if output.is_file() else None
