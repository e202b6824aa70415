"""What a review answers: columns for a gallery, one cell, changes, readings, lines of the trail."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from naturalize.review.store.cells import CellRow

#: Cell, label (null: unidentified), seen, version.
State = tuple[int, str | None, bool, int]


@dataclass(frozen=True, eq=False)
class Columns:
    """All cells of a reading, by id.

    Arrays (N,): ``ids``; ``label`` and ``model``, indices into the bins, −1 for unidentified;
    ``seen``, ``version``, ``cluster``, ``rank``, all int32; ``doubt``, ``area``, ``taken``,
    float64, NaN where not measured; ``flag``, indices into ``flags``. ``event``: the last line of
    the trail that is in it.
    """

    ids: np.ndarray
    label: np.ndarray
    model: np.ndarray
    seen: np.ndarray
    version: np.ndarray
    doubt: np.ndarray
    cluster: np.ndarray
    rank: np.ndarray
    area: np.ndarray
    taken: np.ndarray
    flag: np.ndarray
    flags: list[str]
    event: int


@dataclass(frozen=True)
class Event:
    """A line of the trail; ``at`` is UTC, ISO 8601."""

    id: int
    at: str
    user: str
    reading: int | None
    kind: str
    cell: int | None = None
    before: str | None = None
    after: str | None = None
    version: int | None = None
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class Cell:
    """A cell of a reading with all that is recorded of it; see ``CellRow``."""

    id: int
    path: str
    field: str | None
    number: int | None
    box: tuple[int, int, int, int] | None
    kind: str
    model_label: str | None
    confidence: float | None
    probabilities: list[float]
    candidates: list[str]
    flag: str
    cluster: int
    label: str | None
    seen: bool
    version: int
    history: list[Event]


@dataclass(frozen=True, eq=False)
class Answer:
    """A cell, and what a reading says of it: by whom, when. ``cell`` has no blobs."""

    id: int
    cell: CellRow
    label: str | None
    seen: bool
    version: int
    user: str | None
    at: str | None


@dataclass(frozen=True)
class Changed:
    """What a change did.

    ``action`` names it (null: nothing to undo); ``conflicts``: cells that somebody else changed
    in the meantime, which are left as they are: id, label, version, user, time; ``counts``: cells
    of each label of the reading now, null for unidentified.
    """

    action: int | None
    cells: list[State]
    conflicts: list[tuple[int, str | None, int, str, str]]
    counts: dict[str | None, int]


@dataclass(frozen=True)
class Events:
    """What was changed since an event: cells as they are now, and who else changed some."""

    event: int
    cells: list[State]
    users: list[str]


@dataclass(frozen=True)
class Reading:
    """A reading: 1 the first, 2 the blind second, 3 the adjudicated one."""

    number: int
    reader: str | None
    opened_at: str
    signed_by: str | None
    signed_at: str | None

    @property
    def blind(self) -> bool:
        """Whether its reader may not see the first."""
        return self.number == 2


@dataclass(frozen=True)
class Progress:
    """How far a reading is, in cells."""

    total: int
    unidentified: int
    unseen: int

    @property
    def seen(self) -> int:
        """Cells that a person has seen."""
        return self.total - self.unseen


@dataclass(frozen=True)
class Agreement:
    """How far two readings agree.

    ``kappa`` is Cohen's (1960) with its 95 % bootstrap ``interval`` over cells, both null where one
    class is all there is; ``disagreements``: cell, first label, second label.
    """

    n: int
    same: int
    kappa: float | None
    interval: tuple[float, float] | None
    disagreements: list[tuple[int, str | None, str | None]] = field(default_factory=list)
