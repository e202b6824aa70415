"""What the numbers of a mask mean: a cell each, a kind each, cell and slide, or cell and nucleus.

Nothing is assumed: where a folder of masks can only mean one thing, that is taken, with a
remark; otherwise the import is refused, and the message names the option that decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from naturalize.base.console import say
from naturalize.base.errors import InputError, UnusableError

#: ``numbers``: each is a cell; ``kinds``: 1 white, 2 red, 3 platelet; ``binary``: cell or slide;
#: ``levels``: cytoplasm and nucleus. In the last three each connected piece is a cell.
MeaningName = Literal["numbers", "kinds", "binary", "levels"]

#: Two pieces of a number count as two cells if the second has this share of the first: less is a
#: stray pixel of the annotation.
_PIECE = 0.1

#: A number lies inside another if that is this share of what surrounds it. Nuclei of the 150 masks
#: of segmentation_WBC have 0.92 and more.
_INSIDE = 0.7

#: Share of numbers in several pieces, or inside others, from which numbers are no cells.
_OFTEN = 0.3

#: What is in one piece, reaches all four sides and covers this share of the image may be the slide.
#: No cell of 300 masks of segmentation_WBC and KRD-WBC does.
_SLIDE = 0.2

#: A MinIsWhite TIFF whose edge is cell by more than these shares: doubtful, and certainly inverted.
_EDGE = (0.5, 0.75)

#: Pieces of coded or smoothed masks with less than this share of the largest are specks: those of
#: KRD-WBC's JPEG masks have 0.0002 at most.
_SPECK = 0.01

#: Grey levels of coded masks differ from their flat areas' by less than this share of the highest.
_CODED = 0.1


class Meaning(NamedTuple):
    """How a folder of masks is read; ``nucleus``: the level of nuclei, where there are levels."""

    name: MeaningName
    invert: bool = False
    nucleus: int = 0


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask file: ``numbers`` int32 (H, W), 0 where the slide is, and what was noticed.

    ``coded``: smooth or JPEG-coded edges were brought to levels. ``colours``: how many a colour
    image has. ``doubt``: why the numbers may mean something else.
    """

    numbers: np.ndarray
    coded: bool = False
    colours: int = 0
    doubt: str = ""


@dataclass(frozen=True)
class Facts:
    """What a mask file shows of its meaning.

    ``values``: its numbers; ``split``: how many of them lie in several pieces; ``inside``: pairs of
    a number and the one that surrounds it; ``covers``: a number that lies like the slide, or 0;
    the others as in :class:`Mask`.
    """

    file: Path
    values: tuple[int, ...]
    split: int
    inside: tuple[tuple[int, int], ...]
    covers: int
    coded: bool
    colours: int
    doubt: str


def read_mask(file: Path, *, invert: bool = False) -> Mask:
    """Return the whole numbers of a mask file.

    TIFF files with *MinIsWhite* are read by their numbers, as tifffile does; of their two possible
    readings that with the slide along the image's edge is taken. ``invert``: the slide has the
    highest number.

    Raises ``UnusableError`` if the file cannot be read, or holds no whole numbers.
    """
    values, lossy, reverse = _pixels(file)
    colours, doubt = 0, ""
    if values.ndim == 3 and values.shape[2] in (1, 3, 4):
        values, colours = _numbered_colours(values, lossy)
    if values.ndim != 2 or values.dtype.kind not in "uibf" or not np.isfinite(values).all():
        raise UnusableError(
            file, f"{values.dtype} {values.shape} is no image of one number a pixel"
        )
    levels = _levels(values, lossy)
    if levels is not None:
        numbers = levels
        doubt = "has colours, which a JPEG mixes," if lossy and colours else ""
    elif lossy or (values.dtype.kind == "f" and (values != np.rint(values)).any()):
        numbers = (values >= values.max(initial=0) / 2).astype(np.int32)
        doubt = "is a JPEG" if lossy else "holds fractions"
    elif values.size and (values.min() < 0 or values.max() >= 2**31 - 1):
        raise UnusableError(file, f"numbers must be 0 (the slide) to {2**31 - 2}")
    else:
        numbers = values.astype(np.int32)
    if invert:
        numbers = np.where(numbers == numbers.max(initial=0), 0, numbers + 1)
    elif reverse:
        edge = float(_edge(numbers > 0).mean())
        if edge > _EDGE[1]:
            numbers = 1 - numbers
        elif edge > _EDGE[0]:
            doubt = "is a MinIsWhite TIFF that can be read either way"
    return Mask(numbers, levels is not None, colours, doubt)


def facts_of(file: Path, *, invert: bool) -> Facts | UnusableError:
    """Return what a mask file shows of its meaning, or why it cannot be used."""
    try:
        mask = read_mask(file, invert=invert)
    except UnusableError as error:
        return error
    values, inside, split, covers = [], [], 0, 0
    for value, (x, y), one in each_number(mask.numbers):
        values.append(value)
        _, _, stats, _ = cv2.connectedComponentsWithStats(one.astype(np.uint8), connectivity=8)
        areas = np.sort(stats[1:, cv2.CC_STAT_AREA])
        split += len(areas) > 1 and areas[-2] >= _PIECE * areas[-1]
        around, times = np.unique(_ring(mask.numbers, one, x, y), return_counts=True)
        if times.size and around[times.argmax()] and times.max() > _INSIDE * times.sum():
            inside.append((value, int(around[times.argmax()])))
        height, width = mask.numbers.shape
        largest = stats[1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())]
        reaches = one.shape == (height, width) == (largest[3], largest[2])
        if reaches and areas[-1] > _SLIDE * mask.numbers.size:
            covers = value
    seen = (mask.coded, mask.colours, mask.doubt)
    return Facts(file, tuple(values), split, tuple(inside), covers, *seen)


def decide(found: Sequence[Facts], asked: MeaningName | None, *, invert: bool) -> Meaning:
    """Return how a folder of masks is to be read: as ``asked`` by the user, or as it can only be.

    Raises ``InputError`` if the masks can mean several things; the message names the options.
    """
    values = sorted({value for facts in found for value in facts.values})
    inside = [pair for facts in found for pair in facts.inside]
    n = sum(len(facts.values) for facts in found)
    nucleus = max(values, key=[inner for inner, _ in inside].count, default=0)
    if asked == "levels" and len(values) != 2:
        raise InputError(
            f"{found[0].file}: levels are two, cytoplasm and nucleus; these masks hold "
            f"{len(values)} numbers other than the slide's"
        )
    if asked is not None:
        return Meaning(asked, invert, nucleus)
    for facts in found:
        _refuse_doubtful(facts, invert=invert)
    if len(values) == 1:
        split = any(facts.split for facts in found)
        if values != [1] or split:
            say(f"masks of cell and slide (0 and {values[0]}): each connected piece is a cell")
        return Meaning("binary" if values != [1] or split else "numbers", invert)
    first = found[0].file
    if values and len(inside) > _OFTEN * n:
        if len(values) == 2 and (values[0] in (127, 128) or any(f.coded for f in found)):
            say(f"masks of levels: {nucleus} inside {sum(values) - nucleus} is a cell's nucleus")
            return Meaning("levels", invert, nucleus)
        where = next(facts for facts in found if facts.inside)
        raise InputError(
            f"{where.file}: the number {where.inside[0][0]} lies inside {where.inside[0][1]}; "
            "say --meaning levels (a cell and its nucleus) or numbers (two cells)"
        )
    if values in ([127, 255], [128, 255]) or any(facts.coded for facts in found):
        raise InputError(
            f"{first}: grey levels {', '.join(map(str, values))}; say --meaning levels (cytoplasm "
            "and nucleus), numbers (a cell each) or binary (cell and slide)"
        )
    if sum(facts.split for facts in found) > _OFTEN * n:
        where = next(facts for facts in found if facts.split)
        raise InputError(
            f"{where.file}: {where.split} of {len(where.values)} numbers lie in several pieces; "
            "say --meaning kinds (1 white, 2 red, 3 platelet), binary (cell and slide) or numbers "
            "(a cell each all the same)"
        )
    if inside:
        say(f"{len(inside)} of {n:,} numbers lie inside another number: cells of their own")
    return Meaning("numbers", invert)


def each_number(numbers: np.ndarray) -> Iterator[tuple[int, tuple[int, int], np.ndarray]]:
    """Yield each number above 0, column and row of its box, and its mask there."""
    from scipy.ndimage import find_objects

    values = np.unique(numbers)
    # sparse numbers (65535, or hashes) would cost a slot each: number them anew first
    dense = np.searchsorted(values, numbers)
    boxes = find_objects(dense + 1)
    for i, value in enumerate(values.tolist()):
        if value > 0:
            rows, columns = boxes[i]
            yield value, (columns.start, rows.start), dense[rows, columns] == i


def each_piece(mask: Mask, marked: np.ndarray) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Yield column and row of the box of each connected piece of bool (H, W), and its mask."""
    n, pieces, stats, _ = cv2.connectedComponentsWithStats(marked.astype(np.uint8), connectivity=4)
    areas = stats[1:, cv2.CC_STAT_AREA]
    least = _SPECK * areas.max(initial=0) if mask.coded else 0
    for i in range(1, n):
        x, y, width, height, area = stats[i]
        if area > least:
            yield (int(x), int(y)), pieces[y : y + height, x : x + width] == i


def _refuse_doubtful(facts: Facts, *, invert: bool) -> None:
    """Raise if a mask may be inverted, or is of a kind that can mean several things."""
    if facts.doubt:
        raise InputError(
            f"{facts.file}: {facts.doubt} and is no plain label image; say --meaning binary (cell "
            "and slide, parted at half the highest value), with --invert if the slide has that"
        )
    if facts.colours > 1:
        raise InputError(
            f"{facts.file}: {facts.colours} colours; say --meaning numbers (each colour a cell), "
            "binary (cell and slide) or levels (cytoplasm and nucleus)"
        )
    if facts.covers and not invert:
        raise InputError(
            f"{facts.file}: the number {facts.covers} reaches all four sides of the image, as "
            "the slide does; say --invert, or --meaning binary or numbers if it is a cell"
        )


def _pixels(file: Path) -> tuple[np.ndarray, bool, bool]:
    """Return a file's values, whether they are coded with loss, and whether bits are reversed."""
    try:
        if file.suffix.lower() == ".npy":
            return np.load(file, allow_pickle=False), False, False
        with Image.open(file) as opened:
            lossy = opened.format in ("JPEG", "MPO")
            pages = 1 if lossy else getattr(opened, "n_frames", 1)
            if pages > 1:
                raise ValueError(f"{pages} pages; a mask is one")
            plain = opened.mode in ("1", "L", "P", "I", "F", "RGB") or opened.mode[:2] == "I;"
            values = np.asarray(opened if plain else opened.convert("RGBA"))
            # 262: photometric interpretation; 0: MinIsWhite, of which Pillow turns 8 bits or less
            reverse = getattr(opened, "tag_v2", {}).get(262) == 0 and opened.mode in ("1", "L")
            if opened.mode == "1":
                values = values.astype(np.uint8)
                return (1 - values, False, True) if reverse else (values, False, False)
            return (255 - values if reverse else values), lossy, False
    except (
        UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError,
        EOFError,
    ) as error:  # fmt: skip
        what = "not a plain array" if file.suffix.lower() == ".npy" else "not an image"
        raise UnusableError(file, f"{what} that can be read ({error})") from error


def _numbered_colours(values: np.ndarray, lossy: bool) -> tuple[np.ndarray, int]:
    """Return a grey or colour image as numbers (H, W), and its colours other than the slide's.

    Black is the slide, or the most frequent colour of the edge where nothing is black.
    """
    if values.shape[2] == 4:
        alpha, values = values[..., 3], values[..., :3]
        if alpha.min() < 255 and (values == values[:1, :1]).all():
            return alpha, 0  # of one colour: its transparency is the mask
        values = np.where(alpha[..., None] > 0, values, 0)
    if (values == values[..., :1]).all():
        return values[..., 0], 0
    if lossy:
        return values.max(axis=2), 1
    packed = values.astype(np.int64) @ np.array([65536, 256, 1])
    found, numbers = np.unique(packed, return_inverse=True)
    numbers = numbers.reshape(packed.shape)
    if found[0] != 0:
        slide = np.bincount(_edge(numbers)).argmax()
        numbers = np.where(numbers == slide, 0, numbers + 1)
    return numbers, len(found) - 1


def _levels(values: np.ndarray, lossy: bool) -> np.ndarray | None:
    """Return levels 0 and 255, or 0, 128 and 255, of a mask with smooth or coded edges.

    ``None`` if its flat areas have other values, or its edges are sharp.
    """
    top = float(values.max(initial=0))
    if not lossy and (top not in (1.0, 255.0, 65535.0) or len(np.unique(values)) <= 3):
        return None
    if top <= 0:
        return None
    share = values.astype(np.float32) / np.float32(top)
    kernel = np.ones((3, 3), np.uint8)
    flat = cv2.dilate(share, kernel) - cv2.erode(share, kernel) <= (_CODED if lossy else 0)
    half = np.rint(2 * share) / 2
    near = np.abs(share - half) <= np.where(half == 0.5, 0.004, 0) + (_CODED if lossy else 0)
    if not flat.any() or near[flat].mean() < (0.99 if lossy else 1):
        return None
    core = (flat & (half > 0)).astype(np.uint8)
    if not lossy and (~near & (cv2.dilate(core, np.ones((7, 7), np.uint8)) == 0)).any():
        return None  # what lies far from any flat area is no smooth edge
    if (half[flat] == 0.5).mean() > 0.001:
        return np.array([0, 128, 255], np.int32)[np.digitize(share, [0.25, 0.75])]
    return np.where(share >= 0.5, 255, 0).astype(np.int32)


def _edge(image: np.ndarray) -> np.ndarray:
    """Return the values along the four sides of an image."""
    return np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])


def _ring(numbers: np.ndarray, one: np.ndarray, x: int, y: int) -> np.ndarray:
    """Return the numbers of the pixels around a mask whose box begins at ``x, y``."""
    height, width = one.shape
    padded = np.pad(one, 1).astype(np.uint8)
    ring = cv2.dilate(padded, np.ones((3, 3), np.uint8)) > padded
    top, left = max(0, y - 1), max(0, x - 1)
    part = numbers[top : y + height + 1, left : x + width + 1]
    rows, columns = top - (y - 1), left - (x - 1)
    return part[ring[rows : rows + part.shape[0], columns : columns + part.shape[1]]]
