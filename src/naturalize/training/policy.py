"""RandAugment: timm's operations, but all that they draw comes from a seed."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from naturalize.imaging.slide import slide_colour

#: timm draws from the interpreter's own generators: one at a time may borrow them.
_BORROWED = threading.RLock()


@dataclass(frozen=True)
class Policy:
    """How many operations, how strong (0–10), and the seed of which ones and to which side."""

    operations: int
    magnitude: float
    seed: int


def randaugment(image: np.ndarray, policy: Policy) -> np.ndarray:
    """Apply operations of RandAugment (Cubuk et al., CVPR Workshops 2020).

    Which of the 15, and to which side, follows from the policy's seed. What is moved in from
    outside has the colour of the image's slide.

    Parameters
    ----------
    image
        RGB uint8 (S, S, 3).

    Returns
    -------
    numpy.ndarray
        RGB uint8 (S, S, 3).
    """
    from naturalize.models.torchvision_compat import ensure

    ensure()
    from PIL import Image
    from timm.data.auto_augment import RandAugment, rand_augment_choices, rand_augment_ops

    slide = tuple(round(value) for value in slide_colour(image))
    ops = rand_augment_ops(
        policy.magnitude,
        prob=1.0,
        hparams={
            "img_mean": slide,
            "interpolation": Image.Resampling.BILINEAR,
            "translate_const": round(0.45 * len(image)),
        },
        transforms=rand_augment_choices("", increasing=True),
    )
    with _seeded(policy.seed):
        made = RandAugment(ops, policy.operations)(Image.fromarray(image))
    return np.array(made)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the interpreter's and numpy's own generators, and leave them as they were after."""
    with _BORROWED:
        ours, theirs = random.getstate(), np.random.get_state()  # noqa: NPY002 - timm draws there
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(ours)
            np.random.set_state(theirs)  # noqa: NPY002
