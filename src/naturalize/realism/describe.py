"""From images to what the probes look at: statistics, frozen features, patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from naturalize.base import engine
from naturalize.base.errors import InputError, NaturalizeError, SettingsError, unknown
from naturalize.base.images import pixel_hash
from naturalize.realism.areas import Areas
from naturalize.realism.frozen import Features, frozen_features
from naturalize.realism.patches import cut_patches
from naturalize.realism.statistics import statistics

#: The probes, and what each one is.
PROBES = {
    "statistics": "named statistics of grain, coding, edges, arrangement and colour; boosted trees",
    "features": "EfficientNet-Lite0 (ImageNet), frozen, mean and spread of every stage; linear",
    "patches": "a small network trained on 64-px patches, most of them over cell edges",
}

_LEAST_SIDE = 48


@dataclass(frozen=True, eq=False)
class Described:
    """What is known of N images once they have been looked at; the images themselves are not kept.

    Attributes
    ----------
    statistics
        Float32 (N, S), see :func:`naturalize.realism.statistics.names`.
    patches
        Uint8 (N, K, 64, 64, 3), or null where no probe asked for them.
    features
        Frozen features, or null.
    hashes
        Pixel hash of each image: equal images must stay on one side of a fold.
    absent
        Probe → why it cannot be run here.
    """

    statistics: np.ndarray
    patches: np.ndarray | None
    features: Features | None
    hashes: tuple[str, ...]
    absent: dict[str, str]

    def __len__(self) -> int:
        """Return N."""
        return len(self.hashes)


def check_probes(probes: Sequence[str]) -> tuple[str, ...]:
    """Return the probes in their usual order; ``SettingsError`` for an unknown one, or none."""
    for name in probes:
        if name not in PROBES:
            raise unknown("probe", name, list(PROBES))
    if not probes:
        raise SettingsError(f"probes: name at least one of {', '.join(PROBES)}")
    return tuple(name for name in PROBES if name in probes)


def describe(
    images: Sequence[np.ndarray],
    shape: tuple[int, int],
    *,
    probes: Sequence[str] = tuple(PROBES),
    what: str = "images",
    seed: int = 0,
    backend: str = "serial",
    workers: int | None = None,
) -> Described:
    """Look at images with the eyes of all ``probes``.

    Parameters
    ----------
    images
        RGB uint8 (H, W, 3).
    shape
        Height and width that all images are cut to, from their top left corner: the same for real
        and composite, so that no probe can tell them by their size.
    probes
        Names in :data:`PROBES`; only what they need is measured.
    what
        What the images are, for the progress bars.
    seed
        Of the places of patches.
    backend, workers
        As for :func:`naturalize.base.engine.map`; they do not change the result.
    """
    probes = check_probes(probes)
    _check(images, shape)
    look = partial(_look, shape=shape, patches="patches" in probes, seed=seed)
    done = engine.map(
        look,
        images,
        backend=backend,
        workers=workers,
        chunk=4,
        what=f"measure {what}",
        total=len(images),
        name=_name,
    )
    values, patches, hashes = zip(*done, strict=True)
    features, absent = None, {}
    if "features" in probes:
        try:
            features = frozen_features(images, shape, what=f"frozen features of {what}")
        except SettingsError as error:
            absent["features"] = str(error)
    if "patches" in probes and not _has_torch():
        absent["patches"] = "PyTorch is not installed; run: pip install 'naturalize[train]'"
    return Described(
        np.stack(values),
        np.stack(patches) if "patches" in probes else None,
        features,
        hashes,
        absent,
    )


def _has_torch() -> bool:
    from importlib.util import find_spec

    return find_spec("torch") is not None


def common_shape(*sets: Sequence[np.ndarray]) -> tuple[int, int]:
    """Return the largest height and width that every image of every set has."""
    shapes = [image.shape[:2] for images in sets for image in images]
    if not shapes:
        raise InputError("realism: no images to look at")
    return min(height for height, _ in shapes), min(width for _, width in shapes)


def _check(images: Sequence[np.ndarray], shape: tuple[int, int]) -> None:
    for number, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(
                f"image {number}: expected RGB uint8 (H, W, 3), got {image.dtype} {image.shape}"
            )
    if min(shape) < _LEAST_SIDE:
        raise InputError(
            f"realism: images of {shape[1]} × {shape[0]} pixels are too small to measure "
            f"(at least {_LEAST_SIDE} each way)"
        )


def _name(image: np.ndarray) -> str:
    return f"image {pixel_hash(image)}"


def _look(
    image: np.ndarray, *, shape: tuple[int, int], patches: bool, seed: int
) -> tuple[np.ndarray, np.ndarray | None, str]:
    from naturalize.cells.segmenters import segmenter

    cut = np.ascontiguousarray(image[: shape[0], : shape[1]])
    own = pixel_hash(cut)
    try:
        areas = Areas(cut, segmenter("classical").segment(cut))
    except NaturalizeError as error:
        raise InputError(f"image {own}: cannot be segmented: {error}") from error
    picked: Any = cut_patches(areas, own, seed=seed) if patches else None
    return statistics(areas), picked, own
