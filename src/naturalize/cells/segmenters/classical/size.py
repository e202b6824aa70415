"""How large the cell is that an image was taken of, without an outline, in a few milliseconds."""

from __future__ import annotations

import cv2
import numpy as np

from naturalize.cells.segmenters.classical import limits, white
from naturalize.cells.segmenters.classical.view import view
from naturalize.imaging.shape import off_target


def area_of_target(image: np.ndarray) -> float | None:
    """Return the area of the stained cell in the middle of an image, in its pixels.

    Nucleus and cytoplasm: what hangs together with the nucleus and has colours that are seen near
    it only (`white.evidence`), in a small picture. It ranks cells; `Classical` outlines them.
    ``image``: RGB uint8 (H, W, 3). Null where nothing is stained as nuclei are.
    """
    height, width = image.shape[:2]
    factor = max(1, min(height, width) // limits.SIZED_AT)
    size = width // factor, height // factor
    whole = image[: size[1] * factor, : size[0] * factor]  # whole factors are fast
    seen = view(cv2.resize(whole, size, interpolation=cv2.INTER_AREA))
    radius = min(size) / limits.SIDES_TO_RADIUS
    groups = white.seeds(seen.azure, white.threshold(seen.azure), limits.LOBES_TOGETHER * radius)
    if not groups:
        return None
    x, y, wide, high = np.array([cv2.boundingRect(g.mask.view(np.uint8)) for g in groups]).T
    boxes, areas = np.stack([x, y, x + wide, y + high], 1), np.array([g.area for g in groups])
    nucleus = groups[int(off_target(boxes, areas, seen.shape).argmin())].mask
    proof = (white.evidence(seen, nucleus, radius) > 0).view(np.uint8)
    cell = cv2.morphologyEx(proof, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) | nucleus
    _, pieces = cv2.connectedComponents(cell)
    pixels = np.count_nonzero(np.isin(pieces, np.unique(pieces[nucleus])))
    return float(pixels * factor**2)
