"""Features of a network that was trained on other pictures and is left as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from naturalize.base.console import track
from naturalize.base.errors import SettingsError

if TYPE_CHECKING:
    import torch

#: The network, and what its features are called in reports.
NETWORK = "tf_efficientnet_lite0"
SPACE = "EfficientNet-Lite0 (ImageNet), 1280 features averaged over the image at full size"

_BATCH = 8


@dataclass(frozen=True, eq=False)
class Features:
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
    starts = range(0, len(images), _BATCH)
    turns = track(starts, what, step=_BATCH, total=len(images)) if what else starts
    stages, pooled = [], []
    with torch.inference_mode():
        for start in turns:
            cut = [image[:height, :width] for image in images[start : start + _BATCH]]
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
