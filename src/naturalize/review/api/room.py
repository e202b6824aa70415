"""What the routes share: the review, how it is served, its pictures, who is asking."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from anyio import to_thread
from fastapi import Depends, Request

from naturalize.review.api.errors import Refusals, RefusedError
from naturalize.review.api.limits import Limits
from naturalize.review.api.uploads import Uploads
from naturalize.review.service import users
from naturalize.review.service.deliver.exports import Comparisons
from naturalize.review.service.pictures.pictures import Pictures
from naturalize.review.service.review import Review
from naturalize.review.service.roles import Actor

#: The header that carries the token of a changing request.
TOKEN = "X-CSRF-Token"


@dataclass(frozen=True)
class Serving:
    """How a review is served.

    With ``users`` everybody logs in; without, whoever reaches the server is the administrator
    ``name``. ``hosts`` are the server's names without port, ``origins`` what is permitted beside
    its own, ``https`` whether browsers reach it by https alone.
    """

    name: str
    users: bool = False
    hosts: frozenset[str] = frozenset({"127.0.0.1", "localhost", "[::1]"})
    origins: frozenset[str] = frozenset()
    https: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Room:
    """A review that is served."""

    review: Review
    folder: Path
    serving: Serving
    pictures: Pictures
    uploads: Uploads
    comparisons: Comparisons
    refusals: Refusals
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def cookie(self) -> str:
        """Name of the session's cookie: browsers share cookies among the ports of a machine."""
        return f"review-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Access:
    """Who is asking: name and role, the token of changing requests, the session's own."""

    actor: Actor
    csrf: str
    token: str | None = None


async def room_of(request: Request) -> Room:
    """Return the review that this server serves."""
    return request.app.state.room


def who_asks(request: Request, room: Room) -> Access:
    """Return who is asking; refused without a session where users log in."""
    if not room.serving.users:
        found = Access(Actor(room.serving.name, "admin"), room.csrf)
    else:
        token = request.cookies.get(room.cookie)
        login = users.session(room.review, token) if token else None
        if login is None:
            what = "this session is unknown or has expired" if token else "nobody is logged in"
            raise RefusedError(401, "login", f"{what}; log in")
        found = Access(login.actor, login.csrf, token)
    request.state.who = found.actor.name
    return found


async def access_of(request: Request, room: Annotated[Room, Depends(room_of)]) -> Access:
    """Return who is asking; see :func:`who_asks`."""
    # a thread only where a file is read: each waits for a processor where those are few
    if room.serving.users:
        return await to_thread.run_sync(who_asks, request, room)
    return who_asks(request, room)


async def changing_of(request: Request, access: Annotated[Access, Depends(access_of)]) -> Access:
    """Return who wants to change something; refused without the session's token."""
    given = request.headers.get(TOKEN, "")
    if not hmac.compare_digest(given.encode(), access.csrf.encode()):
        raise RefusedError(403, "csrf", f"the header {TOKEN} is missing or of another session")
    return access


RoomNeeded = Annotated[Room, Depends(room_of)]
Asking = Annotated[Access, Depends(access_of)]
Changing = Annotated[Access, Depends(changing_of)]
