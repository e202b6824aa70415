"""Readings: signed, opened again, read a second time blind, and adjudicated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from sqlalchemy import Connection, delete, func, insert, literal, select, update

from naturalize.base.rng import rng
from naturalize.base.statistics import percentile_interval
from naturalize.evaluation.metrics import confusion_matrix, kappa
from naturalize.review.service.answers import Agreement, Progress, Reading
from naturalize.review.service.changes import close_actions, tally
from naturalize.review.service.errors import (
    BlockedError,
    ClosedError,
    NoSuchError,
    NotAllowedError,
)
from naturalize.review.service.roles import ROLES
from naturalize.review.service.trail import noted
from naturalize.review.store.database import now
from naturalize.review.store.tables import CELL, EVENT, READING, STATE, TALLY, USER

#: Resamples of kappa's interval.
_RESAMPLES = 2_000

#: What makes a user one of a reading's readers. Cells are marked as seen by being on the screen, so
#: that a look at the first page would bar a second reader.
_WORK = ("label", "accept", "undo", "redo", "sign")


def readings(link: Connection) -> dict[int, Reading]:
    """Return all readings by number."""
    return {
        row.number: Reading(row.number, row.reader, row.opened_at, row.signed_by, row.signed_at)
        for row in link.execute(select(READING).order_by(READING.c.number))
    }


def hidden(found: Mapping[int, Reading], user: str) -> int | None:
    """Return the number of the reading that a user may not see now, if any.

    Until both are signed, the second reader does not see the first reading, and nobody else sees
    the second: neither reader knows what the other one says.
    """
    if 2 not in found or (found[1].signed_at and found[2].signed_at):
        return None
    return 1 if found[2].reader == user else 2


def reading_of(link: Connection, number: int, user: str) -> Reading:
    """Return a reading that a user may see.

    ``NoSuchError`` if it was not opened, ``NotAllowedError`` while it is hidden from the user.
    """
    found = readings(link)
    if number not in found:
        raise NoSuchError(f"reading {number} was not opened")
    if number == hidden(found, user):
        raise NotAllowedError(f"reading {number} is hidden from {user} until both are signed")
    return found[number]


def open_for(link: Connection, number: int, user: str) -> Reading:
    """Return a reading that a user may change; ``ClosedError`` if it is signed."""
    found = reading_of(link, number, user)
    check_open(found)
    return found


def check_open(reading: Reading) -> None:
    """Raise ``ClosedError`` if a reading is signed."""
    if reading.signed_at is not None:
        raise ClosedError(
            f"reading {reading.number} was signed by {reading.signed_by} on {reading.signed_at}; "
            "an administrator can open it again"
        )


def progress(link: Connection, reading: int) -> Progress:
    """Return how far a reading is."""
    total = unidentified = unseen = 0
    for row in link.execute(select(TALLY).where(TALLY.c.reading == reading)):
        total += row.n
        unidentified += row.n * (not row.label)
        unseen += row.n * (not row.seen)
    return Progress(total, unidentified, unseen)


def sign(link: Connection, number: int, user: str) -> None:
    """Sign a reading; ``BlockedError`` while a cell is unidentified or unseen."""
    open_for(link, number, user)
    found = progress(link, number)
    if found.total == 0:
        raise BlockedError("there is no cell to sign for")
    left = []
    if found.unidentified:
        left.append(f"{found.unidentified:,} cells are unidentified")
    if found.unseen:
        left.append(f"{found.unseen:,} were not seen")
    if left:
        raise BlockedError(f"reading {number} cannot be signed: {' and '.join(left)}")
    link.execute(
        update(READING).where(READING.c.number == number).values(signed_by=user, signed_at=now())
    )
    noted(link, user, "sign", number)


def reopen(link: Connection, number: int, user: str, reason: str) -> None:
    """Open a signed reading again. Later readings that rest on it must be open or absent."""
    found = readings(link).get(number)  # who opens it need not see it
    if found is None:
        raise NoSuchError(f"reading {number} was not opened")
    if not reason.strip():
        raise BlockedError("a reason is needed to open a signed reading again")
    if found.signed_at is None:
        raise BlockedError(f"reading {number} is open")
    if number < 3 and 3 in readings(link):
        raise BlockedError(f"reading {number} was adjudicated; open reading 3 again instead")
    link.execute(
        update(READING).where(READING.c.number == number).values(signed_by=None, signed_at=None)
    )
    noted(link, user, "reopen", number, reason.strip())


def open_second(link: Connection, user: str) -> None:
    """Open the blind second reading for a user who has no part in the first."""
    if 2 in readings(link):
        raise BlockedError("the second reading was opened already")
    _check_blind(link, user)
    begin(link, 2, user)


def _check_blind(link: Connection, user: str) -> None:
    """Raise ``NotAllowedError`` for one with a part in the first reading, or replaced before."""
    worked = (EVENT.c.reading == 1) & (EVENT.c.user == user) & EVENT.c.kind.in_(_WORK)
    # since they were replaced, the first reading was open to them
    replaced = (EVENT.c.kind == "replace") & (EVENT.c.before == user)
    if link.execute(select(EVENT.c.id).where(worked).limit(1)).first():
        raise NotAllowedError(f"{user} has a part in the first reading; another user reads second")
    if link.execute(select(EVENT.c.id).where(replaced).limit(1)).first():
        raise NotAllowedError(f"{user} was replaced as the second reader; name another user")


def replace_second(link: Connection, admin: str, reader: str, reason: str) -> None:
    """Begin the second reading anew for another reader; what was done in it stays in the trail.

    Where there are users, ``reader`` is an active one who may change cells.
    """
    found = readings(link).get(2)
    if found is None:
        raise NoSuchError("reading 2 was not opened")
    if found.signed_at is not None:
        raise BlockedError(f"reading 2 was signed by {found.signed_by}; it can be opened again")
    if _were_shown(link):
        raise BlockedError(
            "both readings were signed at one time, and shown to all: nobody else can read blind; "
            "reading 2 stays with its reader"
        )
    if not reason.strip():
        raise BlockedError("a reason is needed to replace the second reader")
    if reader == found.reader:
        raise BlockedError(f"{reader} is the second reader")
    users = {row.name: row for row in link.execute(select(USER))}
    if users and reader not in users:
        raise NoSuchError(f"no user {reader!r}")
    if users and not (users[reader].active and "change" in ROLES[users[reader].role]):
        raise BlockedError(f"{reader} is shut out, or may not change cells")
    _check_blind(link, reader)
    left = progress(link, 2)
    said = f"{left.seen} of {left.total} cells seen; {reason.strip()}"
    noted(link, admin, "replace", reason=said, before=found.reader, after=reader)
    for table in (STATE, TALLY):
        link.execute(delete(table).where(table.c.reading == 2))
    close_actions(link, 2)
    link.execute(
        update(READING).where(READING.c.number == 2).values(reader=reader, opened_at=now())
    )
    join(link, 2, 1)
    noted(link, admin, "open", 2, after=reader)


def _were_shown(link: Connection) -> bool:
    """Return whether readings 1 and 2 were ever signed at one time."""
    signed: set[int] = set()
    lines = select(EVENT.c.reading, EVENT.c.kind).where(
        EVENT.c.reading.in_((1, 2)), EVENT.c.kind.in_(("sign", "reopen"))
    )
    for number, kind in link.execute(lines.order_by(EVENT.c.id)):
        signed = signed | {number} if kind == "sign" else signed - {number}
        if len(signed) == 2:
            return True
    return False


def begins(link: Connection, number: int) -> int:
    """Return the line of the trail after which those of a reading may be shown now.

    A second reader who was replaced is not to influence the next one: what they did is shown once
    both readings are signed.
    """
    found = readings(link)
    if number != 2 or all(found[n].signed_at for n in (1, 2)):
        return 0
    replaced = (EVENT.c.kind == "replace") & EVENT.c.reading.is_(None)
    return link.execute(select(func.max(EVENT.c.id)).where(replaced)).scalar() or 0


def begin(link: Connection, number: int, user: str | None) -> None:
    """Open reading 1 or 2: every cell as the model named it, and unseen."""
    link.execute(insert(READING).values(number=number, reader=user, opened_at=now()))
    join(link, number, 1)
    if user is not None:
        noted(link, user, "open", number)


def join(link: Connection, number: int, first: int) -> None:
    """Add the cells from id ``first`` on to a reading: as the model named them, and unseen."""
    added = select(literal(number), CELL.c.id, CELL.c.model_label, literal(0), literal(0))
    columns = ["reading", "cell", "label", "seen", "version"]
    link.execute(insert(STATE).from_select(columns, added.where(CELL.c.id >= first)))
    _count(link, number, first)


def adjudicate(link: Connection, user: str) -> None:
    """Open the third reading: agreed cells settled, the others unidentified and unseen."""
    found = readings(link)
    if 3 in found:
        raise BlockedError("the readings are being adjudicated already")
    if len(found) < 2 or not all(reading.signed_at for reading in found.values()):
        raise BlockedError("two signed readings are needed before they can be adjudicated")
    link.execute(insert(READING).values(number=3, reader=user, opened_at=now()))
    one, two = STATE.alias(), STATE.alias()
    agreed = one.c.label == two.c.label
    link.execute(
        insert(STATE).from_select(
            ["reading", "cell", "label", "seen", "version"],
            select(
                literal(3),
                one.c.cell,
                func.iif(agreed, one.c.label, None),
                func.iif(agreed, 1, 0),
                literal(0),
            )
            .select_from(one.join(two, one.c.cell == two.c.cell))
            .where(one.c.reading == 1, two.c.reading == 2),
        )
    )
    _count(link, 3)
    noted(link, user, "open", 3)


def agreement(link: Connection) -> Agreement:
    """Return how far readings 1 and 2 agree; ``BlockedError`` until both are signed."""
    found = readings(link)
    if 2 not in found or not (found[1].signed_at and found[2].signed_at):
        raise BlockedError("the agreement is shown when both readings are signed")
    one, two = STATE.alias(), STATE.alias()
    rows = link.execute(
        select(one.c.cell, one.c.label, two.c.label)
        .select_from(one.join(two, one.c.cell == two.c.cell))
        .where(one.c.reading == 1, two.c.reading == 2)
        .order_by(one.c.cell)
    ).all()
    labels = sorted({label for _, *pair in rows for label in pair}, key=str)
    place = {label: i for i, label in enumerate(labels)}
    true, read = (np.array([place[row[k]] for row in rows], np.int64) for k in (1, 2))
    confusion = confusion_matrix(true, read, len(labels))
    shares = confusion.ravel() / len(rows)
    drawn = rng(0, "kappa").multinomial(len(rows), shares, _RESAMPLES)
    value, interval = kappa_of(confusion, drawn.reshape(-1, *confusion.shape))
    differing = [(cell, first, second) for cell, first, second in rows if first != second]
    return Agreement(len(rows), len(rows) - len(differing), value, interval, differing)


def kappa_of(
    confusion: np.ndarray, drawn: np.ndarray
) -> tuple[float | None, tuple[float, float] | None]:
    """Return Cohen's kappa of counts, int (C, C), and its interval over resampled ones (R, C, C).

    Both are null where one class is all there is: chance agrees as well. Such resamples are left
    out.
    """
    mixed = drawn[_is_mixed(drawn)]
    if not _is_mixed(confusion) or not len(mixed):
        return None, None
    low, high = percentile_interval(kappa(mixed)).tolist()
    return float(kappa(confusion)), (low, high)


def _is_mixed(counts: np.ndarray) -> np.ndarray:
    """Return for each table of counts whether chance does not agree on all of it."""
    by_chance = (counts.sum(axis=-1) * counts.sum(axis=-2)).sum(axis=-1)
    return by_chance < counts.sum(axis=(-2, -1)) ** 2


def _count(link: Connection, reading: int, first: int = 1) -> None:
    """Add the cells from id ``first`` on to the tally of a reading."""
    asked = (
        select(STATE.c.label, STATE.c.seen, func.count())
        .where(STATE.c.reading == reading, STATE.c.cell >= first)
        .group_by(STATE.c.label, STATE.c.seen)
    )
    tally(link, reading, Counter({(label, seen): n for label, seen, n in link.execute(asked)}))
