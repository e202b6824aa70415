"""The study file: a versioned schema whose errors name the key, what was expected and what came."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, model_validator

from naturalize.base.errors import SettingsError, closest, unknown
from naturalize.base.settings import Settings, validated
from naturalize.base.text import expanded_path
from naturalize.training.settings import TrainSettings


class PhantomSettings(Settings):
    """Make procedural smears instead of reading real images."""

    per_class: int | dict[str, int] = 24
    seed: int = 0
    width: Annotated[int, Field(ge=64)] = 360
    height: Annotated[int, Field(ge=64)] = 363


class DataSettings(Settings):
    """Where the images are and what their classes are."""

    root: Annotated[Path, AfterValidator(expanded_path)] | None = None
    phantom: PhantomSettings | None = None
    scheme: str = "folders"
    reader: str = "auto"
    columns: dict[str, str] | None = None
    strict: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> DataSettings:
        if self.root is not None and self.phantom is not None:
            raise ValueError("name either root or phantom, not both")
        return self


class SplitSettings(Settings):
    """How images are divided into train, val and test."""

    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    conflicts: Literal["refuse", "drop"] = "refuse"
    use: Literal["auto", "random", "given"] = "auto"
    #: Most images of a class in train, of all classes or by name, and the seed that draws them.
    train_per_class: int | dict[str, int] | None = None
    train_seed: int = 0


class SegmentSettings(Settings):
    """Which segmenter cuts the cells out."""

    segmenter: str = "unet"
    settings: dict[str, Any] = Field(default_factory=dict)


class ComposeSettings(Settings):
    """How many composites of which classes, and how they are made.

    ``scenes``: a folder of another laboratory's images, without labels, that cells are set into.
    """

    mode: str = "scene"
    name: str | None = None
    add: Annotated[int, Field(ge=1)] | None = None
    per_class: Annotated[int, Field(ge=1)] | None = None
    balance: bool = False
    classes: list[str] | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    scenes: Annotated[Path, AfterValidator(expanded_path)] | None = None

    @model_validator(mode="after")
    def _one_target(self) -> ComposeSettings:
        given = [k for k in ("name", "add", "per_class", "balance") if getattr(self, k)]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"name one target: name, add, per_class or balance (found: {found})")
        return self


class ExplainSettings(Settings):
    """Which predictions are explained, and how."""

    methods: list[str] | None = None
    per_class: Annotated[int, Field(ge=0)] = 1
    mistakes: Annotated[int, Field(ge=0)] = 8
    run: str | None = None


class EngineSettings(Settings):
    """Where work is done; never changes a result."""

    backend: Literal["serial", "processes", "ray"] = "processes"
    workers: Annotated[int, Field(ge=1)] | None = None


class StudySettings(Settings):
    """One study: everything that decides its results, and the engine that does not.

    ``version`` is that of the schema; a file of another version is refused. ``robustness``: test
    images of each class that are scored under corruptions too; 0: none.
    """

    version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    seed: int = 0
    protocol: Literal["honest", "paper"] = "honest"
    data: DataSettings
    split: SplitSettings = SplitSettings()
    segment: SegmentSettings = SegmentSettings()
    compose: ComposeSettings | None = None
    runs: Annotated[dict[str, TrainSettings], Field(min_length=1)]
    robustness: Annotated[int, Field(ge=0)] = 0
    explain: ExplainSettings | None = ExplainSettings()
    engine: EngineSettings = EngineSettings()

    @model_validator(mode="after")
    def _consistent(self) -> StudySettings:
        for run, settings in self.runs.items():
            if not run.replace("-", "").replace("_", "").replace(".", "").isalnum():
                raise ValueError(f"run name {run!r}: use letters, digits, '.', '-' and '_'")
            if settings.composites and self.compose is None:
                raise ValueError(f"run {run!r} asks for composites: add a compose section")
            before = list(self.runs)[: list(self.runs).index(run)]
            if settings.elsewhere is not None and settings.elsewhere not in before:
                raise ValueError(
                    f"run {run!r}: elsewhere names a run that stands before it; there "
                    f"{'are ' + ', '.join(before) if before else 'is none'}"
                )
        if self.explain and self.explain.run and self.explain.run not in self.runs:
            hint = closest(self.explain.run, list(self.runs))
            raise ValueError(f"explain.run: no run named {self.explain.run!r}{hint}")
        if self.protocol == "paper" and self.compose is not None and self.compose.scenes:
            raise ValueError("compose.scenes: protocol paper pools images of one laboratory only")
        if self.protocol == "paper" and self.compose is None:
            raise ValueError("protocol paper pools composites: add a compose section")
        real = [run for run, settings in self.runs.items() if not settings.composites]
        if self.protocol == "paper" and real:
            raise ValueError(
                f"run {real[0]!r}: under protocol paper every run sees the pool; "
                "set composites: true, or use protocol honest"
            )
        return self


def presets() -> list[str]:
    """Return the names of the studies that come with the package."""
    folder = files("naturalize.study.presets")
    return sorted(file.name[:-5] for file in folder.iterdir() if file.name.endswith(".yaml"))


def preset(name: str) -> str:
    """Return the YAML text of a study that comes with the package."""
    if name not in presets():
        raise unknown("preset", name, presets())
    return (files("naturalize.study.presets") / f"{name}.yaml").read_text(encoding="utf-8")


def load_study(path: str | Path, overrides: Sequence[str] = ()) -> StudySettings:
    """Read a study file, or the preset of that name, and apply ``key.sub=value`` overrides.

    ``SettingsError`` for a missing file, broken YAML, an unknown key (the right one is suggested),
    or a value that does not fit; the message names file, key and what was expected.
    """
    return parse_study(read_study(path, overrides), source=str(path))


def read_study(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the values of a study file, or the preset of that name, under overrides.

    Raises
    ------
    SettingsError
        For a missing file or broken YAML; the message names the file and what was expected.
    """
    path = Path(path)
    try:
        shipped = not path.exists() and str(path) in presets()
        raw = yaml.safe_load(preset(str(path)) if shipped else path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        there = ", ".join(presets())
        raise SettingsError(
            f"{path}: no such study file; 'naturalize init FOLDER' writes one, and {there} come "
            "with the package"
        ) from error
    except IsADirectoryError as error:
        raise SettingsError(f"{path}: is a folder; name the study's YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        marked = error if isinstance(error, yaml.MarkedYAMLError) else None
        where = marked.problem_mark if marked else None
        line = f", line {where.line + 1}" if where else ""
        problem = (marked.problem if marked else None) or error
        raise SettingsError(f"{path}{line}: not YAML ({problem})") from error
    if not isinstance(raw, dict):
        raise SettingsError(f"{path}: expected keys such as name, data and runs; found no mapping")
    for override in overrides:
        _override(raw, override)
    return raw


def parse_study(raw: dict[str, Any], *, source: str = "study") -> StudySettings:
    """Check a study given as plain values; see :func:`load_study`."""
    return validated(StudySettings, raw, what=source)


def dump_study(settings: StudySettings) -> str:
    """Return the study, defaults included, as YAML that :func:`load_study` reads back."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _override(raw: dict[str, Any], text: str) -> None:
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise SettingsError(f"--set {text}: expected key=value, such as data.root=images")
    at: Any = raw
    *parents, last = key.strip().split(".")
    for parent in parents:
        if at.get(parent) is None:
            at[parent] = {}
        at = at[parent]
        if not isinstance(at, dict):
            raise SettingsError(f"--set {text}: {parent} is a value, it has no key {last!r}")
    try:
        at[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise SettingsError(f"--set {text}: the value is not YAML") from error
    if last == "root" and parents == ["data"]:
        at.pop("phantom", None)
