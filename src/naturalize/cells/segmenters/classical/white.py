"""White cells: found by their nucleus, outlined by the colours that are seen only near nuclei."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from naturalize.cells.segmenters.classical import limits
from naturalize.cells.segmenters.classical.red import filled
from naturalize.cells.segmenters.classical.view import View
from naturalize.imaging.shape import largest_piece

#: Bins of the colour histogram: depth, azure, red against green.
_BINS = (16, 20, 16)

#: Rays around the centre, and the most (in pixels) that the radius changes from one to the next.
_ANGLES, _STIFFNESS = 72, 2


@dataclass(frozen=True, eq=False)
class Seed:
    """A group of nuclear lobes at working resolution.

    ``mask``: bool (h, w); ``area``, ``dense``: its pixels, and how many of them are as dense as
    well-stained nuclei are; ``unevenness``: standard deviation of the azure density, as a share of
    its mean.
    """

    mask: np.ndarray
    area: int
    dense: int
    unevenness: float

    @classmethod
    def of(cls, mask: np.ndarray, azure: np.ndarray) -> Seed:
        """Return the seed of a mask, bool (h, w), by the azure density of its pixels."""
        values = azure[mask]
        unevenness = float(values.std() / max(float(values.mean()), 1e-6)) if len(values) else 0.0
        return cls(mask, len(values), int(np.count_nonzero(values > limits.DENSE)), unevenness)

    @property
    def centre(self) -> tuple[float, float]:
        """Mean x and y."""
        rows, columns = np.nonzero(self.mask)
        return float(columns.mean()), float(rows.mean())

    def is_white(self, disc: float, inside: int) -> bool:
        """Return whether it is a white cell's nucleus, not a platelet.

        Nuclei are dense, or large, or evenly stained, or have cytoplasm around them; platelets are
        none of these. The limits part PBC's platelet folder from its erythroblasts, and keep the
        weakly stained nuclei of other laboratories.

        ``disc``: area of a red cell; ``inside``: area of the outline around it.
        """
        dense_enough = self.dense > limits.DENSE_AREA * disc
        large = self.area > limits.LARGE_AREA * disc
        even = self.area > limits.EVEN_AREA * disc and self.unevenness < limits.EVEN
        even_area, even_limit = limits.EVEN_WITH_CYTOPLASM
        sure_nucleus = self.dense > limits.DENSE_WITH_CYTOPLASM * disc or (
            self.area > even_area * disc and self.unevenness < even_limit
        )
        with_cytoplasm = (inside > limits.CYTOPLASM * disc and sure_nucleus) or (
            inside > limits.WIDE_CYTOPLASM * disc and self.area > limits.AREA_WITH_CYTOPLASM * disc
        )
        return inside > 0 and (dense_enough or large or even or with_cytoplasm)


def threshold(azure: np.ndarray) -> float:
    """Return the azure density above which a pixel is nuclear."""
    densest = np.quantile(azure, limits.NUCLEAR_QUANTILE)
    return float(np.clip(limits.NUCLEAR_SHARE * densest, *limits.NUCLEAR_RANGE))


def seeds(azure: np.ndarray, level: float, reach: float) -> list[Seed]:
    """Return groups of nuclear pixels; lobes up to 2 × ``reach`` pixels apart are one group."""
    above = (azure > level).astype(np.uint8)
    core = cv2.morphologyEx(above, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    size = 2 * max(1, round(reach)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    joined = cv2.dilate(core, disc)
    n, labels = cv2.connectedComponents(joined, connectivity=8)
    labels[core == 0] = 0
    found = []
    for k, window in enumerate(ndimage.find_objects(labels, n - 1), start=1):
        if window is None:
            continue
        part = labels[window] == k
        if np.count_nonzero(part) < 6:
            continue
        mask = np.zeros(azure.shape, bool)
        mask[window] = part
        found.append(Seed.of(mask, azure))
    return found


def evidence(view: View, sure: np.ndarray, radius: float) -> np.ndarray:
    """Return where white cells may be, float32 (h, w): above 0 for, below 0 against.

    The log ratio of how often a colour is seen near nuclei and far from them (histogram back
    projection, after Swain & Ballard, IJCV 7:11, 1991): cytoplasm is seen only near nuclei, red
    cells and slide everywhere. Needs no model of any stain.
    """
    distance = cv2.distanceTransform((~sure).astype(np.uint8), cv2.DIST_L2, 3)
    near = (distance > 0) & (distance < limits.NEAR * radius)
    far = distance > limits.FAR * radius
    if np.count_nonzero(far) < 0.1 * far.size:
        far = distance > max(1.0 * radius, np.quantile(distance, 0.8))
    index = _bins(view)
    seen_near = _histogram(index, near)
    seen_far = (1 - limits.PRIOR) * _histogram(index, far) + limits.PRIOR * _usual()
    ratio = np.log((seen_near + 2e-6) / (seen_far + 2e-6))
    score = np.clip(0.5 * ratio.ravel()[index] - 0.25, -1, 1).astype(np.float32)
    # slide is slide, also where a halo or a smear gives it a rare colour
    bare = np.exp(-((np.linalg.norm(view.density, axis=2) / (3 * view.noise + 0.01)) ** 2))
    score = np.where(view.depth < -view.noise, -1, score - 0.9 * bare)
    score = cv2.GaussianBlur(score.astype(np.float32), (0, 0), 0.8)
    return np.where(sure, np.float32(1), score)


def _bins(view: View) -> np.ndarray:
    """Return for each pixel its bin in the histogram."""
    red, green = view.density[..., 0], view.density[..., 1]
    axes = (
        (np.arcsinh(view.depth / 0.05), -0.5, 4.0),
        (np.arcsinh(view.azure / 0.04), -2.5, 4.0),
        (np.arcsinh((red - 0.67 * green) / 0.04), -2.5, 2.5),
    )
    index = np.zeros(red.shape, np.int32)
    for (values, low, high), n in zip(axes, _BINS, strict=True):
        step = ((values - low) * (n / (high - low))).astype(np.int32)
        index = index * n + np.clip(step, 0, n - 1)
    return index


def _histogram(index: np.ndarray, where: np.ndarray) -> np.ndarray:
    counts = np.bincount(index[where], minlength=int(np.prod(_BINS))).astype(np.float32)
    smooth = ndimage.gaussian_filter(counts.reshape(_BINS), 0.8, mode="nearest")
    return smooth / max(float(smooth.sum()), 1.0)


def _usual() -> np.ndarray:
    """Return the colours of slide and red cells as they usually are: little azure, any depth."""
    depth, azure, tint = (np.arange(n, dtype=np.float32) for n in _BINS)
    pale = np.where(depth < 11, 1.0, 0.0)
    # bin of zero: 2.5/6.5 of the azure axis, the middle of the tint axis
    no_azure = np.exp(-0.5 * ((azure - 2.5 / 6.5 * len(azure) + 0.5) / 1.2) ** 2)
    no_tint = np.exp(-0.5 * ((tint - len(tint) / 2 + 0.5) / 1.5) ** 2)
    usual = pale[:, None, None] * no_azure[:, None] * no_tint
    return (usual / usual.sum()).astype(np.float32)


def outlines(groups: list[Seed], proof: np.ndarray, radius: float) -> list[tuple[Seed, np.ndarray]]:
    """Return the white cells: their nuclei, and their outlines (n, 2) in working pixels.

    Groups of lobes that lie in one outline, and are together no larger than a cell, are one cell.
    """
    groups = sorted(groups, key=lambda group: -group.area)
    found: list[tuple[Seed, np.ndarray]] = []
    while groups:
        seed, *groups = groups
        others = [*(done for done, _ in found), *groups]
        points = _outline(seed, others, proof, radius)
        inside = fill(points, proof.shape)
        parts = [g for g in groups if _is_part(g, seed, inside, radius)]
        if parts:
            seed = _merged([seed, *parts])
            groups, others = (
                [g for g in many if all(g is not part for part in parts)]
                for many in (groups, others)
            )
            points = _outline(seed, others, proof, radius)
        found.append((seed, points))
    return found


def refined(inside: np.ndarray, proof: np.ndarray, radius: float) -> np.ndarray:
    """Return the cell, bool (h, w): what speaks for it inside its outline, thin appendages cut off.

    The outline bridges notches between neighbours; this lets them out again.
    """
    size = 2 * max(1, round(limits.APPENDAGE * radius)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    for_it = filled(inside & (proof > 0)).astype(np.uint8)
    kept = cv2.morphologyEx(for_it, cv2.MORPH_OPEN, disc)
    if not kept.any():
        return inside
    mask = filled(largest_piece(kept > 0))
    is_left = np.count_nonzero(mask) > limits.LEFT * np.count_nonzero(inside)
    return mask if is_left else inside


def _is_part(lobe: Seed, seed: Seed, inside: np.ndarray, radius: float) -> bool:
    """Return whether a lobe belongs to the cell of another seed."""
    if inside[lobe.mask].mean() < 0.5:
        return False
    rows, columns = np.nonzero(lobe.mask | seed.mask)
    extent = max(np.ptp(rows), np.ptp(columns))
    largest = limits.LARGEST_LOBE * np.pi * radius**2
    return bool(extent < limits.EXTENT * radius) and lobe.area < largest


def _merged(parts: list[Seed]) -> Seed:
    mask = np.logical_or.reduce([part.mask for part in parts])
    area, dense = sum(part.area for part in parts), sum(part.dense for part in parts)
    return Seed(mask, area, dense, parts[0].unevenness)


def _outline(seed: Seed, others: list[Seed], proof: np.ndarray, radius: float) -> np.ndarray:
    full = [other for other in others if other.area >= 0.5 * seed.area]
    if full:
        # what is nearer to another nucleus is another cell's
        theirs = np.logical_or.reduce([other.mask for other in full])
        to_them, to_it = (
            cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
            for mask in (theirs, seed.mask)
        )
        rivals = np.where(to_them < to_it, np.float32(-1), proof)
    reach = limits.REACH * radius
    points, inside = _recentred(seed.centre, proof, reach)
    span = np.linalg.norm(points - points.mean(axis=0), axis=1)
    if (span > 0.9 * reach).mean() > 0.15:  # the cell is larger than it could be
        points, inside = _recentred(seed.centre, proof, limits.FARTHER * reach)
    if full and any(not _is_part(other, seed, inside, radius) for other in full):
        points = star(rivals, seed.centre, reach)
    return points


def _recentred(
    centre: tuple[float, float], proof: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return outline and inside of a cell, drawn a second time from its own middle."""
    points = star(proof, centre, reach)
    inside = fill(points, proof.shape)
    if inside.any():
        rows, columns = np.nonzero(inside)
        points = star(proof, (float(columns.mean()), float(rows.mean())), reach)
    return points, inside


def nucleus(azure: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the nucleus of a cell, bool (h, w): its denser part, by Otsu's threshold."""
    values = azure[inside]
    top = max(float(np.quantile(values, 0.98)), 1e-3)
    scaled = np.clip(values / top * 255, 0, 255).astype(np.uint8)
    level = cv2.threshold(scaled, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0] / 255 * top
    dense = ((azure > level) & inside).astype(np.uint8)
    opened = cv2.morphologyEx(dense, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    return cv2.morphologyEx(opened, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0


def star(
    evidence: np.ndarray,
    centre: tuple[float, float],
    reach: float,
) -> np.ndarray:
    """Return the outline around ``centre`` that holds the most evidence, float32 (n, 2): x, y.

    The image is unrolled into rays; a path over the rays that changes its radius only so much from
    one ray to the next is found by dynamic programming, maximising the evidence inside (a region
    term as in Chan & Vese, IEEE TIP 10:266, 2001, on the polar graph of Wu & Chen's optimal net
    surfaces, ICALP 2002).

    ``evidence``: float32 (h, w), above 0 inside the object, below 0 outside; ``centre``: x, y of a
    point inside; ``reach``: longest radius in pixels.
    """
    radii = max(4, int(reach))
    rays = cv2.warpPolar(
        evidence, (radii, _ANGLES), centre, radii, cv2.INTER_LINEAR | cv2.WARP_FILL_OUTLIERS
    )
    # a ring at radius r has r times the pixels of the ring at radius 1
    gain = np.cumsum(rays * (np.arange(radii, dtype=np.float32) + 0.5), axis=1)
    path = _best_cycle(gain)
    theta = np.arange(_ANGLES, dtype=np.float32) * (2 * np.pi / _ANGLES)
    radius = _smooth(path + 0.5)
    points = np.stack(
        [centre[0] + radius * np.cos(theta), centre[1] + radius * np.sin(theta)], axis=1
    )
    return points.astype(np.float32)


def _best_cycle(gain: np.ndarray) -> np.ndarray:
    """Return the radius index of each ray: the best path that closes on itself, nearly.

    The path is run over two turns and its middle is kept, so that the seam has no end effects.
    """
    angles, radii = gain.shape
    half = angles // 2
    turns = np.concatenate([gain[-half:], gain, gain[:half]])
    back = np.zeros((len(turns), radii), np.int16)
    best = turns[0].copy()
    padded = np.full(radii + 2 * _STIFFNESS, -np.inf, np.float32)
    # a view: it shows what is written into `padded`
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _STIFFNESS + 1)
    index = np.arange(radii)
    for k in range(1, len(turns)):
        padded[_STIFFNESS : _STIFFNESS + radii] = best
        choice = windows.argmax(axis=1)
        back[k] = index + choice - _STIFFNESS
        best = windows[index, choice] + turns[k]
    path = np.empty(len(turns), np.int64)
    path[-1] = int(best.argmax())
    for k in range(len(turns) - 1, 0, -1):
        path[k - 1] = back[k, path[k]]
    return path[half : half + angles]


def _smooth(radius: np.ndarray) -> np.ndarray:
    """Return the radii smoothed a little around the circle."""
    weights = np.array([1, 4, 6, 4, 1], np.float32) / 16
    wrapped = np.concatenate([radius[-2:], radius, radius[:2]])
    return np.convolve(wrapped, weights, mode="valid")


def fill(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the bool (h, w) mask of a star-shaped outline (n, 2)."""
    # fillPoly paints the pixels that the outline runs through: half a pixel too much all round
    from_middle = points - points.mean(axis=0)
    length = np.maximum(np.linalg.norm(from_middle, axis=1, keepdims=True), 1e-6)
    inner = points - 0.5 * from_middle / np.maximum(length, 0.5)
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [np.rint(inner * 16).astype(np.int32)], 1, shift=4)
    return canvas.astype(bool)
