"""Many recipes as columns: what a plan is made of, compact in memory and quick to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from naturalize.base.errors import SettingsError
from naturalize.compose.recipe.placement import MEASURES, Placement, hashed
from naturalize.compose.recipe.recipe import (
    Background,
    Camera,
    Finish,
    Recipe,
    cell_key,
    content_id,
    header,
)

_CODES = ("label", "mode", "background", "finish", "camera", "ground", "cell", "blend")
_PER_RECIPE = ("label", "mode", "background", "finish", "camera", "size", "colour", "ground")


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
    #: Of recipes that share no camera there are as many as recipes.
    cameras: tuple[Camera | None, ...] = (None,)

    @cached_property
    def keys(self) -> list[list[bytes]]:
        """For each blend, the names of each cell as they are hashed."""
        return [[cell_key(*cell, blend) for cell in self.cells] for blend in self.blends]


def _left_out() -> np.ndarray:
    return np.zeros(0, np.int32)


@dataclass(frozen=True, eq=False)
class Columns:
    """N recipes with M placements in all.

    ``SettingsError`` for values that could not be painted.
    """

    words: Vocabulary  # what the codes below stand for
    label: np.ndarray  # int32 (N,): code
    size: np.ndarray  # int32 (N, 2): width, height of the canvas
    colour: np.ndarray  # float32 (N, 3): of the background
    #: Int64 (N + 1,): recipe ``i`` has the placements ``offsets[i]`` to ``offsets[i + 1]``.
    offsets: np.ndarray
    cell: np.ndarray  # int32 (M,): code
    #: Name of a field of :class:`~naturalize.compose.recipe.placement.Placement` → its column, (M,)
    #: or (M, 3). Fields that are left out have their default in all placements.
    placed: Mapping[str, np.ndarray]
    #: Int32 (N,); ``blend`` (M,): codes; where they are left out, all 0.
    mode: np.ndarray = field(default_factory=_left_out)
    background: np.ndarray = field(default_factory=_left_out)
    #: Int32 (N, 3): turn, x, y of the scene; where it is left out, all 0.
    ground: np.ndarray = field(default_factory=_left_out)
    finish: np.ndarray = field(default_factory=_left_out)
    camera: np.ndarray = field(default_factory=_left_out)
    blend: np.ndarray = field(default_factory=_left_out)

    def __post_init__(self) -> None:
        n, m = len(self.label), len(self.cell)
        shapes = dict.fromkeys(("mode", "background", "finish", "camera"), n)
        for name, shape in {**shapes, "blend": m}.items():
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.zeros(shape, np.int32))
        if not len(self.ground):
            object.__setattr__(self, "ground", np.zeros((n, 3), np.int32))
        for name in (*_CODES, "size"):
            object.__setattr__(self, name, getattr(self, name).astype(np.int32, copy=False))
        object.__setattr__(self, "colour", self.colour.astype(np.float32, copy=False))
        for name, column in self.placed.items():
            if len(column) != m:
                raise SettingsError(f"{name}: expected {m} rows, got {len(column)}")
        placed = {name: MEASURES[name].checked_column(x) for name, x in self.placed.items()}
        object.__setattr__(self, "placed", placed)
        if not np.isfinite(self.colour).all():
            raise SettingsError("a recipe's numbers must be finite")
        if (self.ground < 0).any() or (self.ground[:, 0] > 7).any():
            raise SettingsError("background: expected a turn of 0 to 7, an offset of 0 or more")

    def __len__(self) -> int:
        return len(self.label)

    def placed_or_plain(self, name: str) -> np.ndarray:
        """Return the column of a field, also where it is left out."""
        found = self.placed.get(name)
        return MEASURES[name].plain(len(self.cell)) if found is None else found

    @classmethod
    def concat(cls, parts: Sequence[Columns]) -> Columns:
        """Return the recipes of all parts in turn; they share all words but cameras."""
        parts = _one_vocabulary(parts)

        def joined(name: str) -> np.ndarray:
            return np.concatenate([getattr(part, name) for part in parts])

        names = [name for name in MEASURES if any(name in part.placed for part in parts)]
        return cls(
            words=parts[0].words,
            offsets=offsets_of(np.concatenate([np.diff(part.offsets) for part in parts])),
            **{name: joined(name) for name in (*_PER_RECIPE, "cell", "blend")},
            placed={
                name: np.concatenate([part.placed_or_plain(name) for part in parts])
                for name in names
            },
        )

    def take(self, rows: np.ndarray) -> Columns:
        """Return the recipes ``rows`` (int), in that order."""
        counts = np.diff(self.offsets)[rows]
        offsets = offsets_of(counts)
        inside = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
        placements = np.repeat(self.offsets[:-1][rows], counts) + inside
        return replace(
            self,
            offsets=offsets,
            **{name: getattr(self, name)[rows] for name in _PER_RECIPE},
            **{name: getattr(self, name)[placements] for name in ("cell", "blend")},
            placed={name: column[placements] for name, column in self.placed.items()},
        )

    def replaced(self, rows: np.ndarray, other: Columns) -> Columns:
        """Return these recipes with ``rows`` (int) exchanged for those of ``other``, in order."""
        order = np.arange(len(self))
        order[rows] = len(self) + np.arange(len(rows))
        return Columns.concat([self, other]).take(order)

    def ids(self) -> list[str]:
        """Return the recipe id of each recipe, as :attr:`Recipe.recipe_id` would."""
        words, key_of, offsets = self.words, self.words.keys, self.offsets.tolist()
        cells, blends = self.cell.tolist(), self.blend.tolist()
        keys = [key_of[blend][cell] for cell, blend in zip(cells, blends, strict=True)]
        heads: dict[Any, bytes] = {}
        found = []
        placements = hashed(self.placed, offsets)
        codes = (self.label, self.mode, self.background, self.finish, self.camera)
        columns = (*codes, *self.size.T, *self.colour.T, *self.ground.T)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for row, own, (a, b) in zip(rows, placements, pairwise(offsets), strict=True):
            head = heads.get(row)
            if head is None:
                label, mode, background, finish, camera, width, height, *colour, turn, x, y = row
                head = heads[row] = header(
                    (words.labels[label], words.modes[mode], str(width), str(height)),
                    (*words.backgrounds[background], turn, x, y),
                    colour,
                    words.finishes[finish],
                    words.cameras[camera],
                )
            found.append(content_id(head, keys[a:b], own))
        return found

    def recipe(self, i: int) -> Recipe:
        """Return one recipe; ``IndexError`` beyond the last."""
        n, words = len(self), self.words
        if not -n <= i < n:
            raise IndexError(f"recipe {i} of {n}")
        i %= n
        return Recipe(
            label=words.labels[self.label[i]],
            mode=words.modes[self.mode[i]],
            width=int(self.size[i, 0]),
            height=int(self.size[i, 1]),
            background=Background(
                tuple(self.colour[i].tolist()),
                *words.backgrounds[self.background[i]],
                *self.ground[i].tolist(),
            ),
            placements=self._placements(slice(self.offsets[i], self.offsets[i + 1])),
            finish=words.finishes[self.finish[i]],
            camera=words.cameras[self.camera[i]],
        )

    def _placements(self, rows: slice) -> tuple[Placement, ...]:
        """Return some placements."""
        named = [self.words.cells[code] for code in self.cell[rows].tolist()]
        values = {
            name: about.values(self.placed[name][rows])
            if name in self.placed
            else [about.default] * len(named)
            for name, about in MEASURES.items()
        }
        values |= {
            name: [cell[k] for cell in named]
            for k, name in enumerate(("cell_id", "image_id", "kind"))
        }
        values["blend"] = [self.words.blends[code] for code in self.blend[rows].tolist()]
        each = zip(*values.values(), strict=True)
        return tuple(Placement.trusted(dict(zip(values, row, strict=True))) for row in each)


def _one_vocabulary(parts: Sequence[Columns]) -> Sequence[Columns]:
    """Return parts whose codes of cameras mean the same."""
    if all(part.words.cameras == parts[0].words.cameras for part in parts):
        return parts
    place = {camera: i for i, camera in enumerate(
        dict.fromkeys(camera for part in parts for camera in part.words.cameras)
    )}  # fmt: skip
    words = replace(parts[0].words, cameras=tuple(place))
    codes = [np.array([place[camera] for camera in part.words.cameras]) for part in parts]
    return [
        replace(part, words=words, camera=code[part.camera])
        for part, code in zip(parts, codes, strict=True)
    ]


def offsets_of(counts: np.ndarray) -> np.ndarray:
    """Return where each recipe's placements begin and the last one's end, int64 (N + 1,)."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
