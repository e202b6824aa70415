"""What a review refuses, as errors that pages and routes can show."""

from __future__ import annotations

from naturalize.base.errors import NaturalizeError


class ReviewError(NaturalizeError):
    """Something that a review does not permit."""


class ConflictError(ReviewError):
    """Somebody else changed it in the meantime."""


class NotAllowedError(ReviewError):
    """The user's role, or their part in another reading, forbids it."""


class ClosedError(ReviewError):
    """The reading is signed."""


class NoSuchError(ReviewError):
    """There is no such cell, reading, class or user."""


class BlockedError(ReviewError):
    """It is not yet possible; the message says what has to be done first."""


class LoginError(ReviewError):
    """The name or the password is wrong."""


class RateError(ReviewError):
    """Too many failed logins, or too much is asked at one time."""
