"""Cells as they stand in a reading: all as columns, one, or each in turn. Who asks was checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, insert, select

from naturalize.base.errors import SettingsError
from naturalize.review.service import trail
from naturalize.review.service.answers import Answer, Cell, Columns
from naturalize.review.service.errors import NoSuchError
from naturalize.review.store.cells import CellRow, cell_of, values_of
from naturalize.review.store.tables import CELL, EVENT, STATE

#: Cells read or written at a time.
_PIECE = 5_000

#: Columns of a cell that are small, in tables of many cells.
_SMALL = [column for column in CELL.c if column.name not in ("probabilities", "outline")]


def inserted(link: Connection, cells: Iterable[CellRow], bins: Sequence[str]) -> None:
    """Add cells; ``SettingsError`` for a label of the model that is none of the bins."""
    waiting: list[dict[str, Any]] = []
    for cell in cells:
        if cell.model_label is not None and cell.model_label not in bins:
            raise SettingsError(f"{cell.path}: label {cell.model_label!r} is none of the classes")
        waiting.append(values_of(cell))
        if len(waiting) == _PIECE:
            link.execute(insert(CELL), waiting)
            waiting = []
    if waiting:
        link.execute(insert(CELL), waiting)


def columns(link: Connection, reading: int, bins: Sequence[str]) -> Columns:
    """Return all cells of a reading; labels are places in ``bins``."""
    place: dict[str | None, int] = {code: i for i, code in enumerate(bins)}
    c, s = CELL.c, STATE.c
    asked = (
        select(c.id, s.label, c.model_label, s.seen, s.version, c.doubt, c.cluster, c.rank,
               c.area, c.taken, c.flag)
        .join(STATE, s.cell == c.id)
        .where(s.reading == reading)
        .order_by(c.id)
    )  # fmt: skip
    event = link.execute(select(func.max(EVENT.c.id))).scalar() or 0
    rows = link.execute(asked).all()
    names = ("ids", "label", "model", "seen", "version", "doubt", "cluster", "rank", "area",
             "taken", "flag")  # fmt: skip
    found = dict(zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True))
    flags: dict[str, int] = {}
    numbered = [flags.setdefault(flag, len(flags)) for flag in found["flag"]]
    of_bins = {name: [place.get(v, -1) for v in found[name]] for name in ("label", "model")}
    whole = ("ids", "seen", "version", "cluster", "rank")
    return Columns(
        **{name: np.array(found[name], np.int32) for name in whole},
        **{name: np.array(values, np.int32) for name, values in of_bins.items()},
        **{name: np.array(found[name], np.float64) for name in ("doubt", "area", "taken")},
        flag=np.array(numbered, np.int32),
        flags=list(flags),
        event=event,
    )


def cell(link: Connection, reading: int, number: int, after: int) -> Cell:
    """Return a cell of a reading, with its lines of the trail after one.

    ``NoSuchError`` if there is no such cell.
    """
    row = link.execute(
        select(CELL, STATE.c.label, STATE.c.seen, STATE.c.version)
        .join(STATE, STATE.c.cell == CELL.c.id)
        .where(CELL.c.id == number, STATE.c.reading == reading)
    ).first()
    if row is None:
        raise NoSuchError(f"no cell {number} in this review")
    found = cell_of(row)
    return Cell(
        id=row.id, path=found.path, field=found.field, number=found.number, box=found.box,
        kind=found.kind, model_label=found.model_label, confidence=found.confidence,
        probabilities=[] if found.probabilities is None else found.probabilities.tolist(),
        candidates=list(found.candidates), flag=found.flag, cluster=found.cluster,
        label=row.label, seen=bool(row.seen), version=row.version,
        history=trail.lines(link, (EVENT.c.reading == reading) & (EVENT.c.cell == number), after),
    )  # fmt: skip


def row(link: Connection, number: int) -> CellRow:
    """Return a cell as it was found; ``NoSuchError`` if there is none."""
    found = link.execute(select(CELL).where(CELL.c.id == number)).first()
    if found is None:
        raise NoSuchError(f"no cell {number} in this review")
    return cell_of(found)


def rows_at(link: Connection, path: str) -> list[tuple[int, CellRow]]:
    """Return all cells of one file, by id."""
    asked = select(CELL).where(CELL.c.path == path).order_by(CELL.c.id)
    return [(each.id, cell_of(each)) for each in link.execute(asked)]


def below(link: Connection, prefix: str) -> int:
    """Return how many cells have a path that begins so."""
    asked = select(func.count()).where(CELL.c.path.startswith(prefix, autoescape=True))
    return link.execute(asked).scalar_one()


def answers(link: Connection, reading: int) -> Iterator[Answer]:
    """Yield every cell of a reading by id, without its blobs."""
    asked = (
        select(*_SMALL, STATE.c.label, STATE.c.seen, STATE.c.version, STATE.c.user, STATE.c.at)
        .join(STATE, STATE.c.cell == CELL.c.id)
        .where(STATE.c.reading == reading)
        .order_by(CELL.c.id)
    )
    for row in link.execution_options(yield_per=_PIECE).execute(asked):
        yield Answer(row.id, cell_of(row), row.label, bool(row.seen), row.version, row.user, row.at)


def counts(link: Connection, reading: int) -> list[tuple[str | None, str, bool, int]]:
    """Return label, flag, seen and how many cells have all three."""
    asked = (
        select(STATE.c.label, CELL.c.flag, STATE.c.seen, func.count())
        .join(CELL, STATE.c.cell == CELL.c.id)
        .where(STATE.c.reading == reading)
        .group_by(STATE.c.label, CELL.c.flag, STATE.c.seen)
    )
    return [(label, flag, bool(seen), n) for label, flag, seen, n in link.execute(asked)]
