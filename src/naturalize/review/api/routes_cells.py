"""Cells: columns for the gallery, one cell, changes, what others changed, pictures."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from naturalize.review.api import models as m
from naturalize.review.api.errors import REFUSALS, RefusedError, problem
from naturalize.review.api.room import Access, Asking, Changing, Room, RoomNeeded
from naturalize.review.api.routes_session import progress_answer
from naturalize.review.service.answers import Changed, Columns

router = APIRouter(tags=["cells"])

#: Cells that one answer of what others changed may list; a page that is further behind loads anew.
_EVENTS = 5_000

#: Level of gzip: the columns of 100,000 cells take a third of a second at 6, and a tenth at 1.
_LEVEL = 1

#: Digits kept of floats: what a page can show.
_DIGITS = {"doubt": 4, "area": 0, "taken": 0}


def _columns_json(columns: Columns) -> bytes:
    """Return the columns as JSON; numbers that are absent are null."""
    out: dict[str, object] = {}
    for name in m.ColumnsAnswer.model_fields:
        values = getattr(columns, name)
        if isinstance(values, np.ndarray):
            absent = np.isnan(values) if values.dtype.kind == "f" else np.zeros(0, bool)
            if values.dtype.kind == "f":
                values = np.round(values.astype(np.float64), _DIGITS.get(name, 4))
            values = values.astype(object) if absent.any() else values
            if absent.any():
                values[absent] = None
            values = values.tolist()
        out[name] = values
    return json.dumps(out, separators=(",", ":"), allow_nan=False).encode()


@router.get("/cells", responses=REFUSALS, response_model=m.ColumnsAnswer)
def get_cells(
    request: Request, room: RoomNeeded, access: Asking, reading: m.ReadingQuery = 1
) -> Response:
    """List all cells of a reading, as columns."""
    body = _columns_json(room.review.columns(reading, access.actor))
    headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, _LEVEL, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type="application/json", headers=headers)


@router.get("/cells/{cell}", responses=REFUSALS)
def get_cell(
    cell: m.CellId, room: RoomNeeded, access: Asking, reading: m.ReadingQuery = 1
) -> m.CellAnswer:
    """Return all that is recorded of a cell: probabilities, outline, history."""
    found = room.review.cell(reading, cell, access.actor)
    outline, size = room.pictures.shape(cell)
    return m.CellAnswer(
        id=found.id,
        path=found.path,
        field=found.field,
        number=found.number,
        box=list(found.box) if found.box else None,
        kind=found.kind,
        label=found.label,
        seen=found.seen,
        version=found.version,
        model_label=found.model_label,
        confidence=found.confidence,
        probabilities=dict(zip(room.review.classes, found.probabilities, strict=False)),
        candidates=found.candidates,
        flag=found.flag,
        cluster=found.cluster,
        outline=outline,
        size=list(size) if size else None,
        around=found.box is not None,
        references=room.pictures.has_references,
        history=found.history,
    )


def change_answer(room: Room, reading: int, changed: Changed) -> m.ChangeAnswer:
    """Return what a change did as the API shows it."""
    place = {code: i for i, code in enumerate(room.review.settings.bins)}
    return m.ChangeAnswer(
        action=changed.action,
        cells=[
            [cell, place.get(label or "", -1), int(seen), version]
            for cell, label, seen, version in changed.cells
        ],
        conflicts=[
            m.Conflict(id=cell, label=label, version=version, user=user, at=at)
            for cell, label, version, user, at in changed.conflicts
        ],
        counts={code or "unidentified": count for code, count in changed.counts.items()},
        progress=progress_answer(room, reading),
    )


def _answer(answer: BaseModel) -> Response:
    """Return an answer as it is: the framework would check it again, in one more thread."""
    return Response(answer.model_dump_json(), media_type="application/json")


def _answered(room: Room, access: Access, reading: int, do: Callable[[], Changed]) -> Response:
    """Change something; 409 with the same content where every cell was changed by another."""
    answer = change_answer(room, reading, do())
    if answer.conflicts and not answer.cells:
        users = ", ".join(sorted({conflict.user for conflict in answer.conflicts}))
        message = f"changed in the meantime by {users}: {len(answer.conflicts)} cells"
        return problem(409, "conflict", message, **answer.model_dump(mode="json"))
    return _answer(answer)


@router.post("/changes", responses=REFUSALS, response_model=m.ChangeAnswer)
def change(form: m.Change, room: RoomNeeded, access: Changing) -> Response:
    """Give cells another label, accept them, or mark them as seen."""
    if len(form.cells) != len(form.versions):
        raise RefusedError(
            422, "invalid", f"{len(form.cells)} cells and {len(form.versions)} versions"
        )
    if len(set(form.cells)) != len(form.cells):
        raise RefusedError(422, "invalid", "a cell is named twice")
    return _answered(
        room,
        access,
        form.reading,
        lambda: room.review.change(
            access.actor, form.reading, form.cells, form.versions, form.label, form.kind
        ),
    )


@router.post("/undo", responses=REFUSALS, response_model=m.ChangeAnswer)
def undo(form: m.ReadingOnly, room: RoomNeeded, access: Changing) -> Response:
    """Take back the last change of this user that is not taken back."""
    return _answered(
        room, access, form.reading, lambda: room.review.undo(access.actor, form.reading)
    )


@router.post("/redo", responses=REFUSALS, response_model=m.ChangeAnswer)
def redo(form: m.ReadingOnly, room: RoomNeeded, access: Changing) -> Response:
    """Do again what this user took back last."""
    return _answered(
        room, access, form.reading, lambda: room.review.redo(access.actor, form.reading)
    )


@router.get("/events", responses=REFUSALS, response_model=m.EventsAnswer)
def get_events(
    room: RoomNeeded, access: Asking, after: m.After = 0, reading: m.ReadingQuery = 1
) -> Response:
    """List cells that were changed since an event, each as it is now."""
    found = room.review.events(after, reading, _EVENTS, access.actor)
    place = {code: i for i, code in enumerate(room.review.settings.bins)}
    answer = m.EventsAnswer(
        event=found.event,
        cells=[
            [cell, place.get(label or "", -1), int(seen), version]
            for cell, label, seen, version in found.cells
        ],
        users=found.users,
    )
    return _answer(answer)
