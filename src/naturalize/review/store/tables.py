"""The tables of a review, and the triggers that keep its trail append-only."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

METADATA = MetaData()

#: What a review is and how it is shown: one row a key.
SETTING = Table(
    "setting",
    METADATA,
    Column("key", String, primary_key=True),
    Column("value", JSON, nullable=False),
)

#: A cell as it was found; no row changes after it was written.
CELL = Table(
    "cell",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("path", String, nullable=False, index=True),
    Column("field", String),
    Column("number", Integer),
    *(Column(name, Integer) for name in ("x0", "y0", "x1", "y1")),
    Column("kind", String, nullable=False),
    Column("model_label", String),
    Column("confidence", Float),
    Column("probabilities", LargeBinary),
    Column("candidates", String, nullable=False),
    Column("flag", String, nullable=False),
    Column("doubt", Float, nullable=False),
    Column("cluster", Integer, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("area", Float),
    Column("taken", Float),
    Column("outline", LargeBinary),
)

#: 1 is the first reading, 2 the blind second one, 3 the adjudicated one.
READING = Table(
    "reading",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("reader", String),
    Column("opened_at", String, nullable=False),
    Column("signed_by", String),
    Column("signed_at", String),
)

#: What each reading says of each cell now; ``version`` counts the changes of its label.
STATE = Table(
    "state",
    METADATA,
    Column("reading", ForeignKey("reading.number"), primary_key=True),
    Column("cell", ForeignKey("cell.id"), primary_key=True),
    Column("label", String),
    Column("seen", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("user", String),
    Column("at", String),
    sqlite_with_rowid=False,
)

#: How many cells of a reading have a label (empty: unidentified), seen or not: kept with each
#: change, so that counts need no scan.
TALLY = Table(
    "tally",
    METADATA,
    Column("reading", ForeignKey("reading.number"), primary_key=True),
    Column("label", String, primary_key=True),
    Column("seen", Integer, primary_key=True),
    Column("n", Integer, nullable=False),
    sqlite_with_rowid=False,
)

#: What one undo takes back. ``last`` is the action that undid it or did it again last, if any.
ACTION = Table(
    "action",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("at", String, nullable=False),
    Column("user", String, nullable=False),
    Column("reading", ForeignKey("reading.number"), nullable=False),
    Column("kind", String, nullable=False),
    Column("undone", Integer, nullable=False, default=0),
    Column("last", Integer),
    Index("action_of_user", "user", "reading", "undone", "id"),
)

#: The trail: everything that was done, in order. Nothing in it is ever changed or removed.
EVENT = Table(
    "event",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("at", String, nullable=False),
    Column("user", String, nullable=False),
    Column("reading", Integer),
    Column("action", Integer, index=True),
    Column("kind", String, nullable=False),
    Column("cell", Integer, index=True),
    Column("before", String),
    Column("after", String),
    Column("was_seen", Integer),
    Column("is_seen", Integer),
    Column("version", Integer),
    Column("reason", String),
    Index("event_of_reading", "reading", "id"),
    sqlite_autoincrement=True,
)

USER = Table(
    "user",
    METADATA,
    Column("name", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("password_hash", String, nullable=False),
    Column("active", Integer, nullable=False),
)

#: Sessions of users; only a hash of the token is kept.
LOGIN = Table(
    "login",
    METADATA,
    Column("token_hash", String, primary_key=True),
    Column("user", ForeignKey("user.name"), nullable=False),
    Column("csrf", String, nullable=False),
    Column("created", Float, nullable=False),
    Column("last_used", Float, nullable=False),
)

#: Failed logins, in seconds since 1970, so that a restart does not forget them.
FAILURE = Table(
    "failure",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False),
    Column("address", String, nullable=False),
    Column("at", Float, nullable=False),
    Index("failure_of", "at"),
)

_ABORT = "BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END"

#: ``INSERT OR REPLACE`` removes a row without the trigger for that.
TRIGGERS = (
    f"CREATE TRIGGER event_update BEFORE UPDATE ON event {_ABORT}",
    f"CREATE TRIGGER event_delete BEFORE DELETE ON event {_ABORT}",
    "CREATE TRIGGER event_replace BEFORE INSERT ON event "
    f"WHEN EXISTS (SELECT 1 FROM event WHERE id = NEW.id) {_ABORT}",
)
