"""MixUp and CutMix: batches whose images are mixed in pairs, and how much of each is in them."""

from __future__ import annotations

import math

import numpy as np
import torch


def mix(
    images: torch.Tensor, generator: np.random.Generator, *, mixup: float, cutmix: float
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Mix each image of a batch with another one of it.

    MixUp adds the two, weighed by λ from Beta(α, α) (Zhang et al., ICLR 2018); CutMix sets a
    rectangle of area 1 − λ of the one into the other (Yun et al., ICCV 2019). With both, a coin
    decides for each batch.

    Parameters
    ----------
    images
        (N, C, H, W); changed in place by CutMix.
    generator
        All that is drawn comes from it.
    mixup, cutmix
        α of each; 0 turns it off.

    Returns
    -------
    tuple
        The images, the number of each one's partner (N,), and the share of an image in itself.
    """
    cut = cutmix > 0 and (mixup <= 0 or generator.random() < 0.5)
    alpha = cutmix if cut else mixup
    share = float(generator.beta(alpha, alpha))
    partner = torch.from_numpy(generator.permutation(len(images))).to(images.device)
    if not cut:
        return images.lerp(images[partner], 1 - share), partner, share
    height, width = images.shape[-2:]
    side = math.sqrt(1 - share)
    y, x = generator.uniform(0, height), generator.uniform(0, width)
    top, bottom = (round(min(max(y + d * side * height / 2, 0), height)) for d in (-1, 1))
    left, right = (round(min(max(x + d * side * width / 2, 0), width)) for d in (-1, 1))
    images[..., top:bottom, left:right] = images[partner][..., top:bottom, left:right]
    return images, partner, 1 - (bottom - top) * (right - left) / (height * width)
