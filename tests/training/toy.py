"""Toy images for the tests of training: three classes, told apart by the colour of a disc."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.images import write_image
from naturalize.training.settings import TrainSettings

COLOURS = {"blue": (60, 60, 200), "green": (60, 180, 60), "red": (200, 60, 60)}


def write_toys(root: Path, per_class: int = 20, side: int = 24) -> Path:
    generator = np.random.default_rng(1)
    y, x = np.mgrid[:side, :side]
    for label, colour in COLOURS.items():
        for i in range(per_class):
            image = generator.integers(180, 256, (side, side, 3))
            cx, cy = generator.uniform(side * 0.35, side * 0.65, 2)
            disc = (x - cx) ** 2 + (y - cy) ** 2 < (side * 0.3) ** 2
            noise = generator.integers(-40, 41, (int(disc.sum()), 3))
            image[disc] = np.clip(np.array(colour) + noise, 0, 255)
            write_image(root / label / f"{i:03d}.png", image.astype(np.uint8))
    return root


#: A run of seconds.
TINY = TrainSettings(
    model="custom_cnn",
    input_size=16,
    epochs=3,
    batch_size=12,
    samples_per_epoch=72,
    lr=3e-3,
    device="cpu",
)


def fit(toys: Any, out: Path, settings: TrainSettings = TINY, **options: Any) -> Path:
    from naturalize.training.fit import train

    catalog, split, _ = toys
    return train(settings, catalog, split, out=out, **options)
