"""Who acts, and what each role may do."""

from __future__ import annotations

from dataclasses import dataclass

from naturalize.base.errors import unknown
from naturalize.review.service.errors import NotAllowedError

#: Role → what it may do besides looking.
ROLES = {
    "reader": frozenset({"export"}),
    "reviewer": frozenset({"export", "change", "sign"}),
    "admin": frozenset(
        {"export", "change", "sign", "reopen", "replace", "users", "rules", "upload"}
    ),
}

#: What is refused, in words.
_WORDS = {
    "change": "change cells",
    "sign": "sign a reading",
    "reopen": "open a signed reading again",
    "replace": "replace the second reader",
    "users": "manage users",
    "rules": "change settings",
    "upload": "add images",
    "export": "export",
}


@dataclass(frozen=True)
class Actor:
    """Who acts: a name, and a role of `ROLES`."""

    name: str
    role: str


def check_role(role: str) -> None:
    """Raise ``SettingsError`` unless there is such a role."""
    if role not in ROLES:
        raise unknown("role", role, list(ROLES))


def check(actor: Actor, what: str) -> None:
    """Raise ``NotAllowedError`` unless the actor may do it."""
    if what not in ROLES[actor.role]:
        raise NotAllowedError(f"{actor.name} is {actor.role} and may not {_WORDS[what]}")
