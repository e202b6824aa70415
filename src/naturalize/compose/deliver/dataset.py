"""Composites, alone or beside real images, as a data set for any training loop, without PyTorch."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

import cv2
import numpy as np

from naturalize.base.errors import InputError, unknown
from naturalize.base.images import read_image
from naturalize.compose.paint.render import finished, render
from naturalize.compose.paint.scenes import source_of
from naturalize.compose.paint.sizes import Size, asked_size
from naturalize.compose.recipe.recipe import Finish

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.paint.scenes import CellSource
    from naturalize.compose.recipe.plan import Plan
    from naturalize.dataset.catalog import Catalog
    from naturalize.dataset.split import Split


@dataclass(frozen=True)
class RealImages:
    """Files of real images, treated as the composites beside them are."""

    paths: Sequence[str]
    #: What composites beside them are finished with, dealt to the files in turn: with one pass of a
    #: codec more or less, a network could tell composed from real images.
    finishes: Sequence[Finish] = ()
    size: tuple[int, int] | None = None  # width and height that all are brought to, if they are

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, row: int) -> np.ndarray:
        """Decode a file, RGB uint8 (H, W, 3), resize and finish it."""
        image = resized(read_image(self.paths[row]), self.size)
        return finished(image, self.finishes[row % len(self.finishes)]) if self.finishes else image


class CompositeDataset:
    """Real images, then composites: ``dataset[i]`` is a picture and the number of its class.

    A map-style data set as ``torch.utils.data.DataLoader`` and ``keras.utils.PyDataset`` want one;
    it pickles, so any number of workers may read it, and gives the same pixels in each. Composites
    are rendered when they are asked for.

    Both kinds have the same history: where composites end in a codec, real images are sent through
    it once more, so that no network can distinguish them by it. Both are shrunk by averaging areas.

    Parameters
    ----------
    plan
        The composites.
    source
        Where their cells come from: a :class:`~naturalize.compose.paint.crops.CropStore` of this
        plan (and size), or a bank, which decodes an image each time.
    size
        Side of a square, or width and height, of all pictures; by default each has its own.
        Composites are composed at that size.
    classes
        The class names in the order of the numbers; by default those that occur, sorted, as
        ``torchvision.datasets.ImageFolder`` has them.
    real
        ``(path, class)`` of real images to stand before the composites;
        :func:`real_images` gives those of a split.
    transform
        Applied to each picture, RGB uint8 (height, width, 3); the default gives it as it is.

    Attributes
    ----------
    classes, class_to_idx
        The class names, and their numbers.
    targets
        Int64 (N,): the number of each picture's class.
    is_composite
        Bool (N,).
    names
        Path of a real image, recipe id of a composite.

    Raises
    ------
    SettingsError
        If a class that occurs is not among ``classes``, or ``size`` is no size.
    """

    def __init__(
        self,
        plan: Plan,
        source: CellSource | CellBank,
        *,
        size: Size = None,
        classes: Sequence[str] | None = None,
        real: Iterable[tuple[str | Path, str]] = (),
        transform: Callable[[np.ndarray], Any] | None = None,
    ) -> None:
        self.plan, self.source, self.transform = plan, source_of(source), transform
        self.size = asked_size(size)
        pairs = [(str(path), label) for path, label in real]
        words, codes = plan.columns.words.labels, plan.columns.label
        labels = [label for _, label in pairs]
        occur = {*labels, *(words[code] for code in np.unique(codes).tolist())}
        self.classes = tuple(sorted(occur) if classes is None else classes)
        self.class_to_idx = {label: i for i, label in enumerate(self.classes)}
        for label in sorted(occur - self.class_to_idx.keys()):
            raise unknown("class", label, list(self.classes))
        number = np.array([self.class_to_idx.get(word, -1) for word in words], np.int64)
        of_real = np.array([self.class_to_idx[label] for label in labels], np.int64)
        self.targets = np.concatenate([of_real, number[codes]])
        paths = [path for path, _ in pairs]
        self._real = RealImages(paths, finishes_of(plan, self.size), self.size)

    def __len__(self) -> int:
        return len(self._real) + len(self.plan)

    def __getitem__(self, i: SupportsIndex) -> tuple[Any, int]:
        """Return picture ``i``, RGB uint8 (height, width, 3), and the number of its class.

        ``IndexError`` beyond the last; ``ImageReadError`` if the file of a real image cannot be
        read.
        """
        n, row = len(self), operator.index(i)
        if not -n <= row < n:
            raise IndexError(f"picture {row} of {n}")
        row %= n
        if row < len(self._real):
            image = self._real.read(row)
        else:
            recipe = self.plan.recipe(row - len(self._real))
            image = render(recipe, self.source, size=self.size)
        picture = image if self.transform is None else self.transform(image)
        return picture, int(self.targets[row])

    @property
    def is_composite(self) -> np.ndarray:
        """Bool (N,): whether a picture is composed."""
        return np.arange(len(self)) >= len(self._real)

    @property
    def names(self) -> list[str]:
        """Path of each real image, recipe id of each composite."""
        return [*self._real.paths, *self.plan.ids]


def real_images(
    catalog: Catalog, split: Split | None = None, *, part: str = "train"
) -> list[tuple[Path, str]]:
    """Return path and class of the images of a part of a split, or of all usable ones.

    ``InputError`` if there is none.
    """
    rows = catalog.usable().select(["image_id", "path", "label"]).to_pylist()
    here = None if split is None else set(split.ids(part))
    found = [
        (catalog.root / row["path"], row["label"])
        for row in rows
        if row["label"] is not None and (here is None or row["image_id"] in here)
    ]
    if not found:
        raise InputError(
            f"{catalog.root}: no image of part {part!r} of the split is in the catalog"
        )
    return found


def finishes_of(plan: Plan, size: tuple[int, int] | None = None) -> tuple[Finish, ...]:
    """Return what the composites of a plan are finished with, in order; nothing if by nothing.

    Those that are composed at another ``size`` than their canvas are not finished.
    """
    columns = plan.columns
    at_own = np.ones(len(plan), bool) if size is None else (columns.size == size).all(axis=1)
    codes = columns.finish.tolist()
    used = [
        columns.words.finishes[code] if own else Finish()
        for code, own in zip(codes, at_own.tolist(), strict=True)
    ]
    if len(set(used)) == 1:
        used = used[:1]
    return tuple(used) if any(finish.codec == "jpeg" for finish in used) else ()


def resized(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Return an image at ``size`` (width, height): shrunk by areas, as scenes of composites are."""
    height, width = image.shape[:2]
    if size is None or size == (width, height):
        return image
    shrinks = size[0] <= width and size[1] <= height
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
