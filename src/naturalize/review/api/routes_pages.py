"""The pages, for people: each with the session of who asks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from naturalize.review.api.errors import RefusedError
from naturalize.review.api.room import RoomNeeded, who_asks
from naturalize.review.api.routes_session import session_answer
from naturalize.review.pages import printed
from naturalize.review.pages.render import page
from naturalize.review.service.deliver import exports

router = APIRouter(include_in_schema=False)

#: The pages that need a session, by their addresses.
PAGES = (
    "gallery", "upload", "atlas", "differential", "sign-off", "agreement", "trail", "users",
    "report",
)  # fmt: skip


@router.get("/")
def get_first() -> Response:
    """Go to the gallery."""
    return RedirectResponse("/gallery", 303)


@router.get("/login")
def get_login(room: RoomNeeded) -> Response:
    """Show the form for name and password."""
    if not room.serving.users:
        return RedirectResponse("/gallery", 303)
    return _html(page("login", session=None, name=room.review.settings.name))


@router.get("/{name}")
def get_page(
    name: str,
    request: Request,
    room: RoomNeeded,
    reading: Annotated[int | None, Query(ge=1, le=3)] = None,
) -> Response:
    """Show a page."""
    if name not in PAGES:
        raise RefusedError(404, "no-such", "no such page")
    try:
        access = who_asks(request, room)
    except RefusedError:
        return RedirectResponse("/login", 303)
    session = session_answer(room, access)
    context: dict[str, Any] = {}
    if name == "report":
        number = reading or session.reading.number
        context = printed.contents(exports.report(room.review, number, access.actor))
    return _html(page(name, session=session.model_dump(mode="json"), **context))


def _html(text: str) -> Response:
    return HTMLResponse(text, headers={"Cache-Control": "no-store"})
