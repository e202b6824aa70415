"""A study folder as the report reads it: which artifacts are there, and what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field

from naturalize.base.artifacts import check_written, is_artifact, read_json, read_manifest
from naturalize.base.errors import ArtifactError, InputError
from naturalize.base.settings import as_stated
from naturalize.dataset.catalog import About

if TYPE_CHECKING:
    import pyarrow as pa

#: Folder of a study → kind of the one artifact in it.
SINGLE = {
    "data": "phantom",
    "catalog": "catalog",
    "audit": "audit",
    "split": "split",
    "pooled": "catalog",
    "cells": "cells",
    "bank": "bank",
    "plan": "plan",
    "explanations": "explanation",
    "labs": "labs",
    "fields": "fields",
    "labels": "label-audit",
}

#: Kinds of artifacts that a report may be written of alone.
ALONE = ("labs", "fields")

#: Folder of a study → kind of the artifacts in it, one a run.
PER_RUN = {"models": "model", "evaluations": "evaluation"}


@dataclass(frozen=True)
class Artifact:
    """One artifact folder: its place in the study, its kind and its fingerprint."""

    path: Path
    kind: str
    fingerprint: str
    inputs: Mapping[str, str] = field(default_factory=dict)

    def json(self, name: str) -> dict[str, Any]:
        """Return the JSON object in the file ``name`` of the artifact; ``{}`` without the file."""
        found = _object(self.path / name)
        if found and name == "catalog.json":  # a person may put its root right
            as_stated(About, found, self.path / name, _AGAIN)
        elif found:
            check_written(self.path, name)
        return found

    def entries(self, name: str) -> list[dict[str, Any]]:
        """Return the list of JSON objects in the file ``name``; empty without the file."""
        found = _list(self.path / name)
        if found:
            check_written(self.path, name)
        return found

    def table(
        self, name: str, columns: Sequence[str] | None = None, *, where: Any = None
    ) -> pa.Table | None:
        """Return (``columns`` of) the Parquet file ``name``; ``None`` where there is none.

        ``where`` is Arrow's filter of rows.

        Raises
        ------
        ArtifactError
            If the file is damaged or lacks one of ``columns``.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = self.path / name
        if not file.is_file():
            return None
        try:
            missing = set(columns or ()) - set(pq.read_schema(file).names)
            if missing:
                raise ArtifactError(f"{file}: lacks the column(s) {', '.join(sorted(missing))}")
            named = None if columns is None else list(columns)
            return pq.read_table(file, columns=named, filters=where, partitioning=None)
        except (pa.ArrowInvalid, OSError) as error:
            raise ArtifactError(f"{file}: not a readable Parquet table ({error})") from error


@dataclass(frozen=True, eq=False)
class Run:
    """One trained model of the study, with what became of it; each part may be absent."""

    name: str
    model: Artifact | None
    evaluation: Artifact | None

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """``metrics.json`` of the evaluation, or ``{}``."""
        return self.evaluation.json("metrics.json") if self.evaluation else {}

    @cached_property
    def card(self) -> dict[str, Any]:
        """``model.json`` of the model, or ``{}``."""
        return self.model.json("model.json") if self.model else {}

    @property
    def validation_f1(self) -> float | None:
        """Macro-F1 on the validation images, where the model records it."""
        found = dict(self.card.get("metrics") or {}).get("macro_f1")
        return None if found is None else float(found)


@dataclass(frozen=True)
class StudyFolder:
    """All that a study folder holds; open it with :func:`open_study`."""

    path: Path
    log: dict[str, Any]
    settings: dict[str, Any]
    settings_text: str
    artifacts: dict[str, Artifact]
    runs: tuple[Run, ...]
    comparisons: tuple[dict[str, Any], ...]
    leak: dict[str, Any] = field(default_factory=dict)

    def json(self, artifact: str, name: str) -> dict[str, Any]:
        """Return the JSON object in a file of an artifact; ``{}`` where there is none."""
        return self.artifacts[artifact].json(name) if artifact in self.artifacts else {}

    def table(self, artifact: str, name: str, columns: Sequence[str]) -> pa.Table | None:
        """Return ``columns`` of a Parquet file of an artifact; ``None`` where there is none."""
        found = self.artifacts.get(artifact)
        return found.table(name, columns) if found else None

    @property
    def name(self) -> str:
        """The study's name, or its folder's where no settings name it."""
        return str(self.log.get("name") or self.settings.get("name") or self.path.resolve().name)

    @cached_property
    def protocol(self) -> str:
        """``"paper"`` if any score or the settings say so, else ``"honest"``, else ``""``."""
        said = {str(run.metrics.get("protocol", "")) for run in self.runs}
        said.add(str(self.settings.get("protocol", "")))
        return next((p for p in ("paper", "honest") if p in said), "")

    @cached_property
    def catalog(self) -> dict[str, Any]:
        """``catalog.json``, or ``{}``."""
        return self.json("catalog", "catalog.json")

    @cached_property
    def root(self) -> Path | None:
        """The folder of the source images, if it is still in place."""
        named = self.catalog.get("root")
        root = self.artifacts["catalog"].path / str(named) if named else None
        return root if root is not None and root.is_dir() else None

    @cached_property
    def is_phantom(self) -> bool:
        """Whether the images are procedural smears, not photographs of cells."""
        if "data" in self.artifacts or dict(self.settings.get("data") or {}).get("phantom"):
            return True
        # a root may name the phantom's folder or its images/ subfolder
        root = self.root
        return root is not None and any(
            is_artifact(folder, "phantom") for folder in (root, root.parent)
        )

    @property
    def is_pbc(self) -> bool:
        """Whether the images are the public PBC data set, which must be cited."""
        scheme = str(self.catalog.get("scheme", ""))
        return scheme.startswith("pbc") and not self.is_phantom

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The classes in their order."""
        for source in (self.catalog, *(run.metrics for run in self.runs)):
            if source.get("labels"):
                return tuple(str(label) for label in source["labels"])
        return ()

    @cached_property
    def scored(self) -> tuple[Run, ...]:
        """The runs that were evaluated, in the study's order."""
        return tuple(run for run in self.runs if "macro_f1" in run.metrics)

    @cached_property
    def chosen_by_validation(self) -> bool:
        """Whether every scored run has a validation score, so that test images decide nothing."""
        return all(run.validation_f1 is not None for run in self.scored)

    @cached_property
    def chosen(self) -> Run | None:
        """The run that the report speaks of: best on validation, or on test where none is known."""
        return max(self.scored, key=self._merit, default=None)

    @property
    def chosen_tied(self) -> bool:
        """Whether another run is as good as the chosen one where it was chosen."""
        merits = [self._merit(run) for run in self.scored]
        return bool(merits) and merits.count(max(merits)) > 1

    def _merit(self, run: Run) -> float:
        f1 = run.validation_f1 if self.chosen_by_validation else run.metrics["macro_f1"]
        return float(f1 or 0.0)

    @cached_property
    def pooled(self) -> bool:
        """Whether composites were pooled with the real images before the split (paper protocol)."""
        return bool(self.leak) or "pooled" in self.artifacts

    @cached_property
    def split_counts(self) -> dict[str, dict[str, int]]:
        """Part → label → number of images, or ``{}`` without a split."""
        return dict(self.json("split", "split.json").get("counts") or {})

    @cached_property
    def composed(self) -> dict[str, int]:
        """Label → number of composites in the plan, or ``{}`` without a plan."""
        table = self.table("plan", "plan.parquet", ["label"])
        return dict(sorted(Counter(table["label"].to_pylist()).items())) if table else {}

    @cached_property
    def outside(self) -> int:
        """Composites with a parent outside the training images, by ``lineage.json``."""
        return int(self.json("plan", "lineage.json").get("outside", 0))

    @property
    def alone(self) -> str | None:
        """The kind of the artifact that this is, of `ALONE`, where it is no study."""
        named = list(self.artifacts)
        no_study = len(named) == 1 and not (self.runs or self.log or self.settings)
        return named[0] if no_study and named[0] in ALONE else None

    @property
    def stages(self) -> dict[str, dict[str, Any]]:
        """Stage → its seconds, peak memory, fingerprint and whether it was skipped."""
        return dict(self.log.get("stages") or {})

    def number(self, run: Run) -> int:
        """Return the number that gives a run its colour and marker: 0 for the chosen one."""
        order = sorted(self.runs, key=lambda other: other is not self.chosen)
        return order.index(run)


def open_study(path: str | Path) -> StudyFolder:
    """Open the folder of a study.

    Raises
    ------
    InputError
        If there is no such folder, or no study in it.
    ArtifactError
        If an artifact in it is damaged or of another format version.
    """
    path = Path(path)
    if not path.is_dir():
        what = "is a file" if path.exists() else "no such folder"
        raise InputError(f"{path}: {what}; name the folder that 'naturalize run' wrote")
    for kind in ALONE:
        if is_artifact(path, kind):
            return StudyFolder(path, {}, {}, "", {kind: _there(path, kind)}, (), ())
    settings, text = _settings(path / "study.yaml")
    artifacts = {
        name: artifact
        for name, kind in SINGLE.items()
        if (artifact := _artifact(path / name, kind)) is not None
    }
    study = StudyFolder(
        path=path,
        log=_log(path / "study.json"),
        settings=settings,
        settings_text=text,
        artifacts=artifacts,
        runs=_runs(path, list(dict(settings.get("runs") or {}))),
        comparisons=_comparisons(path / "comparisons.json"),
        leak=_object(path / "leak.json"),
    )
    if not (study.log or study.settings or study.artifacts or study.runs):
        raise InputError(f"{path}: no study in it; name the folder that 'naturalize run' wrote")
    return study


def _artifact(path: Path, kind: str) -> Artifact | None:
    return _there(path, kind) if path.is_dir() else None


def _there(path: Path, kind: str) -> Artifact:
    manifest = read_manifest(path, kind)
    return Artifact(path, kind, manifest.fingerprint, manifest.inputs)


def _runs(path: Path, order: list[str]) -> tuple[Run, ...]:
    """Return the runs, those that the settings name first and in their order."""
    found = {
        folder.name
        for name in PER_RUN
        if (path / name).is_dir()
        for folder in (path / name).iterdir()
        if folder.is_dir() and not folder.name.startswith(".")
    }
    names = [name for name in order if name in found] + sorted(found - set(order))
    return tuple(
        Run(name, *(_artifact(path / part / name, kind) for part, kind in PER_RUN.items()))
        for name in names
    )


def _settings(file: Path) -> tuple[dict[str, Any], str]:
    import yaml

    if not file.is_file():
        return {}, ""
    try:
        text = file.read_text(encoding="utf-8")
        read = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{file}: not YAML; run the study again to write it anew") from error
    if not isinstance(read, dict):
        raise ArtifactError(f"{file}: expected keys such as name and data, found none")
    return read, text


#: What to do about a file that no manifest names.
_AGAIN = "run the study again"


class _Cost(BaseModel):
    seconds: float = 0.0
    peak_mb: float = 0.0


class _Log(BaseModel):
    stages: dict[str, _Cost] = {}
    versions: dict[str, str] = {}


class _Compared(BaseModel):
    a: str
    b: str
    n: int
    macro_f1_difference: float
    interval: Annotated[list[float], Field(min_length=2, max_length=2)]
    p_value: float
    mcnemar: dict[str, float]


def _log(file: Path) -> dict[str, Any]:
    found = _object(file)
    as_stated(_Log, found, file, _AGAIN)
    return found


def _comparisons(file: Path) -> tuple[dict[str, Any], ...]:
    found = _list(file)
    for each in found:
        as_stated(_Compared, each, file, _AGAIN)
    return tuple(found)


def _object(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    read = read_json(file)
    if not isinstance(read, dict):
        raise ArtifactError(f"{file}: expected a JSON object; {_AGAIN}")
    return read


def _list(file: Path) -> list[dict[str, Any]]:
    read = read_json(file) if file.is_file() else []
    if not isinstance(read, list) or not all(isinstance(entry, dict) for entry in read):
        raise ArtifactError(f"{file}: expected a list of JSON objects; {_AGAIN}")
    return read
