"""What every format gives: annotated cells, the images they lie in, and their measures."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import cv2
import numpy as np
import pyarrow as pa

from naturalize.base import engine
from naturalize.base.console import warn
from naturalize.base.errors import InputError, UnusableError
from naturalize.base.images import content_hash, decode_image, read_bytes
from naturalize.base.walk import walk_images
from naturalize.cells.exchange.kinds import AUTO, guess
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.cells.segmenters.classical.view import view
from naturalize.cells.tables import CELLS, IMAGES, OUTCOMES, image_row


@dataclass(frozen=True, eq=False)
class AnnotatedCell:
    """One cell as a source gives it.

    ``mask``: bool (h, w), at least one pixel, whose first pixel lies at ``offset`` (column, row);
    ``kind``: ``"auto"`` too; ``label``: its class, if the source names it; ``nucleus``: bool like
    ``mask``; ``score``: 0–1; ``cell_id``: the id that it had when this project wrote it.
    """

    mask: np.ndarray
    kind: str
    offset: tuple[int, int] = (0, 0)
    label: str | None = None
    nucleus: np.ndarray | None = None
    score: float = 1.0
    cell_id: str | None = None


class AnnotatedImage(NamedTuple):
    """An image below the root, and what its format needs to find its cells."""

    path: str
    about: Any


#: Yields the cells in RGB uint8 (H, W, 3), and what of them cannot be used; it goes to the workers.
Reader = Callable[[AnnotatedImage, np.ndarray], Iterable[AnnotatedCell | UnusableError]]


@dataclass(frozen=True)
class Listing:
    """The images that a source annotates, sorted by path below ``root``.

    ``read`` gives the cells of one; ``classes`` in the source's order, empty where it names none;
    ``unusable``: what was left out so far.
    """

    root: Path
    images: tuple[AnnotatedImage, ...]
    read: Reader
    classes: tuple[str, ...] = ()
    unusable: tuple[UnusableError, ...] = ()


@dataclass(frozen=True)
class Measured:
    """Tables as in a ``cells`` artifact, and the class of each cell, or ``None``."""

    cells: pa.Table
    outcomes: pa.Table
    labels: list[str | None]

    @property
    def digest(self) -> str:
        """16 hex digits of the ids, kinds, boxes, masks and classes."""
        columns = ["cell_id", "path", "kind", "x0", "y0", "x1", "y1", "mask", "nucleus", "score"]
        values = [self.cells[name].to_pylist() for name in columns]
        return hashlib.sha256(repr([values, self.labels]).encode()).hexdigest()[:16]


def measured(listing: Listing, **run: Any) -> Measured:
    """Measure all cells of a source that can be used; warn of the others, counted by reason.

    ``run``: backend and workers. Raises ``InputError`` if no cell can be used.
    """
    rows = engine.map(
        partial(_measure, root=listing.root, read=listing.read),
        listing.images,
        what="import",
        name=attrgetter("path"),
        **run,
    )
    kept, labels, first = [], [], dict[str, str]()
    unusable, split = list(listing.unusable), Counter[str]()
    for row, of_cells, left_out, n_split in rows:
        unusable += left_out
        if row is None:
            continue
        if first.setdefault(row["image_id"], row["path"]) != row["path"]:
            same = f"the same file as {first[row['image_id']]}, whose cells are taken"
            unusable.append(UnusableError(row["path"], same))
            continue
        kept.append(row)
        labels += of_cells
        split[row["path"]] += n_split
    images = pa.Table.from_pylist(kept, schema=IMAGES)
    flat = images["cells"].combine_chunks().flatten()
    cells = pa.Table.from_arrays(flat.flatten(), names=CELLS.names).cast(CELLS)
    if not cells.num_rows:
        why = "; ".join(counted(unusable)) or f"no cell is marked in any of {len(kept)} images"
        raise InputError(f"{listing.root}: nothing can be imported: {why}")
    for line in counted(unusable):
        warn(f"left out: {line}")
    if split.total():
        most = split.most_common(1)[0][0]
        warn(f"{split.total()} of {cells.num_rows} cells lie in several pieces (most in {most})")
    return Measured(cells, images.select(OUTCOMES.names), labels)


def counted(unusable: Sequence[UnusableError]) -> list[str]:
    """Return a line for each reason, the most frequent first, with the first that it befell."""
    number = Counter(one.reason for one in unusable)
    first = {one.reason: one.where for one in reversed(unusable)}
    return [f"{n:,} × {reason} (first: {first[reason]})" for reason, n in number.most_common()]


def check_size(where: object, got: Sequence[Any], shape: Sequence[int]) -> None:
    """Raise ``UnusableError`` if a size (rows, columns) is not the image's; ``None`` fits any."""
    if any(one is not None and one != of_image for one, of_image in zip(got, shape, strict=True)):
        raise UnusableError(
            f"{where} ({got[1]} × {got[0]} pixels, its image {shape[1]} × {shape[0]})",
            "not of its image's size; give the images that were annotated, at their own size",
        )


class ImageFinder:
    """Images below a folder, found by the names that annotations give them.

    ``root``: the folder; ``stems``: names are those of masks: they lack the suffix of their image;
    ``without``: files whose stem ends so are no images.
    """

    def __init__(self, root: Path, *, stems: bool = False, without: tuple[str, ...] = ()) -> None:
        self.root = root
        self._above = tuple(map(_composed, root.resolve().parts))
        #: Name of a file → folders and path below the root of each image that has it.
        self._named = defaultdict[str, list[tuple[tuple[str, ...], str]]](list)
        for path in walk_images(root).images:
            *folders, name = _composed(path).split("/")
            stem = PurePosixPath(name).stem
            if not stem.endswith(without or ("/",)):
                for key in {name, stem} if stems else {name}:
                    self._named[key].append((tuple(folders), path))
        if not self._named:
            raise InputError(f"{root}: no image in it; say where they are with --images")

    def find(self, name: str, where: object) -> str:
        """Return the path below the root of the one image that a name can mean.

        The exact path, or else the only image whose path ends with the name: folders that the name
        gives must be the image's own. Of an absolute path, as another computer wrote it, the file
        and at least its folder must fit.

        Raises ``UnusableError`` if there is none, or there are several.
        """
        pure = PurePosixPath(_composed(name.replace("\\", "/")))
        given = pure.parts[:-1]
        if ".." in pure.parts or not pure.parts:
            raise UnusableError(f"{where}: {name!r}", f"image's name that leads out of {self.root}")
        here = self._named[pure.name]
        alike = {path: _common_tail((*self._above, *folders), given) for folders, path in here}
        absolute = pure.is_absolute() or pure.parts[0].endswith(":")
        least = max(1, *alike.values(), 1) if absolute else len(given)
        found = [path for folders, path in here if folders == given]
        found = found or [path for path, n in alike.items() if n >= least]
        if not found:
            raise UnusableError(
                f"{where}: {name!r}", f"no such image in {self.root}; name its folder with --images"
            )
        if len(found) > 1:
            raise UnusableError(
                f"{where}: {name!r} ({', '.join(found[:3])})",
                "several images have this name; give them and their annotations the same folders",
            )
        return found[0]


def _common_tail(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many names at the end of two lists of folders are the same."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _composed(name: str) -> str:
    """Return a name with its accents as single letters; macOS writes them as two."""
    return unicodedata.normalize("NFC", name)


def _measure(
    annotated: AnnotatedImage, *, root: Path, read: Reader
) -> tuple[dict[str, Any] | None, list[str | None], list[UnusableError], int]:
    file = root / annotated.path
    try:
        data = read_bytes(file)
        image, _ = decode_image(data, name=file)
        given = list(read(annotated, image))
    except UnusableError as error:
        return None, [], [error], 0
    cells = [one for one in given if isinstance(one, AnnotatedCell)]
    kinds = [cell.kind for cell in cells]
    if AUTO in kinds:
        guessed = guess(image, [(cell.offset, cell.mask) for cell in cells])
        kinds = [g if kind == AUTO else kind for g, kind in zip(guessed, kinds, strict=True)]
    image_id = content_hash(data)
    found = tuple(
        Cell.from_mask(kind, c.mask, score=c.score, nucleus=c.nucleus, offset=c.offset)
        for c, kind in zip(cells, kinds, strict=True)
    )
    segmentation = Segmentation(image.shape[:2], found, view(image).background)
    row = image_row(image_id, annotated.path, image, segmentation)
    ids = [
        # an id that this project gave to a cell of this very image is still good
        c.cell_id if (c.cell_id or "").rpartition("-")[0] == image_id else written["cell_id"]
        for c, written in zip(cells, row["cells"], strict=True)
    ]
    if len(set(ids)) == len(ids):
        row["cells"] = [{**w, "cell_id": i} for w, i in zip(row["cells"], ids, strict=True)]
    unusable = [one for one in given if isinstance(one, UnusableError)]
    split = sum(cv2.connectedComponents(c.mask.astype(np.uint8))[0] > 2 for c in cells)
    return row, [cell.label for cell in cells], unusable, split
