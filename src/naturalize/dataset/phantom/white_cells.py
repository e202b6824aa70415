"""White cells (and erythroblasts): outline, nucleus, cytoplasm and granules by class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from naturalize.dataset.phantom import shapes
from naturalize.dataset.phantom.nuclei import draw_nucleus
from naturalize.dataset.phantom.shapes import Window, granules, mesh, smooth_noise
from naturalize.dataset.phantom.stains import Stain

Range = tuple[float, float]


@dataclass(frozen=True)
class Kind:
    """What a class looks like; amounts are of the dyes in `stains`, drawn evenly from the range.

    ``radius``, ``grain`` (size of the chromatin's clumps) and ``rough`` (fine unevenness of the
    edge) are field pixels; ``wobble`` is the unevenness of the outline, relative to the radius.
    ``chromatin`` is an amount of dye, ``openness`` how strongly light gaps break it up. ``rna``,
    ``pink`` and ``body`` are the blue, eosin and neutral amounts of the cytoplasm, ``deep_rim`` how
    much bluer it is at the cell's edge. ``fine`` (azure) and ``coarse`` (``coarse_dye``) granules
    are grains per 1,000 square pixels, of which the share ``over_nucleus`` also lie over the
    nucleus. ``vacuoles`` and ``nucleoli`` are the largest numbers.
    """

    radius: Range
    wobble: float
    chromatin: Range
    openness: Range
    grain: float
    rna: Range
    pink: Range
    body: Range
    deep_rim: float = 0.0
    fine: Range = (0, 0)
    coarse: Range = (0, 0)
    coarse_dye: str = "eosin"
    coarse_size: float = 4.0
    over_nucleus: float = 0.0
    rough: float = 0.5
    vacuoles: int = 0
    nucleoli: int = 0


KINDS: dict[str, Kind] = {
    "BA": Kind(
        (57, 70), 0.02, (0.66, 0.84), (0.2, 0.35), 3.6, (0.1, 0.4), (0.0, 0.15), (0.7, 1.4),
        coarse=(40, 66), coarse_dye="basophilic", coarse_size=4.8, over_nucleus=1.0,
    ),
    "BNE": Kind(
        (63, 79), 0.03, (0.95, 1.08), (0.28, 0.46), 4.4, (0.0, 0.22), (0.02, 0.18), (0.7, 1.5),
        fine=(4, 18),
    ),
    "EO": Kind(
        (63, 78), 0.025, (0.92, 1.05), (0.3, 0.46), 4.2, (0.05, 0.35), (0.2, 0.45), (0.5, 1.0),
        coarse=(60, 90), coarse_dye="eosin", coarse_size=4.2,
    ),
    "ERB": Kind(
        (41, 56), 0.045, (1.05, 1.25), (0.05, 0.25), 4.6, (0.35, 0.95), (0.0, 0.2), (1.0, 2.2),
    ),
    "LY": Kind(
        (46, 61), 0.045, (0.95, 1.12), (0.18, 0.32), 4.6, (0.5, 1.0), (0.0, 0.08), (0.5, 1.2),
        deep_rim=0.4, fine=(0, 4), rough=0.9,
    ),
    "MMY": Kind(
        (62, 77), 0.025, (0.88, 1.04), (0.3, 0.5), 4.4, (0.05, 0.45), (0.02, 0.2), (0.7, 1.5),
        fine=(5, 24), over_nucleus=0.05,
    ),
    "MO": Kind(
        (68, 90), 0.055, (0.78, 0.98), (0.3, 0.46), 4.2, (0.4, 0.95), (0.0, 0.1), (0.9, 1.6),
        deep_rim=0.15, fine=(3, 14), vacuoles=6, rough=1.0,
    ),
    "MY": Kind(
        (62, 80), 0.03, (0.82, 1.0), (0.32, 0.5), 3.8, (0.15, 0.6), (0.02, 0.18), (0.7, 1.5),
        fine=(6, 34), over_nucleus=0.2,
    ),
    "PMY": Kind(
        (68, 88), 0.035, (0.7, 0.92), (0.32, 0.48), 3.2, (0.55, 1.1), (0.0, 0.1), (0.7, 1.3),
        deep_rim=0.3, fine=(30, 70), over_nucleus=0.6, nucleoli=3,
    ),
    "SNE": Kind(
        (64, 82), 0.03, (0.98, 1.1), (0.26, 0.44), 4.4, (0.0, 0.2), (0.02, 0.2), (0.7, 1.5),
        fine=(4, 20),
    ),
}  # fmt: skip


def draw_radius(draw: np.random.Generator, label: str) -> float:
    """Draw the radius of a white cell in field pixels."""
    return float(draw.uniform(*KINDS[label].radius))


def paint_white_cell(
    draw: np.random.Generator, label: str, radius: float, at: Window, stain: Stain
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw one white cell of class ``label`` and ``radius`` (field pixels) over the window.

    Return the distances to the cell and to its nucleus in field pixels, and the optical density.
    """
    kind = KINDS[label]
    cell = _outline(draw, kind, radius, at)
    x, y = _warped(draw, at, radius, 0.03 + 0.3 * kind.wobble)
    nucleus = draw_nucleus(draw, label)(x / radius, y / radius) * np.float32(radius)
    nucleus = shapes.within(nucleus, cell + np.float32(draw.uniform(1.0, 3.5)), 2.0)
    inside = shapes.coverage(cell, at.scale, 1.5)
    core = shapes.coverage(nucleus, at.scale, 1.6)
    sap = _cytoplasm(draw, kind, radius, at, cell, stain)
    chromatin = _chromatin(draw, kind, radius, at, nucleus)
    density = sap * (1 - core)[..., None] + (chromatin * core)[..., None] * stain["chromatin"]
    density += _granules(draw, kind, at, cell, nucleus, stain)
    density *= inside[..., None]
    return cell, nucleus, density


def _outline(draw: np.random.Generator, kind: Kind, radius: float, at: Window) -> np.ndarray:
    amplitudes = np.abs(draw.normal(0, kind.wobble, 5)) * (1.2, 0.7, 0.35, 0.3, 0.25)
    phases = draw.uniform(0, 2 * np.pi, 5)
    harmonics = [(k + 2, float(amplitudes[k]), float(phases[k])) for k in range(5)]
    smooth = shapes.outline(at.x, at.y, radius, harmonics)
    return smooth + np.float32(kind.rough) * smooth_noise(draw, at.shape, 8 * at.scale)


def _warped(
    draw: np.random.Generator, at: Window, radius: float, amount: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the window's coordinates shaken by smooth noise: no nucleus is a perfect figure."""
    grain = 0.55 * radius * at.scale
    by = np.float32(amount * radius)
    return (
        at.x + by * smooth_noise(draw, at.shape, grain),
        at.y + by * smooth_noise(draw, at.shape, grain),
    )


def _cytoplasm(
    draw: np.random.Generator,
    kind: Kind,
    radius: float,
    at: Window,
    cell: np.ndarray,
    stain: Stain,
) -> np.ndarray:
    cloud = 1 + 0.10 * smooth_noise(draw, at.shape, 0.5 * radius * at.scale)
    cloud += 0.10 * mesh(draw, at.shape, 4.5 * at.scale)
    rna, pink, body = (np.float32(draw.uniform(*r)) for r in (kind.rna, kind.pink, kind.body))
    edge = np.exp(cell / np.float32(0.16 * radius))
    blue: np.ndarray = rna * cloud * (1 + np.float32(kind.deep_rim) * (np.minimum(edge, 1) - 0.4))
    membrane = np.float32(0.35) * np.exp(-((cell / 1.6) ** 2))
    neutral = body * cloud + membrane
    for _ in range(draw.integers(0, kind.vacuoles + 1)):
        keep = _vacuole(draw, radius, at)
        blue, neutral = blue * keep, neutral * keep
    return (
        blue[..., None] * stain["rna"]
        + (pink * cloud)[..., None] * stain["eosin"]
        + neutral[..., None] * stain["cytoplasm"]
    )


def _vacuole(draw: np.random.Generator, radius: float, at: Window) -> np.ndarray:
    """Return what one vacuole leaves of the cytoplasm, 0-1, over the window."""
    far, angle = radius * np.sqrt(draw.uniform(0.05, 0.8)), draw.uniform(0, 2 * np.pi)
    size = draw.uniform(2.2, 4.5)
    hole = np.hypot(at.x - far * np.cos(angle), at.y - far * np.sin(angle)) - np.float32(size)
    return 1 - np.float32(0.85) * shapes.coverage(hole, at.scale, 2.0 * max(1.0, at.scale))


def _chromatin(
    draw: np.random.Generator, kind: Kind, radius: float, at: Window, nucleus: np.ndarray
) -> np.ndarray:
    amount = np.float32(draw.uniform(*kind.chromatin))
    openness = np.float32(draw.uniform(*kind.openness))
    net = 0.8 * mesh(draw, at.shape, 0.75 * kind.grain * at.scale)
    net += 0.6 * mesh(draw, at.shape, 1.5 * kind.grain * at.scale)
    slow = smooth_noise(draw, at.shape, 0.35 * radius * at.scale)
    gaps = 1 / (1 + np.exp(np.float32(3.2) * (net + np.float32(0.25) - np.float32(0.4) * slow)))
    rim = np.exp(-((nucleus / np.float32(2.2)) ** 2))
    amount_here = amount * (1.05 - 1.35 * openness * gaps * (1 - 0.75 * rim))
    for _ in range(draw.integers(min(1, kind.nucleoli), kind.nucleoli + 1)):
        far, angle = 0.42 * radius * np.sqrt(draw.random()), draw.uniform(0, 2 * np.pi)
        size = draw.uniform(0.09, 0.14) * radius
        spot = np.hypot(at.x - far * np.cos(angle), at.y - far * np.sin(angle)) / np.float32(size)
        amount_here *= 1 - 0.38 * np.exp(-(spot**4))
    return amount_here


def _granules(
    draw: np.random.Generator,
    kind: Kind,
    at: Window,
    cell: np.ndarray,
    nucleus: np.ndarray,
    stain: Stain,
) -> np.ndarray:
    sap = shapes.coverage(cell + 3, at.scale) * (1 - shapes.coverage(nucleus - 1, at.scale))
    over = shapes.coverage(cell + 2, at.scale) * shapes.coverage(nucleus, at.scale)
    where = sap + np.float32(kind.over_nucleus) * over
    where = where * np.clip(1 + 0.5 * smooth_noise(draw, at.shape, 30 * at.scale), 0.1, 2)
    area = float((sap + np.float32(kind.over_nucleus) * over).sum()) / at.scale**2 / 1000
    total = np.zeros((*at.shape, 3), np.float32)
    if kind.fine[1]:
        count = int(area * draw.uniform(*kind.fine))
        size = draw.uniform(1.6, 2.6)
        amount = draw.uniform(0.45, 0.9)
        grains = granules(draw, where, count=count, diameter=max(0.9, size * at.scale))
        total += (np.float32(amount) * (1 - np.exp(-grains)))[..., None] * stain["azure"]
    if kind.coarse[1]:
        total += _coarse(draw, kind, at, where, area)[..., None] * stain[kind.coarse_dye]
    return total


def _coarse(
    draw: np.random.Generator, kind: Kind, at: Window, where: np.ndarray, area: float
) -> np.ndarray:
    """Return crowded round granules; light gaps between them make them count as grains."""
    count = int(area * draw.uniform(*kind.coarse))
    size = max(1.0, kind.coarse_size * draw.uniform(0.85, 1.15) * at.scale)
    grains = granules(draw, where, count=count, diameter=size, spread=0.2)
    return np.float32(draw.uniform(0.7, 1.0)) * (1 - np.exp(-0.8 * grains))
