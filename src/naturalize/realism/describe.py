"""From images to what the probes look at: statistics, features of a frozen network, patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from naturalize.base import engine
from naturalize.base.console import track
from naturalize.base.errors import InputError, NaturalizeError, SettingsError
from naturalize.base.images import pixel_hash
from naturalize.realism.classifiers import cut_patches
from naturalize.realism.settings import LEAST_SIDE, PROBES, check_probes
from naturalize.realism.statistics import statistics
from naturalize.realism.texture import Areas

if TYPE_CHECKING:
    import torch

#: The network, and what its features are called in reports.
NETWORK = "tf_efficientnet_lite0"
SPACE = "EfficientNet-Lite0 (ImageNet), 1280 features averaged over the image at full size"

_AT_A_TIME = 8


class Features(NamedTuple):
    """Frozen features of N images.

    Attributes
    ----------
    stages
        Float32 (N, F): mean and spread over the image of every channel of every stage, from the
        first convolution (grain) to the last block (objects).
    pooled
        Float32 (N, 1280): the last feature map, averaged; distances are measured in these.
    """

    stages: np.ndarray
    pooled: np.ndarray


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
        and composite, so that no probe can use their size.
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


def frozen_features(
    images: Sequence[np.ndarray], shape: tuple[int, int], *, what: str | None = "frozen features"
) -> Features:
    """Return the features of images, cut to ``shape`` (height, width) from their top left corner.

    Nothing is resized: shrinking would hide the grain that is looked for.

    Parameters
    ----------
    images
        RGB uint8 (H, W, 3), each at least of ``shape``.
    shape
        Height and width that all have.
    what
        Heading of the progress bar.

    Raises
    ------
    SettingsError
        If PyTorch or the ImageNet weights are not on this machine; the message says how to get
        them.
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
    turns = track(starts, what, step=_AT_A_TIME, total=len(images)) if what else starts
    stages, pooled = [], []
    with torch.inference_mode():
        for start in turns:
            cut = [image[:height, :width] for image in images[start : start + _AT_A_TIME]]
            pixels = torch.from_numpy(np.stack(cut))
            x = normalise(pixels, network.config.mean, network.config.std)
            maps = []
            x = module.bn1(module.conv_stem(x))
            maps.append(x)
            for block in module.blocks:
                x = block(x)
                maps.append(x)
            stages.append(torch.cat([_summary(one) for one in maps], dim=1).numpy())
            x = module.bn2(module.conv_head(x))
            pooled.append(x.mean(dim=(2, 3)).numpy())
    return Features(np.concatenate(stages), np.concatenate(pooled))


def _summary(maps: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.cat([maps.mean(dim=(2, 3)), maps.std(dim=(2, 3))], dim=1)
