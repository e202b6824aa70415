"""Text from a command line or a study file to counts and sizes."""

from __future__ import annotations

import re

from naturalize.base.errors import SettingsError
from naturalize.dataset.phantom.scene import CLASSES
from naturalize.dataset.phantom.write import count_classes


def parse_counts(text: str) -> dict[str, int]:
    """Return class → images from ``"24"``, ``"BNE=5,SNE=60"`` or ``"24,BNE=5"``.

    A bare number counts for every class; ``NAME=N`` for that class, whatever the order.

    Raises
    ------
    SettingsError
        For text of another form, an unknown class or a number below 1.

    Examples
    --------
    >>> parse_counts("BNE=5,SNE=60")
    {'BNE': 5, 'SNE': 60}
    """
    every: dict[str, int] = {}
    single: dict[str, int] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, number = (piece.strip() for piece in part.rpartition("="))
        if not re.fullmatch(r"-?\d+", number) or (equals and not name):
            raise SettingsError(
                f"per-class: expected a number or NAME=N, got {part!r}; for example 24,BNE=5"
            )
        if equals:
            single[name] = int(number)
        else:
            every = dict.fromkeys(CLASSES, int(number))
    return count_classes(every | single)


def parse_size(text: str) -> tuple[int, int]:
    """Return (width, height) from ``"360x363"``.

    Raises
    ------
    SettingsError
        For text of another form.
    """
    found = re.fullmatch(r"\s*(\d+)\s*[x×,]\s*(\d+)\s*", text, flags=re.IGNORECASE)
    if not found:
        raise SettingsError(f"size: expected WIDTHxHEIGHT such as 360x363, got {text!r}")
    return int(found[1]), int(found[2])
