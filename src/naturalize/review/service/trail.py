"""The trail: what was done, by whom and when. It is only ever appended to."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select

from naturalize.review.service.answers import Event
from naturalize.review.store.database import now
from naturalize.review.store.tables import EVENT


def noted(
    link: Connection,
    user: str,
    kind: str,
    reading: int | None = None,
    reason: str | None = None,
    *,
    before: str | None = None,
    after: str | None = None,
) -> None:
    """Append a line without a cell."""
    values = {"reading": reading, "reason": reason, "before": before, "after": after}
    link.execute(insert(EVENT).values(at=now(), user=user, kind=kind, **values))


def lines(
    link: Connection, which: ColumnElement[bool], after: int = 0, limit: int | None = None
) -> list[Event]:
    """Return lines after one, in order: all that ``which`` selects, or ``limit`` of them."""
    asked = select(EVENT).where(which, EVENT.c.id > after).order_by(EVENT.c.id).limit(limit)
    return [_event(row) for row in link.execute(asked)]


def _event(row: Any) -> Event:
    return Event(row.id, row.at, row.user, row.reading, row.kind, row.cell, row.before, row.after,
                 row.version, row.reason)  # fmt: skip
