"""White cells: found by their nucleus, outlined by what is neither slide nor red cell."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from naturalize.cells.segmenters.classical.contour import fill, star
from naturalize.cells.segmenters.classical.view import View


@dataclass(frozen=True, eq=False)
class Seed:
    """A group of nuclear lobes at working resolution: mask, centre, area, mean nuclear stain."""

    mask: np.ndarray
    centre: tuple[float, float]
    area: int
    stain: float


def seeds(view: View, level: float, radius: float) -> list[Seed]:
    """Return groups of nuclear pixels, lobes of one cell together; small groups included."""
    core = (view.nuclear > level).astype(np.uint8)
    core = cv2.morphologyEx(core, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    reach = max(1, round(0.22 * radius))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    joined = cv2.morphologyEx(core, cv2.MORPH_CLOSE, disc)
    n, labels, stats, centres = cv2.connectedComponentsWithStats(joined, connectivity=8)
    found = []
    for k in range(1, n):
        mask = (labels == k) & (core > 0)
        area = int(np.count_nonzero(mask))
        if area >= 8:
            centre = (float(centres[k][0]), float(centres[k][1]))
            found.append(Seed(mask, centre, area, float(view.nuclear[mask].mean())))
    return found


def red_direction(view: View, foreground: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Return the mean density (3,) of red cells: foreground away from nuclei.

    Where too little is seen, the colour of an eosinophilic disc is taken.
    """
    away = foreground & ~near & (view.nuclear < 0.3)
    if np.count_nonzero(away) < 150:
        return np.array([0.10, 0.17, 0.12], np.float32)
    return np.median(view.density[away], axis=0).astype(np.float32)


def evidence(view: View, red: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """Return where a white cell may be: above 0 where a pixel is neither slide nor red cell.

    Slide, pale and dark parts of red cells lie on a line in density space (more or less of one
    pigment); the distance from that line speaks for a white cell.
    """
    unit = red / max(float(np.linalg.norm(red)), 1e-6)
    along = view.density @ unit
    off = view.density - along[..., None] * unit
    distance = np.linalg.norm(off, axis=2)
    tolerance = 2.2 * view.noise + 0.10 * np.clip(along, 0, 0.4)
    score = np.clip((distance - tolerance) / (1.5 * view.noise + 0.02), -1, 1)
    return np.where(sure, 1.5, score).astype(np.float32)


def outline(view: View, seed: Seed, proof: np.ndarray, reach: float) -> tuple[np.ndarray, float]:
    """Return the outline (n, 2) of the white cell of ``seed``, in working pixels."""
    points, total = star(proof, seed.centre, reach, stiffness=2)
    inside = fill(points, proof.shape)
    if inside.any():
        rows, columns = np.nonzero(inside)
        points, total = star(proof, (float(columns.mean()), float(rows.mean())), reach, stiffness=2)
    return points, total
