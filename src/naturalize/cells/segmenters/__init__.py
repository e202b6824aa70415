"""Segmenters by name: those of the package, and those that other packages bring.

Another package offers a segmenter by an entry point of the group ``naturalize.segmenters``; the
entry point names a class derived from :class:`Segmenter`.
"""

from __future__ import annotations

from typing import Any

from naturalize.base.settings import named_class, validated
from naturalize.cells.segmentation import ScaledSegmenter, Segmenter
from naturalize.cells.segmenters.classical import Classical
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

    ``SettingsError`` for an unknown setting, and as :func:`naturalize.base.settings.named_class`
    says.
    """
    found = named_class("segmenter", name, SEGMENTERS, Segmenter, GROUP)
    return validated(found, settings, what=f"segmenter {name}")
