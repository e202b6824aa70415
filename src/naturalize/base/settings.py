"""Settings as pydantic models, classes by name, and what is wrong with either as one line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from naturalize.base.errors import ArtifactError, SettingsError, closest, unknown


class Settings(BaseModel):
    """Settings that cannot be changed once made, and in which a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], values: Mapping[str, Any], *, what: str) -> Model:
    """Return ``values`` (key → value, as a user gave them) as a settings model.

    ``SettingsError``, in one line: ``what`` (whose settings they are), the key, what was expected,
    what came; for a misspelt key the nearest one.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise SettingsError(f"{what}: {_first_problem(error, model)}") from error


def as_stated(model: type[Model], read: Any, file: Path, advice: str) -> Model:
    """Return what was read from a JSON ``file`` as a model; ``ArtifactError`` if it is none."""
    if not isinstance(read, dict):
        raise ArtifactError(f"{file}: expected a JSON object; {advice}")
    try:
        return validated(model, read, what=str(file))
    except SettingsError as error:
        raise ArtifactError(f"{error}; {advice}") from error


def _first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    problems = error.errors()
    # a misspelt key explains a 'missing' one: say that first
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    place = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        choices = _keys_at(model, first["loc"][:-1])
        hint = closest(str(first["loc"][-1]), choices)
        known = ", ".join(choices) or "none"
        return f"unknown key {place!r}{hint}; known here: {known}{more}"
    if first["type"] == "missing":
        return f"key {place!r} is missing{more}"
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if first["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", first["ctx"]["expected"])
        message += closest(str(first["input"]), choices)
    found = "" if isinstance(first["input"], dict) else f", found {first['input']!r}"
    if first["type"] == "string_type" and isinstance(first["input"], bool | int | float):
        found += "; in YAML, put a word such as NO, on or 10 in quotes"
    return f"{place}: {message}{found}{more}" if place else f"{message}{more}"


def _keys_at(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the model at ``place``, a path of keys from the top."""
    for step in place:
        field = model.model_fields.get(str(step))
        # keys of a mapping and numbers in a list lead to the model that was reached already
        inner = _models_in(field.annotation) if field else []
        model = inner[0] if inner else model
    return list(model.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for argument in get_args(annotation) for m in _models_in(argument)]


def named_class(
    what: str, name: str, own: Mapping[str, type[T]], base: type[Any], group: str
) -> type[T]:
    """Return a class by name: one of the package, or one that another brings by an entry point.

    ``own`` maps names to the package's own classes, which an entry point cannot replace; ``group``
    is that of other packages' entry points, and ``base`` what their classes must be derived from.
    ``what`` names it in messages: "segmenter", "mode". ``SettingsError`` for an unknown name, or an
    entry point that cannot be used; the message lists what there is.
    """
    if name in own:
        return own[name]
    others = entry_points(group=group)
    if name not in others.names:
        raise unknown(what, name, [*own, *sorted(others.names)])
    entry = others[name]
    try:
        found = entry.load()
    except Exception as error:  # another package's code: anything may happen
        raise SettingsError(
            f"{what} {name}: {entry.value} cannot be loaded ({type(error).__name__}: {error})"
        ) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        room = base.__module__.rpartition(".")[0]
        raise SettingsError(
            f"{what} {name}: {entry.value} is no class derived from {room}.{base.__name__}"
        )
    return found
