"""What a mode may draw from: the accepted cells of a bank, and what is known about their images.

From the bank's tables, but for the size and the codec of the files, which are looked up, and their
content checked, when a mode first asks for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from naturalize.base.console import track
from naturalize.base.display import rows_of
from naturalize.base.errors import ArtifactError, NaturalizeError
from naturalize.base.images import file_facts
from naturalize.cells.choose import RAGGED, SMALL
from naturalize.compose.recipe.placement import SPECK

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank

T = TypeVar("T")

#: Side in pixels of what JPEG codes together, by its chroma sampling; 1 where nothing is.
_UNITS = {"444": (8, 8), "422": (16, 8), "420": (16, 16), "grey": (8, 8)}


@dataclass(frozen=True, eq=False)
class Frames:
    """Files of N images."""

    size: np.ndarray  # int32 (N, 2): width, height
    #: Int32 (N, 2): width, height in pixels of a coding unit; 1 where there is none.
    unit: np.ndarray
    encoder: np.ndarray  # int32 (N,): equal numbers came from equal encoders


@dataclass(frozen=True, eq=False)
class Images:
    """N images, sorted by id."""

    ids: tuple[str, ...]
    label: np.ndarray  # text (N,): the class of its target cell, empty where none was found
    light: np.ndarray  # float32 (N, 3): RGB of the bare slide
    share: np.ndarray  # float32 (N,): share of the image that is bare slide
    counts: dict[str, np.ndarray]  # kind → int32 (N,): cells that were found, accepted or not
    red: np.ndarray  # float32 (N, 3): mean optical density of its whole red cells; NaN without one
    focus: np.ndarray  # float32 (N,): mean logarithm of their sharpness; NaN without one
    bank: CellBank = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def frames(self) -> Frames:
        """Sizes and codecs of the files.

        ``ArtifactError`` if a file is gone, or has changed since it was segmented; with classes and
        counts.
        """
        sizes, units, encoders = [], [], []
        wrong: dict[str, NaturalizeError] = {}
        read = dict(rows_of(self.bank.backgrounds, "image_id", "path"))
        for image_id in track(self.ids, "read image headers"):
            try:
                data = self.bank.pictures.data(read[image_id], image_id, check=True)
                facts = file_facts(data, name=read[image_id])
            except NaturalizeError as error:
                wrong[image_id] = error
                continue
            coded = facts.encoder.startswith("jpeg") and not facts.exif_rotated
            sizes.append((facts.width, facts.height))
            units.append(_UNITS.get(facts.encoder.split("-")[1], (1, 1)) if coded else (1, 1))
            encoders.append(facts.encoder)
        if wrong:
            raise _changed(self.bank, wrong, self.ids)
        codes = {name: i for i, name in enumerate(sorted(set(encoders)))}
        return Frames(
            np.array(sizes, np.int32).reshape(-1, 2),
            np.array(units, np.int32).reshape(-1, 2),
            np.array([codes[name] for name in encoders], np.int32),
        )

    @classmethod
    def of(cls, bank: CellBank) -> Images:
        """Return the images of ``bank``."""
        grounds = bank.backgrounds.sort_by("image_id")
        ids = grounds["image_id"].to_pylist()
        place = {image_id: i for i, image_id in enumerate(ids)}
        table = bank.table
        owner = np.array([place.get(i, -1) for i in table["image_id"].to_pylist()], np.int64)
        kinds = np.array(table["kind"].to_pylist(), dtype="U8")
        label = np.full(len(ids), "", dtype=object)
        for i, text in zip(owner, table["label"].to_pylist(), strict=True):
            if text is not None and i >= 0:
                label[i] = text
        known = owner >= 0
        whole = known & (kinds == "rbc") & ~table["touches_border"].to_numpy(zero_copy_only=False)
        measures = [table[name].to_numpy() for name in ("od_r", "od_g", "od_b")]
        measures.append(np.log(np.maximum(table["focus"].to_numpy(), 1e-3)))
        means = _means(owner[whole], np.column_stack(measures)[whole], len(ids))
        return cls(
            ids=tuple(ids),
            label=label.astype("U"),
            light=np.column_stack([grounds[c].to_numpy() for c in "rgb"]).astype(np.float32),
            share=grounds["quality"].to_numpy().astype(np.float32),
            counts={
                kind: np.bincount(owner[known & (kinds == kind)], minlength=len(ids))
                for kind in ("wbc", "rbc", "platelet")
            },
            red=means[:, :3],
            focus=means[:, 3],
            bank=bank,
        )


def _means(owner: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Return the mean of each owner's rows, float32 (n, columns); NaN where it has none."""
    columns = [np.bincount(owner, column, minlength=n) for column in values.T]
    sums = np.stack(columns, axis=1).astype(np.float64)  # of no rows numpy counts in integers
    times = np.bincount(owner, minlength=n)[:, None].astype(np.float64)
    return np.divide(sums, times, out=np.full_like(sums, np.nan), where=times > 0).astype(
        np.float32
    )


@dataclass(frozen=True, eq=False)
class Materials:
    """Cells of a bank, sorted by ``cell_id``, so that the bank's own order decides nothing.

    What modes find out about them is kept, so hand them along where a bank is drawn from often.
    """

    cells: tuple[tuple[str, str, str], ...]  # ``(cell_id, image_id, kind)`` of each of N cells
    labels: tuple[str, ...]
    label: np.ndarray  # int32 (N,): position in ``labels``, or −1
    box: np.ndarray  # int32 (N, 4): in the source image
    #: Bool (N,): not cut by the image's edge; the cell that its image's label speaks of.
    whole: np.ndarray
    target: np.ndarray
    area: np.ndarray  # int32 (N,): pixels of the mask
    #: Float32 (N,): share of its outline that lies against other cells; 0 where not known.
    contact: np.ndarray
    images: Images
    image: np.ndarray  # int32 (N,): position in ``images``
    bank: CellBank = field(repr=False)
    _memory: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, bank: CellBank) -> Materials:
        """Return the accepted cells of ``bank``."""
        return cls._of_rows(bank, bank.cells(), Images.of(bank))

    @classmethod
    def _of_rows(cls, bank: CellBank, rows: pa.Table, images: Images) -> Materials:
        names = ["cell_id", "image_id", "kind", "label", "target", "touches_border", "contact"]
        boxes = ["x0", "y0", "x1", "y1"]
        table = rows.select([*names, *boxes, "area"]).sort_by("cell_id")
        column = {name: table[name].to_pylist() for name in names}
        code = {label: i for i, label in enumerate(bank.labels)}
        place = {image_id: i for i, image_id in enumerate(images.ids)}
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
            bank=bank,
        )

    def with_specks(self) -> Materials:
        """Return these cells, and behind them the bank's specks, of the kind `SPECK`.

        Specks are what a segmenter took for platelets and a bank refuses as too small or ragged:
        deposits of stain, dust, torn pieces. The images' edge cuts none of them.
        """
        refused = [self.bank.cells("platelet", whole=True, reason=one) for one in (SMALL, RAGGED)]
        specks = self._of_rows(self.bank, pa.concat_tables(refused), self.images)
        if not specks.cells:
            return self
        named = tuple((cell_id, image_id, SPECK) for cell_id, image_id, _ in specks.cells)
        specks = replace(
            specks,
            label=np.full_like(specks.label, -1),
            target=np.zeros_like(specks.target),
        )
        arrays = ("label", "box", "whole", "target", "area", "contact", "image")
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(self, name), getattr(specks, name)]) for name in arrays
        }
        return replace(self, cells=(*self.cells, *named), _memory={}, **joined)

    @property
    def size(self) -> np.ndarray:
        """Width, height of each cell's box, int32 (N, 2)."""
        return self.box[:, 2:] - self.box[:, :2]

    @cached_property
    def kind(self) -> np.ndarray:
        """The kind of each cell, text (N,)."""
        return np.array([kind for _, _, kind in self.cells], dtype="U8")

    def mask(self, i: int) -> np.ndarray:
        """Return the mask of a cell over its box, bool (h, w), by its position."""
        return self.bank.mask(self.cells[i][0])

    def targets(self, label: str) -> np.ndarray:
        """Return the target cells of a class, int32 positions."""
        wanted = self.target & (self.label == self.labels.index(label))
        return np.flatnonzero(wanted).astype(np.int32)

    def others(self, kind: str) -> np.ndarray:
        """Return the cells of a kind that are nobody's target, int32 positions."""
        return np.flatnonzero(~self.target & (self.kind == kind)).astype(np.int32)

    def remembered(self, key: Any, make: Callable[[], T]) -> T:
        """Return what ``make`` gives, made once for these materials."""
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]


def check_sources(bank: CellBank, image_ids: Iterable[str]) -> None:
    """Read the files that pixels come from, without decoding them.

    ``ArtifactError`` if some are gone or have changed since they were segmented: how many of which
    classes, and what is wrong with the first.
    """
    wanted = sorted(set(image_ids))
    paths: dict[str, set[str]] = {}
    for table in (bank.backgrounds, bank.cells()):
        for image_id, path in rows_of(table, "image_id", "path"):
            paths.setdefault(image_id, set()).add(path)
    wrong: dict[str, NaturalizeError] = {}
    for image_id in wanted:
        for path in sorted(paths.get(image_id, ())):
            try:
                bank.pictures.data(path, image_id, check=True)
            except NaturalizeError as error:
                wrong.setdefault(image_id, error)
    if wrong:
        raise _changed(bank, wrong, wanted)


def _changed(
    bank: CellBank, wrong: dict[str, NaturalizeError], wanted: Sequence[str]
) -> ArtifactError:
    """Return the error for images that are not what they were, by class."""
    rows = bank.cells(target=True, accepted=None)
    label = dict(rows_of(rows, "image_id", "label"))
    lost = Counter(label.get(image_id) or "no class" for image_id in wrong)
    total = Counter(label.get(image_id) or "no class" for image_id in wanted)
    counts = ", ".join(f"class {c}: {n:,} of {total[c]:,}" for c, n in sorted(lost.items()))
    first = next(iter(wrong.values()))
    return ArtifactError(
        f"source images are gone or have changed since they were segmented ({counts}); the first: "
        f"{first}"
    )
