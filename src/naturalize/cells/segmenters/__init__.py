"""Segmenters by name: those of the package, and those that other packages bring.

Another package offers a segmenter by an entry point of the group ``naturalize.segmenters``; the
entry point names a class derived from :class:`Segmenter`.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from naturalize.base.errors import SettingsError, unknown
from naturalize.base.settings import validated
from naturalize.cells.segmenters.classical import Classical
from naturalize.cells.segmenters.protocol import ScaledSegmenter, Segmenter
from naturalize.cells.segmenters.sam import Sam
from naturalize.cells.segmenters.unet import UNet

__all__ = ["DEFAULT", "GROUP", "SEGMENTERS", "ScaledSegmenter", "Segmenter", "segmenter"]

#: What is used where none is named: it needs no download and no GPU.
DEFAULT = "unet"

#: Name → class of the package's own segmenters.
SEGMENTERS: dict[str, type[Segmenter]] = {"classical": Classical, "sam": Sam, "unet": UNet}

#: Group of the entry points of other packages' segmenters.
GROUP = "naturalize.segmenters"


def segmenter(name: str = DEFAULT, **settings: Any) -> Segmenter:
    """Return the segmenter ``name`` with its ``settings``; by default the package's own network.

    The package's own names come first; an entry point cannot replace one.

    Raises
    ------
    SettingsError
        For an unknown name or setting, or an entry point that cannot be used; the message lists
        what there is.
    """
    return validated(_class_of(name), settings, what=f"segmenter {name}")


def _class_of(name: str) -> type[Segmenter]:
    if name in SEGMENTERS:
        return SEGMENTERS[name]
    others = entry_points(group=GROUP)
    if name not in others.names:
        raise unknown("segmenter", name, [*SEGMENTERS, *sorted(others.names)])
    entry = others[name]
    try:
        found = entry.load()
    except Exception as error:  # another package's code: anything may happen
        raise SettingsError(
            f"segmenter {name}: {entry.value} cannot be loaded ({type(error).__name__}: {error})"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Segmenter)):
        raise SettingsError(
            f"segmenter {name}: {entry.value} is no class derived from "
            "naturalize.cells.segmenters.Segmenter"
        )
    return found
