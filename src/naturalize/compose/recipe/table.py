"""Recipes as columns, to and from the Arrow table that a plan is on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base.errors import SettingsError
from naturalize.compose.recipe.columns import (
    ANGLE,
    ASPECT,
    BLUR,
    CX,
    CY,
    ELASTIC,
    ELASTIC_SEED,
    FEATHER,
    GRAIN,
    KERNEL,
    PLAIN_ROW,
    SCALE,
    STAIN,
    STAIN_SCALE,
    Columns,
    Vocabulary,
)
from naturalize.compose.recipe.recipe import KERNELS, SCHEMA, Finish


def to_table(columns: Columns, ids: Sequence[str]) -> pa.Table:
    """Return the rows of ``plan.parquet``; ``ids`` as :meth:`Columns.ids` gives them."""
    words, x = columns.words, columns.numbers
    full = columns.made_variable()
    v, chosen = full.varied, full.chosen
    cells = _split(words.cells, 3)
    backgrounds = _split(words.backgrounds, 2)
    placement = pa.StructArray.from_arrays(
        [
            *(column.take(pa.array(columns.cell)) for column in cells),
            *(pa.array(x[:, k]) for k in (CX, CY, ANGLE)),
            pa.array(columns.flip),
            pa.array(x[:, SCALE]),
            _triples(x[:, STAIN]),
            _take(words.blends, columns.blend),
            pa.array(x[:, FEATHER]),
            pa.array(v[:, ASPECT]),
            pa.array(v[:, ELASTIC]),
            pa.array(chosen[:, ELASTIC_SEED]),
            _take(KERNELS, chosen[:, KERNEL]),
            pa.array(v[:, BLUR]),
            pa.array(v[:, GRAIN]),
            _triples(v[:, STAIN_SCALE]),
        ],
        names=[part.name for part in SCHEMA.field("placements").type.value_type],
    )
    finish = pa.StructArray.from_arrays(
        [
            _take([f.codec for f in words.finishes], columns.finish),
            _take([f.quality for f in words.finishes], columns.finish, pa.int32()),
        ],
        names=["codec", "quality"],
    )
    rows = [
        pa.array(ids, pa.string()),
        _take(words.labels, columns.label),
        _take(words.modes, columns.mode),
        *(pa.array(columns.size[:, k]) for k in range(2)),
        *(column.take(pa.array(columns.background)) for column in backgrounds),
        *(pa.array(columns.ground[:, k]) for k in range(3)),
        *(pa.array(columns.colour[:, k]) for k in range(3)),
        pa.ListArray.from_arrays(pa.array(columns.offsets.astype(np.int32)), placement),
        finish,
    ]
    return pa.table(rows, names=SCHEMA.names).cast(SCHEMA)


def from_table(table: pa.Table) -> Columns:
    """Return the recipes of a table of :data:`naturalize.compose.recipe.fields.SCHEMA`."""
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
    numbers = [get(name).to_numpy() for name in ("cx", "cy", "angle", "scale")]
    stain, feather = _triple(get("stain")), get("feather").to_numpy()
    varied, chosen = _varied(placed)
    return Columns(
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
        ground=_stack([table[f"background_{n}"] for n in ("turn", "x", "y")], np.int32),
        varied=varied,
        chosen=chosen,
    )


def _varied(placed: pa.StructArray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``varied`` and ``chosen`` of a table's placements, without rows where all is plain."""
    names = ("aspect", "elastic", "blur", "grain")
    numbers = [placed.field(name).to_numpy() for name in names]
    scales = _triple(placed.field("stain_scale"))
    varied = np.column_stack([*numbers, scales]).astype(np.float32)
    kernel = pc.index_in(placed.field("kernel"), pa.array(KERNELS))
    if kernel.null_count:
        raise SettingsError(f"a placement's kernel is none of {', '.join(KERNELS)}")
    seeds = placed.field("elastic_seed").to_numpy()
    chosen = np.column_stack([seeds, kernel.to_numpy()]).astype(np.int32)
    if (varied == PLAIN_ROW).all() and not chosen.any():
        return varied[:0], chosen[:0]
    return varied, chosen


def _triples(columns: np.ndarray) -> pa.FixedSizeListArray:
    flat = np.ascontiguousarray(columns).ravel()
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), 3)


def _triple(lists: pa.Array) -> np.ndarray:
    return lists.flatten().to_numpy().reshape(-1, 3)


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
