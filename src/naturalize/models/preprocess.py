"""The one way from an image to a network's input, for training and for prediction alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from naturalize.imaging.slide import slide_colour

if TYPE_CHECKING:
    import torch

#: What a balanced image's bare slide becomes, 0–255, and the most that light is changed for it.
SLIDE_GREY, _MOST_GAIN = 235, 2.2


@dataclass(frozen=True)
class View:
    """What a network gets to see of an image: ``size`` × ``size`` pixels of it.

    ``crop`` is the share of the shorter side that is shown, a square about the centre; 1 shows the
    whole image, stretched to a square. ``balanced``: each channel is multiplied so that the bare
    slide becomes neutral grey, as a yellow or a lilac slide is no property of a cell.
    """

    size: int
    crop: float = 1.0
    balanced: bool = False

    def window(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return what is shown of an image, in its pixels: top, left, bottom, right.

        Examples
        --------
        >>> View(192, crop=0.75).window(360, 400)
        (45, 65, 315, 335)
        """
        if self.crop >= 1:
            return 0, 0, height, width
        side = max(1, round(self.crop * min(height, width)))
        top, left = (height - side) // 2, (width - side) // 2
        return top, left, top + side, left + side

    def prepare(
        self, image: np.ndarray, slide: tuple[float, float, float] | None = None
    ) -> np.ndarray:
        """Return RGB uint8 (H, W, 3) as the network sees it, uint8 (size, size, 3).

        ``slide``: what `slide_colour` found in it, if that is known.
        """
        top, left, bottom, right = self.window(*image.shape[:2])
        shown = resize(image[top:bottom, left:right], self.size)
        return balance(shown, slide or slide_colour(image)) if self.balanced else shown


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Bring RGB uint8 (H, W, 3) to ``size`` × ``size`` pixels, contiguous.

    Shrinking averages over areas (``cv2.INTER_AREA``), so that no fine texture turns into aliases;
    enlarging is cubic. The aspect ratio is not kept: the images of one acquisition have one shape.
    """
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return np.ascontiguousarray(image)
    shrinking = height >= size and width >= size
    how = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(image), (size, size), interpolation=how)


def balance(image: np.ndarray, slide: tuple[float, float, float]) -> np.ndarray:
    """Multiply each channel of RGB uint8 so that the colour ``slide`` becomes neutral grey."""
    gain = np.clip(SLIDE_GREY / np.maximum(slide, 1), 1 / _MOST_GAIN, _MOST_GAIN)
    levels = np.clip(np.rint(np.arange(256)[:, None] * gain), 0, 255).astype(np.uint8)
    return cv2.LUT(image, levels[None])


def batch(images: Sequence[np.ndarray], view: View) -> np.ndarray:
    """Prepare and stack images, RGB uint8 of any sizes, into uint8 (N, size, size, 3)."""
    out = np.empty((len(images), view.size, view.size, 3), np.uint8)
    for i, image in enumerate(images):
        out[i] = view.prepare(image)
    return out


def normalise(pixels: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Turn RGB uint8 (N, H, W, 3) into float32 (N, 3, H, W), channels last in memory.

    ``mean`` and ``std`` are on a 0–1 scale: the result is ``(x / 255 − mean) / std``.
    """
    import torch

    shift = torch.tensor(mean, dtype=torch.float32, device=pixels.device) * 255
    scale = 1 / (torch.tensor(std, dtype=torch.float32, device=pixels.device) * 255)
    # (N, H, W, 3) seen as (N, 3, H, W) is the channels-last layout already: nothing is copied
    return pixels.permute(0, 3, 1, 2).float().sub_(shift.view(3, 1, 1)).mul_(scale.view(3, 1, 1))
