"""Outlines that hold more than one cell, by their masks and their stain."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import pyarrow as pa

from naturalize.cells.tables import CellMasks

#: A red cell with this much of the usual haemoglobin, and no rounder than this, is two.
_DOUBLE = ((1.4, 0.85), (1.7, 0.92))

#: Red cells of an image from which its usual density is taken.
_ENOUGH = 4

#: A neck of less than this share of the cell's radius on either side holds something else.
_NECK = 0.4

#: Least share of the outline's area that an appendage has; pseudopods and granules have less.
_LIMB = 0.045


def odd_outlines(
    cells: pa.Table, facts: Mapping[str, np.ndarray], target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return which cells are two in one outline, and which have something hanging on them.

    Both bool (N,). Light absorbed adds up (Beer-Lambert), so area times mean density is what a red
    cell holds of haemoglobin, and two that overlap hold twice as much, whatever the outline. Of 633
    red cells of 165 PBC images that shape alone had passed, this takes 33 away; about 28 of these
    are doublets to the eye.

    ``facts``: columns of ``cells`` as arrays; ``target``: bool (N,), the cells that images are
    labelled for.
    """
    masks = CellMasks(cells)
    joined, appended = np.zeros((2, cells.num_rows), bool)
    content = haemoglobin(facts)
    for i in np.flatnonzero(content > _DOUBLE[0][0]):
        roundness = axis_ratio(masks[i])
        joined[i] = any(content[i] > most and roundness < round_ for most, round_ in _DOUBLE)
    for i in np.flatnonzero(target | (facts["kind"] == "platelet")):
        appended[i] = facts["kind"][i] != "rbc" and limb(masks[i]) > _LIMB
    return joined, appended


def haemoglobin(facts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return what each red cell holds, as a multiple of the usual, float64 (N,); 0 for others.

    Its area against that of all whole red cells, times its density against that of its own image,
    which is as thick and as stained.
    """
    content = np.zeros(len(facts["kind"]))
    red = facts["kind"] == "rbc"
    whole = red & ~facts["touches_border"].astype(bool)
    if not whole.any():
        return content
    content[red] = facts["area"][red] / np.median(facts["area"][whole])
    rows = np.flatnonzero(red)
    order = rows[np.argsort(facts["image_id"][rows], kind="stable")]
    _, starts = np.unique(facts["image_id"][order], return_index=True)
    for of_image in np.split(order, starts[1:]):
        usual = np.median(facts["od_g"][of_image])
        if len(of_image) >= _ENOUGH and usual > 0:
            content[of_image] *= facts["od_g"][of_image] / usual
    return content


def axis_ratio(mask: np.ndarray) -> float:
    """Return the shorter over the longer axis of the ellipse with the moments of a mask, 0–1."""
    moments = cv2.moments(mask.astype(np.uint8), binaryImage=True)
    # a pixel is a square, not a point: 1/12 of its area on both axes
    own = moments["m00"] / 12
    across, down, mixed = moments["mu20"] + own, moments["mu02"] + own, moments["mu11"]
    difference = float(np.hypot(across - down, 2 * mixed))
    return float(np.sqrt((across + down - difference) / (across + down + difference)))


def limb(mask: np.ndarray) -> float:
    """Return the share of a bool (h, w) mask that hangs on the rest by a neck, 0–1.

    The largest piece that an opening takes off, with a disc of ``_NECK`` times the radius of a disc
    of the mask's area.
    """
    area = int(np.count_nonzero(mask))
    radius = _NECK * float(np.sqrt(area / np.pi))
    room = int(np.ceil(radius)) + 1
    inside = np.pad(mask, room).astype(np.uint8)
    core = cv2.distanceTransform(inside, cv2.DIST_L2, 5) > radius
    if not core.any():
        return 0.0
    away = cv2.distanceTransform(1 - core.astype(np.uint8), cv2.DIST_L2, 5)
    rest = inside & (away > radius).astype(np.uint8)
    n, _, stats, _ = cv2.connectedComponentsWithStats(rest)
    return float(stats[1:n, cv2.CC_STAT_AREA].max(initial=0)) / area
