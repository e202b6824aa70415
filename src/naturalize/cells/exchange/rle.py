"""COCO's masks: run lengths down the columns, as numbers or as text; and polygons.

Written after the text of the COCO API (Lin et al., Microsoft COCO, ECCV 2014; ``maskApi.c``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from naturalize.imaging.runlength import encode


def mask_to_rle(mask: np.ndarray) -> dict[str, Any]:
    """Return COCO's compressed RLE of a bool (H, W) mask: ``{"size": [H, W], "counts": text}``.

    Examples
    --------
    >>> mask_to_rle(np.array([[False, True], [False, True]]))
    {'size': [2, 2], 'counts': '22'}
    """
    return {"size": list(mask.shape), "counts": _to_text(encode(mask.T).tolist())}


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
        raise ValueError("its RLE lacks size (two numbers) or counts") from error
    runs = np.array(_from_text(counts) if isinstance(counts, str) else counts)
    if runs.ndim != 1 or (runs.size and runs.dtype.kind not in "iu") or (runs < 0).any():
        raise ValueError("the counts of its RLE are not whole numbers of at least 0")
    if runs.sum() != height * width or height < 1 or width < 1:
        raise ValueError(f"its RLE covers {runs.sum()} pixels, its size is {width} × {height}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def polygons_to_mask(polygons: Sequence[Any], shape: tuple[int, int]) -> np.ndarray:
    """Return the bool (H, W) mask of the union of polygons ``[x1, y1, x2, y2, …]``.

    A pixel belongs to a polygon if its middle does (pixel ``i`` covers ``i`` to ``i + 1``). The
    COCO API, which rounds outlines to fifths of a pixel, may differ along the edge.

    Raises
    ------
    ValueError
        If one has fewer than three points, an odd number of values, or a value that is no number.
    """
    from skimage.draw import polygon2mask

    mask = np.zeros(shape, bool)
    for polygon in polygons:
        try:
            points = np.asarray(polygon, np.float64).reshape(-1, 2)
        except (TypeError, ValueError) as error:
            raise ValueError("its polygon is not a list x1, y1, x2, y2, … of numbers") from error
        if len(points) < 3 or not np.isfinite(points).all():
            raise ValueError("its polygon needs at least three points, all finite")
        mask |= polygon2mask(shape, points[:, ::-1] - 0.5)
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
            raise ValueError(f"the counts of its RLE hold {character!r}, which is no part of such")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value, shift = 0, 0
    if shift:
        raise ValueError("the counts of its RLE are cut short")
    return counts
