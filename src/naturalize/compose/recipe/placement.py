"""A placement: one cell on the canvas. Its fields are the one table of what can be said of a cell.

A field states its type, default, limits and place in the recipe's id once, in :class:`Placement`.
The checks, the columns of many placements, the Arrow schema and the ids follow from that.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base.errors import SettingsError, unknown

#: Kind of what is placed and is no cell: a speck of stain or dirt. No truth names it.
SPECK = "speck"

#: How a cell that is not set on whole pixels is resampled.
KERNELS = ("linear", "cubic", "lanczos")

#: Widest feather in pixels; half of it lies outside the cell, where patches have 3 pixels to show.
MAX_FEATHER = 6.0

#: Seeds of elastic changes are below this.
MAX_SEED = 2**31

_FLOAT = struct.Struct("<f")

#: Where the bytes of a field stand in a recipe's id. Numbers and flips always do. The variations
#: stand there together, and only where one of them says something.
_NUMBERS, _FLIPS, _VARIED, _CHOSEN = range(4)

#: As they are kept: (type of a column, type in a table).
_TYPES = {
    "name": (np.int32, pa.string()),
    "number": (np.float32, pa.float32()),
    "triple": (np.float32, pa.list_(pa.float32(), 3)),
    "whole": (np.int32, pa.int32()),
    "flag": (np.bool_, pa.bool_()),
    "choice": (np.int32, pa.string()),
}


def as_float32(value: float) -> float:
    """Return ``value`` as the Parquet table will keep it; −0 becomes 0, NaN and ∞ are refused."""
    rounded: float = _FLOAT.unpack(_FLOAT.pack(value))[0] + 0.0
    if not math.isfinite(rounded):
        raise SettingsError(f"a recipe's numbers must be finite, got {value}")
    return rounded


@dataclass(frozen=True)
class Field:
    """What is known of one parameter of a placement."""

    #: ``"name"`` (of a cell or a blend: recipes share few), ``"number"``, ``"triple"`` (red, green
    #: and blue), ``"whole"``, ``"flag"`` or ``"choice"``.
    kind: str
    #: The value that changes nothing.
    default: Any = dataclasses.MISSING
    #: Limits, inclusive; ``low`` is excluded where ``positive``.
    low: float = -math.inf
    high: float = math.inf
    positive: bool = False
    #: The words of a choice; columns hold positions among them.
    choices: tuple[str, ...] = ()
    #: Where it stands in the id. A field that names no place stands alone, under its name, and only
    #: where it says something: so a new field leaves the ids of old recipes as they are.
    hashed: int | None = None
    name: str = ""

    @property
    def dtype(self) -> Any:
        """Type of its column."""
        return _TYPES[self.kind][0]

    @property
    def arrow(self) -> pa.DataType:
        """Type of its column in ``plan.parquet``."""
        return _TYPES[self.kind][1]

    @property
    def expected(self) -> str:
        """What its values must be, in words."""
        if self.positive:
            return f"{self.name}: expected more than 0"
        whole = self.kind == "whole"
        low, high = (f"{x}" if whole else f"{x:g}" for x in (self.low, self.high))
        return f"{self.name}: expected {low} to {high}"

    def checked(self, value: Any) -> Any:
        """Return a value as it is kept; ``SettingsError`` for one that cannot be painted."""
        if self.kind == "choice" and value not in self.choices:
            raise unknown(self.name, value, list(self.choices))
        if self.kind == "triple":
            value = tuple(as_float32(number) for number in value)
            if len(value) != 3:
                raise SettingsError(f"{self.name}: expected 3 numbers, got {len(value)}")
        if self.kind == "number":
            value = as_float32(value)
        if self.kind in ("number", "triple", "whole"):
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(self.low <= x <= self.high for x in numbers) or (
                self.positive and value <= 0
            ):
                raise SettingsError(f"{self.expected}, got {value}")
        return value

    def checked_column(self, column: np.ndarray) -> np.ndarray:
        """Return a column as it is kept: :meth:`checked` for many values at once."""
        if self.kind in ("number", "triple"):
            column = column.astype(np.float32) + np.float32(0)  # no −0: equal recipes, equal bytes
        if self.kind == "choice" and not ((column >= 0) & (column < len(self.choices))).all():
            raise SettingsError(f"{self.name}: expected {', '.join(self.choices)}")
        if self.kind in ("number", "triple", "whole"):
            inside = (column >= self.low) & (column <= self.high)  # NaN is out as well
            if not inside.all() or (self.positive and (column <= 0).any()):
                raise SettingsError(self.expected)
            if self.kind != "whole" and not np.isfinite(column).all():
                raise SettingsError("a recipe's numbers must be finite")
        return column.astype(self.dtype, copy=False)

    def column(self, values: Sequence[Any]) -> np.ndarray:
        """Return the column of some values."""
        if self.kind == "choice":
            values = [self.choices.index(value) for value in values]
        shape = (-1, 3) if self.kind == "triple" else -1
        return np.array(values, self.dtype).reshape(shape)

    def values(self, column: np.ndarray) -> list[Any]:
        """Return the values of a column."""
        values = column.tolist()
        if self.kind == "triple":
            return [tuple(value) for value in values]
        return [self.choices[code] for code in values] if self.kind == "choice" else values

    def plain(self, n: int) -> np.ndarray:
        """Return the column of ``n`` placements that leave it out."""
        return np.repeat(self.column([self.default]), n, axis=0)


def _name(default: Any = dataclasses.MISSING) -> Any:
    return _declared(Field("name", default))


def _number(default: Any = dataclasses.MISSING, **about: Any) -> Any:
    return _declared(Field("number", default, **about))


def _declared(about: Field) -> Any:
    return dataclasses.field(default=about.default, metadata={"about": about})


@dataclass(frozen=True)
class Placement:
    """One cell on the canvas."""

    #: The cell of the bank, its parent image, and what it is (``wbc``, ``rbc``, ``platelet``).
    cell_id: str = _name()
    image_id: str = _name()
    kind: str = _name()
    #: Centre of the cell's box on the canvas in pixels; the canvas begins at 0, 0.
    cx: float = _number(hashed=_NUMBERS)
    cy: float = _number(hashed=_NUMBERS)
    #: Degrees counter-clockwise, after the flip.
    angle: float = _number(0.0, hashed=_NUMBERS)
    #: Left–right, before the rotation.
    flip: bool = _declared(Field("flag", False, hashed=_FLIPS))
    #: Size on the canvas / size in the parent.
    scale: float = _number(1.0, positive=True, hashed=_NUMBERS)
    #: Added to the optical density (decadic, of 255) of red, green and blue.
    stain: tuple[float, float, float] = _declared(Field("triple", (0.0, 0.0, 0.0), hashed=_NUMBERS))
    #: Name in :data:`naturalize.compose.paint.blend.BLENDS`.
    blend: str = _name("hard")
    #: Width of the soft edge in pixels of the canvas.
    feather: float = _number(0.0, low=0, high=MAX_FEATHER, hashed=_NUMBERS)
    #: Width / height of what was square in the parent, before any turn; the area stays.
    aspect: float = _number(1.0, low=0.5, high=2, hashed=_VARIED)
    #: Root mean square of a smooth displacement in pixels of the parent, and the seed of its
    #: pattern.
    elastic: float = _number(0.0, low=0, high=4, hashed=_VARIED)
    elastic_seed: int = _declared(Field("whole", 0, low=0, high=MAX_SEED - 1, hashed=_CHOSEN))
    #: How it is resampled, where it has to be.
    kernel: str = _declared(Field("choice", "linear", choices=KERNELS, hashed=_CHOSEN))
    #: Standard deviation in pixels of the canvas of a Gaussian over the cell's colours.
    blur: float = _number(0.0, low=0, high=4, hashed=_VARIED)
    #: Share of the fine grain lost in resampling that is put back.
    grain: float = _number(0.0, low=0, high=1, hashed=_VARIED)
    #: Factor on the optical density of red, green and blue, before ``stain`` is added.
    stain_scale: tuple[float, float, float] = _declared(
        Field("triple", (1.0, 1.0, 1.0), low=0.25, high=4, hashed=_VARIED)
    )

    def __post_init__(self) -> None:
        for about in FIELDS.values():
            object.__setattr__(self, about.name, about.checked(getattr(self, about.name)))

    @classmethod
    def trusted(cls, values: Mapping[str, Any]) -> Placement:
        """Return a placement of values that were checked as columns; ten times as quick."""
        made = object.__new__(cls)
        made.__dict__.update(values)
        return made


#: All fields by name, in the order of the columns of ``plan.parquet``.
FIELDS: dict[str, Field] = {
    declared.name: dataclasses.replace(declared.metadata["about"], name=declared.name)
    for declared in dataclasses.fields(Placement)
}

#: Those that stand in columns of their own, and not as codes of names that recipes share.
MEASURES = {name: about for name, about in FIELDS.items() if about.kind != "name"}

#: What a placement is in ``plan.parquet``.
STRUCT = pa.struct([(name, about.arrow) for name, about in FIELDS.items()])


def columns_of(placements: Sequence[Placement]) -> dict[str, np.ndarray]:
    """Return the columns of placements, by name of the field."""
    return {
        name: about.column([getattr(p, name) for p in placements])
        for name, about in MEASURES.items()
    }


def hashed(columns: Mapping[str, np.ndarray], offsets: Sequence[int]) -> list[list[bytes]]:
    """Return the bytes that placements add to the id of each recipe.

    ``columns``: columns of all placements; those left out say nothing; ``offsets``: recipe ``i``
    has the placements ``offsets[i]`` to ``offsets[i + 1]``.
    """
    spans = list(pairwise(offsets))
    always = [_bytes(_placed(place), columns, spans) for place in (_NUMBERS, _FLIPS)]
    found = [list(parts) for parts in zip(*always, strict=True)]
    varied = (b"", [_placed(_VARIED), _placed(_CHOSEN)])
    alone = [(f"{name}\x1f".encode(), [[name]]) for name in _placed(None)]
    for prefix, groups in (varied, *alone):
        says = np.zeros(offsets[-1], bool)
        for name in [name for names in groups for name in names if name in columns]:
            unlike = columns[name] != MEASURES[name].plain(1)
            says |= unlike if unlike.ndim == 1 else unlike.any(axis=1)
        if not says.any():
            continue
        parts = [_bytes(names, columns, spans) for names in groups]
        for i in np.unique(np.repeat(np.arange(len(spans)), np.diff(offsets))[says]).tolist():
            found[i].append(prefix + b"".join(part[i] for part in parts))
    return found


def _placed(place: int | None) -> list[str]:
    """Return the fields that stand at a place of the id, in order."""
    return [name for name, about in MEASURES.items() if about.hashed == place]


def _bytes(
    names: Sequence[str], columns: Mapping[str, np.ndarray], spans: Sequence[tuple[int, int]]
) -> list[bytes]:
    """Return the bytes of some fields, placement by placement, for each span of placements."""
    m = spans[-1][1] if spans else 0
    stacked = [columns[name] if name in columns else MEASURES[name].plain(m) for name in names]
    rows = np.column_stack(stacked)
    data = rows.astype(rows.dtype.newbyteorder("<")).tobytes()
    width = rows.dtype.itemsize * rows.shape[1]
    return [data[width * a : width * b] for a, b in spans]
