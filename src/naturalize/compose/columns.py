"""Many recipes as columns: what a plan is made of, compact in memory and quick to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base.errors import SettingsError
from naturalize.compose.recipe import (
    MAX_FEATHER,
    SCHEMA,
    Background,
    Finish,
    Placement,
    Recipe,
    cell_key,
    content_id,
    header,
)

#: Columns of :attr:`Columns.numbers`.
CX, CY, ANGLE, SCALE, STAIN, FEATHER = 0, 1, 2, 3, slice(4, 7), 7


@dataclass(frozen=True)
class Vocabulary:
    """The names that recipes share; columns hold positions in these tuples.

    ``cells`` are ``(cell_id, image_id, kind)``, ``backgrounds`` ``(background_id, image_id)`` or
    ``(None, None)`` for a flat colour.
    """

    cells: tuple[tuple[str, str, str], ...]
    labels: tuple[str, ...]
    modes: tuple[str, ...] = ("paper",)
    backgrounds: tuple[tuple[str | None, str | None], ...] = ((None, None),)
    blends: tuple[str, ...] = ("hard",)
    finishes: tuple[Finish, ...] = (Finish(),)


@dataclass(frozen=True, eq=False)
class Columns:
    """N recipes with M placements in all.

    Attributes
    ----------
    words
        What the codes below stand for.
    label, mode, background, finish
        Int32 (N,): codes.
    size
        Int32 (N, 2): width, height of the canvas.
    colour
        Float32 (N, 3): of the background.
    offsets
        Int64 (N + 1,): recipe ``i`` has the placements ``offsets[i]`` to ``offsets[i + 1]``.
    cell, blend
        Int32 (M,): codes.
    numbers
        Float32 (M, 8): cx, cy, angle, scale, stain (3), feather.
    flip
        Bool (M,).
    """

    words: Vocabulary
    label: np.ndarray
    mode: np.ndarray
    background: np.ndarray
    finish: np.ndarray
    size: np.ndarray
    colour: np.ndarray
    offsets: np.ndarray
    cell: np.ndarray
    blend: np.ndarray
    numbers: np.ndarray
    flip: np.ndarray

    def __post_init__(self) -> None:
        x = self.numbers + np.float32(0)  # no −0: equal recipes have equal bytes
        if not np.isfinite(x).all() or not np.isfinite(self.colour).all():
            raise SettingsError("a recipe's numbers must be finite")
        if (x[:, SCALE] <= 0).any():
            raise SettingsError("scale: expected more than 0")
        if not ((x[:, FEATHER] >= 0) & (x[:, FEATHER] <= MAX_FEATHER)).all():
            raise SettingsError(f"feather: expected 0 to {MAX_FEATHER:g}")
        object.__setattr__(self, "numbers", x)

    def __len__(self) -> int:
        """Return the number of recipes."""
        return len(self.label)

    @classmethod
    def concat(cls, parts: Sequence[Columns]) -> Columns:
        """Return the recipes of all parts, which share one vocabulary, one after the other."""
        counts = np.concatenate([np.diff(part.offsets) for part in parts])
        rows = (*_PER_RECIPE, *_PER_PLACEMENT)
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in rows}
        return cls(words=parts[0].words, offsets=_offsets(counts), **joined)

    def take(self, rows: np.ndarray) -> Columns:
        """Return the recipes ``rows`` (int), in that order."""
        counts = np.diff(self.offsets)[rows]
        offsets = _offsets(counts)
        inside = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
        placements = np.repeat(self.offsets[:-1][rows], counts) + inside
        return replace(
            self,
            offsets=offsets,
            **{name: getattr(self, name)[rows] for name in _PER_RECIPE},
            **{name: getattr(self, name)[placements] for name in _PER_PLACEMENT},
        )

    def ids(self) -> list[str]:
        """Return the recipe id of each recipe, as :attr:`Recipe.recipe_id` would."""
        words, key_of = self.words, self._cell_keys
        numbers = np.ascontiguousarray(self.numbers, "<f4").tobytes()
        flips = self.flip.astype(np.uint8).tobytes()
        cells, blends = self.cell.tolist(), self.blend.tolist()
        keys = [key_of[blend][cell] for cell, blend in zip(cells, blends, strict=True)]
        heads: dict[Any, bytes] = {}
        found = []
        rows = self._heads()
        for row, (a, b) in zip(rows, pairwise(self.offsets.tolist()), strict=True):
            head = heads.get(row)
            if head is None:
                label, mode, background, finish, width, height, *colour = row
                ground = Background(tuple(colour), *words.backgrounds[background])
                head = heads[row] = header(
                    words.labels[label],
                    words.modes[mode],
                    width,
                    height,
                    ground,
                    words.finishes[finish],
                )
            found.append(content_id(head, keys[a:b], numbers[32 * a : 32 * b], flips[a:b]))
        return found

    def _heads(self) -> list[tuple[Any, ...]]:
        columns = (self.label, self.mode, self.background, self.finish, *self.size.T)
        lists = [column.tolist() for column in (*columns, *self.colour.T)]
        return list(zip(*lists, strict=True))

    @cached_property
    def _cell_keys(self) -> list[list[bytes]]:
        words = self.words
        return [[cell_key(*cell, blend) for cell in words.cells] for blend in words.blends]

    def recipe(self, i: int) -> Recipe:
        """Return one recipe; ``IndexError`` beyond the last."""
        n, words = len(self), self.words
        if not -n <= i < n:
            raise IndexError(f"recipe {i} of {n}")
        i %= n
        part = slice(self.offsets[i], self.offsets[i + 1])
        placements = zip(
            self.cell[part].tolist(),
            self.blend[part].tolist(),
            self.numbers[part].tolist(),
            self.flip[part].tolist(),
            strict=True,
        )
        return Recipe(
            label=words.labels[self.label[i]],
            mode=words.modes[self.mode[i]],
            width=int(self.size[i, 0]),
            height=int(self.size[i, 1]),
            background=Background(
                tuple(self.colour[i].tolist()), *words.backgrounds[self.background[i]]
            ),
            placements=tuple(self._placement(*row) for row in placements),
            finish=words.finishes[self.finish[i]],
        )

    def _placement(self, cell: int, blend: int, x: list[float], flip: bool) -> Placement:
        cell_id, image_id, kind = self.words.cells[cell]
        return Placement.trusted(
            cell_id=cell_id,
            image_id=image_id,
            kind=kind,
            cx=x[CX],
            cy=x[CY],
            angle=x[ANGLE],
            flip=flip,
            scale=x[SCALE],
            stain=(x[4], x[5], x[6]),
            blend=self.words.blends[blend],
            feather=x[FEATHER],
        )

    def to_table(self, ids: Sequence[str]) -> pa.Table:
        """Return the rows of ``plan.parquet``; ``ids`` as :meth:`ids` gives them."""
        words, x = self.words, self.numbers
        cells = _split(words.cells, 3)
        backgrounds = _split(words.backgrounds, 2)
        stain = np.ascontiguousarray(x[:, STAIN]).ravel()
        placement = pa.StructArray.from_arrays(
            [
                *(column.take(pa.array(self.cell)) for column in cells),
                *(pa.array(x[:, k]) for k in (CX, CY, ANGLE)),
                pa.array(self.flip),
                pa.array(x[:, SCALE]),
                pa.FixedSizeListArray.from_arrays(pa.array(stain), 3),
                _take(words.blends, self.blend),
                pa.array(x[:, FEATHER]),
            ],
            names=[field.name for field in SCHEMA.field("placements").type.value_type],
        )
        finish = pa.StructArray.from_arrays(
            [
                _take([f.codec for f in words.finishes], self.finish),
                _take([f.quality for f in words.finishes], self.finish, pa.int32()),
            ],
            names=["codec", "quality"],
        )
        columns = [
            pa.array(ids, pa.string()),
            _take(words.labels, self.label),
            _take(words.modes, self.mode),
            *(pa.array(self.size[:, k]) for k in range(2)),
            *(column.take(pa.array(self.background)) for column in backgrounds),
            *(pa.array(self.colour[:, k]) for k in range(3)),
            pa.ListArray.from_arrays(pa.array(self.offsets.astype(np.int32)), placement),
            finish,
        ]
        return pa.table(columns, names=SCHEMA.names).cast(SCHEMA)

    @classmethod
    def from_table(cls, table: pa.Table) -> Columns:
        """Return the recipes of a table of :data:`naturalize.compose.recipe.SCHEMA`."""
        table = table.combine_chunks()
        lists = _whole(table["placements"])
        offsets = lists.offsets.to_numpy().astype(np.int64)
        placed = lists.values.slice(offsets[0], offsets[-1] - offsets[0])
        get = placed.field
        cell, cells = _codes(get("cell_id"), get("image_id"), get("kind"))
        background, backgrounds = _codes(
            _whole(table["background_id"]), _whole(table["background_image_id"])
        )
        finish_rows = _whole(table["finish"])
        finish, finishes = _codes(finish_rows.field("codec"), finish_rows.field("quality"))
        label, labels = _codes(_whole(table["label"]))
        mode, modes = _codes(_whole(table["mode"]))
        blend, blends = _codes(get("blend"))
        stain = get("stain").flatten().to_numpy().reshape(-1, 3)
        numbers = [get(name).to_numpy() for name in ("cx", "cy", "angle", "scale")]
        feather = get("feather").to_numpy()
        return cls(
            words=Vocabulary(
                cells=tuple(cells),
                labels=tuple(name for (name,) in labels),
                modes=tuple(name for (name,) in modes),
                backgrounds=tuple(backgrounds),
                blends=tuple(name for (name,) in blends),
                finishes=tuple(Finish(*row) for row in finishes),
            ),
            label=label,
            mode=mode,
            background=background,
            finish=finish,
            size=_stack([table["width"], table["height"]], np.int32),
            colour=_stack([table[f"background_{c}"] for c in "rgb"], np.float32),
            offsets=offsets - offsets[0],
            cell=cell,
            blend=blend,
            numbers=np.column_stack([*numbers, stain, feather]).astype(np.float32),
            flip=get("flip").to_numpy(zero_copy_only=False),
        )


_PER_RECIPE = ("label", "mode", "background", "finish", "size", "colour")
_PER_PLACEMENT = ("cell", "blend", "numbers", "flip")


def _offsets(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _split(rows: Sequence[tuple[Any, ...]], width: int) -> list[pa.Array]:
    """Return the columns of tuples of strings."""
    return [pa.array([row[k] for row in rows], pa.string()) for k in range(width)]


def _take(words: Sequence[Any], codes: np.ndarray, kind: pa.DataType | None = None) -> pa.Array:
    return pa.array(words, kind or pa.string()).take(pa.array(codes))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, also where it has no chunk."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _stack(columns: Sequence[pa.ChunkedArray], kind: type) -> np.ndarray:
    return np.column_stack([column.to_numpy() for column in columns]).astype(kind)


def _codes(*columns: pa.Array) -> tuple[np.ndarray, list[tuple[Any, ...]]]:
    """Return, for columns read as rows, the code of each row and the sorted different rows."""
    encoded = [pc.dictionary_encode(column, null_encoding="encode") for column in columns]
    if not len(columns[0]):
        return np.zeros(0, np.int32), []
    key = np.zeros(len(columns[0]), np.int64)
    for array in encoded:
        key = key * len(array.dictionary) + array.indices.to_numpy()
    _, first, codes = np.unique(key, return_index=True, return_inverse=True)
    rows = list(zip(*(column.take(pa.array(first)).to_pylist() for column in columns), strict=True))
    return codes.astype(np.int32).ravel(), rows
