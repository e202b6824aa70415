"""Users with passwords, and their sessions."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, delete, func, insert, select
from sqlalchemy import update as changing

from naturalize.base.errors import ArtifactError, SettingsError
from naturalize.base.text import has_controls
from naturalize.review.service.errors import (
    BlockedError,
    LoginError,
    NoSuchError,
    RateError,
)
from naturalize.review.service.review import Review
from naturalize.review.service.roles import Actor, check, check_role
from naturalize.review.service.trail import noted
from naturalize.review.store.tables import FAILURE, LOGIN, USER

#: Seconds that a session lasts at most, and without a request: a working day, a coffee break.
SESSION_SECONDS, IDLE_SECONDS = 12 * 3600, 30 * 60

#: Seconds between two notes of a session's last request: not every request waits for the disk.
_NOTE_EVERY = 60

#: Failed logins in so many seconds, by name and address and by address, before more are refused
#: (OWASP ASVS 4.0, 2.2.1 asks for a limit of at most 100 an hour).
_WINDOW, _BY_NAME, _BY_ADDRESS = 15 * 60, 5, 20

#: Characters of a password (NIST SP 800-63B: at least 8; long ones are permitted).
SHORTEST, LONGEST = 10, 256

#: Characters of a name.
_NAME = 64

#: Passwords that are checked at one time: each takes 64 MB, which many logins at once must not.
_HASHING = threading.Semaphore(4)

#: Who acts when the command line does.
_COMMAND = "command line"


@dataclass(frozen=True)
class User:
    """A user; one that is not active cannot log in."""

    name: str
    role: str
    active: bool


@dataclass(frozen=True)
class Login:
    """A session: its token, the token of changing requests, and who acts in it."""

    token: str
    csrf: str
    actor: Actor


def add(review: Review, name: str, password: str, role: str, by: Actor | None = None) -> None:
    """Add a user; ``by`` is null for the command line. ``SettingsError`` if one has this name."""
    if by is not None:
        check(by, "users")
    check_role(role)
    name = check_name(name)
    hashed = _hashed(password)
    with review.database.writing() as link:
        if _row(link, name) is not None:
            raise SettingsError(f"user {name}: exists already")
        link.execute(insert(USER).values(name=name, role=role, password_hash=hashed, active=1))
        noted(link, _who(by), "user", reason=f"{name} added as {role}")


def check_name(name: str, what: str = "user") -> str:
    """Return a name of a person as it is kept; ``SettingsError`` for what is none."""
    name = _plain(name)
    is_text = not has_controls(name) and not set(name) & {*"<>"}
    if not (0 < len(name) <= _NAME and name == name.strip() and is_text):
        raise SettingsError(
            f"{what} {name[:_NAME]!r}: a name of 1 to {_NAME} characters is needed, none of them < "
            "or > or a control character, and no space at its ends"
        )
    return name


def update(
    review: Review,
    name: str,
    *,
    role: str | None = None,
    active: bool | None = None,
    password: str | None = None,
    by: Actor | None = None,
) -> None:
    """Change a user; what is null stays. A new password, or shutting out, ends their sessions.

    ``BlockedError`` if no active administrator would be left.
    """
    if by is not None:
        check(by, "users")
    values: dict[str, Any] = {}
    if role is not None:
        check_role(role)
        values["role"] = role
    if active is not None:
        values["active"] = int(active)
    if password is not None:
        values["password_hash"] = _hashed(password)
    with review.database.writing() as link:
        was = _row(link, name := _plain(name))
        if was is None:
            raise NoSuchError(f"no user {name!r}")
        if not values:
            return
        link.execute(changing(USER).where(USER.c.name == name).values(**values))
        admins = select(func.count()).where(USER.c.role == "admin", USER.c.active == 1)
        if was.role == "admin" and was.active and not link.execute(admins).scalar_one():
            raise BlockedError(f"{name} is the last active administrator")
        if password is not None or active is False:
            link.execute(delete(LOGIN).where(LOGIN.c.user == name))
        said = ", ".join("new password" if key == "password_hash" else f"{key} {value}"
                         for key, value in values.items())  # fmt: skip
        noted(link, _who(by), "user", reason=f"{name}: {said}")


def listed(review: Review) -> list[User]:
    """Return all users by name."""
    with review.database.reading() as link:
        rows = link.execute(select(USER).order_by(USER.c.name)).all()
    return [User(row.name, row.role, bool(row.active)) for row in rows]


def login(review: Review, name: str, password: str, address: str) -> Login:
    """Open a session; ``LoginError``, or ``RateError`` after too many failed tries."""
    at, name = time.time(), _plain(name)
    with review.database.writing() as link:
        link.execute(delete(FAILURE).where(FAILURE.c.at < at - _WINDOW))
        recent = select(func.count()).where(FAILURE.c.address == address)
        of_name = recent.where(FAILURE.c.name == name)
        if (
            link.execute(of_name).scalar_one() >= _BY_NAME
            or link.execute(recent).scalar_one() >= _BY_ADDRESS
        ):
            raise RateError(f"too many failed logins; wait {_WINDOW // 60} minutes")
        # counted before it is checked: many tries at one moment are no way around the limit
        tried = link.execute(insert(FAILURE).values(name=name, address=address, at=at))
        row = _row(link, name)
    # outside of the transaction: hashing takes its time, and nobody shall wait for it
    right = _fits(row.password_hash if row else _nobody(), password)
    with review.database.writing() as link:
        if right and row and row.active and row == _row(link, name):
            link.execute(delete(FAILURE).where(FAILURE.c.id == tried.lastrowid))
            return _begun(link, name, row.role, address, at)
        # a name that is none may be a password in the wrong field: everybody reads the trail
        noted(link, name if row else "-", "login-failed", reason=address)
    raise LoginError("the name or the password is wrong")


def _begun(link: Connection, name: str, role: str, address: str, at: float) -> Login:
    token, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    link.execute(delete(LOGIN).where(LOGIN.c.created < at - SESSION_SECONDS))
    link.execute(
        insert(LOGIN).values(
            token_hash=_digest(token), user=name, csrf=csrf, created=at, last_used=at
        )
    )
    noted(link, name, "login", reason=address)
    return Login(token, csrf, Actor(name, role))


def session(review: Review, token: str) -> Login | None:
    """Return the session of a token; null if there is none, or it has expired."""
    at, hashed = time.time(), _digest(token)
    asked = (
        select(LOGIN, USER.c.role)
        .join(USER, USER.c.name == LOGIN.c.user)
        .where(LOGIN.c.token_hash == hashed, USER.c.active == 1)
    )
    with review.database.reading() as link:
        row = link.execute(asked).first()
    if row is None or at > row.created + SESSION_SECONDS or at > row.last_used + IDLE_SECONDS:
        return None
    if at > row.last_used + _NOTE_EVERY:
        # on a full disk people still see what is there
        with suppress(ArtifactError), review.database.writing() as link:
            link.execute(changing(LOGIN).where(LOGIN.c.token_hash == hashed).values(last_used=at))
    return Login(token, row.csrf, Actor(row.user, row.role))


def logout(review: Review, token: str) -> None:
    """End a session; nothing happens if there is none."""
    hashed = _digest(token)
    with review.database.writing() as link:
        row = link.execute(select(LOGIN.c.user).where(LOGIN.c.token_hash == hashed)).first()
        if row is not None:
            link.execute(delete(LOGIN).where(LOGIN.c.token_hash == hashed))
            noted(link, row.user, "logout")


def _plain(name: str) -> str:
    """Return a name as it is kept: keyboards write one letter in several ways."""
    return unicodedata.normalize("NFC", name)


def _row(link: Connection, name: str) -> Any:
    return link.execute(select(USER).where(USER.c.name == name)).first()


def _who(by: Actor | None) -> str:
    return _COMMAND if by is None else by.name


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _composed(password: str) -> str:
    """Return a password in the form that NIST SP 800-63B asks for before it is hashed."""
    return unicodedata.normalize("NFKC", password)


def _hashed(password: str) -> str:
    if not SHORTEST <= len(password) <= LONGEST:
        raise SettingsError(f"password: {SHORTEST} to {LONGEST} characters are needed")
    return PasswordHasher().hash(_composed(password))


@cache
def _nobody() -> str:
    """Return a hash that no password fits, so that unknown names take as long as wrong ones."""
    return PasswordHasher().hash(secrets.token_urlsafe(32))


def _fits(hashed: str, password: str) -> bool:
    try:
        with _HASHING:
            return PasswordHasher().verify(hashed, _composed(password))
    except (VerificationError, InvalidHashError):
        return False
