"""How good a restored scene is: what was invented, what is left, and whether the grain is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import cv2
import numpy as np

#: Below this quality a scene should not be used.
USABLE = 0.5


@dataclass(frozen=True)
class Measures:
    """Figures of a restored scene.

    Attributes
    ----------
    share
        Painted share of the image.
    reuse
        Painted slide for each pixel of the slide that its grain was taken from.
    invented
        Share of the painted slide whose grain is noise and not copied.
    guessed
        Share of the painted pixels that belong to red cells hidden by more than a third.
    stain
        Median darkening of the slide where the cell and its halo were, in grey levels, beyond what
        is there by chance: green channel, in which all stains absorb.
    grain
        Standard deviation of the grain (high-passed luminance) of the painted slide, over that of
        the bare slide of the image; 1 is equal. NaN where there is too little of either.
    residue
        Pixels around the former cell that still have the stain of white cells.
    seam
        Mean step between neighbours across the edge of the painted slide, over that between
        neighbours of the bare slide. NaN where there is none.
    """

    share: float = 0.0
    reuse: float = 0.0
    invented: float = 0.0
    guessed: float = 0.0
    stain: float = 0.0
    residue: float = 0.0
    grain: float = float("nan")
    seam: float = float("nan")

    def as_dict(self) -> dict[str, float | None]:
        """Return the figures as JSON values; NaN as ``None``."""
        return {k: float(v) if np.isfinite(v) else None for k, v in asdict(self).items()}


def measured(
    after: np.ndarray,
    *,
    smooth: np.ndarray,
    painted: np.ndarray,
    slide: np.ndarray,
    bare: np.ndarray,
    invented: float,
    guessed: float,
    residue: int,
) -> Measures:
    """Measure a restored scene.

    Parameters
    ----------
    after
        RGB uint8 (H, W, 3).
    smooth
        Float32 (H, W, 3): light with the fringes of cells, without grain.
    painted, slide, bare
        Bool (H, W): all that was painted; the painted slide; the slide that was always seen.
    invented
        See :class:`Measures`.
    guessed
        Pixels of red cells that were guessed.
    residue
        See :class:`Measures`.
    """
    high = grain_of(after)
    ratio = float("nan")
    if min(np.count_nonzero(slide), np.count_nonzero(bare)) > 200:
        ratio = float((high[slide].std() + 0.05) / (high[bare].std() + 0.05))
    stain = 0.0
    if slide.any() and bare.any():
        off = cv2.GaussianBlur((after[..., 1] - smooth[..., 1]).astype(np.float32), (0, 0), 2)
        stain = float(max(0.0, np.median(off[bare]) - np.quantile(off[slide], 0.1)))
        stain = max(0.0, stain - float(np.median(off[bare]) - np.quantile(off[bare], 0.1)))
    n = max(1, int(np.count_nonzero(painted)))
    return Measures(
        share=float(painted.mean()),
        reuse=int(np.count_nonzero(slide)) / max(1, int(np.count_nonzero(bare))),
        invented=invented,
        guessed=min(1.0, guessed / n),
        stain=stain,
        residue=float(residue),
        grain=ratio,
        seam=_seam(after, painted, slide, bare),
    )


def grain_of(image: np.ndarray) -> np.ndarray:
    """Return the high-passed luminance of RGB uint8 (H, W, 3), float32 (H, W)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return grey - cv2.GaussianBlur(grey, (0, 0), 2.0)


def _seam(after: np.ndarray, painted: np.ndarray, slide: np.ndarray, bare: np.ndarray) -> float:
    grey = after.astype(np.float32).mean(axis=2)
    open_ = slide | bare
    across, usual = [], []
    for a, b in ((np.s_[1:, :], np.s_[:-1, :]), (np.s_[:, 1:], np.s_[:, :-1])):
        step = np.abs(grey[a] - grey[b])
        across.append(step[(painted[a] != painted[b]) & open_[a] & open_[b]])
        usual.append(step[bare[a] & bare[b]])
    edge, ground = np.concatenate(across), np.concatenate(usual)
    if len(edge) < 30 or len(ground) < 200:
        return float("nan")
    return float((edge.mean() + 0.05) / (ground.mean() + 0.05))


def quality_of(found: Measures) -> tuple[float, tuple[str, ...]]:
    """Return the quality, 0–1, and the reasons that lower it below what is good."""
    factors = [
        (_fall(found.share, 0.7, 1.1), f"{found.share:.0%} of the image had to be painted"),
        (
            _fall(found.reuse, 6, 25),
            f"little bare slide: its grain was used {found.reuse:.0f} times over",
        ),
        (_fall(found.invented, 0.1, 1.4), "no bare slide to take grain from"),
        (
            _fall(found.guessed, 0.2, 0.8),
            f"red cells hidden by more than a third: {found.guessed:.0%} of what was painted",
        ),
        (_fall(found.stain, 2.0, 9.0), f"stain left where the cell was: {found.stain:.1f} levels"),
        (
            _fall(found.residue, 10, 80),
            f"pieces of the cell left beside it: {found.residue:.0f} pixels",
        ),
        (
            _fall(abs(np.log(found.grain)) if np.isfinite(found.grain) else 0.0, 0.25, 1.0),
            f"grain of the painted slide is {found.grain:.2f} × that of the image",
        ),
        (
            _fall(np.log(max(found.seam, 1)) if np.isfinite(found.seam) else 0.0, 0.4, 1.6),
            f"steps at the seam are {found.seam:.1f} × those of the slide",
        ),
    ]
    quality = float(np.prod([factor for factor, _ in factors]))
    return quality, tuple(text for factor, text in factors if factor < 0.9)


def _fall(value: float, good: float, bad: float) -> float:
    """Return 1 up to ``good``, 0 from ``bad`` on, in between a straight line."""
    return float(np.clip((bad - value) / (bad - good), 0, 1))


def combined(found: Sequence[tuple[Measures, int]], pixels: int) -> Measures:
    """Return the measures of a field from those of its tiles and how much was painted in each."""
    weights = np.array([n for _, n in found], float)
    values: dict[str, float] = {}
    for name in (f.name for f in fields(Measures)):
        column = np.array([getattr(measures, name) for measures, _ in found], float)
        known = np.isfinite(column) & (weights > 0)
        default = getattr(Measures(), name)
        values[name] = (
            float(np.average(column[known], weights=weights[known])) if known.any() else default
        )
    values["residue"] = float(sum(measures.residue for measures, _ in found))
    values["share"] = float(weights.sum()) / pixels
    return Measures(**values)
