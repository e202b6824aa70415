"""What may be asked of realism, and its tuned numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from naturalize.base.errors import SettingsError, unknown
from naturalize.base.settings import Settings

#: The probes, and what each one is.
PROBES = {
    "statistics": "named statistics of grain, coding, edges, arrangement and colour; boosted trees",
    "features": "EfficientNet-Lite0 (ImageNet), frozen, mean and spread of every stage; linear",
    "patches": "a small network trained on 64-px patches, most of them over cell edges",
}

#: Name on the command line → what is probed as if it were the composites.
BASELINES = {
    "null": "other real images: must not be detected",
    "re-encoded": "other real images after one more JPEG 95: must be detected",
    "paper": "composites of paper mode from the same bank",
    "hard-paste": "a white cell set over another one, with hard edges",
    "seamless-clone": "the same by cv2.seamlessClone",
    "shrunk": "composites composed whole, then shrunk; with a size only",
}

# The tuned numbers. Lengths are pixels at the magnification of PBC, levels are of 0–255. Unless
# another origin is named, they were chosen so that real against real stays at an AUC of 0.5 and
# real, JPEG 95 once more, at 0.9 or above on PBC.

#: Images of a class on each side below which an AUC says nothing: its interval is ± 0.25.
LEAST = 10
#: Resamples of intervals by default: limits then vary by about 0.005 (Efron & Tibshirani 1993).
RESAMPLES = 1000
#: The AUC that composites are to stay below; 0.5 cannot be distinguished. Set by the project.
GOAL = 0.65
#: Smallest side of an image that can be measured: six JPEG blocks.
LEAST_SIDE = 48
#: Quality of the JPEG that both sides are sent through where the plan names none.
QUALITY = 95

#: Pixels next to a cell's outline that belong to neither side.
MARGIN = 3
#: Blurs (Gaussian sigma) between which the bands of grain lie: octaves.
SIGMAS = (0.7, 1.4, 2.8, 5.6)
#: Distances over which grain is compared with itself; 8 is the JPEG grid.
LAGS = (1, 2, 3, 4, 8)
#: A cosine coefficient below this was zero before the pixels were rounded.
ZERO = 0.75
#: Upper limits of gradient classes, grey levels a pixel: octaves.
STEPS = (1, 2, 4, 8, 16, 32)
#: Distances to the target's outline whose brightness is followed.
PROFILE = (-8, -4, -2, 0, 2, 4, 7, 11, 16, 24)
#: Rings around the image's middle.
RINGS = 5

#: Strengths of the ridge penalty that are tried, by leave-one-out inside the training folds.
PENALTIES = np.logspace(1, 6, 11)
#: Side of a patch, and the grid of its corner: that of JPEG blocks.
SIDE, GRID = 64, 8
#: Patches an image: at the target's border, at other cells' borders, anywhere.
SHARES = (4, 2, 2)
#: Passes over the training patches, at least so many steps; patches a step; learning rate.
EPOCHS, LEAST_STEPS, BATCH, RATE = 8, 120, 32, 3e-3

#: Donors among which the one that hides the old cell best is taken.
DONORS = 8
#: Composites whose parents are looked up, to see if they are copies.
COPIES = 60
#: Statistics that reports keep, and composites of a probe on the sheet.
KEPT, ON_SHEET = 40, 7


class RealismSettings(Settings):
    """Settings of a run; all are checked before anything is drawn."""

    #: Composites, and real images, of each class.
    per_class: int = Field(50, ge=LEAST)
    #: Some of the plan's classes; all by default.
    classes: tuple[str, ...] | None = None
    #: ``"lossless"`` or ``"jpeg"``, see :class:`~naturalize.realism.history.History`.
    history: Literal["lossless", "jpeg"] = "lossless"
    #: Side in pixels at which all are compared: real images shrunk, composites composed so small.
    size: int | None = Field(None, ge=LEAST_SIDE)
    #: Names in :data:`PROBES` and :data:`BASELINES`.
    probes: tuple[str, ...] = tuple(PROBES)
    baselines: tuple[str, ...] = ()
    #: Whether only real images count whose own cell the bank accepts; else a probe may also detect
    #: what the bank leaves out (cut cells, doublets).
    accepted: bool = False
    #: Of the cross-validation and the intervals.
    folds: int = Field(5, ge=2)
    resamples: int = Field(RESAMPLES, ge=100)
    seed: int = 0

    @field_validator("probes")
    @classmethod
    def _probes(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return check_probes(names)

    @field_validator("baselines")
    @classmethod
    def _baselines(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in BASELINES:
                raise unknown("baseline", name, list(BASELINES))
        return names

    @model_validator(mode="after")
    def _history(self) -> RealismSettings:
        check_history(self.history, self.size)
        return self


def check_probes(probes: Sequence[str]) -> tuple[str, ...]:
    """Return the probes in their usual order; ``SettingsError`` for an unknown one, or none."""
    for name in probes:
        if name not in PROBES:
            raise unknown("probe", name, list(PROBES))
    if not probes:
        raise SettingsError(f"probes: name at least one of {', '.join(PROBES)}")
    return tuple(name for name in PROBES if name in probes)


def check_history(name: str, size: int | None) -> None:
    """Raise ``SettingsError`` if there is no such history, or none at that size."""
    if name not in ("lossless", "jpeg"):
        raise unknown("history", name, ["lossless", "jpeg"])
    if name == "jpeg" and size is not None:
        raise SettingsError(
            "size: composites that are composed small have no codec after them; leave history "
            "at lossless"
        )


def baselines_of(size: int | None) -> list[str]:
    """Return the baselines that make sense where all is compared at ``size``."""
    return [name for name in BASELINES if name != "shrunk" or size is not None]
