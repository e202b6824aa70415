"""Outlines of cells over images: one picture, or a sheet of many."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from naturalize.base.plots import KIND_COLOURS, KIND_KEY
from naturalize.cells.segmentation import Cell, Segmentation

#: Sub-pixel positions of OpenCV's lines: 4 binary digits.
_SHIFT = 4

#: Pictures on a sheet, and their side in pixels.
SHEET, _TILE = 24, 256


def overlay(image: np.ndarray, segmentation: Segmentation) -> np.ndarray:
    """Return RGB uint8 (H, W, 3) with the outlines of cells and nuclei in the colours of kinds.

    Lines lie on the cells' rims and grow with the image, so that they are still seen when a whole
    field is shown on a screen.
    """
    drawn = image.copy()
    draw_outlines(drawn, segmentation)
    return drawn


def draw_outlines(image: np.ndarray, segmentation: Segmentation) -> None:
    """Draw the outlines of :func:`overlay` into the image itself, writable RGB uint8 (H, W, 3)."""
    side = max(image.shape[:2])
    fine = max(1, round(side / 1400))
    bold = fine + (side >= 240)
    for kind in ("rbc", "platelet", "wbc"):
        width = fine if kind == "rbc" else bold
        for cell in segmentation.of(kind):
            if cell.nucleus is not None:
                _outline(image, cell, cell.nucleus, KIND_COLOURS["nucleus"], bold)
            _outline(image, cell, cell.mask, KIND_COLOURS[kind], width)


def _outline(
    image: np.ndarray, cell: Cell, mask: np.ndarray, colour: tuple[int, int, int], width: int
) -> None:
    """Draw the rim of a mask, smoothed by a pixel so that it is no staircase."""
    pad = 2
    smooth = cv2.GaussianBlur(np.pad(mask, pad).astype(np.float32), (0, 0), 0.9)
    found, _ = cv2.findContours(
        (smooth > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    offset = np.array([cell.box[0] - pad, cell.box[1] - pad])
    for contour in found:
        points = _smooth(contour[:, 0].astype(np.float32)) + offset
        fixed = np.rint(points * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(image, [fixed[:, None]], True, colour, width, cv2.LINE_AA, _SHIFT)


def _smooth(points: np.ndarray) -> np.ndarray:
    """Return a closed outline (n, 2), each point the mean of five neighbours."""
    if len(points) < 8:
        return points
    wrapped = np.concatenate([points[-2:], points, points[:2]])
    return np.stack([wrapped[k : k + len(points)] for k in range(5)]).mean(axis=0)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return RGB uint8 (H, W, 3) as small as a sheet shows it."""
    from naturalize.base.sheets import fit

    return np.asarray(fit(image, _TILE))


def sheet(pictures: Sequence[np.ndarray], captions: Sequence[str], *, title: str) -> np.ndarray:
    """Return thumbnails of overlays side by side, with captions and a key of the colours."""
    from naturalize.base.sheets import contact_sheet

    if len(pictures) >= 3:  # else there is no room for more than the title
        title += f": {KIND_KEY}"
    return contact_sheet(pictures, captions=captions, tile=_TILE, title=title)
