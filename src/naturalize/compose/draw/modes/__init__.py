"""The modes of composition: those of the package, and those that other packages bring.

A mode of the package is one file here and one line in the registry. Another package offers a mode
by an entry point of the group ``naturalize.modes``; the entry point names a class derived from
:class:`Mode`.
"""

from __future__ import annotations

from typing import Any

from naturalize.base.settings import named_class, validated
from naturalize.compose.draw.modes.field import WholeField
from naturalize.compose.draw.modes.layout import Layout
from naturalize.compose.draw.modes.mode import Mode
from naturalize.compose.draw.modes.paper import Paper
from naturalize.compose.draw.modes.scene import Scene
from naturalize.compose.draw.modes.varied import Varied

__all__ = ["DEFAULT", "GROUP", "MODES", "Mode", "mode"]

#: What is used where none is named: its composites are the hardest to distinguish from real images.
DEFAULT = "scene"

#: Name → class of the package's own modes.
MODES: dict[str, type[Mode]] = {
    "paper": Paper,
    "scene": Scene,
    "layout": Layout,
    "varied": Varied,
    "field": WholeField,
}

#: Group of the entry points of other packages' modes.
GROUP = "naturalize.modes"


def mode(name: str = DEFAULT, /, **settings: Any) -> Mode:
    """Return the mode ``name`` with its ``settings``.

    The package's own names come first; an entry point cannot replace one.

    ``SettingsError`` for an unknown name or setting, a value out of range, or an entry point that
    cannot be used; the message lists what there is.
    """
    return validated(named_class("mode", name, MODES, Mode, GROUP), settings, what=f"mode {name}")
