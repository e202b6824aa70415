"""Classes by name: those of the package, and those that other packages bring by entry points."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar

from naturalize.base.errors import SettingsError, unknown

T = TypeVar("T")


def named_class(
    what: str, name: str, own: Mapping[str, type[T]], base: type[Any], group: str
) -> type[T]:
    """Return a class by name.

    Parameters
    ----------
    what
        What it is, for messages: "segmenter", "mode".
    name
        Its name. The package's own names come first; an entry point cannot replace one.
    own
        Name → class of the package's own.
    base
        What a class of another package must be derived from.
    group
        Group of the entry points of other packages.

    Raises
    ------
    SettingsError
        For an unknown name, or an entry point that cannot be used; the message lists what there is.
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
