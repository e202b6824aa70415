"""The one way from an image to a network's input, for training and for prediction alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import torch


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Bring an image to ``size`` × ``size`` pixels.

    Shrinking averages over areas (``cv2.INTER_AREA``), so that no fine texture turns into aliases;
    enlarging is cubic. The aspect ratio is not kept: the images of one acquisition have one shape.

    Parameters
    ----------
    image
        RGB uint8 (H, W, 3).
    size
        Side in pixels.

    Returns
    -------
    numpy.ndarray
        RGB uint8 (size, size, 3), contiguous.
    """
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return np.ascontiguousarray(image)
    shrinking = height >= size and width >= size
    how = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(image), (size, size), interpolation=how)


def batch(images: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Resize and stack images, RGB uint8 of any sizes, into uint8 (N, size, size, 3)."""
    out = np.empty((len(images), size, size, 3), np.uint8)
    for i, image in enumerate(images):
        out[i] = resize(image, size)
    return out


def normalise(pixels: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Turn uint8 (N, H, W, 3) into float32 (N, 3, H, W), channels last in memory.

    Parameters
    ----------
    pixels
        RGB uint8 tensor on any device.
    mean, std
        Per channel, on a 0–1 scale: the result is ``(x / 255 − mean) / std``.
    """
    import torch

    shift = torch.tensor(mean, dtype=torch.float32, device=pixels.device) * 255
    scale = 1 / (torch.tensor(std, dtype=torch.float32, device=pixels.device) * 255)
    # (N, H, W, 3) seen as (N, 3, H, W) is the channels-last layout already: nothing is copied
    return pixels.permute(0, 3, 1, 2).float().sub_(shift.view(3, 1, 1)).mul_(scale.view(3, 1, 1))
