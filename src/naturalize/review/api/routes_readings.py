"""Readings: sign-off, second reader, agreement, trail."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from naturalize.review.api import models as m
from naturalize.review.api.room import Asking, Changing, RoomNeeded
from naturalize.review.api.routes_cells import event_answer
from naturalize.review.api.routes_session import reading_answer

router = APIRouter(tags=["readings"])


@router.post("/sign", responses=m.REFUSALS)
def sign(form: m.ReadingOnly, room: RoomNeeded, access: Changing) -> m.ReadingAnswer:
    """Sign a reading: every cell must be seen, and none unidentified."""
    room.review.sign(access.actor, form.reading)
    return reading_answer(room.review.reading(form.reading))


@router.post("/reopen", responses=m.REFUSALS)
def reopen(form: m.Reopen, room: RoomNeeded, access: Changing) -> m.ReadingAnswer:
    """Open a signed reading again (administrators), with a reason that the trail keeps."""
    room.review.reopen(access.actor, form.reading, form.reason)
    return reading_answer(room.review.reading(form.reading))


@router.post("/second", responses=m.REFUSALS)
def second(room: RoomNeeded, access: Changing) -> m.ReadingAnswer:
    """Open the reading of a second person, who does not see the first."""
    room.review.second(access.actor)
    return reading_answer(room.review.reading(2))


@router.post("/adjudicate", responses=m.REFUSALS)
def adjudicate(room: RoomNeeded, access: Changing) -> m.ReadingAnswer:
    """Open the third reading: what the two disagree on is to be settled."""
    room.review.adjudicate(access.actor)
    return reading_answer(room.review.reading(3))


@router.get("/agreement", responses=m.REFUSALS)
def get_agreement(room: RoomNeeded, access: Asking) -> m.AgreementAnswer:
    """Return how far the two readings agree, with Cohen's kappa, and where they do not."""
    found = room.review.agreement(access.actor)
    return m.AgreementAnswer.model_validate(found, from_attributes=True)


@router.get("/trail", responses=m.REFUSALS)
def get_trail(
    room: RoomNeeded,
    access: Asking,
    reading: m.ReadingQuery = 1,
    after: m.After = 0,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
) -> m.TrailAnswer:
    """List what was done, in order: who, when, which cell, from what to what."""
    events = room.review.trail(reading, access.actor, after, limit)
    return m.TrailAnswer(events=[event_answer(event) for event in events])
