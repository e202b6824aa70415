"""What a mode may draw from: the accepted cells of a bank, as columns, in an order of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from naturalize.compose.draw.images import Images

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank

T = TypeVar("T")

_known: WeakKeyDictionary[CellBank, Materials] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Materials:
    """Cells of a bank, sorted by ``cell_id``, so that the bank's own order decides nothing.

    Attributes
    ----------
    cells
        ``(cell_id, image_id, kind)`` of each of N cells.
    labels
        The bank's classes, in order.
    label
        Int32 (N,): position in ``labels``, or −1.
    box
        Int32 (N, 4): in the source image.
    whole, target
        Bool (N,): not cut by the image's edge; the cell that its image's label speaks of.
    area
        Int32 (N,): pixels of the mask.
    contact
        Float32 (N,): share of its outline that lies against other cells; 0 where not known.
    images
        The images that they come from.
    image
        Int32 (N,): position in ``images``.
    mask
        Gives a cell's mask over its box, bool (h, w), by its position.
    """

    cells: tuple[tuple[str, str, str], ...]
    labels: tuple[str, ...]
    label: np.ndarray
    box: np.ndarray
    whole: np.ndarray
    target: np.ndarray
    area: np.ndarray
    contact: np.ndarray
    images: Images
    image: np.ndarray
    mask: Callable[[int], np.ndarray]
    _memory: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, bank: CellBank) -> Materials:
        """Return the accepted cells of ``bank``; what was found out about a bank is kept."""
        if bank not in _known:
            _known[bank] = cls._made(bank)
        return _known[bank]

    @classmethod
    def _made(cls, bank: CellBank) -> Materials:
        names = ["cell_id", "image_id", "kind", "label", "target", "touches_border", "contact"]
        boxes = ["x0", "y0", "x1", "y1"]
        table = bank.cells().select([*names, *boxes, "area"]).sort_by("cell_id")
        column = {name: table[name].to_pylist() for name in names}
        code = {label: i for i, label in enumerate(bank.labels)}
        images = Images.of(bank)
        place = {image_id: i for i, image_id in enumerate(images.ids)}
        mask_of = _MaskOf(bank, column["cell_id"])
        return cls(
            cells=tuple(zip(column["cell_id"], column["image_id"], column["kind"], strict=True)),
            labels=tuple(bank.labels),
            label=np.array([code.get(label, -1) for label in column["label"]], np.int32),
            box=np.column_stack([table[name].to_numpy() for name in boxes]).astype(np.int32),
            whole=~np.array(column["touches_border"], bool),
            target=np.array(column["target"], bool),
            area=table["area"].to_numpy().astype(np.int32),
            contact=np.nan_to_num(np.array(column["contact"], np.float32)),
            images=images,
            image=np.array([place.get(i, -1) for i in column["image_id"]], np.int32),
            mask=mask_of,
        )

    @property
    def size(self) -> np.ndarray:
        """Width, height of each cell's box, int32 (N, 2)."""
        return self.box[:, 2:] - self.box[:, :2]

    @cached_property
    def kind(self) -> np.ndarray:
        """The kind of each cell, text (N,)."""
        return np.array([kind for _, _, kind in self.cells], dtype="U8")

    def targets(self, label: str) -> np.ndarray:
        """Return the target cells of a class, int32 positions."""
        wanted = self.target & (self.label == self.labels.index(label))
        return np.flatnonzero(wanted).astype(np.int32)

    def others(self, kind: str) -> np.ndarray:
        """Return the cells of a kind that are nobody's target, int32 positions."""
        return np.flatnonzero(~self.target & (self.kind == kind)).astype(np.int32)

    def remembered(self, key: Any, make: Callable[[], T]) -> T:
        """Return what ``make`` gives, made once for a bank."""
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]


class _MaskOf:
    """Masks by position, without a hold on the bank: it is the key that materials are kept by."""

    def __init__(self, bank: CellBank, cell_ids: list[str]) -> None:
        from weakref import ref

        self.bank, self.cell_ids = ref(bank), cell_ids

    def __call__(self, i: int) -> np.ndarray:
        bank = self.bank()
        assert bank is not None
        return bank.mask(self.cell_ids[i])
