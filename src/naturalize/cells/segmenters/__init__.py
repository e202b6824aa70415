"""Segmenters by name. A new one is one file and one line here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from naturalize.base.errors import SettingsError, closest, unknown
from naturalize.cells.segmenters.classical import Classical
from naturalize.cells.segmenters.protocol import Segmenter
from naturalize.cells.segmenters.sam import Sam
from naturalize.cells.segmenters.unet import UNet

__all__ = ["DEFAULT", "SEGMENTERS", "Segmenter", "segmenter"]

#: What is used where none is named: it needs no download and no GPU.
DEFAULT = "unet"

#: Name → class or function that takes the settings by keyword and gives a segmenter.
SEGMENTERS: dict[str, Callable[..., Segmenter]] = {
    "classical": Classical,
    "sam": Sam,
    "unet": UNet,
}


def segmenter(name: str = DEFAULT, **settings: Any) -> Segmenter:
    """Return the segmenter ``name`` with its ``settings``; by default the package's own network.

    Raises
    ------
    SettingsError
        For an unknown name or an unknown setting; the message lists those there are.
    """
    if name not in SEGMENTERS:
        raise unknown("segmenter", name, list(SEGMENTERS))
    known = list(inspect.signature(SEGMENTERS[name]).parameters)
    if wrong := [key for key in settings if key not in known]:
        raise SettingsError(
            f"segmenter {name!r} has no setting {wrong[0]!r}{closest(wrong[0], known)}; "
            f"it has: {', '.join(known) or 'none'}"
        )
    return SEGMENTERS[name](**settings)
