"""Changes of cells, and how they are taken back: each in one transaction, each in the trail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    func,
    insert,
    select,
    update,
)

from naturalize.base.errors import SettingsError
from naturalize.review.service.answers import Changed, Events
from naturalize.review.service.errors import NoSuchError
from naturalize.review.store.database import now
from naturalize.review.store.tables import ACTION, EVENT, STATE, TALLY

#: What a person may do to cells. ``seen`` changes no label, so it is no version and no undo.
KINDS = ("label", "accept", "seen")

#: What became of an action: it stands; it is undone; it was undone when a new one began, so that it
#: cannot be redone any more.
_STANDING, _UNDONE, _GONE = 0, 1, 2

#: Values in one query: below SQLite's limit of variables.
_PIECE = 500


@dataclass(frozen=True)
class _Step:
    """A cell's label and whether it was seen, before and after."""

    cell: int
    before: str | None
    after: str | None
    was_seen: int
    is_seen: int
    version: int


def change(
    link: Connection,
    user: str,
    reading: int,
    wanted: dict[int, int],
    label: str | None,
    kind: str,
) -> Changed:
    """Give cells a label, accept theirs, or mark them as seen.

    ``wanted``: cell → the version that the user saw. A cell of another version is left, and listed
    as a conflict. ``NoSuchError`` for a cell that there is not.
    """
    if kind not in KINDS:
        raise SettingsError(f"kind {kind!r}: expected one of {', '.join(KINDS)}")
    there = _states(link, reading, wanted)
    if missing := wanted.keys() - there.keys():
        raise NoSuchError(f"no cell {min(missing)} in this review")
    steps, conflicts, same = [], [], []
    for cell, version in wanted.items():
        row = there[cell]
        after = label if kind == "label" else row.label
        if kind != "seen" and row.version != version:
            conflicts.append((cell, row.label, row.version, row.user or "", row.at or ""))
        elif row.seen and (after == row.label):
            same.append((cell, row.label, True, row.version))
        else:
            raised = row.version + (kind != "seen")
            steps.append(_Step(cell, row.label, after, row.seen, 1, raised))
    action = None
    if steps and kind != "seen":
        link.execute(update(ACTION).where(_actions(user, reading, _UNDONE)).values(undone=_GONE))
        action = _act(link, user, reading, kind)
    _carry_out(link, user, reading, kind, action, steps)
    done = [(step.cell, step.after, True, step.version) for step in steps]
    return Changed(action, [*same, *done], conflicts, counts(link, reading))


def take_back(link: Connection, user: str, reading: int, kind: str) -> Changed:
    """Undo the user's last action, or redo what was undone last (``kind``: undo or redo).

    A cell that was changed since by somebody else is left, and listed as a conflict. Without
    anything to undo or redo, nothing is done, and ``action`` is null.
    """
    target = _target(link, user, reading, kind)
    if target is None:
        return Changed(None, [], [], counts(link, reading))
    asked = select(EVENT).where(EVENT.c.action == (target.last or target.id))
    done = {row.cell: row for row in link.execute(asked)}
    there = _states(link, reading, done)
    theirs = _changed_since(link, user, reading, {cell: row.id for cell, row in done.items()})
    steps, conflicts = [], []
    for cell, row in done.items():
        state = there[cell]
        if cell in theirs:
            conflicts.append((cell, state.label, state.version, state.user or "", state.at or ""))
        else:
            was = (state.label, row.before, state.seen, row.was_seen)
            steps.append(_Step(cell, *was, state.version + 1))
    action = _act(link, user, reading, kind)
    link.execute(
        update(ACTION)
        .where(ACTION.c.id == target.id)
        .values(undone=_UNDONE if kind == "undo" else _STANDING, last=action)
    )
    _carry_out(link, user, reading, kind, action, steps)
    cells = [(step.cell, step.after, bool(step.is_seen), step.version) for step in steps]
    return Changed(action, cells, conflicts, counts(link, reading))


def close_actions(link: Connection, reading: int) -> None:
    """Make that nothing of what was done in a reading can be undone or done again."""
    link.execute(update(ACTION).where(ACTION.c.reading == reading).values(undone=_GONE))


def since(link: Connection, user: str, reading: int, after: int, limit: int) -> Events:
    """Return cells, as they are now, of at most ``limit`` lines of the trail after one."""
    lines = (
        select(EVENT.c.id, EVENT.c.cell, EVENT.c.user)
        .where(EVENT.c.reading == reading, EVENT.c.id > after, EVENT.c.cell.is_not(None))
        .order_by(EVENT.c.id)
        .limit(limit)
    )
    rows = link.execute(lines).all()
    there = _states(link, reading, sorted({row.cell for row in rows}))
    cells = [(s.cell, s.label, bool(s.seen), s.version) for s in there.values()]
    others = sorted({row.user for row in rows} - {user})
    return Events(rows[-1].id if rows else after, cells, others)


def counts(link: Connection, reading: int) -> dict[str | None, int]:
    """Return how many cells of a reading have each label, null for unidentified."""
    rows = link.execute(
        select(TALLY.c.label, func.sum(TALLY.c.n))
        .where(TALLY.c.reading == reading)
        .group_by(TALLY.c.label)
    )
    return {label or None: n for label, n in rows if n}


def labels(link: Connection) -> set[str]:
    """Return every label that a cell has in any reading, or had before a change."""
    asked = select(STATE.c.label).union(select(EVENT.c.before), select(EVENT.c.after))
    return {label for label in link.execute(asked).scalars() if label is not None}


def tally(link: Connection, reading: int, more: Counter[tuple[str | None, int]]) -> None:
    """Add to the tally: label and seen → cells more, or fewer."""
    for (label, seen), n in more.items():
        if not n:
            continue
        where = (
            (TALLY.c.reading == reading) & (TALLY.c.label == (label or "")) & (TALLY.c.seen == seen)
        )
        if not link.execute(update(TALLY).where(where).values(n=TALLY.c.n + n)).rowcount:
            link.execute(insert(TALLY).values(reading=reading, label=label or "", seen=seen, n=n))


def _pieces(values: Iterable[int]) -> Iterator[list[int]]:
    """Yield values in pieces that fit into one query."""
    given = list(values)
    for start in range(0, len(given), _PIECE):
        yield given[start : start + _PIECE]


def _states(link: Connection, reading: int, cells: Iterable[int]) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for piece in _pieces(cells):
        asked = select(STATE).where(STATE.c.reading == reading, STATE.c.cell.in_(piece))
        found |= {row.cell: row for row in link.execute(asked)}
    return found


def _act(link: Connection, user: str, reading: int, kind: str) -> int:
    """Note an action, and return its number. An undo or a redo is itself never undone."""
    undone = _GONE if kind in ("undo", "redo") else _STANDING
    made = link.execute(
        insert(ACTION).values(at=now(), user=user, reading=reading, kind=kind, undone=undone)
    )
    return int(made.lastrowid)


def _actions(user: str, reading: int, undone: int) -> ColumnElement[bool]:
    return and_(ACTION.c.user == user, ACTION.c.reading == reading, ACTION.c.undone == undone)


def _target(link: Connection, user: str, reading: int, kind: str) -> Any:
    """Return the action to undo or redo, if any."""
    undo = kind == "undo"
    mine = select(ACTION).where(_actions(user, reading, _STANDING if undo else _UNDONE))
    order = ACTION.c.id.desc() if undo else ACTION.c.id
    return link.execute(mine.order_by(order).limit(1)).first()


def _changed_since(link: Connection, user: str, reading: int, lines: dict[int, int]) -> set[int]:
    """Return the cells that others changed after the line of the trail that is given for each."""
    found = set()
    for piece in _pieces(lines):
        asked = select(EVENT.c.cell, func.max(EVENT.c.id)).where(
            EVENT.c.reading == reading,
            EVENT.c.cell.in_(piece),
            EVENT.c.user != user,
            EVENT.c.kind != "seen",
        )
        rows = link.execute(asked.group_by(EVENT.c.cell))
        found |= {cell for cell, last in rows if last > lines[cell]}
    return found


def _carry_out(
    link: Connection,
    user: str,
    reading: int,
    kind: str,
    action: int | None,
    steps: Sequence[_Step],
) -> None:
    """Write new states, their lines in the trail, and the tally."""
    if not steps:
        return
    at, marked = now(), kind == "seen"
    values: dict[str, Any] = {"label": bindparam("b_after"), "seen": bindparam("b_seen")}
    if not marked:  # who changed a label last, and when, is not changed by looking at it
        values |= {"version": bindparam("b_version"), "user": user, "at": at}
    link.execute(
        update(STATE)
        .where(STATE.c.reading == reading, STATE.c.cell == bindparam("b_cell"))
        .values(**values),
        [
            {"b_cell": s.cell, "b_after": s.after, "b_seen": s.is_seen}
            | ({} if marked else {"b_version": s.version})
            for s in steps
        ],
    )
    common = {"at": at, "user": user, "reading": reading, "action": action, "kind": kind}
    link.execute(insert(EVENT), [common | vars(step) for step in steps])
    more: Counter[tuple[str | None, int]] = Counter()
    for step in steps:
        more[step.before, step.was_seen] -= 1
        more[step.after, step.is_seen] += 1
    tally(link, reading, more)
