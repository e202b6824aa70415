"""Other ways to paste the same cells: the references that rendering is measured against."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from naturalize.compose.paint.crops import CropStore
from naturalize.compose.paint.sizes import EDGE, PAD
from naturalize.compose.recipe.plan import Plan
from naturalize.compose.recipe.recipe import Placement, Recipe

#: Softness of the edges: ours fades over 2 pixels; a Gaussian of this sigma is about as soft.
FEATHER, SIGMA = 2.0, 0.8

#: Cell → colours, mask and blurred mask, float32, decoded and ready in memory.
Cells = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]


def float_cells(drawn: Plan, store: CropStore) -> Cells:
    """Return each cell's colours, mask and blurred mask, as the NumPy paster keeps them."""
    found = {}
    for cell_id, _, _ in drawn.cells():
        patch, inner = store.patch(cell_id), np.s_[PAD:-PAD, PAD:-PAD]
        mask = (patch.edge[inner] > EDGE).astype(np.float32)
        found[cell_id] = (patch.colours[inner].astype(np.float32), mask, blurred(mask))
    return found


def blurred(mask: np.ndarray) -> np.ndarray:
    """Return a soft mask."""
    return cv2.GaussianBlur(mask, (0, 0), SIGMA, borderType=cv2.BORDER_CONSTANT)


def paste_plainly(recipe: Recipe, *, cells: Cells, ready: bool) -> np.ndarray:
    """Paste as most scripts do: float32, ``alpha * cell + (1 - alpha) * canvas`` in a window."""
    canvas = np.empty((recipe.height, recipe.width, 3), np.float32)
    canvas[:] = recipe.background.colour
    for p in recipe.placements:
        rgb, mask, soft = cells[p.cell_id]
        alpha = soft if ready else blurred(mask)
        if p.angle:
            rgb, alpha = turned(rgb, p.angle), turned(alpha, p.angle)
        height, width = alpha.shape
        left, top = corner(p, width, height)
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + width, recipe.width), min(top + height, recipe.height)
        seen = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        weight = alpha[seen][:, :, None]
        canvas[y0:y1, x0:x1] = weight * rgb[seen] + (1 - weight) * canvas[y0:y1, x0:x1]
    return np.clip(canvas + 0.5, 0, 255).astype(np.uint8)


def corner(placed: Placement, width: int, height: int) -> tuple[int, int]:
    """Return left and top of a cell of this size."""
    return round(placed.cx - width / 2), round(placed.cy - height / 2)


def turned(plane: np.ndarray, angle: float) -> np.ndarray:
    """Return a plane turned, as large as it then has to be."""
    height, width = plane.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = int(np.ceil(height * sin + width * cos)), int(np.ceil(height * cos + width * sin))
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    return cv2.warpAffine(plane, matrix, size)


def pillow_cells(cells: Cells) -> dict[str, Image.Image]:
    """Return each cell as RGBA, its mask as alpha."""
    planes = {
        k: np.dstack([rgb, 255 * mask]).astype(np.uint8) for k, (rgb, mask, _) in cells.items()
    }
    return {k: Image.fromarray(plane, "RGBA") for k, plane in planes.items()}


def paste_with_pillow(recipe: Recipe, *, cells: dict[str, Image.Image]) -> np.ndarray:
    """Rotate and paste with Pillow, as the paper would."""
    colour = tuple(int(value) for value in recipe.background.colour)
    canvas = Image.new("RGB", (recipe.width, recipe.height), colour)
    for p in recipe.placements:
        cell = cells[p.cell_id]
        if p.angle:
            cell = cell.rotate(p.angle, Image.Resampling.BILINEAR, expand=True)
        canvas.paste(cell, corner(p, *cell.size), cell)
    return np.asarray(canvas)


def clone_seamlessly(recipe: Recipe, *, cells: Cells) -> np.ndarray:
    """Blend every cell with ``cv2.seamlessClone``."""
    canvas = np.empty((recipe.height, recipe.width, 3), np.uint8)
    canvas[:] = recipe.background.colour
    for p in recipe.placements:
        rgb, mask, _ = cells[p.cell_id]
        rgb, inside = rgb.astype(np.uint8), (255 * mask).astype(np.uint8)
        if p.angle:
            rgb, inside = turned(rgb, p.angle), turned(inside, p.angle)
        inside = cv2.threshold(inside, 127, 255, cv2.THRESH_BINARY)[1]
        height, width = inside.shape
        x = min(max(round(p.cx), width // 2 + 1), recipe.width - width // 2 - 2)
        y = min(max(round(p.cy), height // 2 + 1), recipe.height - height // 2 - 2)
        canvas = cv2.seamlessClone(rgb, canvas, inside, (x, y), cv2.NORMAL_CLONE)
    return canvas


#: Runs in another environment: 9 objects of their own size on a canvas, files cached.
_CAP = """
import sys, time, warnings
from pathlib import Path
import cv2, numpy as np
from cap_augmentation import CapAug
warnings.simplefilter("ignore")
cv2.setNumThreads(1)
files = sorted(str(f) for f in Path(sys.argv[1]).glob("*.png"))
n, rounds = int(sys.argv[2]), int(sys.argv[3])
canvas = np.full((363, 360, 3), (203, 229, 253), np.uint8)
paste = CapAug(files, n_objects_range=(9, 9), s_range=(1.0, 1.0), x_range=(60, 300),
               y_range=(100, 340), blending_coeff=float(sys.argv[4]), cache_size=len(files), rng=0)
took = []
for turn in range(rounds + 1):
    start = time.process_time()
    for _ in range(n):
        paste(canvas.copy())
    if turn:
        took.append(time.process_time() - start)
print(n / sorted(took)[len(took) // 2])
"""


def rate_of_cap_augmentation(
    python: str, cells: dict[str, Image.Image], folder: Path, n: int, rounds: int, soft: float
) -> float:
    """Return images a second of the package ``cap-augmentation`` in the environment ``python``."""
    folder.mkdir(exist_ok=True)
    for number, cell in enumerate(cells.values()):
        cell.save(folder / f"{number}.png")
    words = [python, "-c", _CAP, str(folder), str(n), str(rounds), str(soft)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"cap-augmentation failed in {python}:\n{done.stderr}")
    return float(done.stdout)
