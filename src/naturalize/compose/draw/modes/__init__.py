"""The modes of composition: a mode is one file here and one line in the registry."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from naturalize.base.errors import SettingsError, closest, unknown
from naturalize.compose.draw.materials import Materials
from naturalize.compose.draw.modes.layout import Layout
from naturalize.compose.draw.modes.paper import Paper
from naturalize.compose.draw.modes.scene import Scene
from naturalize.compose.recipe.columns import Columns


class Mode(Protocol):
    """Draws recipes, many at a time; all that is random comes from the generator it is given."""

    @property
    def name(self) -> str:
        """Its name in the registry."""

    @property
    def settings(self) -> dict[str, Any]:
        """What decides its recipes: JSON values."""

    def default_classes(self, available: Sequence[str]) -> tuple[str, ...]:
        """Return the classes it composes if none are named, out of those with real images."""

    def targets(self, materials: Materials, label: str) -> np.ndarray:
        """Return the target cells (int32 positions) of a class that it can use."""

    def draw(
        self, materials: Materials, label: str, targets: np.ndarray, generator: np.random.Generator
    ) -> tuple[Columns, dict[str, np.ndarray]]:
        """Return a recipe for each of ``targets`` (int32 (N,)).

        And reason → int (N,): how much each recipe had to give up.
        """


#: Name → what makes the mode from its settings.
MODES: dict[str, Callable[..., Mode]] = {"paper": Paper, "scene": Scene, "layout": Layout}


def mode(name: str, /, **settings: Any) -> Mode:
    """Return a mode by name.

    Raises
    ------
    SettingsError
        If there is no such mode or setting, or a value is out of range.
    """
    if name not in MODES:
        raise unknown("mode", name, sorted(MODES))
    known = list(inspect.signature(MODES[name]).parameters)
    for key in settings:
        if key not in known:
            raise SettingsError(
                f"mode {name}: unknown setting {key!r}{closest(key, known)}; it has: "
                + ", ".join(known)
            )
    return MODES[name](**settings)


__all__ = ["MODES", "Mode", "mode"]
