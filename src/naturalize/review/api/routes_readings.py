"""Readings: sign-off, second reader, agreement, trail."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from naturalize.review.api import models as m
from naturalize.review.api.errors import REFUSALS
from naturalize.review.api.room import Asking, Changing, RoomNeeded
from naturalize.review.api.routes_session import reading_answer
from naturalize.review.service.answers import Agreement

router = APIRouter(tags=["readings"])


@router.post("/sign", responses=REFUSALS)
def sign(form: m.ReadingOnly, room: RoomNeeded, access: Changing) -> m.ReadingAnswer:
    """Sign a reading: every cell must be seen, and none unidentified."""
    room.review.sign(access.actor, form.reading)
    return reading_answer(room.review.reading(form.reading))


@router.post("/reopen", responses=REFUSALS)
def reopen(form: m.Reopen, room: RoomNeeded, access: Changing) -> m.ReadingAnswer:
    """Open a signed reading again (administrators), with a reason that the trail keeps."""
    room.review.reopen(access.actor, form.reading, form.reason)
    return reading_answer(room.review.reading(form.reading))


@router.post("/second", responses=REFUSALS)
def second(room: RoomNeeded, access: Changing) -> m.ReadingAnswer:
    """Open the reading of a second person, who does not see the first."""
    room.review.second(access.actor)
    return reading_answer(room.review.reading(2))


@router.put("/second", responses=REFUSALS)
def replace_second(form: m.Replace, room: RoomNeeded, access: Changing) -> m.ReadingAnswer:
    """Let another person read second (administrators): blind, from the beginning."""
    room.review.replace_second(access.actor, form.reader, form.reason)
    return reading_answer(room.review.reading(2))


@router.post("/adjudicate", responses=REFUSALS)
def adjudicate(room: RoomNeeded, access: Changing) -> m.ReadingAnswer:
    """Open the third reading: what the two disagree on is to be settled."""
    room.review.adjudicate(access.actor)
    return reading_answer(room.review.reading(3))


@router.get("/agreement", responses=REFUSALS)
def get_agreement(room: RoomNeeded, access: Asking) -> Agreement:
    """Return how far the two readings agree, with Cohen's kappa, and where they do not."""
    return room.review.agreement(access.actor)


@router.get("/trail", responses=REFUSALS)
def get_trail(
    room: RoomNeeded,
    access: Asking,
    reading: m.ReadingQuery = 1,
    after: m.After = 0,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
) -> m.TrailAnswer:
    """List what was done, in order: who, when, which cell, from what to what."""
    return m.TrailAnswer(events=room.review.trail(reading, access.actor, after, limit))
