"""A grid of studies: arms × images a class × seeds, in one file, on one test set.

Each cell of the grid is a study of its own, so it resumes after a kill and is not run again when
nothing changed. What does not depend on the cell (catalog, audit, segmentation) is made once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import yaml
from pydantic import AfterValidator, Field, model_validator

from naturalize.base.artifacts import read_json, read_table, write_bytes, write_json
from naturalize.base.console import say, warn
from naturalize.base.errors import InputError, NaturalizeError, unknown
from naturalize.base.settings import Settings, validated
from naturalize.base.text import expanded_path
from naturalize.evaluation.arms import Answered, compared, written
from naturalize.evaluation.evaluate import read_metrics
from naturalize.evaluation.labs import file_name, read_labs
from naturalize.evaluation.predictions import read_predictions
from naturalize.inputs.labs import labs, open_labs
from naturalize.study.check import check_study
from naturalize.study.run import versions
from naturalize.study.runner import STATE, Stage, run_stages
from naturalize.study.settings import (
    ComposeSettings,
    DataSettings,
    EngineSettings,
    SegmentSettings,
    SplitSettings,
    StudySettings,
    parse_study,
)
from naturalize.study.stages import Stages, listing

#: Stages that all cells share, and what each writes.
_SHARED = {"phantom": "data", "catalog": "catalog", "audit": "audit", "segment": "cells"}

#: The stage that scores a training in other laboratories, and what it writes.
_ELSEWHERE = "laboratories"

#: Of the intervals in each training's own `labs` artifact; those of the grid have their own.
_FEW_RESAMPLES = 200


class Arm(Settings):
    """What is compared: composites or none, and settings of training beside those of all arms."""

    compose: ComposeSettings | None = None
    run: dict[str, Any] = Field(default_factory=dict)
    #: The arm that it is compared with; by default the first.
    beside: str | None = None


class GridSettings(Settings):
    """A grid: everything that decides its results, and the engine that does not."""

    version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    seed: int = 0
    data: DataSettings
    split: SplitSettings = SplitSettings()
    segment: SegmentSettings = SegmentSettings()
    engine: EngineSettings = EngineSettings()
    #: Training settings of all arms.
    run: dict[str, Any] = Field(default_factory=dict)
    #: The first is the one that others are compared with, unless they name another.
    arms: Annotated[dict[str, Arm], Field(min_length=1)]
    images_per_class: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
    #: Classes that have so few images, the others having all; null: every class.
    few: list[str] | None = None
    #: Classes whose mean F1 is given too; by default those of ``few``.
    weak: list[str] = Field(default_factory=list)
    #: Labelled images of other laboratories, a folder each: every training is scored there too.
    laboratories: list[Annotated[Path, AfterValidator(expanded_path)]] = Field(default_factory=list)
    #: Which classes make up one of theirs, as ``--map`` of ``naturalize labs``.
    map: list[str] = Field(default_factory=list)
    seeds: Annotated[list[int], Field(min_length=1, default_factory=lambda: [0, 1, 2])]

    @model_validator(mode="after")
    def _each_once(self) -> GridSettings:
        for name in ("images_per_class", "seeds"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: each once, found {values}")
        for name, arm in self.arms.items():
            if arm.beside is not None and arm.beside not in self.arms:
                raise ValueError(f"arms.{name}.beside: {arm.beside} is no arm of this file")
        return self

    def cells(self) -> Iterator[Cell]:
        """Yield the cells: seed by seed, so that a run that is cut short has whole comparisons."""
        for seed in self.seeds:
            for n in sorted(self.images_per_class):
                for arm in self.arms:
                    yield Cell(arm, n, seed)

    def study(self, cell: Cell) -> StudySettings:
        """Return the study of one cell."""
        arm = self.arms[cell.arm]
        few = cell.n if self.few is None else dict.fromkeys(self.few, cell.n)
        run = {**self.run, **arm.run, "seed": cell.seed, "composites": arm.compose is not None}
        raw = self.model_dump(mode="json", include={"data", "split", "segment", "engine", "seed"})
        raw["split"] |= {"train_per_class": few, "train_seed": cell.seed}
        compose = None if arm.compose is None else arm.compose.model_dump(mode="json")
        return parse_study(
            {
                **raw,
                "name": self.name,
                "compose": compose,
                "runs": {cell.arm: run},
                "explain": None,
            },
            source=f"arms.{cell.arm}",
        )


@dataclass(frozen=True)
class Cell:
    """One training: of an arm, on ``n`` images a class, drawn and trained by ``seed``."""

    arm: str
    n: int
    seed: int

    @property
    def folder(self) -> str:
        """Its folder in that of the grid."""
        return f"cells/{self.arm}-{self.n}-{self.seed}"


def is_grid(raw: Mapping[str, Any]) -> bool:
    """Whether the values of a study file are those of a grid."""
    return "arms" in raw


def parse_grid(raw: Mapping[str, Any], *, source: str = "grid") -> GridSettings:
    """Check a grid given as plain values; ``SettingsError`` names the key and what came."""
    return validated(GridSettings, dict(raw), what=source)


def run_grid(grid: GridSettings, folder: str | Path | None = None) -> Path:
    """Run all cells of a grid that are not done, and write its table, curves and page.

    A cell that fails is stated in the table, and the others go on; ``NaturalizeError`` if all do.
    Returns the page.
    """
    folder = Path(folder) if folder is not None else Path("runs") / grid.name
    cells = list(grid.cells())
    for arm in grid.arms:
        check_study(grid.study(Cell(arm, cells[0].n, cells[0].seed)))
    labels = _labels(grid)
    for label in (*(grid.few or ()), *grid.weak):
        if labels and label not in labels:
            raise unknown("class", label, labels)
    if missing := [path for path in grid.laboratories if not path.exists()]:
        raise InputError(f"laboratories: {missing[0]}: no such folder of labelled images")
    if labels and grid.laboratories:  # whether their classes are some of these
        open_labs(grid.laboratories, {grid.name: labels}, maps=grid.map)
    folder.mkdir(parents=True, exist_ok=True)
    plain = yaml.safe_dump(grid.model_dump(mode="json"), sort_keys=False)
    write_bytes(folder / "study.yaml", plain.encode())
    _share(grid, folder, cells)
    failed: dict[Cell, str] = {}
    done: list[Cell] = []
    for number, cell in enumerate(cells, start=1):
        say(f"[bold]{cell.arm}, {cell.n} images a class, seed {cell.seed}[/bold] "
            f"({number} of {len(cells)})")  # fmt: skip
        try:
            _run_cell(grid, cell, folder)
            done.append(cell)
        except NaturalizeError as error:
            failed[cell] = str(error)
            warn(f"{cell.folder}: {error}")
        if done and cell.arm == list(grid.arms)[-1]:  # all arms of a seed and size stand
            page = write_grid(grid, folder, done, failed)
    if not done:
        raise NaturalizeError(f"{folder}: no cell could be run; the first: {failed[cells[0]]}")
    return page


def _labels(grid: GridSettings) -> list[str]:
    from naturalize.dataset.schemes import scheme

    return list(scheme(grid.data.scheme).labels or ())


def _share(grid: GridSettings, folder: Path, cells: Sequence[Cell]) -> None:
    """Make what all cells share, by the study of the arm that needs most."""
    studies = [grid.study(Cell(arm, cells[0].n, cells[0].seed)) for arm in grid.arms]
    plans = [Stages(study, folder / "shared").all() for study in studies]
    stages = max(plans, key=lambda each: sum(stage.name in _SHARED for stage in each))
    run_stages(folder / "shared", [stage for stage in stages if stage.name in _SHARED])


def _run_cell(grid: GridSettings, cell: Cell, folder: Path) -> None:
    there, shared = folder / cell.folder, folder / "shared"
    (there / STATE).mkdir(parents=True, exist_ok=True)
    for stage, output in _SHARED.items():
        state, own = (place / STATE / f"{stage}.json" for place in (shared, there))
        if state.is_file() and not _same(state, own):
            shutil.rmtree(there / output, ignore_errors=True)
            shutil.copytree(shared / output, there / output, copy_function=_link)
            shutil.copyfile(state, own)
    last = f"evaluate-{cell.arm}"
    stages = Stages(grid.study(cell), there).all()
    stages = stages[: 1 + [stage.name for stage in stages].index(last)]
    if grid.laboratories:
        stages.append(_elsewhere(grid, cell, there))
    costs = run_stages(there, stages)
    write_json(there / "study.json", {"name": grid.name, "stages": costs, "versions": versions()})


def _elsewhere(grid: GridSettings, cell: Cell, there: Path) -> Stage:
    """Return the stage that scores a training on other laboratories' images."""
    names = [path.name for path in grid.laboratories]  # results are by these
    settings = {"laboratories": names, "map": grid.map, "seed": grid.seed}

    def make(output: Path, _work: Path) -> None:
        model = there / "models" / cell.arm
        labs(
            grid.laboratories, output, model, maps=grid.map,
            resamples=_FEW_RESAMPLES, seed=grid.seed,
        )  # fmt: skip

    return Stage(
        _ELSEWHERE, _ELSEWHERE, (f"train-{cell.arm}",), settings, make,
        watch=lambda: " ".join(map(listing, grid.laboratories)),
    )  # fmt: skip


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, target)


def write_grid(
    grid: GridSettings, folder: Path, done: Sequence[Cell], failed: Mapping[Cell, str]
) -> Path:
    """Write ``arms.json``, ``arms.csv``, the learning curves and the page of the cells done."""
    answered = [_answered(grid, folder, cell) for cell in done]
    weak = grid.weak or grid.few or []
    beside = {name: arm.beside for name, arm in grid.arms.items() if arm.beside is not None}
    result = compared(answered, list(grid.arms), beside=beside, weak=weak, seed=grid.seed)
    result["name"], result["settings"] = grid.name, grid.model_dump(mode="json")
    result["failed"] = [{**vars(cell), "error": error} for cell, error in failed.items()]
    result["versions"] = versions()
    write_json(folder / "arms.json", result)
    write_bytes(folder / "arms.csv", written(result))
    from naturalize.report.arms import write_page

    return write_page(folder, result)


def _answered(grid: GridSettings, folder: Path, cell: Cell) -> Answered:
    path = folder / cell.folder / "evaluations" / cell.arm
    table, metrics = read_predictions(path), read_metrics(path)
    elsewhere = _answers_elsewhere(folder / cell.folder / _ELSEWHERE) if grid.laboratories else {}
    costs = read_json(folder / cell.folder / "study.json")["stages"]
    return Answered(
        cell.arm,
        cell.n,
        cell.seed,
        tuple(metrics["labels"]),
        table,
        seconds=sum(cost["seconds"] for name, cost in costs.items() if name not in _SHARED),
        fingerprint=costs[f"train-{cell.arm}"]["fingerprint"],
        elsewhere=elsewhere,
    )


def _answers_elsewhere(path: Path) -> dict[str, pa.Table]:
    """Return laboratory → the answers of a training there."""
    ((model, its),) = read_labs(path)["models"].items()
    folder = path / "predictions" / file_name(model)
    return {name: read_table(folder / f"{file_name(name)}.parquet") for name in its["laboratories"]}
