"""Rows to train on, real and composed, and the samples drawn from them: pure functions of keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, Sampler, get_worker_info

from naturalize.base.engine import prefetched
from naturalize.base.images import read_image
from naturalize.base.rng import rng
from naturalize.cells.segmentation import target_of
from naturalize.imaging import runlength
from naturalize.imaging.slide import isolated, slide_colour
from naturalize.models.config import Colour
from naturalize.models.preprocess import SLIDE_GREY, View
from naturalize.training import augment, microscopes
from naturalize.training.pixels import PixelStore
from naturalize.training.settings import AugmentSettings

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.paint.crops import CropStore
    from naturalize.compose.recipe.plan import Plan
    from naturalize.dataset.catalog import Catalog


class Source(Protocol):
    """Where the pixels of rows come from."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def read(self, row: int) -> np.ndarray:
        """Return the image of a row, RGB uint8 (H, W, 3): always the same bytes."""


@dataclass(frozen=True)
class Composites:
    """Recipes, rendered when they are asked for."""

    plan: Plan
    crops: CropStore

    def __len__(self) -> int:
        return len(self.plan)

    def read(self, row: int) -> np.ndarray:
        """Render a recipe."""
        from naturalize.compose.paint.render import render

        return render(self.plan.recipe(row), self.crops)


@dataclass(frozen=True)
class Rows:
    """Rows of several sources, one after the other, each with its store of finished pixels.

    A store keeps pixels once they are decoded (or rendered) and resized. ``targets`` int64 (N,) are
    the numbers of the classes; ``names``, image or recipe ids, are for messages; ``view`` is what
    the network sees of an image; ``masks`` are of the cells that the labels speak of, if they are
    known.
    """

    sources: tuple[Source, ...]
    stores: tuple[PixelStore, ...]
    targets: np.ndarray
    names: tuple[str, ...]
    view: View
    masks: TargetMasks | FoundMasks | None = None

    @property
    def size(self) -> int:
        """Side of the network's input."""
        return self.view.size

    def __len__(self) -> int:
        return len(self.targets)

    def pixels(self, row: int) -> np.ndarray:
        """Return the image of a row at input size, RGB uint8 (S, S, 3)."""
        for source, store in zip(self.sources, self.stores, strict=True):
            if row < len(source):
                found = store.get(row)
                if found is None:
                    found = self.view.prepare(source.read(row))
                    store.put(row, found)
                return found
            row -= len(source)
        raise IndexError(row)

    def masked(self, row: int) -> tuple[np.ndarray, np.ndarray | None, Colour]:
        """Return a row as :meth:`pixels` does, the mask of its cell if there is one, its slide."""
        pixels = self.pixels(row)
        mask = self.masks.get(self.names[row]) if self.masks is not None else None
        grey = float(SLIDE_GREY)
        return pixels, mask, (grey, grey, grey) if self.view.balanced else slide_colour(pixels)

    def alone(self, row: int) -> np.ndarray:
        """Return a row as :meth:`pixels` does, its cell alone on a bare slide if it has a mask."""
        pixels, mask, slide = self.masked(row)
        return pixels if mask is None else isolated(pixels, mask, slide)


class TargetMasks:
    """The mask of the cell that each image's label speaks of, as far as a bank has it.

    The bank's target cells are taken, accepted or not; masks are of what ``view`` shows of an
    image.
    """

    def __init__(self, bank: CellBank, catalog: Catalog, view: View) -> None:
        self.view = view
        rows = catalog.table.select(["image_id", "height", "width"]).to_pylist()
        shapes = {row["image_id"]: (row["height"], row["width"]) for row in rows}
        table = bank.cells(target=True, accepted=None)
        self._cells = {
            row["image_id"]: (row, shapes[row["image_id"]])
            for row in table.select(["image_id", "x0", "y0", "x1", "y1", "mask"]).to_pylist()
            if row["image_id"] in shapes
        }

    def __len__(self) -> int:
        return len(self._cells)

    def get(self, image_id: str) -> np.ndarray | None:
        """Return the mask in an image, uint8 (size, size), 255 in the cell; null if not known."""
        found = self._cells.get(image_id)
        if found is None:
            return None
        row, shape = found
        box = row["x0"], row["y0"], row["x1"], row["y1"]
        runs = np.asarray(row["mask"], np.uint32)
        cell = runlength.decode(runs, (box[3] - box[1], box[2] - box[0]))
        return shown_mask(cell, box, shape, self.view)


class FoundMasks:
    """The mask of the cell in the middle of each image, as the default segmenter finds it.

    For images that no bank has; ``view`` is as for :class:`TargetMasks`.
    """

    def __init__(self, catalog: Catalog, view: View) -> None:
        from naturalize.cells.segmenters import segmenter

        self.catalog, self.view, self.segmenter = catalog, view, segmenter()

    def get(self, image_id: str) -> np.ndarray | None:
        """Return the mask in an image, uint8 (size, size), 255 in the cell; null without one."""
        found = self.segmenter.segment(read_image(self.catalog.path_of(image_id)))
        cell = target_of(found.cells, found.shape)
        return None if cell is None else shown_mask(cell.mask, cell.box, found.shape, self.view)


def shown_mask(
    cell: np.ndarray, box: Sequence[int], shape: tuple[int, int], view: View
) -> np.ndarray:
    """Return what a view shows of a cell, bool in its box: uint8 (size, size), 255 in the cell."""
    x0, y0, x1, y1 = box
    mask = np.zeros(shape, np.uint8)
    mask[y0:y1, x0:x1][cell] = 255
    top, left, bottom, right = view.window(*shape)
    size = (view.size, view.size)
    return cv2.resize(mask[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)


class Draw(NamedTuple):
    """One sample of an epoch: its place there and its row."""

    epoch: int
    place: int
    row: int


def epoch_rows(
    targets: np.ndarray,
    epoch: int,
    draws: int,
    *,
    seed: int,
    balanced: bool = False,
    beside: tuple[np.ndarray, int] | None = None,
) -> np.ndarray:
    """Return which rows epoch ``epoch`` (from 0) draws, in order, int64 (draws,).

    Rows come from an endless run of shuffled passes over all rows, of which every epoch takes the
    next ``draws``: no row is drawn again before all have been, also where an epoch is longer or
    shorter than a pass. With ``balanced``, each class of ``targets`` has such a run of its own and
    an epoch takes the same number from each (give or take one). An epoch can be drawn without those
    before it.

    ``beside``: classes of which other rows are drawn, in an epoch so many together and as many of
    each; balanced is what both give. These classes' share of the epoch must hold them.
    """
    if not balanced:
        return _stretch(np.arange(len(targets)), epoch * draws, draws, seed, "all")
    classes = np.unique(targets)
    others, more = beside or (classes[:0], 0)
    before, after = (_dealt(e, draws + more, len(classes)) for e in (epoch, epoch + 1))
    if more:
        theirs = np.isin(classes, others)
        before[theirs] -= _dealt(epoch, more, len(others))
        after[theirs] -= _dealt(epoch + 1, more, len(others))
    parts = [
        _stretch(np.flatnonzero(targets == label), start, stop - start, seed, f"class {label}")
        for label, start, stop in zip(classes, before.tolist(), after.tolist(), strict=True)
    ]
    rows = np.concatenate(parts)
    return rows[rng(seed, "epoch", epoch).permutation(len(rows))]


def _dealt(epochs: int, draws: int, classes: int) -> np.ndarray:
    """Return how many draws each class had after so many epochs, int64 (classes,)."""
    base, rest = divmod(draws, classes)
    return np.array([epochs * base + _turns(epochs * rest, i, classes) for i in range(classes)])


def _turns(dealt: int, player: int, players: int) -> int:
    """Return how many of ``dealt`` cards went to ``player``, dealt in turn."""
    return dealt // players + (player < dealt % players)


def _stretch(members: np.ndarray, start: int, length: int, seed: int, key: str) -> np.ndarray:
    """Return places ``start`` to ``start + length`` of the endless run of shuffled passes."""
    n = len(members)
    first, last = start // n, (start + length - 1) // n
    passes = [members[rng(seed, "order", key, p).permutation(n)] for p in range(first, last + 1)]
    run = np.concatenate(passes) if passes else members[:0]
    return run[start - first * n :][:length]


class EpochSampler(Sampler[Draw]):
    """Gives the draws of one epoch after the other; which, depends on seed and epoch alone.

    Of several processes, each gets its share of every batch: batch by batch, all of them together
    have what one process alone would have. ``draws`` an epoch and the size of a ``batch`` are those
    of all processes together: whole batches, and a multiple of the processes. See
    :func:`epoch_rows`. ``composites``: the first row that is one, and their share of the draws; by
    default all rows are drawn alike. Where some classes have none, ``balanced`` is over real images
    and composites together, as far as that share allows.
    """

    def __init__(
        self,
        targets: np.ndarray,
        draws: int,
        *,
        batch: int = 1,
        rank: int = 0,
        processes: int = 1,
        seed: int,
        balanced: bool,
        composites: tuple[int, float] | None = None,
    ) -> None:
        self.composites = composites
        self.targets, self.draws, self.seed, self.balanced = targets, draws, seed, balanced
        self.batch, self.rank, self.processes = batch, rank, processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.draws // self.processes

    def __iter__(self) -> Iterator[Draw]:
        epoch = self.epoch
        rows = self._rows(epoch)
        share = self.batch // self.processes
        places = np.arange(self.draws)
        if self.processes > 1:
            places = places[places % self.batch // share == self.rank]
        return (Draw(epoch, int(place), int(rows[place])) for place in places)

    def _rows(self, epoch: int) -> np.ndarray:
        """Return the rows of an epoch, composites by their share if one is set."""
        how: dict[str, Any] = {"seed": self.seed, "balanced": self.balanced}
        if self.composites is None:
            return epoch_rows(self.targets, epoch, self.draws, **how)
        first, share = self.composites
        made = round(share * self.draws)
        classes, theirs = (np.unique(part) for part in np.split(self.targets, [first]))
        fits = -(-made // len(theirs)) <= self.draws // len(classes)
        beside = (theirs, made) if len(theirs) < len(classes) and fits else None
        real = epoch_rows(self.targets[:first], epoch, self.draws - made, **how, beside=beside)
        composed = first + epoch_rows(self.targets[first:], epoch, made, **how)
        rows = np.concatenate([real, composed])
        return rows[rng(self.seed, "shares", epoch).permutation(len(rows))]


class Samples(Dataset[dict[str, torch.Tensor]]):
    """Batches: ``pixels`` uint8 (N, S, S, 3), ``target`` int64 (N,), ``row`` int64 (N,).

    Indexed by :class:`Draw` for training (augmented by a key of seed, epoch and place, so any
    worker gives the same pixels) or by row number for validation (as they are).
    """

    def __init__(self, rows: Rows, augment: AugmentSettings | None, *, seed: int = 0) -> None:
        self.rows, self.augment, self.seed = rows, augment, seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, draws: Sequence[Draw | int]) -> dict[str, torch.Tensor]:
        """Return a batch; torch's loader calls this once a batch where it exists."""
        size = self.rows.size
        pixels = np.empty((len(draws), size, size, 3), np.uint8)
        for i, image in enumerate(self._images(draws)):
            pixels[i] = image
        rows = np.array([d.row if isinstance(d, Draw) else d for d in draws], np.int64)
        return {
            "pixels": torch.from_numpy(pixels),
            "target": torch.from_numpy(self.rows.targets[rows]),
            "row": torch.from_numpy(rows),
        }

    def _images(self, draws: Sequence[Draw | int]) -> Iterator[np.ndarray]:
        # a loader's own process keeps to one thread; where batches are made between steps, the
        # network's threads stand idle meanwhile
        return map(self._one, draws) if get_worker_info() else prefetched(self._one, draws)

    def _one(self, drawn: Draw | int) -> np.ndarray:
        if not isinstance(drawn, Draw):
            return self.rows.pixels(drawn)
        if self.augment is None:
            return self.rows.pixels(drawn.row)
        generator = rng(self.seed, "augment", drawn.epoch, drawn.place)
        change = augment.draw(self.augment, generator)
        if change.microscope is not None:
            return microscopes.apply(*self.rows.masked(drawn.row), change.microscope)
        pixels = self.rows.alone(drawn.row) if change.alone else self.rows.pixels(drawn.row)
        return augment.apply(pixels, change)


def as_is(batch: Any) -> Any:
    """Collate nothing: :class:`Samples` gives whole batches."""
    return batch


def one_thread(_worker: int) -> None:
    """Keep a loader's process to one thread."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
