"""Pictures of which all is known, and what libjpeg makes of them."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image

from naturalize.base.rng import rng


def smooth(shape: tuple[int, int], key: str) -> np.ndarray:
    """Return a picture with structure at all scales and no clipped value."""
    noise = rng(0, "recode", key).standard_normal((*shape, 3)).astype(np.float32)
    parts = [cv2.GaussianBlur(noise, (0, 0), s) * s * 14 for s in (1.0, 3.0, 9.0)]
    return np.clip(150 + sum(parts), 20, 235).astype(np.uint8)


def through_libjpeg(image: np.ndarray, quality: int, subsampling: str = "4:4:4") -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "jpeg", quality=quality, subsampling=subsampling)
    return np.array(Image.open(io.BytesIO(buffer.getvalue())))
