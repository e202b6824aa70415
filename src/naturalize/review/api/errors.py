"""What is refused, and how: one form of JSON, a line in the log, an event in the trail."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from naturalize.base.errors import ArtifactError, ImageReadError, NaturalizeError
from naturalize.review.service import errors as service
from naturalize.review.store.database import BusyError, FullError

LOG = logging.getLogger("naturalize.review")

#: What a service says → status and code of the answer. The first that fits is taken.
ANSWERS: tuple[tuple[type[Exception], int, str], ...] = (
    (service.ConflictError, 409, "conflict"),
    (service.ClosedError, 409, "closed"),
    (service.BlockedError, 409, "blocked"),
    (service.NotAllowedError, 403, "not-allowed"),
    (service.NoSuchError, 404, "no-such"),
    (service.RateError, 429, "rate"),
    (service.LoginError, 401, "login"),
    (ImageReadError, 404, "no-image"),
    (FullError, 507, "no-space"),
    (BusyError, 503, "busy"),
    (ArtifactError, 500, "unusable"),
    (NaturalizeError, 422, "invalid"),
)

#: Codes of answers that the framework gives by itself.
_BY_STATUS = {400: "bad-request", 404: "no-such", 405: "bad-request", 413: "too-large"}

#: Methods that change nothing.
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class ErrorBody(BaseModel):
    """What went wrong: a code for programs, one line for people."""

    model_config = ConfigDict(extra="allow")
    code: str
    message: str


class ErrorAnswer(BaseModel):
    """The answer to every request that is refused."""

    error: ErrorBody


#: What routes say of errors in the OpenAPI schema.
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": what}
    for status, what in {
        400: "not understood",
        401: "nobody is logged in",
        403: "not permitted: role, token, origin or host",
        404: "no such thing",
        409: "changed by another, signed already, or not possible yet",
        413: "too long",
        422: "not valid",
        429: "too many tries",
        503: "another program holds the review",
        507: "the disk is full",
    }.items()
}


class RefusedError(HTTPException):
    """A request that is refused: status, code, one line for the user, and what else to say."""

    def __init__(
        self, status: int, code: str, message: str, more: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(status, message)
        self.code, self.more = code, dict(more or {})


def problem(status: int, code: str, message: str, **more: Any) -> JSONResponse:
    """Return the answer to a request that is refused."""
    headers = {"Cache-Control": "no-store"}
    return JSONResponse({"error": {"code": code, "message": message, **more}}, status, headers)


class Refusals:
    """Writes each refusal to the log, and to the trail so many a minute.

    ``note`` appends an event: user, kind, reason.
    """

    def __init__(self, note: Callable[[str, str, str], None], a_minute: int) -> None:
        self._note, self._left, self._a_minute = note, a_minute, a_minute
        self._since, self._lock = time.monotonic(), threading.Lock()

    def add(self, who: str, request: str, status: int, message: str) -> None:
        """Write down that ``request`` (method and path) of ``who`` was refused, and why."""
        # repr: a line break in a name must not begin a line of the log
        text = f"{request[:200]!r}: {message[:500]}"
        LOG.warning("refused %d %s (%s)", status, text.replace("\n", " "), who)
        with self._lock:
            if time.monotonic() - self._since > 60:
                self._since, self._left = time.monotonic(), self._a_minute
            if self._left <= 0:
                return
            self._left -= 1
        try:
            self._note(who, "refused", f"{status} {text}")
        except NaturalizeError as error:  # a full disk: the refusal stands all the same
            LOG.error("not in the trail: %s", error)


def is_full(error: BaseException | None) -> TypeGuard[OSError]:
    """Return whether an error is that of a full disk."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def add_handlers(app: FastAPI, refusals: Refusals) -> None:
    """Answer every error of the routes in one form, and write down what was refused."""

    def refuse(request: Request, status: int, code: str, message: str, **more: Any) -> JSONResponse:
        who = getattr(request.state, "who", "-")
        line = f"{request.method} {request.url.path}"
        if request.method in SAFE or code == "conflict":
            LOG.info("%d %r: %s (%s)", status, line[:200], message, who)
        else:
            refusals.add(who, line, status, message)
        return problem(status, code, message, **more)

    def on_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = getattr(error, "code", None) or _BY_STATUS.get(error.status_code, "refused")
        answer = refuse(
            request, error.status_code, code, str(error.detail), **getattr(error, "more", {})
        )
        answer.headers.update(error.headers or {})
        return answer

    def on_invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return refuse(request, 422, "invalid", f"{place}: {first['msg']}")

    def on_ours(request: Request, error: Exception) -> JSONResponse:
        if is_full(error.__cause__):
            return on_system(request, error.__cause__)
        status, code = next((s, c) for kind, s, c in ANSWERS if isinstance(error, kind))
        return refuse(request, status, code, str(error))

    def on_system(request: Request, error: Exception) -> JSONResponse:
        if not is_full(error):
            raise error
        return refuse(request, 507, "no-space", "the disk of the server is full")

    handlers: dict[type[Exception], Callable[[Request, Exception], JSONResponse]] = {
        HTTPException: on_http,
        RequestValidationError: on_invalid,
        NaturalizeError: on_ours,
        OSError: on_system,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
