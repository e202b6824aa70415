"""Kept pictures guard the drawing: a change of looks must be meant.

After a change that is meant, look at the new pictures, then keep them:
``NATURALIZE_KEEP_GOLDEN=1 pytest tests/phantom/test_phantom_golden.py``.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from naturalize.base.images import read_image, write_image
from naturalize.dataset.phantom import CLASSES, render_phantom

GOLDEN = Path(__file__).parent / "golden"


def middle(label: str) -> np.ndarray:
    """Return the middle of a phantom image at half its size: RGB uint8 (96, 96, 3)."""
    image = render_phantom(label, seed=0, index=0).image[85:277, 84:276]
    return cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("label", CLASSES)
def test_the_drawing_is_the_one_that_was_kept(label):
    file, drawn = GOLDEN / f"{label}.png", middle(label)
    if os.environ.get("NATURALIZE_KEEP_GOLDEN"):
        write_image(file, drawn)
    off = np.abs(drawn.astype(int) - read_image(file))
    # float rounding differs a little between processors; a moved edge or dye does not pass
    assert off.mean() < 0.25
    assert (off > 6).mean() < 0.002


def test_the_guard_notices_a_change():
    kept = read_image(GOLDEN / "SNE.png").astype(int)
    other = cv2.resize(
        render_phantom("SNE", seed=0, index=1).image[85:277, 84:276], (96, 96)
    ).astype(int)
    assert np.abs(kept - other).mean() > 2
