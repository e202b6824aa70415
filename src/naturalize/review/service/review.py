"""A review: its cells, what readings say of them, and all that may be done to them.

Every method may be called from any thread. ``actor`` is who asks: roles decide what may be done,
and a blind second reader does not see the first reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, insert, select, update

from naturalize.base.errors import SettingsError
from naturalize.base.settings import validated
from naturalize.review.service import changes, readings
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
from naturalize.review.store.cells import CellRow, cell_of, values_of
from naturalize.review.store.database import NAME, Database, now
from naturalize.review.store.tables import CELL, EVENT, SETTING, STATE

__all__ = ["Agreement", "Answer", "Cell", "Changed", "Columns", "Event", "Events", "Progress",
           "Reading", "Review"]  # fmt: skip

#: Cells written at a time.
_PIECE = 5_000

#: Columns of a cell that are small, in tables of many cells.
_SMALL = [column for column in CELL.c if column.name not in ("probabilities", "outline")]

#: Settings that an administrator may change.
_FREE = ("target", "rules", "keys", "bins")


class Review:
    """An open review."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder, self.database = folder, database
        self._settings = self._read_settings()

    @classmethod
    def open(cls, folder: str | Path) -> Review:
        """Open the review in a folder; ``ArtifactError`` if there is none that can be used."""
        folder = Path(folder)
        return cls(folder, Database(folder / NAME))

    @classmethod
    def create(cls, folder: str | Path, settings: dict[str, Any], cells: Iterable[CellRow]) -> None:
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
                _insert(link, cells, made)
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
                    new["keys"] = _keys(new["bins"], old["keys"])
            made = validated(ReviewSettings, new, what="review")
            for key in values.keys() | {"keys"}:
                value = getattr(made, key)
                link.execute(update(SETTING).where(SETTING.c.key == key).values(value=value))
            said = "; ".join(f"{key}: {values[key]}" for key in sorted(values))
            readings.noted(link, actor.name, "rules", reason=said)
        self._settings = made

    # ---- cells

    def columns(self, reading: int, actor: Actor) -> Columns:
        """Return all cells of a reading as columns."""
        place: dict[str | None, int] = {code: i for i, code in enumerate(self._settings.bins)}
        c, s = CELL.c, STATE.c
        asked = (
            select(c.id, s.label, c.model_label, s.seen, s.version, c.doubt, c.cluster, c.rank,
                   c.area, c.taken, c.flag)
            .join(STATE, s.cell == c.id)
            .where(s.reading == reading)
            .order_by(c.id)
        )  # fmt: skip
        with self.database.reading() as link:
            readings.reading_of(link, reading, actor.name)
            event = link.execute(select(func.max(EVENT.c.id))).scalar() or 0
            rows = link.execute(asked).all()
        names = ("ids", "label", "model", "seen", "version", "doubt", "cluster", "rank", "area",
                 "taken", "flag")  # fmt: skip
        found = dict(
            zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True)
        )
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

    def cell(self, reading: int, number: int, actor: Actor) -> Cell:
        """Return a cell of a reading, with its lines of the trail."""
        with self.database.reading() as link:
            readings.reading_of(link, reading, actor.name)
            row = link.execute(
                select(CELL, STATE.c.label, STATE.c.seen, STATE.c.version)
                .join(STATE, STATE.c.cell == CELL.c.id)
                .where(CELL.c.id == number, STATE.c.reading == reading)
            ).first()
            if row is None:
                raise NoSuchError(f"no cell {number} in this review")
            lines = (EVENT.c.reading == reading) & (EVENT.c.cell == number)
            history = [_event(line) for line in link.execute(select(EVENT).where(lines))]
        cell = cell_of(row)
        return Cell(
            id=row.id, path=cell.path, field=cell.field, number=cell.number, box=cell.box,
            kind=cell.kind, model_label=cell.model_label, confidence=cell.confidence,
            probabilities=[] if cell.probabilities is None else cell.probabilities.tolist(),
            candidates=list(cell.candidates), flag=cell.flag, cluster=cell.cluster,
            label=row.label, seen=bool(row.seen), version=row.version, history=history,
        )  # fmt: skip

    def row(self, number: int) -> CellRow:
        """Return a cell as it was found; ``NoSuchError`` if there is none."""
        with self.database.reading() as link:
            row = link.execute(select(CELL).where(CELL.c.id == number)).first()
        if row is None:
            raise NoSuchError(f"no cell {number} in this review")
        return cell_of(row)

    def rows_at(self, path: str) -> list[tuple[int, CellRow]]:
        """Return all cells of one file, by id."""
        with self.database.reading() as link:
            asked = select(CELL).where(CELL.c.path == path).order_by(CELL.c.id)
            return [(row.id, cell_of(row)) for row in link.execute(asked)]

    def has_paths(self, prefix: str) -> bool:
        """Return whether any cell's path begins so."""
        asked = select(CELL.c.id).where(CELL.c.path.startswith(prefix, autoescape=True)).limit(1)
        with self.database.reading() as link:
            return link.execute(asked).first() is not None

    def answers(self, reading: int, actor: Actor) -> Iterator[Answer]:
        """Yield every cell of a reading by id, without its blobs."""
        asked = (
            select(*_SMALL, STATE.c.label, STATE.c.seen, STATE.c.version, STATE.c.user, STATE.c.at)
            .join(STATE, STATE.c.cell == CELL.c.id)
            .where(STATE.c.reading == reading)
            .order_by(CELL.c.id)
        )
        with self.database.reading() as link:
            readings.reading_of(link, reading, actor.name)
            for row in link.execution_options(yield_per=_PIECE).execute(asked):
                yield Answer(row.id, cell_of(row), row.label, bool(row.seen), row.version,
                             row.user, row.at)  # fmt: skip

    def counts(self, reading: int, actor: Actor) -> list[tuple[str | None, str, bool, int]]:
        """Return label, flag, seen and how many cells have all three."""
        asked = (
            select(STATE.c.label, CELL.c.flag, STATE.c.seen, func.count())
            .join(CELL, STATE.c.cell == CELL.c.id)
            .where(STATE.c.reading == reading)
            .group_by(STATE.c.label, CELL.c.flag, STATE.c.seen)
        )
        with self.database.reading() as link:
            readings.reading_of(link, reading, actor.name)
            return [(label, flag, bool(seen), n) for label, flag, seen, n in link.execute(asked)]

    def add(self, rows: Sequence[CellRow]) -> list[int]:
        """Add cells to the review and to its open readings, unseen; return their ids.

        ``ClosedError`` if a reading is signed: it would be one of other cells than the rest.
        """
        with self.database.writing() as link:
            found = readings.readings(link)
            for reading in found.values():
                readings.check_open(reading)
            first = (link.execute(select(func.max(CELL.c.id))).scalar() or 0) + 1
            _insert(link, rows, self._settings)
            ids = list(range(first, first + len(rows)))
            for number in found:
                readings.join(link, number, first)
        return ids

    # ---- changes

    def change(
        self,
        actor: Actor,
        reading: int,
        cells: Sequence[int],
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
        if len(cells) != len(versions) or len(set(cells)) != len(cells):
            raise SettingsError("each cell is named once, with one version")
        wanted = dict(zip(cells, versions, strict=True))
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
        lines = (
            select(EVENT.c.id, EVENT.c.cell, EVENT.c.user)
            .where(EVENT.c.reading == reading, EVENT.c.id > after, EVENT.c.cell.is_not(None))
            .order_by(EVENT.c.id)
            .limit(limit)
        )
        cells = []
        with self.database.reading() as link:
            readings.reading_of(link, reading, actor.name)
            rows = link.execute(lines).all()
            for piece in changes.pieces(sorted({row.cell for row in rows})):
                asked = select(STATE).where(STATE.c.reading == reading, STATE.c.cell.in_(piece))
                cells += [(s.cell, s.label, bool(s.seen), s.version) for s in link.execute(asked)]
        others = sorted({row.user for row in rows} - {actor.name})
        return Events(rows[-1].id if rows else after, cells, others)

    def trail(self, reading: int, actor: Actor, after: int = 0, limit: int = 500) -> list[Event]:
        """Return lines of the trail of a reading, and of no reading, in order."""
        with self.database.reading() as link:
            readings.reading_of(link, reading, actor.name)
            asked = (
                select(EVENT)
                .where((EVENT.c.reading == reading) | EVENT.c.reading.is_(None))
                .where(EVENT.c.id > after)
                .order_by(EVENT.c.id)
                .limit(limit)
            )
            return [_event(row) for row in link.execute(asked)]

    def note(self, user: str, kind: str, reason: str, reading: int | None = None) -> None:
        """Append a line without a cell to the trail."""
        with self.database.writing() as link:
            readings.noted(link, user, kind, reading, reason)

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

    def adjudicate(self, actor: Actor) -> None:
        """Open the third reading, in which what the two disagree on is settled."""
        check(actor, "change")
        with self.database.writing() as link:
            readings.adjudicate(link, actor.name)

    def agreement(self, actor: Actor) -> Agreement:
        """Return how far the two readings agree; ``BlockedError`` until both are signed."""
        with self.database.reading() as link:
            readings.reading_of(link, 1, actor.name)
            return readings.agreement(link)

    def _read_settings(self) -> ReviewSettings:
        with self.database.reading() as link:
            values = {row.key: row.value for row in link.execute(select(SETTING))}
        return validated(ReviewSettings, values, what=str(self.folder))


def _keys(bins: Sequence[str], old: dict[str, str]) -> dict[str, str]:
    """Return the keys that bins had, and free ones for those that had none."""
    kept = {code: old[code] for code in bins if code in old}
    free = (key for key in keys_of(map(str, range(100))).values() if key not in kept.values())
    return kept | dict(zip((code for code in bins if code not in kept), free, strict=False))


def _insert(link: Connection, cells: Iterable[CellRow], settings: ReviewSettings) -> None:
    waiting: list[dict[str, Any]] = []
    for cell in cells:
        if cell.model_label is not None and cell.model_label not in settings.bins:
            raise SettingsError(f"{cell.path}: label {cell.model_label!r} is none of the classes")
        waiting.append(values_of(cell))
        if len(waiting) == _PIECE:
            link.execute(insert(CELL), waiting)
            waiting = []
    if waiting:
        link.execute(insert(CELL), waiting)


def _event(row: Any) -> Event:
    return Event(row.id, row.at, row.user, row.reading, row.kind, row.cell, row.before, row.after,
                 row.version, row.reason)  # fmt: skip
