"""Small images with texture, and trees of them, for the tests of this room."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, *, size: tuple[int, int] = (64, 60)) -> np.ndarray:
    """A smooth random colour picture (width, height), different for each seed."""
    noise = np.random.default_rng(seed).integers(0, 255, (6, 6, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC))


def jpeg(image: np.ndarray, quality: int = 90, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, **options)
    return buffer.getvalue()


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def tree(root: Path, counts: dict[str, int], *, seed: int = 0) -> Path:
    """A folder a class with different pictures."""
    for k, (label, n) in enumerate(counts.items()):
        for i in range(n):
            put(root / label / f"{i:03d}.jpg", jpeg(picture(seed + 1000 * k + i)))
    return root
