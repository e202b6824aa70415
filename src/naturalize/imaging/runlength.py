"""Masks as run lengths: row by row in tables, column by column in COCO; and COCO's polygons.

COCO's are written after its API (Lin et al., Microsoft COCO, ECCV 2014; ``maskApi.c``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from naturalize.base.errors import ArtifactError


def encode(mask: np.ndarray) -> np.ndarray:
    """Return the run lengths of a bool (H, W) mask as uint32 (n,).

    Runs alternate zeros, ones, zeros, … along the rows; the first is the number of leading zeros
    and may be 0. They add up to H × W.

    Examples
    --------
    >>> encode(np.array([[False, True, True], [True, False, False]])).tolist()
    [1, 3, 2]
    """
    flat = np.asarray(mask, bool).ravel()
    if not flat.size:
        return np.zeros(0, np.uint32)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate(([0], changes, [flat.size]))
    runs = np.diff(starts).astype(np.uint32)
    return np.concatenate((np.zeros(1, np.uint32), runs)) if flat[0] else runs


def decode(runs: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the bool (H, W) mask of run lengths; the inverse of :func:`encode`.

    Raises
    ------
    ArtifactError
        If the runs do not add up to the shape.

    Examples
    --------
    >>> decode(np.array([1, 3, 2]), (2, 3)).astype(int).tolist()
    [[0, 1, 1], [1, 0, 0]]
    """
    runs = np.asarray(runs, np.int64)
    if int(runs.sum()) != shape[0] * shape[1]:
        raise ArtifactError(
            f"mask: run lengths add up to {int(runs.sum())}, "
            f"expected {shape[0]} × {shape[1]} = {shape[0] * shape[1]}"
        )
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape)


def mask_to_rle(mask: np.ndarray) -> dict[str, Any]:
    """Return COCO's compressed RLE of a bool (H, W) mask: ``{"size": [H, W], "counts": text}``.

    Examples
    --------
    >>> mask_to_rle(np.array([[False, True], [False, True]]))
    {'size': [2, 2], 'counts': '22'}
    """
    return {"size": list(mask.shape), "counts": _to_text(encode(mask.T).tolist())}


def box_to_rle(mask: np.ndarray, corner: tuple[int, int], shape: tuple[int, int]) -> dict[str, Any]:
    """Return what :func:`mask_to_rle` gives for a mask that lies in a larger picture, quickly.

    ``mask``: bool (h, w); ``corner``: its column and row there; ``shape``: height, width of that.

    Examples
    --------
    >>> box_to_rle(np.array([[True], [True]]), (1, 0), (2, 2)) == mask_to_rle(np.eye(2)[[0, 0]] < 1)
    True
    """
    (height, width), (x, y) = shape, corner
    strip = np.zeros((mask.shape[1], height), bool)
    strip[:, y : y + mask.shape[0]] = mask.T
    runs = encode(strip).tolist()
    ends = [x * height, (width - x - mask.shape[1]) * height]
    runs[:1] = [ends[0] + sum(runs[:1])]
    if ends[1] and len(runs) % 2:
        runs[-1] += ends[1]
    elif ends[1]:
        runs.append(ends[1])
    return {"size": list(shape), "counts": _to_text(runs)}


def rle_to_mask(rle: dict[str, Any]) -> np.ndarray:
    """Return the bool (H, W) mask of an RLE, compressed (text) or not (a list of numbers).

    Raises
    ------
    ValueError
        If it is none, or its runs do not add up to its size.
    """
    try:
        (height, width), counts = (int(n) for n in rle["size"]), rle["counts"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("RLE without size (two numbers) or counts") from error
    runs = np.array(_from_text(counts) if isinstance(counts, str) else counts)
    if runs.ndim != 1 or (runs.size and runs.dtype.kind not in "iu") or (runs < 0).any():
        raise ValueError("RLE whose counts are not whole numbers of at least 0")
    if runs.sum() != height * width or height < 1 or width < 1:
        raise ValueError("RLE whose counts do not add up to its size")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def polygons_to_mask(polygons: Sequence[Any], shape: tuple[int, int]) -> np.ndarray:
    """Return the bool (H, W) mask of the union of polygons ``[x1, y1, x2, y2, …]``.

    A pixel belongs to a polygon if its middle does (pixel ``i`` covers ``i`` to ``i + 1``). The
    COCO API, which rounds outlines to fifths of a pixel, may differ along the edge.

    A polygon of fewer than three points has no area and is passed over, if it is not the only one.

    Raises
    ------
    ValueError
        If none has three points, or one is no list of pairs of finite numbers.
    """
    from skimage.draw import polygon2mask

    if all(isinstance(value, int | float) for value in polygons):
        polygons = [polygons]
    mask = np.zeros(shape, bool)
    drawn = 0
    for polygon in polygons:
        try:
            points = np.asarray(polygon, np.float64).reshape(-1, 2)
        except (TypeError, ValueError) as error:
            raise ValueError("polygon that is not a list x1, y1, x2, y2, … of numbers") from error
        if not np.isfinite(points).all():
            raise ValueError("polygon with a point that is not finite")
        if len(points) >= 3:
            mask |= polygon2mask(shape, points[:, ::-1] - 0.5)
            drawn += 1
    if not drawn:
        raise ValueError("polygon of fewer than three points")
    return mask


def _to_text(counts: Sequence[int]) -> str:
    """Return runs as text: differences to the run before the last, six bits a character."""
    text = []
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            text.append(chr((bits | 0x20 if more else bits) + 48))
    return "".join(text)


def _from_text(text: str) -> list[int]:
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError("RLE whose counts are not COCO's text")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value, shift = 0, 0
    if shift:
        raise ValueError("RLE whose counts are cut short")
    return counts
