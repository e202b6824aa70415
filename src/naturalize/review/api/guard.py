"""What every request passes first: its host, its origin, its size; and what every answer carries.

A page of another site may send requests to this server through the browser of a person who works
here. Three things stop it: the name in ``Host`` must be one of this server's own (DNS rebinding),
the ``Origin`` of a changing request, and what browsers say of any request's site, must be this
server, and a changing request needs a token that only its own pages can read
(`naturalize.review.api.room`).
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from anyio import to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from naturalize.review.api.errors import LOG, SAFE, Refusals, RefusedError, problem
from naturalize.review.api.limits import Limits

#: Headers of every answer (OWASP Secure Headers Project).
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

#: The one place that takes long bodies.
UPLOADS = "/api/v1/uploads"


class Guard:
    """ASGI middleware: refuses what comes from elsewhere or is too long; adds headers.

    ``hosts`` are the names, without port, by which this server is called; ``origins`` are origins
    that are permitted beside the server's own (a proxy's). ``https`` says whether browsers reach
    the server by https alone.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Collection[str],
        origins: Collection[str],
        https: bool,
        limits: Limits,
        refusals: Refusals,
    ) -> None:
        self._app, self._hosts, self._origins = app, frozenset(hosts), frozenset(origins)
        self._limits, self._refusals = limits, refusals
        self._headers = dict(HEADERS)
        if https:
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        begun = False

        async def sent(message: Message) -> None:
            nonlocal begun
            begun = True
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        line = f"{scope['method']} {scope['path']}"
        try:
            refused = self._why_not(scope)
            if refused is None:
                await self._app(scope, self._limited(scope, receive), sent)
                return
            why = refused.status_code, refused.detail
            await to_thread.run_sync(self._refusals.add, "-", line, *why)
            answer = problem(refused.status_code, refused.code, refused.detail)
        except ClientDisconnect:
            LOG.info("%r: the browser went away", line[:200])
            return
        except Exception as error:
            # here and not by the framework, whose answer is outside of this and lacks the headers
            LOG.error("%r failed", line[:200], exc_info=error)
            if begun:
                raise
            answer = problem(500, "internal", "something failed in the server; its log says what")
        await answer(scope, receive, sent)

    def _why_not(self, scope: Scope) -> RefusedError | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if host_name(host) not in self._hosts:
            return RefusedError(403, "host", f"this server is not called {host[:100]!r}")
        if scope["method"] not in SAFE:
            origin = headers.get("origin")
            if origin is not None and not self._is_ours(origin, host):
                return RefusedError(403, "origin", f"changes from {origin[:100]!r} are not taken")
        # what a browser says of who asks: a page of another site may not even have files made here
        counts = scope["method"] not in SAFE or scope["path"].startswith("/api/")
        if counts and headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return RefusedError(403, "origin", "requests of another site are not answered")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._limit(scope):
            return _too_large(self._limit(scope))
        return None

    def _is_ours(self, origin: str, host: str) -> bool:
        if origin in self._origins:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host

    def _limit(self, scope: Scope) -> int:
        is_upload = scope["path"].rstrip("/") == UPLOADS
        return self._limits.upload if is_upload else self._limits.body

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """Count what is received: a body without a stated length may be of any."""
        limit, taken = self._limit(scope), 0

        async def received() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit:
                raise _too_large(limit)
            return message

        return received


def host_name(host: str) -> str:
    """Return the name in a ``Host`` header, without its port; of IPv6 addresses with brackets."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _too_large(limit: int) -> RefusedError:
    size = f"{limit / 2**20:.0f} MB" if limit >= 2**20 else f"{limit} bytes"
    return RefusedError(413, "too-large", f"the request is longer than {size}")
