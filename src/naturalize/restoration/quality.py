"""How good a restored scene is: what was invented, what is left, and whether the grain is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np

#: Below this quality a scene should not be used.
USABLE = 0.5

#: Figure → up to where it is good (factor 1), from where it is bad (factor 0), and its words. Grain
#: and seam are ratios, of which the logarithm is judged.
_LIMITS = {
    "share": (0.7, 1.1, "{:.0%} of the image had to be painted"),
    "reuse": (6, 25, "little bare slide: its grain was used {:.0f} times over"),
    "invented": (0.1, 1.4, "no bare slide to take grain from"),
    "guessed": (0.2, 0.8, "red cells hidden by more than a third: {:.0%} of what was painted"),
    "stain": (2.0, 9.0, "stain left where the cell was: {:.1f} levels"),
    "residue": (10, 80, "pieces of the cell left beside it: {:.0f} pixels"),
    "grain": (0.25, 1.0, "grain of the painted slide is {:.2f} × that of the image"),
    "seam": (0.4, 1.6, "steps at the seam are {:.1f} × those of the slide"),
}


@dataclass(frozen=True)
class Measures:
    """Figures of a restored scene."""

    #: Painted share of the image.
    share: float = 0.0
    #: Painted slide for each pixel of the slide that its grain was taken from.
    reuse: float = 0.0
    #: Share of the painted slide whose grain is noise and not copied.
    invented: float = 0.0
    #: Share of the painted pixels that belong to red cells hidden by more than a third.
    guessed: float = 0.0
    #: Median darkening of the slide where the cell and its halo were, in grey levels, beyond what
    #: is there by chance: green channel, in which all stains absorb.
    stain: float = 0.0
    #: Pixels around the former cell that still have the stain of white cells.
    residue: float = 0.0
    #: Standard deviation of the grain (high-passed luminance) of the painted slide, over that of
    #: the bare slide of the image; 1 is equal. NaN where there is too little of either.
    grain: float = float("nan")
    #: Mean step between neighbours across the edge of the painted slide, over that between
    #: neighbours of the bare slide. NaN where there is none.
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
    """Measure a restored scene, RGB uint8 (H, W, 3).

    ``smooth``: light with the fringes of cells, without grain, float32 (H, W, 3). ``painted``,
    ``slide`` and ``bare``, bool (H, W): all that was painted; the painted slide; the slide that was
    always seen. ``guessed``: pixels of red cells that were guessed.
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
    values = asdict(found)
    values["grain"] = abs(np.log(found.grain)) if np.isfinite(found.grain) else 0.0
    values["seam"] = np.log(max(found.seam, 1)) if np.isfinite(found.seam) else 0.0
    factors = {
        name: float(np.clip((bad - values[name]) / (bad - good), 0, 1))
        for name, (good, bad, _) in _LIMITS.items()
    }
    lowering = [name for name, factor in factors.items() if factor < 0.9]
    reasons = (_LIMITS[name][2].format(getattr(found, name)) for name in lowering)
    return float(np.prod(list(factors.values()))), tuple(reasons)


def combined(found: Sequence[tuple[Measures, int]], pixels: int) -> Measures:
    """Return the measures of a field from those of its tiles and how much was painted in each."""
    weights = np.array([n for _, n in found], float)
    values = asdict(Measures())
    for name in values:
        column = np.array([asdict(measures)[name] for measures, _ in found], float)
        known = np.isfinite(column) & (weights > 0)
        if known.any():
            values[name] = float(np.average(column[known], weights=weights[known]))
    values["residue"] = float(sum(measures.residue for measures, _ in found))
    values["share"] = float(weights.sum()) / pixels
    return Measures(**values)
