"""Draws ``docs/assets/phantom.jpg``: all classes of the phantom with names, and one truth.

python -m tools.gallery -o docs/assets/phantom.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from naturalize.base.images import write_image
from naturalize.base.plots import KIND_COLOURS
from naturalize.base.sheets import contact_sheet
from naturalize.dataset.phantom.scene import CLASSES, PhantomImage, render_phantom
from naturalize.dataset.schemes import CLASS_NAMES


def gallery(seed: int = 0, index: int = 0, *, tile: int = 190) -> np.ndarray:
    """Return one image a class with its name, and the truth of the last: RGB uint8 (H, W, 3)."""
    images = [render_phantom(label, seed, index) for label in CLASSES]
    tiles = [phantom.image for phantom in images] + [truth_overlay(images[-1])]
    captions = [f"{label}  {CLASS_NAMES[label]}" for label in CLASSES] + [
        "the truth of the last one"
    ]
    return contact_sheet(tiles, captions=captions, columns=6, tile=tile)


def truth_overlay(phantom: PhantomImage) -> np.ndarray:
    """Return the image with outlines of the true masks by kind, the nucleus filled: RGB uint8."""
    out = phantom.image.copy()
    nucleus = phantom.nucleus_image()
    bright = np.array(KIND_COLOURS["nucleus"])
    out[nucleus] = (0.35 * out[nucleus] + 0.65 * bright).astype(np.uint8)
    for cell in phantom.cells:
        contours, _ = cv2.findContours(
            cell.mask.astype(np.uint8),
            cv2.RETR_EXTERNAL,
            cv2.CHAIN_APPROX_NONE,
            offset=cell.box[:2],
        )
        cv2.drawContours(out, contours, -1, KIND_COLOURS[cell.kind], 2)
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, required=True, help="picture to write")
    write_image(parser.parse_args().out, gallery(), quality=88)
