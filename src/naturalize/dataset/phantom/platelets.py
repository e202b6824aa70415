"""Platelets: small, pale blue, with a knot of purple grains and a ragged edge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from naturalize.dataset.phantom import shapes
from naturalize.dataset.phantom.shapes import Window, granules, mesh
from naturalize.dataset.phantom.stains import Stain


@dataclass(frozen=True)
class Platelet:
    """One platelet before it is painted."""

    centre: tuple[float, float]
    radius: float
    harmonics: tuple[tuple[int, float, float], ...]
    density: float


def draw_platelet(
    draw: np.random.Generator, centre: tuple[float, float], radius: float
) -> Platelet:
    """Draw the outline and the stain of one platelet of ``radius`` field pixels."""
    ragged = draw.uniform(0.3, 1.0)
    phases = draw.uniform(0, 2 * np.pi, 4)
    harmonics = (
        (2, abs(draw.normal(0, 0.10)), phases[0]),
        (3, abs(draw.normal(0, 0.06)), phases[1]),
        (int(draw.integers(5, 8)), 0.05 * ragged, phases[2]),
        (int(draw.integers(9, 14)), 0.05 * ragged, phases[3]),
    )
    return Platelet(centre, radius, harmonics, draw.uniform(0.55, 1.1))


def paint_platelet(
    platelet: Platelet, at: Window, inside: np.ndarray, stain: Stain, draw: np.random.Generator
) -> np.ndarray:
    """Return the optical density float32 (h, w, 3) of the platelet over its window."""
    cover = shapes.coverage(inside, at.scale, 1.4)
    depth = np.clip(-inside / np.float32(platelet.radius), 0, 1)
    core = np.clip(depth * 2.6 - 0.25, 0, 1) * cover
    count = int(30 + 0.16 * platelet.radius**2)
    grains = granules(draw, core, count=count, diameter=max(1.0, 3.6 * at.scale))
    grains = 1 - np.exp(-0.85 * grains)
    veil = 0.75 + 0.12 * mesh(draw, at.shape, 4 * at.scale)
    strength = np.float32(platelet.density)
    blue = cover * veil * (0.35 + 0.35 * strength)
    purple = core * (0.18 + 0.85 * grains) * strength
    knot = core * grains * np.clip(depth * 2 - 0.5, 0, 1) * np.float32(0.22) * strength
    return (
        blue[..., None] * stain["rna"]
        + purple[..., None] * stain["azure"]
        + knot[..., None] * stain["chromatin"]
    )


def distance(platelet: Platelet, at: Window) -> np.ndarray:
    """Return the signed distance to the platelet's edge over the window."""
    return shapes.outline(at.x, at.y, platelet.radius, platelet.harmonics)
