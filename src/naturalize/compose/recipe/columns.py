"""Many recipes as columns: what a plan is made of, compact in memory and quick to draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from naturalize.base.errors import SettingsError
from naturalize.compose.recipe.fields import PLAIN
from naturalize.compose.recipe.recipe import (
    KERNELS,
    LIMITS,
    MAX_SEED,
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

#: Columns of :attr:`Columns.varied`, and the row of a cell that is not varied.
ASPECT, ELASTIC, BLUR, GRAIN, STAIN_SCALE = 0, 1, 2, 3, slice(4, 7)
PLAIN_ROW = np.array([1, 0, 0, 0, 1, 1, 1], np.float32)

#: Columns of :attr:`Columns.chosen`: seed of the elastic change, code in ``KERNELS``.
ELASTIC_SEED, KERNEL = 0, 1

#: Columns of :attr:`Columns.ground`: dihedral turn of the scene, where the canvas begins in it.
TURN, GROUND_X, GROUND_Y = 0, 1, 2


def _no_rows(width: int, kind: type) -> Callable[[], np.ndarray]:
    return lambda: np.zeros((0, width), kind)


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

    @cached_property
    def keys(self) -> list[list[bytes]]:
        """For each blend, the names of each cell as they are hashed."""
        return [[cell_key(*cell, blend) for cell in self.cells] for blend in self.blends]


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
    ground
        Int32 (N, 3): turn, x, y of the scene; all 0 where it is left out.
    varied, chosen
        Float32 (M, 7): aspect, elastic, blur, grain, stain scale (3); int32 (M, 2): seed of the
        elastic change, kernel. Both have no row where no cell of any recipe is varied.
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
    ground: np.ndarray = field(default_factory=_no_rows(3, np.int32))
    varied: np.ndarray = field(default_factory=_no_rows(7, np.float32))
    chosen: np.ndarray = field(default_factory=_no_rows(2, np.int32))

    def __post_init__(self) -> None:
        n, m = len(self.label), len(self.cell)
        if len(self.ground) != n:
            object.__setattr__(self, "ground", np.zeros((n, 3), np.int32))
        if len(self.varied) != m or len(self.chosen) != m:
            widened = _widened(self.varied, self.chosen, m)
            for name, column in zip(("varied", "chosen"), widened, strict=True):
                object.__setattr__(self, name, column)
        self._check()

    def _check(self) -> None:
        x = self.numbers + np.float32(0)  # no −0: equal recipes have equal bytes
        if not np.isfinite(x).all() or not np.isfinite(self.colour).all():
            raise SettingsError("a recipe's numbers must be finite")
        if (x[:, SCALE] <= 0).any():
            raise SettingsError("scale: expected more than 0")
        object.__setattr__(self, "numbers", x)
        varied = self.varied + np.float32(0)
        object.__setattr__(self, "varied", varied)
        columns = {
            "feather": x[:, FEATHER],
            "aspect": varied[:, ASPECT],
            "elastic": varied[:, ELASTIC],
            "blur": varied[:, BLUR],
            "grain": varied[:, GRAIN],
            "stain_scale": varied[:, STAIN_SCALE],
        }
        for name, (low, high) in LIMITS.items():
            if not ((columns[name] >= low) & (columns[name] <= high)).all():  # NaN is out as well
                raise SettingsError(f"{name}: expected {low:g} to {high:g}")
        seed, kernel = self.chosen.T
        if (seed < 0).any() or (kernel < 0).any() or (kernel >= len(KERNELS)).any():
            raise SettingsError(
                f"elastic_seed: expected 0 to {MAX_SEED - 1}; kernel: a code of {KERNELS}"
            )
        if (self.ground < 0).any() or (self.ground[:, TURN] > 7).any():
            raise SettingsError("background: expected a turn of 0 to 7, an offset of 0 or more")

    def __len__(self) -> int:
        """Return the number of recipes."""
        return len(self.label)

    @classmethod
    def concat(cls, parts: Sequence[Columns]) -> Columns:
        """Return the recipes of all parts, which share one vocabulary, one after the other."""
        counts = np.concatenate([np.diff(part.offsets) for part in parts])
        rows: tuple[str, ...] = (*_PER_RECIPE, *_PER_PLACEMENT)
        if any(part.is_varied for part in parts):
            parts = [part if part.is_varied else part.made_variable() for part in parts]
            rows += _PER_VARIED
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in rows}
        return cls(words=parts[0].words, offsets=_offsets(counts), **joined)

    def take(self, rows: np.ndarray) -> Columns:
        """Return the recipes ``rows`` (int), in that order."""
        counts = np.diff(self.offsets)[rows]
        offsets = _offsets(counts)
        inside = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
        placements = np.repeat(self.offsets[:-1][rows], counts) + inside
        names = (*_PER_PLACEMENT, *(_PER_VARIED if self.is_varied else ()))
        return replace(
            self,
            offsets=offsets,
            **{name: getattr(self, name)[rows] for name in _PER_RECIPE},
            **{name: getattr(self, name)[placements] for name in names},
        )

    def replaced(self, rows: np.ndarray, other: Columns) -> Columns:
        """Return these recipes with ``rows`` (int) exchanged for those of ``other``, in order."""
        order = np.arange(len(self))
        order[rows] = len(self) + np.arange(len(rows))
        return Columns.concat([self, other]).take(order)

    @property
    def is_varied(self) -> bool:
        """Whether ``varied`` and ``chosen`` have their rows."""
        return len(self.varied) == len(self.cell)

    def made_variable(self) -> Columns:
        """Return the same recipes with all rows of ``varied`` and ``chosen``."""
        if self.is_varied:
            return self
        m = len(self.cell)
        return replace(self, varied=np.tile(PLAIN_ROW, (m, 1)), chosen=np.zeros((m, 2), np.int32))

    def ids(self) -> list[str]:
        """Return the recipe id of each recipe, as :attr:`Recipe.recipe_id` would."""
        words, key_of = self.words, self.words.keys
        numbers = np.ascontiguousarray(self.numbers, "<f4").tobytes()
        flips = self.flip.astype(np.uint8).tobytes()
        cells, blends = self.cell.tolist(), self.blend.tolist()
        keys = [key_of[blend][cell] for cell, blend in zip(cells, blends, strict=True)]
        heads: dict[Any, bytes] = {}
        found = []
        rows, varied = self._heads(), self._varied_bytes()
        for row, more, (a, b) in zip(rows, varied, pairwise(self.offsets.tolist()), strict=True):
            head = heads.get(row)
            if head is None:
                label, mode, background, finish, width, height, *colour, turn, x, y = row
                head = heads[row] = header(
                    (words.labels[label], words.modes[mode], str(width), str(height)),
                    (*words.backgrounds[background], turn, x, y),
                    colour,
                    words.finishes[finish],
                )
            found.append(content_id(head, keys[a:b], numbers[32 * a : 32 * b], flips[a:b], more))
        return found

    def _heads(self) -> list[tuple[Any, ...]]:
        columns = (self.label, self.mode, self.background, self.finish, *self.size.T)
        lists = [column.tolist() for column in (*columns, *self.colour.T, *self.ground.T)]
        return list(zip(*lists, strict=True))

    def _varied_bytes(self) -> list[bytes]:
        """Return what each recipe says that version 1 could not, empty where it says nothing."""
        if not self.is_varied:
            return [b""] * len(self)
        says = (self.varied != PLAIN_ROW).any(axis=1) | self.chosen.any(axis=1)
        so_far = np.concatenate([[0], np.cumsum(says)])[self.offsets]
        numbers = np.ascontiguousarray(self.varied, "<f4").tobytes()
        choices = np.ascontiguousarray(self.chosen, "<i4").tobytes()
        wide, short = 4 * self.varied.shape[1], 4 * self.chosen.shape[1]
        return [
            numbers[wide * a : wide * b] + choices[short * a : short * b] if some else b""
            for some, (a, b) in zip(
                (np.diff(so_far) > 0).tolist(), pairwise(self.offsets.tolist()), strict=True
            )
        ]

    def recipe(self, i: int) -> Recipe:
        """Return one recipe; ``IndexError`` beyond the last."""
        n, words = len(self), self.words
        if not -n <= i < n:
            raise IndexError(f"recipe {i} of {n}")
        i %= n
        part = slice(self.offsets[i], self.offsets[i + 1])
        count = int(self.offsets[i + 1] - self.offsets[i])
        varied = self.varied[part].tolist() if self.is_varied else [None] * count
        chosen = self.chosen[part].tolist() if self.is_varied else [None] * count
        placements = zip(
            self.cell[part].tolist(),
            self.blend[part].tolist(),
            self.numbers[part].tolist(),
            self.flip[part].tolist(),
            varied,
            chosen,
            strict=True,
        )
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
            placements=tuple(self._placement(*row) for row in placements),
            finish=words.finishes[self.finish[i]],
        )

    def _placement(
        self,
        cell: int,
        blend: int,
        x: list[float],
        flip: bool,
        varied: list[float] | None,
        chosen: list[int] | None,
    ) -> Placement:
        cell_id, image_id, kind = self.words.cells[cell]
        more = PLAIN if varied is None or chosen is None else _as_fields(varied, chosen)
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
            **more,
        )


_PER_RECIPE = ("label", "mode", "background", "finish", "size", "colour", "ground")
_PER_PLACEMENT = ("cell", "blend", "numbers", "flip")
_PER_VARIED = ("varied", "chosen")


def _widened(varied: np.ndarray, chosen: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Return both columns with ``m`` rows, or with none where neither has any."""
    if not len(varied) and not len(chosen):
        return varied, chosen
    if len(varied) not in (0, m) or len(chosen) not in (0, m):
        raise SettingsError(f"varied, chosen: expected {m} rows, got {len(varied)}, {len(chosen)}")
    return (
        varied if len(varied) else np.tile(PLAIN_ROW, (m, 1)),
        chosen if len(chosen) else np.zeros((m, 2), np.int32),
    )


def _as_fields(varied: list[float], chosen: list[int]) -> dict[str, Any]:
    aspect, elastic, blur, grain, *stain_scale = varied
    return {
        "aspect": aspect,
        "elastic": elastic,
        "elastic_seed": chosen[ELASTIC_SEED],
        "kernel": KERNELS[chosen[KERNEL]],
        "blur": blur,
        "grain": grain,
        "stain_scale": tuple(stain_scale),
    }


def _offsets(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
