"""Who works here: session, login, users, and what an administrator may set."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from naturalize.base.plots import class_colours
from naturalize.dataset.schemes import CLASS_NAMES
from naturalize.review.api import models as m
from naturalize.review.api.errors import REFUSALS, RefusedError
from naturalize.review.api.room import Access, Asking, Changing, Room, RoomNeeded
from naturalize.review.service import users
from naturalize.review.service.answers import Reading
from naturalize.review.service.deliver import differential
from naturalize.review.service.roles import check

router = APIRouter(tags=["session"])


def reading_answer(reading: Reading) -> m.ReadingAnswer:
    """Return a reading as the API shows it."""
    return m.ReadingAnswer(
        number=reading.number,
        status="signed" if reading.signed_at else "open",
        blind=reading.blind,
        signed_by=reading.signed_by,
        signed_at=reading.signed_at,
    )


def progress_answer(room: Room, reading: int) -> m.ProgressAnswer:
    """Return how far a reading is."""
    return m.ProgressAnswer.model_validate(room.review.progress(reading), from_attributes=True)


def session_answer(room: Room, access: Access) -> m.SessionAnswer:
    """Return who is asking and what is reviewed; the reading is the one that this user works on."""
    settings = room.review.settings
    readings = room.review.readings(access.actor)
    reading = next((r for r in reversed(readings) if not r.signed_at), readings[-1])
    colours = class_colours(settings.bins)
    progress = progress_answer(room, reading.number)
    return m.SessionAnswer(
        name=settings.name,
        user=access.actor.name,
        role=access.actor.role,
        csrf=access.csrf,
        users=room.serving.users,
        reading=reading_answer(reading),
        readings=[reading_answer(r) for r in readings],
        second=room.review.second_reader() if access.actor.role == "admin" else None,
        classes=[
            m.ClassOfCells(
                code=code,
                name=CLASS_NAMES.get(code, code),
                colour=colours[code],
                key=settings.keys.get(code, ""),
            )
            for code in settings.bins
        ],
        model=settings.model,
        target=settings.target,
        rules=settings.rules,
        set_share=settings.set_share,
        heat=settings.heat,
        total=progress.total,
        progress=progress,
    )


@router.get("/session", responses=REFUSALS)
def get_session(room: RoomNeeded, access: Asking) -> m.SessionAnswer:
    """Say who is asking, what is reviewed, and the token that changing requests need."""
    return session_answer(room, access)


@router.post("/login", responses=REFUSALS)
def log_in(form: m.LogIn, request: Request, response: Response, room: RoomNeeded) -> m.LogInAnswer:
    """Log in; the session is a cookie that scripts cannot read."""
    if not room.serving.users:
        raise RefusedError(409, "blocked", "this server is local: nobody has to log in")
    address = request.client.host if request.client else "-"
    login = users.login(room.review, form.name, form.password, address)
    response.set_cookie(
        room.cookie,
        login.token,
        max_age=users.SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=room.serving.https,
        path="/",
    )
    return m.LogInAnswer(user=login.actor.name, role=login.actor.role, csrf=login.csrf)


@router.post("/logout", responses=REFUSALS)
def log_out(response: Response, room: RoomNeeded, access: Changing) -> m.Done:
    """End the session."""
    if access.token:
        users.logout(room.review, access.token)
        response.delete_cookie(room.cookie, path="/", httponly=True, samesite="strict")
    return m.Done()


def _listed(room: Room) -> m.UsersAnswer:
    return m.UsersAnswer(users=users.listed(room.review))


@router.get("/users", responses=REFUSALS)
def get_users(room: RoomNeeded, access: Asking) -> m.UsersAnswer:
    """List all users (administrators)."""
    check(access.actor, "users")
    return _listed(room)


@router.post("/users", responses=REFUSALS)
def add_user(form: m.NewUser, room: RoomNeeded, access: Changing) -> m.UsersAnswer:
    """Add a user (administrators)."""
    users.add(room.review, form.name, form.password, form.role, by=access.actor)
    return _listed(room)


@router.patch("/users", responses=REFUSALS)
def change_user(form: m.UserChange, room: RoomNeeded, access: Changing) -> m.UsersAnswer:
    """Change a user's role or password, or shut a user out (administrators)."""
    users.update(
        room.review,
        form.name,
        role=form.role,
        active=form.active,
        password=form.password,
        by=access.actor,
    )
    return _listed(room)


@router.put("/settings", responses=REFUSALS)
def set_settings(form: m.Settings, room: RoomNeeded, access: Changing) -> m.SessionAnswer:
    """Set the target, the flags, the keys or the order of bins (administrators)."""
    if form.rules is not None:
        differential.check(form.rules, form.bins or room.review.settings.bins)
    room.review.set(access.actor, **form.model_dump(exclude_none=True))
    return session_answer(room, access)
