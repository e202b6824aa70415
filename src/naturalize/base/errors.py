"""The errors a user may see: one line each, saying what, where and what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager


class NaturalizeError(Exception):
    """Base of all errors that are the input's or the machine's fault, not a bug.

    The command line prints the message on one line and exits with code 2.
    """


class InputError(NaturalizeError):
    """Data that cannot be used: a missing folder, an unreadable image, one class only."""


class UnusableError(InputError):
    """One thing of many that cannot be used; ``reason`` is a phrase to count by and for tables."""

    def __init__(self, where: object, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = str(where)
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return (type(self), (self.where, self.reason))


class ImageReadError(UnusableError):
    """One image that cannot be read."""


class SettingsError(NaturalizeError):
    """A setting that is misspelt, out of range or at odds with another one."""


class ArtifactError(NaturalizeError):
    """An artifact folder that is missing, damaged or of another format version."""


class MissingExtraError(NaturalizeError):
    """A library that this part needs and that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} is not installed; run: pip install 'naturalize[{extra}]'")
        self.what, self.extra = what, extra

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return (type(self), (self.what, self.extra))


class EngineError(NaturalizeError):
    """Work on one item failed in a worker; the message names the item."""


class NaturalizeWarning(UserWarning):
    """A setting or an input that does nothing, or less than its user may think."""


@contextmanager
def os_errors_named(where: object) -> Iterator[None]:
    """Turn 'disk full', 'permission denied' and the like into an error that names ``where``."""
    advice = {
        errno.ENOSPC: "free some space, or choose another place with -o, and run it again",
        errno.EDQUOT: "your quota is used up: choose another place with -o, and run it again",
        errno.EACCES: "check who may write there",
        errno.ENAMETOOLONG: "give the file that it is made from a shorter name",
        errno.EROFS: "it cannot be written to; choose another place with -o",
    }
    try:
        yield
    except OSError as error:
        if error.errno not in advice:
            raise
        what = os.strerror(error.errno).lower()
        raise NaturalizeError(
            f"{error.filename or where}: {what}: {advice[error.errno]}"
        ) from error


def closest(word: str, choices: list[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the most similar of ``choices``, or ``""``."""
    from difflib import get_close_matches

    found = get_close_matches(word, choices, n=1, cutoff=0.6)
    return f" (did you mean {found[0]!r}?)" if found else ""


def unknown(what: str, name: str, choices: list[str]) -> SettingsError:
    """Return the error for a name that is not among ``choices``; it suggests and lists them."""
    return SettingsError(
        f"unknown {what} {name!r}{closest(name, choices)}; choose from: {', '.join(choices)}"
    )
