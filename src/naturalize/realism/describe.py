"""From images to what the probes look at: statistics, features of a frozen network, patches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from naturalize.base import engine
from naturalize.base.console import track
from naturalize.base.errors import InputError, NaturalizeError, SettingsError
from naturalize.base.images import pixel_hash
from naturalize.realism.classifiers import cut_patches
from naturalize.realism.settings import LEAST_SIDE, PROBES, check_probes
from naturalize.realism.statistics import statistics
from naturalize.realism.texture import Areas

#: The network, and what its features are called in reports.
NETWORK = "tf_efficientnet_lite0"
SPACE = "EfficientNet-Lite0 (ImageNet), 1280 features averaged over the image at full size"

_AT_A_TIME = 8


class Features(NamedTuple):
    """Frozen features of N images."""

    #: Float32 (N, F): mean and spread over the image of every channel of every stage, from the
    #: first convolution (grain) to the last block (objects).
    stages: np.ndarray
    #: Float32 (N, 1280): the last feature map, averaged; distances are measured in these.
    pooled: np.ndarray


@dataclass(frozen=True, eq=False)
class Described:
    """What was measured of N images; the images themselves are not kept."""

    #: Float32 (N, S), see :func:`naturalize.realism.statistics.names`.
    statistics: np.ndarray
    #: Uint8 (N, K, 64, 64, 3), or null where no probe asked for them.
    patches: np.ndarray | None
    #: Frozen features, or null.
    features: Features | None
    #: Pixel hash of each image: equal images must stay on one side of a fold.
    hashes: tuple[str, ...]
    #: Probe → why it cannot be run here.
    absent: dict[str, str]

    def plus(self, other: Described) -> Described:
        """Return what is known of these images, then of others; nothing that one side lacks."""
        patches, features = None, None
        if self.patches is not None and other.patches is not None:
            patches = np.concatenate([self.patches, other.patches])
        if self.features is not None and other.features is not None:
            pairs = zip(self.features, other.features, strict=True)
            features = Features(*(np.concatenate(both) for both in pairs))
        values = np.concatenate([self.statistics, other.statistics])
        absent = {**self.absent, **other.absent}
        return Described(values, patches, features, (*self.hashes, *other.hashes), absent)


def describe(
    images: Sequence[np.ndarray],
    shape: tuple[int, int],
    *,
    probes: Sequence[str] = tuple(PROBES),
    what: str = "images",
    seed: int = 0,
    **run: Any,
) -> Described:
    """Measure what all ``probes`` need of images, RGB uint8 (H, W, 3).

    All are cut to ``shape`` (height, width) from their top left corner: the same for real and
    composite, so that no probe can use their size. ``what`` names them on the progress bars,
    ``seed`` draws the places of patches, ``run`` is the engine's: backend and workers.
    """
    probes = check_probes(probes)
    _check(images, shape)
    look = partial(_look, shape=shape, patches="patches" in probes, seed=seed)
    done = engine.map(look, images, chunk=4, what=f"measure {what}", name=_name, **run)
    values, patches, hashes = zip(*done, strict=True)
    features, absent = None, {}
    if "features" in probes:
        try:
            features = frozen_features(images, shape, what=f"frozen features of {what}")
        except SettingsError as error:
            absent["features"] = str(error)
    if "patches" in probes and find_spec("torch") is None:
        absent["patches"] = "PyTorch is not installed; run: pip install 'naturalize[train]'"
    return Described(
        np.stack(values),
        np.stack(patches) if "patches" in probes else None,
        features,
        hashes,
        absent,
    )


def common_shape(*sets: Iterable[np.ndarray]) -> tuple[int, int]:
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
    if min(shape) < LEAST_SIDE:
        raise InputError(
            f"realism: images of {shape[1]} × {shape[0]} pixels are too small to measure "
            f"(at least {LEAST_SIDE} each way)"
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


def frozen_features(images: Sequence[np.ndarray], shape: tuple[int, int], *, what: str) -> Features:
    """Return the features of images, cut to ``shape`` (height, width) from their top left corner.

    Nothing is resized: shrinking would hide the grain that is looked for. ``SettingsError`` if
    PyTorch or the ImageNet weights are not on this machine; the message says how to get them.
    """
    try:
        import torch

        from naturalize.models.preprocess import normalise
        from naturalize.models.zoo import build, channels_last

        network = build(NETWORK, 2, weights="imagenet")
    except ImportError as error:
        raise SettingsError(
            f"frozen features need {error.name or 'PyTorch'}; run: pip install 'naturalize[train]'"
        ) from error
    module: Any = channels_last(network.module.eval())
    height, width = shape
    starts = range(0, len(images), _AT_A_TIME)
    stages, pooled = [], []
    with torch.inference_mode():
        for start in track(starts, what, step=_AT_A_TIME, total=len(images)):
            cut = [image[:height, :width] for image in images[start : start + _AT_A_TIME]]
            pixels = torch.from_numpy(np.stack(cut))
            x = normalise(pixels, network.config.mean, network.config.std)
            maps = [module.bn1(module.conv_stem(x))]
            for block in module.blocks:
                maps.append(block(maps[-1]))
            seen = [how for x in maps for how in (x.mean(dim=(2, 3)), x.std(dim=(2, 3)))]
            stages.append(torch.cat(seen, dim=1).numpy())
            pooled.append(module.bn2(module.conv_head(maps[-1])).mean(dim=(2, 3)).numpy())
    return Features(np.concatenate(stages), np.concatenate(pooled))
