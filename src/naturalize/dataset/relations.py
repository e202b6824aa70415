"""What images are to each other: duplicates, label conflicts, odd sizes; as flags on rows.

Near duplicates are the same picture re-encoded, resized, re-lit, turned or mirrored. Candidates
come from a description that does not change under the eight flips and quarter turns: magnitudes of
the low DCT frequencies, made symmetric. Different cells on a similar background can be close in it,
so every candidate is confirmed on the small pictures themselves.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from naturalize.base.statistics import connected

#: Side of the small grey pictures that are compared.
SIDE = 32

#: The least similarity of description of a candidate, and the least correlation of the pictures
#: and of their fine detail of a pair. Of 10,135 PBC images, the closest different cells reach 0.90
#: and 0.52; of 351 tight crops (BCCD), 0.96 and 0.68, and the worst true pair 0.96 and 0.83.
CANDIDATE, SAME, SAME_DETAIL = 0.87, 0.93, 0.75

#: So many candidates (and 20 a picture) are confirmed; where pictures are so alike that there would
#: be more, only closer ones are, though never fewer than a re-encoded copy needs.
_BUDGET, _COPY = 300_000, 0.98

#: Pictures with less contrast than this (grey levels, standard deviation) are compared to none.
_FLAT = 2.0

_FREQUENCIES = 8
_BLOCK = 1024
_PAIRS = 1024  # compared at a time: they fit the processor's cache


def relate(rows: Sequence[dict[str, Any]], smalls: Sequence[np.ndarray | None]) -> None:
    """Add to ``rows`` (sorted by path) the flags and links that need more than one image.

    ``exact_duplicate``: same pixels as another row; ``near_duplicate``: nearly the same picture;
    ``label_conflict``: same pixels, another label; ``near_label_conflict``: likewise for near
    duplicates; ``odd_size``: not of the size that most images have.
    """
    firsts = _relate_exact(rows)
    _relate_near(rows, smalls, firsts)
    _flag_odd_sizes(rows)
    for row in rows:
        row["flags"] = sorted(set(row["flags"]))


def _relate_exact(rows: Sequence[dict[str, Any]]) -> list[int]:
    """Flag exact duplicates; return the index of the first row of each picture."""
    same: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        if row.get("pixel_hash") is not None:
            same[row["pixel_hash"]].append(i)
    for members in same.values():
        if len(members) == 1:
            continue
        conflict = _labels(rows, members) > 1
        for i in members:
            rows[i]["flags"] += ["exact_duplicate"] + ["label_conflict"] * conflict
            if i != members[0]:
                rows[i]["duplicate_of"] = rows[members[0]]["path"]
    return [members[0] for members in same.values()]


def _relate_near(
    rows: Sequence[dict[str, Any]], smalls: Sequence[np.ndarray | None], firsts: list[int]
) -> None:
    pictures = [small for i in firsts if (small := smalls[i]) is not None]
    if len(pictures) < 2:
        return
    pairs = near_duplicates(np.stack(pictures))
    sets = connected((firsts[i], firsts[j]) for i, j in pairs)
    leader = {i: members[0] for members in sets for i in members}
    paths = {rows[i]["path"]: i for i in firsts}
    for row in rows:
        first = paths.get(row.get("duplicate_of") or row["path"])
        if first in leader:
            row["flags"].append("near_duplicate")
            if (path := rows[leader[first]]["path"]) != row["path"]:
                row["near_duplicate_of"] = path
    for members in sets:
        if _labels(rows, members) > 1:
            for i in members:
                rows[i]["flags"].append("near_label_conflict")


def _labels(rows: Sequence[dict[str, Any]], members: Iterable[int]) -> int:
    return len({rows[i]["label"] for i in members} - {None})


def _flag_odd_sizes(rows: Sequence[dict[str, Any]]) -> None:
    usual = usual_size(rows)
    for row in rows:
        if usual and row.get("width") and (row["width"], row["height"]) != usual[:2]:
            row["flags"].append("odd_size")


def usual_size(rows: Iterable[Mapping[str, Any]]) -> tuple[int, int, int] | None:
    """Return width, height and number of the size that most images have, if there is one."""
    sizes = Counter((row["width"], row["height"]) for row in rows if row.get("width"))
    (size, n), *_ = sizes.most_common(1) or [((0, 0), 0)]
    return (*size, n) if n * 2 > sizes.total() else None


# -- near duplicates ----------------------------------------------------------------------------


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return ``image`` (RGB uint8 (H, W, 3)) as a small grey picture, uint8 (32, 32)."""
    import cv2

    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def perceptual_hash(small: np.ndarray) -> str:
    """Return the 64-bit pHash of a small grey picture as 16 hex digits.

    Bits are set where one of the 8 × 8 lowest DCT frequencies is above their median (Zauner, 2010).
    """
    import cv2

    low = cv2.dct(small.astype(np.float32))[:_FREQUENCIES, :_FREQUENCIES].ravel()
    return np.packbits(low > np.median(low[1:])).tobytes().hex()


def near_duplicates(
    smalls: np.ndarray, *, block: int = _BLOCK, budget: int = _BUDGET
) -> list[tuple[int, int]]:
    """Return the index pairs (i < j) of near duplicates among small pictures, uint8 (N, 32, 32).

    ``block`` rows are compared at once; besides 20 a picture, ``budget`` candidates are confirmed.
    Time is N² multiply-adds of 64 numbers in BLAS; memory is flat.
    """
    lively = np.array([i for i, small in enumerate(smalls) if small.std() >= _FLAT], np.int64)
    described = _descriptions(smalls[lively])
    tiny = _standardised(_halved(smalls[lively]))
    pairs: list[tuple[int, int]] = []
    for candidates in _candidates(described, _threshold(described, budget), block):
        likely = _best_correlation(tiny[candidates[0]], tiny[candidates[1]])[0] >= SAME - 0.01
        i, j = (lively[ends[likely]] for ends in candidates)
        same = _same(smalls[i], smalls[j])
        pairs += zip(i[same].tolist(), j[same].tolist(), strict=True)
    return sorted(pairs)


def _descriptions(smalls: np.ndarray) -> np.ndarray:
    """Return unit vectors, float32 (N, 63), equal for a picture and its flips and turns.

    A flip changes only signs of DCT coefficients, a transposition swaps C[u, v] and C[v, u]; so
    the larger and the smaller of |C[u, v]| and |C[v, u]| change under neither.
    """
    from scipy.fft import dctn

    found = []
    for start in range(0, len(smalls), _BLOCK):
        block = smalls[start : start + _BLOCK].astype(np.float32)
        low = np.abs(dctn(block, axes=(1, 2), norm="ortho")[:, :_FREQUENCIES, :_FREQUENCIES])
        upper, lower = np.triu_indices(_FREQUENCIES), np.triu_indices(_FREQUENCIES, 1)
        turned = low.transpose(0, 2, 1)
        largest, smallest = np.maximum(low, turned), np.minimum(low, turned)
        both = np.concatenate(
            [largest[:, upper[0], upper[1]], smallest[:, lower[0], lower[1]]], axis=1
        )
        found.append(both[:, 1:])  # without the mean
    described = np.concatenate(found) if found else np.zeros((0, 63), np.float32)
    # light changes scale all coefficients; the root keeps a few large ones from deciding alone
    described = np.sqrt(described)
    described -= described.mean(axis=1, keepdims=True)
    return described / np.maximum(np.linalg.norm(described, axis=1, keepdims=True), 1e-6)


def _threshold(described: np.ndarray, budget: int) -> float:
    """Return the least similarity of candidates that keeps their number within the budget."""
    n = len(described)
    share = (budget + 20 * n) / max(1.0, n * (n - 1) / 2)
    if share >= 1:
        return CANDIDATE
    order = np.lexsort(described.T[:3])  # a sample that does not depend on file names
    sample = described[order[:: max(1, n // 2000)]]
    # each pair once; a mask, as index arrays of it would be the most memory that a catalog takes
    similar = (sample @ sample.T)[~np.tri(len(sample), dtype=bool)]
    return float(np.clip(np.quantile(similar, 1 - share), CANDIDATE, _COPY))


def _candidates(
    described: np.ndarray, threshold: float, block: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(described), block):
        rows = described[start : start + block]
        for other in range(start, len(described), block):
            similar = rows @ described[other : other + block].T >= threshold
            i, j = np.nonzero(similar)
            i, j = i + start, j + other
            later = i < j
            i, j = i[later], j[later]
            for piece in range(0, len(i), _PAIRS):
                yield i[piece : piece + _PAIRS], j[piece : piece + _PAIRS]


def _same(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return, bool (N,), which pairs correlate well enough, as a whole and in fine detail.

    Detail is what a 5 × 5 mean takes away: without it, pictures of one strict layout (centred
    cells, chest X-rays) would all resemble each other. It is compared only where the whole passes.
    """
    whole, orientation = _best_correlation(_standardised(first), _standardised(second))
    same = whole >= SAME
    if not same.any():
        return same
    fine_a, fine_b = _standardised(_detail(first[same])), _standardised(_detail(second[same]))
    fine = _correlations_by_orientation(fine_a, fine_b)
    same[same] = fine[orientation[same], np.arange(len(fine_a))] >= SAME_DETAIL
    return same


def _best_correlation(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the best correlation over the eight orientations, and which one it is; both (N,)."""
    found = _correlations_by_orientation(a, b)
    best = found.argmax(axis=0)
    return found[best, np.arange(len(a))], best


def _correlations_by_orientation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the correlations of standardised pictures for each orientation of ``b``: (8, N)."""
    return np.stack(
        [
            np.einsum("nij,nij->n", a, _oriented(b, turns, mirrored))
            for turns in range(4)
            for mirrored in (False, True)
        ]
    )


def _oriented(smalls: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    turned = np.rot90(smalls, turns, axes=(1, 2))
    return turned[:, :, ::-1] if mirrored else turned


def _halved(smalls: np.ndarray) -> np.ndarray:
    """Return pictures of half the side, float32 (N, 16, 16): enough to distinguish most pairs."""
    blocks = smalls.reshape(len(smalls), SIDE // 2, 2, SIDE // 2, 2)
    return blocks.mean(axis=(2, 4), dtype=np.float32)


def _detail(smalls: np.ndarray) -> np.ndarray:
    from scipy.ndimage import uniform_filter

    values = smalls.astype(np.float32)
    return values - uniform_filter(values, size=(0, 5, 5), mode="nearest")


def _standardised(smalls: np.ndarray) -> np.ndarray:
    values = smalls.astype(np.float32)
    values -= values.mean(axis=(1, 2), keepdims=True)
    length = np.sqrt(np.einsum("nij,nij->n", values, values))
    return values / np.maximum(length, 1e-6)[:, None, None]
