"""Recipes as columns, to and from the Arrow table that a plan is on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base.errors import SettingsError
from naturalize.compose.recipe.columns import Columns, Vocabulary
from naturalize.compose.recipe.placement import FIELDS, MEASURES, STRUCT, Field
from naturalize.compose.recipe.recipe import Camera, Finish

_NUMBERS = ("tone", "vignette", "resolution", "blur", "sharpen", "sharpen_sigma", "noise")
_VECTORS = {"mixing": 9, "light": 3, "slope": 2, "middle": 2}
_CAMERA = pa.struct(
    [
        *((name, pa.list_(pa.float32(), n)) for name, n in _VECTORS.items()),
        *((name, pa.float32()) for name in _NUMBERS),
        ("seed", pa.int64()),
    ]
)

#: Columns that files of older releases do not have.
OPTIONAL = ("camera",)

#: Columns of ``plan.parquet``, as in ``docs/formats.md``.
SCHEMA = pa.schema(
    [
        ("recipe_id", pa.string()),
        ("label", pa.string()),
        ("mode", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("background_id", pa.string()),
        ("background_image_id", pa.string()),
        ("background_turn", pa.int32()),
        ("background_x", pa.int32()),
        ("background_y", pa.int32()),
        ("background_r", pa.float32()),
        ("background_g", pa.float32()),
        ("background_b", pa.float32()),
        ("placements", pa.list_(STRUCT)),
        ("finish", pa.struct([("codec", pa.string()), ("quality", pa.int32())])),
        ("camera", _CAMERA),
    ]
)


def to_table(columns: Columns, ids: Sequence[str]) -> pa.Table:
    """Return the rows of ``plan.parquet``; ``ids`` as :meth:`Columns.ids` gives them."""
    words = columns.words
    of_field = {
        name: _take([cell[k] for cell in words.cells], columns.cell)
        for k, name in enumerate(("cell_id", "image_id", "kind"))
    }
    of_field["blend"] = _take(words.blends, columns.blend)
    for name, about in MEASURES.items():
        of_field[name] = _to_arrow(about, columns.placed_or_plain(name))
    placement = pa.StructArray.from_arrays([of_field[name] for name in FIELDS], fields=list(STRUCT))
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
        *(_take([pair[k] for pair in words.backgrounds], columns.background) for k in range(2)),
        *(pa.array(columns.ground[:, k]) for k in range(3)),
        *(pa.array(columns.colour[:, k]) for k in range(3)),
        pa.ListArray.from_arrays(pa.array(columns.offsets.astype(np.int32)), placement),
        finish,
        _take([c and dict(vars(c)) for c in words.cameras], columns.camera, _CAMERA),
    ]
    return pa.table(rows, names=SCHEMA.names).cast(SCHEMA)


def from_table(table: pa.Table) -> Columns:
    """Return the recipes of a table of :data:`SCHEMA`."""
    table = table.combine_chunks()
    lists = _whole(table["placements"])
    offsets = lists.offsets.to_numpy().astype(np.int64)
    placed = lists.values.slice(offsets[0], offsets[-1] - offsets[0])
    cell, cells = _codes(*(placed.field(name) for name in ("cell_id", "image_id", "kind")))
    background, backgrounds = _codes(
        _whole(table["background_id"]), _whole(table["background_image_id"])
    )
    finish_rows = _whole(table["finish"])
    finish, finishes = _codes(finish_rows.field("codec"), finish_rows.field("quality"))
    camera, cameras = _cameras(table["camera"])
    label, labels = _codes(_whole(table["label"]))
    mode, modes = _codes(_whole(table["mode"]))
    blend, blends = _codes(placed.field("blend"))
    return Columns(
        words=Vocabulary(
            cells=tuple(cells),
            labels=tuple(name for (name,) in labels),
            modes=tuple(name for (name,) in modes),
            backgrounds=tuple(backgrounds),
            blends=tuple(name for (name,) in blends),
            finishes=tuple(Finish(*row) for row in finishes),
            cameras=cameras,
        ),
        label=label,
        mode=mode,
        background=background,
        finish=finish,
        camera=camera,
        size=_stack([table["width"], table["height"]], np.int32),
        colour=_stack([table[f"background_{c}"] for c in "rgb"], np.float32),
        offsets=offsets - offsets[0],
        cell=cell,
        blend=blend,
        placed=_measures(placed),
        ground=_stack([table[f"background_{n}"] for n in ("turn", "x", "y")], np.int32),
    )


def _cameras(column: pa.ChunkedArray) -> tuple[np.ndarray, tuple[Camera | None, ...]]:
    """Return the code of each recipe's camera, int32 (N,), and the cameras."""
    if column.null_count == len(column):
        return np.zeros(len(column), np.int32), (None,)
    made = [row and _camera(row) for row in column.to_pylist()]
    place = {camera: i for i, camera in enumerate(dict.fromkeys(made))}
    return np.array([place[camera] for camera in made], np.int32), tuple(place)


def _camera(row: dict[str, Any]) -> Camera:
    values: dict[str, Any] = {k: tuple(v) if k in _VECTORS else v for k, v in row.items()}
    return Camera(**values)


def _measures(placed: pa.StructArray) -> dict[str, np.ndarray]:
    """Return the columns of a table's placements, without those in which all have the default."""
    found = {name: _from_arrow(about, placed.field(name)) for name, about in MEASURES.items()}
    return {
        name: column
        for name, column in found.items()
        if name in ("cx", "cy") or (column != MEASURES[name].plain(1)).any()
    }


def _to_arrow(about: Field, column: np.ndarray) -> pa.Array:
    if about.kind == "choice":
        return _take(about.choices, column)
    flat = pa.array(np.ascontiguousarray(column).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, 3) if about.kind == "triple" else flat


def _from_arrow(about: Field, array: pa.Array) -> np.ndarray:
    if about.kind == "triple":
        return array.flatten().to_numpy().reshape(-1, 3)
    if about.kind == "choice":
        array = pc.index_in(array, pa.array(about.choices))
        if array.null_count:
            raise SettingsError(f"{about.name}: expected {', '.join(about.choices)}")
    return array.to_numpy(zero_copy_only=False)


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
