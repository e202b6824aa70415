"""The forms of requests and answers of ``/api/v1``."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Literal

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from naturalize.review.service.answers import Event
from naturalize.review.service.deliver.fhir import LONGEST
from naturalize.review.service.users import User

#: What SQLite can number, and JavaScript count.
_MOST = 2**53 - 1

Number = Annotated[int, Field(ge=0, le=_MOST)]
CellId = Annotated[int, Path(ge=1, le=_MOST)]
ReadingNumber = Annotated[Literal[1, 2, 3], Field(description="1 first, 2 second, 3 adjudicated")]
ReadingQuery = Annotated[int, Query(ge=1, le=3, description="1 first, 2 second, 3 adjudicated")]
After = Annotated[int, Query(ge=0, le=_MOST, description="id of the last event that is there")]

#: Text without control characters; names are no HTML either.
Code = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f<>]{1,100}$")]
CodeInPath = Annotated[Code, Path()]
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,1000}$")]
Name = Annotated[
    str,
    StringConstraints(pattern=r"^[^\x00-\x1f\x7f<>]{1,64}$"),
    AfterValidator(lambda name: unicodedata.normalize("NFC", name)),  # as names are kept
]
Password = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Role = Literal["reader", "reviewer", "admin"]

#: A cell after a change: id, index of its label (−1 unidentified), seen, version.
CellState = Annotated[list[int], Field(min_length=4, max_length=4)]


class Form(BaseModel):
    """A request; a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid")


class ClassOfCells(BaseModel):
    """A bin of the gallery."""

    code: str
    name: str
    colour: str
    key: str


class ReadingAnswer(BaseModel):
    """A reading of the review."""

    number: int
    status: Literal["open", "signed"]
    blind: bool
    signed_by: str | None
    signed_at: str | None


class ProgressAnswer(BaseModel):
    """How far a reading is, in cells."""

    total: int
    unidentified: int
    unseen: int
    seen: int


class SessionAnswer(BaseModel):
    """Who is asking, and what is reviewed."""

    name: str
    user: str
    role: str
    csrf: str
    users: bool
    reading: ReadingAnswer
    readings: list[ReadingAnswer]
    second: str | None = Field(description="second reader while unsigned; for administrators")
    classes: list[ClassOfCells]
    model: str
    target: int
    rules: list[str]
    set_share: float | None
    heat: bool
    total: int
    progress: ProgressAnswer


class ColumnsAnswer(BaseModel):
    """All cells of a reading as columns of one length; labels are indices into the classes.

    ``area``: pixels of the file that a cell covers, null where it is not known.
    """

    ids: list[int]
    label: list[int]
    model: list[int]
    seen: list[int]
    version: list[int]
    doubt: list[float]
    cluster: list[int]
    rank: list[int]
    area: list[float | None]
    taken: list[float | None]
    flag: list[int]
    flags: list[str]
    event: int


class CellAnswer(BaseModel):
    """All that is recorded of a cell."""

    id: int
    path: str
    field: str | None
    number: int | None
    box: Annotated[list[int], Field(min_length=4, max_length=4)] | None
    kind: str
    label: str | None
    seen: bool
    version: int
    model_label: str | None
    confidence: float | None
    probabilities: dict[str, float]
    candidates: list[str]
    flag: str
    cluster: int
    outline: list[list[int]] | None
    size: list[int] | None
    around: bool
    references: bool
    history: list[Event]


class Change(Form):
    """Cells that get another label, or are accepted, or were looked at."""

    reading: ReadingNumber = 1
    cells: Annotated[list[Annotated[int, Field(ge=1, le=_MOST)]], Field(min_length=1)]
    versions: list[Number]
    label: Code | None = None
    kind: Literal["label", "accept", "seen"] = "label"


class ReadingOnly(Form):
    """A request that names a reading."""

    reading: ReadingNumber = 1


class Reopen(ReadingOnly):
    """A signed reading to open again, and why."""

    reason: Line


class Replace(Form):
    """Who reads second from now on, and why."""

    reader: Name
    reason: Line


class FhirExport(ReadingOnly):
    """Whom and what a FHIR Bundle names: a reference as ``Patient/12``, or a number."""

    patient: Annotated[str, StringConstraints(max_length=LONGEST)] | None = None
    specimen: Annotated[str, StringConstraints(max_length=LONGEST)] | None = None


class Conflict(BaseModel):
    """A cell that somebody else changed in the meantime, and to what."""

    id: int
    label: str | None
    version: int
    user: str
    at: str


class ChangeAnswer(BaseModel):
    """What was changed, what was not, and how many cells each class has now."""

    action: int | None
    cells: list[CellState]
    conflicts: list[Conflict]
    counts: dict[str, int]
    progress: ProgressAnswer


class EventsAnswer(BaseModel):
    """What others changed since an event."""

    event: int
    cells: list[CellState]
    users: list[str]


class TrailAnswer(BaseModel):
    """Lines of the trail."""

    events: list[Event]


class Nearest(BaseModel):
    """A reference cell that is like a cell; similarity is the cosine of their features."""

    label: str | None
    similarity: float
    url: str


class NearestAnswer(BaseModel):
    """Reference cells, the most similar first."""

    cells: list[Nearest]


class Settings(Form):
    """What an administrator may set of a review; what is absent stays."""

    target: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    rules: Annotated[list[Line], Field(max_length=100)] | None = None
    keys: dict[Code, Annotated[str, StringConstraints(pattern=r"^[^\x00-\x20\x7f]$")]] | None = None
    bins: Annotated[list[Code], Field(max_length=200)] | None = None


class LogIn(Form):
    """A name and a password."""

    name: Name
    password: Password


class NewUser(LogIn):
    """A user to add."""

    role: Role


class UserChange(Form):
    """What an administrator changes of a user; what is absent stays."""

    name: Name
    role: Role | None = None
    active: bool | None = None
    password: Password | None = None


class UsersAnswer(BaseModel):
    """All users."""

    users: list[User]


class LogInAnswer(BaseModel):
    """Who is logged in now, and the token for the header of changing requests."""

    user: str
    role: str
    csrf: str


class Refusal(BaseModel):
    """A file that was not taken, and why."""

    name: str
    reason: str


class UploadStarted(BaseModel):
    """An upload that was taken; its files are classified in the background."""

    upload: str
    files: int
    refused: list[Refusal]


class UploadAnswer(BaseModel):
    """How far an upload is."""

    state: Literal["waiting", "working", "done", "failed"]
    done: int
    total: int
    cells: int
    refused: list[Refusal]
    message: str | None


class Done(BaseModel):
    """Nothing more to say."""

    done: Literal[True] = True
