"""A review: its cells, what readings say of them, and all that may be done to them.

Every method may be called from any thread. ``actor`` is who asks: roles decide what may be done,
and a blind second reader does not see the first reading.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from naturalize.base.errors import SettingsError
from naturalize.base.settings import validated
from naturalize.review.service import cells, changes, readings, trail
from naturalize.review.service.answers import (
    Agreement,
    Answer,
    Cell,
    Changed,
    Columns,
    Event,
    Events,
    Progress,
    Reading,
)
from naturalize.review.service.errors import NoSuchError
from naturalize.review.service.roles import Actor, check
from naturalize.review.service.settings import ReviewSettings, bins_of, keys_of
from naturalize.review.store.cells import CellRow
from naturalize.review.store.database import NAME, Database, now
from naturalize.review.store.tables import CELL, EVENT, SETTING

#: How paths of images begin that were put in.
UPLOADS = "uploads/"

#: Settings that an administrator may change.
_FREE = ("target", "rules", "keys", "bins")


class Review:
    """An open review."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder, self.database = folder, database
        self._settings, self._fresh = self._read_settings(), threading.Lock()

    @classmethod
    def open(cls, folder: str | Path) -> Review:
        """Open the review in a folder; ``ArtifactError`` if there is none that can be used."""
        folder = Path(folder)
        return cls(folder, Database(folder / NAME))

    @classmethod
    def create(cls, folder: str | Path, settings: dict[str, Any], rows: Iterable[CellRow]) -> None:
        """Write a new review of cells into a folder that exists; reading 1 begins.

        ``settings`` as `ReviewSettings`; bins and keys that are absent follow from the classes.
        ``SettingsError`` for settings, or labels of the model that are no class of it.
        """
        values = {"created": now(), **settings}
        if not values.get("bins"):
            values["bins"] = bins_of(values.get("classes", []))
        values.setdefault("keys", keys_of(values["bins"]))
        made = validated(ReviewSettings, values, what="review")
        path = Path(folder) / NAME
        Database.create(path)
        database = Database(path)
        try:
            with database.writing() as link:
                link.execute(
                    insert(SETTING),
                    [{"key": key, "value": value} for key, value in made.model_dump().items()],
                )
                cells.inserted(link, rows, made.bins)
                readings.begin(link, 1, None)
        except BaseException:
            database.close()
            path.unlink()
            raise
        database.close()

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    @property
    def settings(self) -> ReviewSettings:
        """What the review is, and how it is shown."""
        return self._settings

    @property
    def classes(self) -> list[str]:
        """The model's classes, in the order of probabilities."""
        return self._settings.classes

    def set(self, actor: Actor, **values: Any) -> None:
        """Change target, rules, keys or bins; ``SettingsError`` for what cannot be.

        Bins may be added; one that the model answers, that cells are in, or that an undo may bring
        back cannot be removed. A bin without a key gets one.
        """
        check(actor, "rules")
        if strange := values.keys() - set(_FREE):
            raise SettingsError(f"review: {min(strange)} cannot be changed")
        with self.database.writing() as link:
            old = self._read_settings().model_dump()
            new = old | values
            if "bins" in values:
                used = changes.labels(link) | set(new["classes"])
                if gone := used - set(new["bins"]):
                    raise SettingsError(f"review: bins in use are missing: {sorted(gone)}")
                if "keys" not in values:
                    new["keys"] = keys_of(new["bins"], old["keys"])
            made = validated(ReviewSettings, new, what="review")
            for key in values.keys() | {"keys"}:
                value = getattr(made, key)
                link.execute(update(SETTING).where(SETTING.c.key == key).values(value=value))
            said = "; ".join(f"{key}: {values[key]}" for key in sorted(values))
            trail.noted(link, actor.name, "rules", reason=said)
        with self._fresh:  # who comes last has read the newest
            self._settings = self._read_settings()

    # ---- cells

    def columns(self, reading: int, actor: Actor) -> Columns:
        """Return all cells of a reading as columns."""
        with self._seen(reading, actor) as link:
            return cells.columns(link, reading, self._settings.bins)

    def cell(self, reading: int, number: int, actor: Actor) -> Cell:
        """Return a cell of a reading, with its lines of the trail."""
        with self._seen(reading, actor) as link:
            return cells.cell(link, reading, number, readings.begins(link, reading))

    def row(self, number: int) -> CellRow:
        """Return a cell as it was found; ``NoSuchError`` if there is none."""
        with self.database.reading() as link:
            return cells.row(link, number)

    def file(self, path: str) -> Path:
        """Return the file of a cell's path: below the review's folder for one that was put in."""
        return (self.folder if path.startswith(UPLOADS) else Path(self._settings.root)) / path

    def rows_at(self, path: str) -> list[tuple[int, CellRow]]:
        """Return all cells of one file, by id."""
        with self.database.reading() as link:
            return cells.rows_at(link, path)

    def cells_below(self, prefix: str) -> int:
        """Return how many cells have a path that begins so."""
        with self.database.reading() as link:
            return cells.below(link, prefix)

    def answers(self, reading: int, actor: Actor) -> Iterator[Answer]:
        """Yield every cell of a reading by id, without its blobs."""
        with self._seen(reading, actor) as link:
            yield from cells.answers(link, reading)

    def counts(self, reading: int, actor: Actor) -> list[tuple[str | None, str, bool, int]]:
        """Return label, flag, seen and how many cells have all three."""
        with self._seen(reading, actor) as link:
            return cells.counts(link, reading)

    def version(self, reading: int, actor: Actor) -> tuple[int, int]:
        """Return what no change leaves as it is: the last line of its trail, and the last cell."""
        with self._seen(reading, actor) as link:
            last = select(func.max(EVENT.c.id)).where(EVENT.c.reading == reading)
            cell = select(func.max(CELL.c.id))
            return link.execute(last).scalar() or 0, link.execute(cell).scalar() or 0

    def add(self, rows: Sequence[CellRow]) -> list[int]:
        """Add cells to the review and to its open readings, unseen; return their ids.

        ``ClosedError`` if a reading is signed: it would be one of other cells than the rest.
        """
        with self.database.writing() as link:
            found = readings.readings(link)
            for reading in found.values():
                readings.check_open(reading)
            first = (link.execute(select(func.max(CELL.c.id))).scalar() or 0) + 1
            cells.inserted(link, rows, self._settings.bins)
            ids = list(range(first, first + len(rows)))
            for number in found:
                readings.join(link, number, first)
        return ids

    # ---- changes

    def change(
        self,
        actor: Actor,
        reading: int,
        numbers: Sequence[int],
        versions: Sequence[int],
        label: str | None,
        kind: str = "label",
    ) -> Changed:
        """Give cells another label (null: unidentified), accept theirs, or mark them as seen.

        ``versions``: the one of each cell that the actor saw. Cells that were changed since are
        left and listed as conflicts. ``NotAllowedError``, ``ClosedError``, ``NoSuchError``;
        ``SettingsError`` for an unknown kind, or a cell that is named twice.
        """
        check(actor, "change")
        if kind == "label" and label is not None and label not in self._settings.bins:
            raise NoSuchError(f"no class {label!r} in this review")
        if len(numbers) != len(versions) or len(set(numbers)) != len(numbers):
            raise SettingsError("each cell is named once, with one version")
        wanted = dict(zip(numbers, versions, strict=True))
        with self.database.writing() as link:
            readings.open_for(link, reading, actor.name)
            return changes.change(link, actor.name, reading, wanted, label, kind)

    def undo(self, actor: Actor, reading: int) -> Changed:
        """Take back the actor's last change; ``action`` is null if there is none."""
        return self._take_back(actor, reading, "undo")

    def redo(self, actor: Actor, reading: int) -> Changed:
        """Do again what the actor took back last; ``action`` is null if there is nothing."""
        return self._take_back(actor, reading, "redo")

    def _take_back(self, actor: Actor, reading: int, kind: str) -> Changed:
        check(actor, "change")
        with self.database.writing() as link:
            readings.open_for(link, reading, actor.name)
            return changes.take_back(link, actor.name, reading, kind)

    # ---- the trail

    def events(self, after: int, reading: int, limit: int, actor: Actor) -> Events:
        """Return what was changed after an event: at most ``limit`` lines of the trail."""
        with self._seen(reading, actor) as link:
            first = max(after, readings.begins(link, reading))
            return changes.since(link, actor.name, reading, first, limit)

    def trail(self, reading: int, actor: Actor, after: int = 0, limit: int = 500) -> list[Event]:
        """Return lines of the trail of a reading, and of no reading, in order."""
        with self._seen(reading, actor) as link:
            own = (EVENT.c.reading == reading) & (EVENT.c.id > readings.begins(link, reading))
            which = own | EVENT.c.reading.is_(None)
            return trail.lines(link, which, after, limit)

    def note(self, user: str, kind: str, reason: str, reading: int | None = None) -> None:
        """Append a line without a cell to the trail."""
        with self.database.writing() as link:
            trail.noted(link, user, kind, reading, reason)

    def changes(self) -> int:
        """Return how many lines of the trail are a person's work on cells."""
        asked = select(func.count()).select_from(EVENT).where(EVENT.c.cell.is_not(None))
        with self.database.reading() as link:
            return link.execute(asked).scalar_one()

    # ---- readings

    def readings(self, actor: Actor) -> list[Reading]:
        """Return the readings that the actor may see."""
        with self.database.reading() as link:
            found = readings.readings(link)
        return [r for n, r in found.items() if n != readings.hidden(found, actor.name)]

    def reading(self, number: int) -> Reading:
        """Return a reading; ``NoSuchError`` if it was not opened."""
        with self.database.reading() as link:
            found = readings.readings(link)
        if number not in found:
            raise NoSuchError(f"reading {number} was not opened")
        return found[number]

    def second_reader(self) -> str | None:
        """Return who reads second; null unless a second reading is open."""
        with self.database.reading() as link:
            second = readings.readings(link).get(2)
        return second.reader if second and not second.signed_at else None

    def progress(self, reading: int) -> Progress:
        """Return how far a reading is."""
        with self.database.reading() as link:
            if reading not in readings.readings(link):
                raise NoSuchError(f"reading {reading} was not opened")
            return readings.progress(link, reading)

    def reopened(self, number: int) -> bool:
        """Return whether a reading was ever opened again after it had been signed."""
        asked = select(EVENT.c.id).where(EVENT.c.reading == number, EVENT.c.kind == "reopen")
        with self.database.reading() as link:
            return link.execute(asked.limit(1)).first() is not None

    def sign(self, actor: Actor, reading: int) -> None:
        """Sign a reading; ``BlockedError`` while a cell is unidentified or unseen."""
        check(actor, "sign")
        with self.database.writing() as link:
            readings.sign(link, reading, actor.name)

    def reopen(self, actor: Actor, reading: int, reason: str) -> None:
        """Open a signed reading again, for a reason that the trail keeps."""
        check(actor, "reopen")
        with self.database.writing() as link:
            readings.reopen(link, reading, actor.name, reason)

    def second(self, actor: Actor) -> None:
        """Open the blind second reading for the actor, who has no part in the first."""
        check(actor, "change")
        with self.database.writing() as link:
            readings.open_second(link, actor.name)

    def replace_second(self, actor: Actor, reader: str, reason: str) -> None:
        """Begin the unsigned second reading anew for another reader, for a reason."""
        check(actor, "replace")
        with self.database.writing() as link:
            readings.replace_second(link, actor.name, reader, reason)

    def adjudicate(self, actor: Actor) -> None:
        """Open the third reading, in which what the two disagree on is settled."""
        check(actor, "change")
        with self.database.writing() as link:
            readings.adjudicate(link, actor.name)

    def agreement(self, actor: Actor) -> Agreement:
        """Return how far the two readings agree; ``BlockedError`` until both are signed."""
        with self._seen(1, actor) as link:
            return readings.agreement(link)

    @contextmanager
    def _seen(self, reading: int, actor: Actor) -> Iterator[Connection]:
        """Give a connection to one who may see a reading; see `readings.reading_of`."""
        with self.database.reading() as link:
            readings.reading_of(link, reading, actor.name)
            yield link

    def _read_settings(self) -> ReviewSettings:
        with self.database.reading() as link:
            values = {row.key: row.value for row in link.execute(select(SETTING))}
        return validated(ReviewSettings, values, what=str(self.folder))
