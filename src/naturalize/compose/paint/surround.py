"""What lies around a cell that is copied: its soft edge, its glow, the slide next to it.

At a cell's edge a camera sees a mixture of cell and slide, a pixel or two wide. Cut along a mask,
the mixture comes along as a bright fringe, or is lost. In optical density it is nothing but a
density that falls off: density adds up with whatever lies there (Beer–Lambert), so a cell that is
kept as density, fading to none, may be laid on any slide: it is *isolated*.

Blur, colour fringes, sharpening and codec make a zone around each cell that is neither cell nor
bare slide. Copied with the cell it is right; synthesised it can be detected. So a *surrounded* cell
is laid with the slide around it, as far as that is free of other cells; further out it fades into
the scene's. Slide on slide leaves no trace if both are as before coding (``imaging.jpeg.decode``).
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from naturalize.compose.paint import constants as tuned
from naturalize.compose.paint.sizes import EDGE, LEVELS, OWN, PAD, WIDE, as_levels, depth_of
from naturalize.imaging.jpeg.decode import before_coding
from naturalize.imaging.jpeg.estimate import estimate
from naturalize.imaging.shape import largest_piece
from naturalize.imaging.slide import slide_around
from naturalize.imaging.stain import optical_density

#: Half pixels outside (negative) and inside the mask at which the edge's density is measured.
_STEPS = np.arange(-3.5, 3.01, 0.5)


def surrounded(
    rgb: np.ndarray,
    mask: np.ndarray,
    box: tuple[int, int, int, int],
    corner: tuple[int, int] = (0, 0),
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Return a cell with its own surroundings.

    Takes what :func:`isolated` takes, and column and row of ``rgb`` in its image. Gives its
    colours, uint8 (height + 2 WIDE, width + 2 WIDE, 3), beside neighbours as of :func:`isolated`;
    uint8 of that size, as in a patch: distance to the edge, and further out the share of the
    colours that is the cell's own slide; and the mean colour of the bare slide around the cell.
    """
    depth = depth_of(mask.view(np.uint8))
    inner = np.interp(depth, tuned.INNER, (0, 1))[..., None]
    left, top = (-at % 16 for at in corner)
    uncoded = before_coding(rgb, estimate(rgb[top:, left:]), corner).astype(np.float32)
    rgb = np.rint(uncoded + inner * (rgb - uncoded)).astype(np.uint8)
    colours, edge, ground, glow = isolated(rgb, mask, box, pad=WIDE)
    free = to_others(rgb, mask, ground)
    own, _, known = window_of(rgb, mask, box, WIDE)
    away = depth_of(1 - (edge > EDGE).view(np.uint8))
    outside = edge < EDGE
    colours = np.where(outside[..., None], _glowing(colours, glow, away), colours)
    share = np.interp(window_of(free, mask, box, WIDE)[0], tuned.FREE, (0, 1)) * known * outside
    mixed = colours + share[..., None] * (own - colours.astype(np.float32))
    fading = np.interp(away, (tuned.FULL, tuned.NONE), (1, 0))
    share *= fading * fading * (3 - 2 * fading)
    edge = np.where(edge < OWN, np.rint(OWN * share), edge).astype(np.uint8)
    return np.rint(mixed).astype(np.uint8), edge, _light(rgb, mask, free) or ground


def _glowing(colours: np.ndarray, glow: np.ndarray, away: np.ndarray) -> np.ndarray:
    """Return colours darkened by a glow, float32, at distances from the edge."""
    steps = np.arange(1, tuned.GLOW + 1)
    faded = glow * np.interp(steps, tuned.GLOW_FADES, (1, 0))[:, None]
    density = np.dstack([np.interp(away, steps, faded[:, c]) for c in range(3)])
    return (colours * 10.0**-density).astype(np.float32)


def _light(
    rgb: np.ndarray, mask: np.ndarray, free: np.ndarray
) -> tuple[float, float, float] | None:
    """Return the mean colour of the slide at some distance from all cells; ``None`` if unseen."""
    away = depth_of((~mask).view(np.uint8))
    clear = (away > tuned.AWAY[0]) & (away < tuned.AWAY[1]) & (free > tuned.CLEAR)
    if np.count_nonzero(clear) < tuned.ENOUGH:
        return None
    # as a store of crops keeps it
    red, green, blue, _ = (
        float(np.float32(value)) for value in cv2.mean(rgb, clear.view(np.uint8))
    )
    return red, green, blue


def isolated(
    rgb: np.ndarray, mask: np.ndarray, box: tuple[int, int, int, int], *, pad: int = PAD
) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int], np.ndarray]:
    """Return a cell as it would lie alone.

    Inside the mask its pixels are as they were. Outside they are the slide, darkened by what the
    edge absorbs at that distance: the pixel's own density next to the mask, if no neighbour is
    there, else the usual one around this cell. ``rgb``: uint8 (h, w, 3), the cell with something
    around it; ``mask``: bool (h, w); ``box``: x, y, width, height of the mask; ``pad``: pixels
    around it that are wanted. Gives four: its colours, uint8 (height + 2 pad, width + 2 pad, 3);
    its edge, uint8 of that size, as in a patch, where the density is half of what it is within; the
    colour of the bare slide around the cell; and the optical density, float32 (``GLOW``, 3), that
    this slide has at 1, 2, … pixels from the edge beyond what the colours show.
    """
    ground = slide_around(rgb, mask)
    around, cell = rgb, mask
    rgb, mask, known = window_of(rgb, mask, box, pad)
    light = np.array(ground, np.float64)
    density = optical_density(rgb, ground, np.float64)
    mask = _without_slide(mask, density)
    inside = mask.view(np.uint8)
    distance = np.where(mask, depth_of(inside) - 0.5, 0.5 - depth_of(1 - inside))
    usual = _profile(density, distance, known)
    ring = ~mask
    steps = distance[ring]
    expected = np.column_stack([np.interp(steps, _STEPS, usual[:, c]) for c in range(3)])
    own = density[ring]
    # the edge is its own, pixel by pixel; near another cell only where it looks like an edge
    allowed = np.interp(-steps, (0.5, tuned.OWN_EDGE), tuned.TOLERANCE)[:, None]
    alike = (np.abs(own - expected) < allowed).all(axis=1)
    expected = np.where(alike[:, None], own, expected)
    free = window_of(to_others(around, cell, ground), cell, box, pad)[0][ring]
    share = np.interp(free, tuned.NEAR_OTHERS, (0, 1)) * known[ring] * (steps > -tuned.FADE)
    fade = np.clip((tuned.FADE + steps) / (tuned.FADE - tuned.OWN_EDGE), 0, 1)
    kept = (expected + share[:, None] * (own - expected)) * fade[:, None]
    colours = rgb.copy()
    colours[ring] = np.clip(np.rint(light * 10.0**-kept), 0, 255)
    half = _half(usual)
    own_glow = np.zeros((tuned.GLOW, 3))
    away = np.rint(half - distance[ring]).astype(int)
    for step in range(1, PAD + 1):
        if (away == step).any():
            own_glow[step - 1] = np.median(kept[away == step], axis=0)
    glow = glow_of(around, cell, ground, half)
    # what the patch itself shows of it is not added twice
    glow = np.clip(glow - own_glow, 0, None).astype(np.float32)
    return colours, as_levels(distance - half), ground, glow


def glow_of(
    rgb: np.ndarray, mask: np.ndarray, ground: tuple[int, int, int], shift: float = 0.0
) -> np.ndarray:
    """Return how a cell darkens and colours the bare slide around it.

    ``rgb``: uint8 (h, w, 3), the cell, bool (h, w), with something around it; ``ground``: colour of
    the bare slide; ``shift``: pixels that the edge lies inside the mask. Gives optical density,
    float32 (``GLOW``, 3), at 1, 2, … pixels from the edge, beyond what is there further out; 0
    where no slide is seen.
    """
    density = optical_density(rgb, ground, np.float64)
    away = depth_of((~mask).view(np.uint8)) - 0.5 + shift
    clear = to_others(rgb, mask, ground) > tuned.HIDDEN
    steps = np.rint(np.where(clear & ~mask, away, 0)).astype(int)
    found = np.full((tuned.GLOW + 2, 3), np.nan)
    for step in range(1, tuned.GLOW + 3):
        here = density[steps == step]
        if len(here) >= tuned.SEEN:
            found[step - 1] = np.median(here, axis=0)
    known = np.isfinite(found[:, 0])
    if known.sum() < tuned.GLOW // 2:
        return np.zeros((tuned.GLOW, 3), np.float32)
    found = np.column_stack(
        [
            np.interp(np.arange(tuned.GLOW + 2), np.flatnonzero(known), found[known, c])
            for c in range(3)
        ]
    )
    found -= found[-3:].mean(axis=0)
    # what is taken for bare slide has some of it too; it falls off by a factor of e in 4 pixels
    found += np.maximum(found[4], 0) * (rest := math.exp(-8 / 4)) / (1 - rest)
    # where it is faint it is smooth as well
    found[3:-1] = (found[2:-2] + 2 * found[3:-1] + found[4:]) / 4
    return np.clip(found[: tuned.GLOW], 0, None).astype(np.float32)


def to_others(rgb: np.ndarray, mask: np.ndarray, ground: tuple[int, int, int]) -> np.ndarray:
    """Return the distance in pixels to what is near a cell and no bare slide, float32 (h, w).

    As long as one side of the picture where there is nothing; parameters as of :func:`glow_of`.
    """
    density = optical_density(rgb, ground, np.float64).max(axis=2)
    away = depth_of((~mask).view(np.uint8)) if not mask.all() else np.zeros(mask.shape)
    other = ((away > tuned.FAR) & (cv2.blur(density, (3, 3)) > tuned.BARE)).view(np.uint8)
    return depth_of(1 - other) if other.any() else np.full(mask.shape, max(mask.shape), np.float32)


def window_of(
    rgb: np.ndarray, mask: np.ndarray, box: tuple[int, int, int, int], pad: int = PAD
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return colours, mask and what is known, for the box with ``pad`` pixels around it."""
    x, y, width, height = box
    known = np.ones(mask.shape, np.uint8)
    low = (max(pad - y, 0), max(pad - x, 0))
    high = (max(y + height + pad - mask.shape[0], 0), max(x + width + pad - mask.shape[1], 0))
    sides = (low[0], high[0], low[1], high[1])
    top, left = y - pad + low[0], x - pad + low[1]
    part = np.s_[top : top + height + 2 * pad, left : left + width + 2 * pad]
    colours = cv2.copyMakeBorder(rgb, *sides, cv2.BORDER_REPLICATE)[part]
    inside = cv2.copyMakeBorder(mask.view(np.uint8), *sides, cv2.BORDER_CONSTANT)[part]
    seen = cv2.copyMakeBorder(known, *sides, cv2.BORDER_CONSTANT)[part]
    return np.ascontiguousarray(colours), inside.astype(bool), seen.astype(bool)


def _without_slide(mask: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Return a mask without bare slide at its edge, and without what hung on only by that."""
    smooth = cv2.blur(density, (5, 5), borderType=cv2.BORDER_REPLICATE)
    depth = depth_of(mask.view(np.uint8))
    bare = (np.abs(smooth).max(axis=2) < tuned.BARE) & (depth <= tuned.DEEPEST)
    pale = (bare | ~mask).view(np.uint8)
    _, parts = cv2.connectedComponents(pale, connectivity=4)
    outside = np.isin(parts, np.unique(parts[~mask])) & (pale > 0)
    rest = (mask & ~outside).view(np.uint8)
    # what is left of a rim once the slide behind it is gone
    opened = cv2.morphologyEx(rest, cv2.MORPH_OPEN, cv2.getStructuringElement(*tuned.DISC))
    opened = opened.astype(bool) | (rest.astype(bool) & ~_near(outside & mask))
    opened = largest_piece(opened) if opened.any() else mask
    return opened if np.count_nonzero(opened) >= tuned.LEAST_LEFT * np.count_nonzero(mask) else mask


def _near(taken: np.ndarray) -> np.ndarray:
    """Return what lies within a few pixels of what was taken off, bool (h, w)."""
    return cv2.dilate(taken.view(np.uint8), cv2.getStructuringElement(*tuned.DISC)).astype(bool)


def _profile(density: np.ndarray, distance: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the density of the cell's edge at each of ``_STEPS``, float64 (steps, 3).

    Outside it may only fall: what rises again is a neighbour.
    """
    bins = np.rint((distance - _STEPS[0]) * 2).astype(int)
    found = np.zeros((len(_STEPS), 3))
    for k, step in enumerate(_STEPS):
        here = density[(bins == k) & known]
        if len(here):
            found[k] = np.quantile(here, tuned.EDGE_ALONE if step < 0 else 0.5, axis=0)
        elif k:
            found[k] = found[k - 1]
    outer = _STEPS < 0
    found[outer] = np.maximum.accumulate(found[outer], axis=0)
    first = int(np.argmax(~outer))
    found[:first] = np.minimum(found[:first], np.maximum(found[first], 0))
    return found


def _half(usual: np.ndarray) -> float:
    """Return where, in pixels inside the mask, the density is half of what it is within."""
    total = usual.sum(axis=1)
    within = total[_STEPS >= 2].mean()
    if within <= 0:
        return 0.0
    crossing = np.interp(0.5 * within, np.maximum.accumulate(total), _STEPS)
    return float(np.clip(np.rint(crossing * LEVELS) / LEVELS, -tuned.MAX_SHIFT, tuned.MAX_SHIFT))
