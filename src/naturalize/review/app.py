"""The server: the application put together, and started."""

from __future__ import annotations

import getpass
import logging
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response

from naturalize.base.errors import SettingsError
from naturalize.review.api import (
    routes_cells,
    routes_exports,
    routes_pages,
    routes_pictures,
    routes_readings,
    routes_session,
    routes_uploads,
)
from naturalize.review.api.errors import Refusals, add_handlers
from naturalize.review.api.guard import Guard, host_name
from naturalize.review.api.room import Room, Serving
from naturalize.review.api.uploads import Uploads
from naturalize.review.pages.render import STATIC_FOLDER, static_address
from naturalize.review.service import users
from naturalize.review.service.deliver.exports import Comparisons
from naturalize.review.service.deliver.labelled import SETS
from naturalize.review.service.intake import added
from naturalize.review.service.pictures.pictures import Pictures
from naturalize.review.service.review import Review

#: Where the routes of this version of the interface are.
API = "/api/v1"

#: Addresses that only this machine reaches.
LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})

#: Seconds that answers in the making have when the server stops.
_GRACE = 3


class _Kept(StaticFiles):
    """Files that a browser keeps for good: their address changes with them."""

    def file_response(self, *of: Any, **more: Any) -> Response:
        answer = super().file_response(*of, **more)
        answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return answer


def create_app(folder: str | Path, serving: Serving) -> FastAPI:
    """Return the application that serves the review in ``folder``.

    ``ArtifactError`` if there is none. The review is closed when the application stops.
    """
    room = _room(Path(folder).resolve(), serving)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        room.uploads.close()
        room.pictures.close()
        room.review.close()

    app = FastAPI(
        title="naturalize review",
        version=version("naturalize"),
        description="A person confirms or corrects the class of every cell.",
        openapi_url=f"{API}/openapi.json",
        docs_url=None,  # the framework's pages load scripts from a CDN
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.room = room
    api = APIRouter(prefix=API)
    for part in (
        routes_session,
        routes_cells,
        routes_pictures,
        routes_readings,
        routes_exports,
        routes_uploads,
    ):
        api.include_router(part.router)
    app.include_router(api)
    app.mount(static_address(), _Kept(directory=STATIC_FOLDER))
    app.include_router(routes_pages.router)
    add_handlers(app, room.refusals)
    app.add_middleware(GZipMiddleware, minimum_size=2_000, compresslevel=1)
    app.add_middleware(
        Guard,
        hosts=serving.hosts,
        origins=serving.origins,
        https=serving.https,
        limits=serving.limits,
        refusals=room.refusals,
    )
    return app


def _room(folder: Path, serving: Serving) -> Room:
    review = Review.open(folder)
    for left in folder.glob(f"cache/{SETS}*.zip"):  # whose sending was broken off
        left.unlink()
    refusals = Refusals(review.note, serving.limits.refusals)
    return Room(
        review=review,
        folder=folder,
        serving=serving,
        pictures=Pictures(review),
        uploads=Uploads(
            folder,
            serving.limits,
            refusals,
            add=lambda paths, progress: added.add_files(review, paths, progress),
            cells_below=review.cells_below,
        ),
        comparisons=Comparisons(review),
        refusals=refusals,
    )


def serving_of(
    folder: Path,
    host: str,
    *,
    name: str | None = None,
    public_name: str | None = None,
    https: bool = False,
) -> Serving:
    """Return how the review in ``folder`` is to be served at ``host``.

    ``public_name`` is that of a proxy before the server, which speaks https. ``SettingsError`` for
    an address that other machines reach, unless an active administrator is among the users.
    """
    review = Review.open(folder)
    try:
        active = [user for user in users.listed(review) if user.active]
    finally:
        review.close()
    if (host not in LOCAL or public_name) and not any(user.role == "admin" for user in active):
        raise SettingsError(
            f"{public_name or host}: others would reach this server; add an administrator first: "
            f"naturalize review {folder} --add-user NAME:admin"
        )
    hosts, origins = {"127.0.0.1", "localhost", "[::1]"}, set()
    if host in ("0.0.0.0", "::"):
        hosts |= {name.lower() for name in (socket.gethostname(), socket.getfqdn())}
        hosts |= {str(info[4][0]) for info in _addresses(socket.gethostname())}
    elif host not in LOCAL:
        hosts.add(f"[{host}]" if ":" in host else host.lower())
    if public_name is not None:
        if not re.fullmatch(r"[a-zA-Z0-9.-]+(:\d+)?", public_name):
            raise SettingsError(f"--public-name {public_name}: expected a name such as review.lab")
        hosts.add(host_name(public_name.lower()))
        origins.add(f"https://{public_name.lower()}")
    return Serving(
        name=name or _user(),
        users=bool(active),
        hosts=frozenset(hosts),
        origins=frozenset(origins),
        https=https or public_name is not None,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # as in a container whose user has no name
        return "reviewer"


def check_certificate(certificate: Path, key: Path) -> None:
    """Raise ``SettingsError`` unless these are a certificate and its key, as PEM files."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # SSLError among them
        raise SettingsError(
            f"{certificate}, {key}: not a certificate and its key as PEM files ({error})"
        ) from error


def _addresses(name: str) -> list[Any]:
    try:
        return socket.getaddrinfo(name, None)
    except (OSError, UnicodeError):
        return []


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address; ``SettingsError`` if it is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # named as TCP, or asyncio leaves Nagle's algorithm on, and every answer waits 40 ms for an ACK
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen()  # from here on a browser waits for its answer, and is not turned away
    except (OSError, TypeError, UnicodeError) as error:  # a name that is none, too
        found.close()
        said = error.strerror if isinstance(error, OSError) else None
        what = (said or str(error)).lower()
        raise SettingsError(
            f"cannot listen at {host}, port {port}: {what}; choose another with --port or --host"
        ) from error
    return found


def serve(
    app: FastAPI, listening: socket.socket, certificate: tuple[Path, Path] | None = None
) -> None:
    """Serve until Ctrl+C; ``certificate`` is a certificate and its key as PEM files, for https."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        # what a proxy says of its clients is believed only where there is one: failed logins are
        # counted by address
        proxy_headers=app.state.room.serving.https and certificate is None,
        timeout_graceful_shutdown=_GRACE,
        ssl_certfile=certificate[0] if certificate else None,
        ssl_keyfile=certificate[1] if certificate else None,
    )
    with suppress(KeyboardInterrupt):  # which uvicorn raises once all is closed
        uvicorn.Server(config).run(sockets=[listening])
